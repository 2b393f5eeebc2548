//! How far the server's clock is ahead of this host's. The server says which time it is, and that was at some moment
//! between question and answer: of several tries the one that took the shortest counts (Cristian, 1989).

use std::time::Duration;

use megaconn::base::clock::microseconds;
use megaconn::base::constants::CLOCK_TRIES;
use megaconn::base::moments::wall_clock;
use megaconn::observe::metrics::clock;
use megaconn::observe::metrics::fetch::{self, Place};
use megaconn::results::parts::ClockOffset;

/// Asks the server at `place`, or says why nothing is known.
pub(crate) fn ask(place: Place) -> Result<ClockOffset, String> {
    let mut found: Option<ClockOffset> = None;
    for _ in 0..CLOCK_TRIES {
        let before = wall_clock();
        let text = fetch::text(&place).map_err(|error| error.to_string())?;
        let after = wall_clock();
        let theirs = clock::of_text(&text).ok_or("it does not say which time it is")?;
        let new = offset(before, after, theirs);
        if found.is_none_or(|found| new.error_us < found.error_us) {
            found = Some(new);
        }
    }
    found.ok_or_else(|| "it was not asked".to_owned())
}

/// From the moments of question and answer, and what was said between them.
fn offset(before: Duration, after: Duration, theirs_us: u64) -> ClockOffset {
    let [before, after] = [before, after].map(microseconds);
    let error_us = after.saturating_sub(before).div_ceil(2);
    let ours_us = before.saturating_add(error_us);
    ClockOffset {
        offset_us: theirs_us.cast_signed().saturating_sub(ours_us.cast_signed()),
        error_us,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_was_written_between_question_and_answer() {
        let at = Duration::from_micros;
        let ahead = offset(at(1_000), at(1_200), 61_100);
        assert_eq!(ahead, ClockOffset { offset_us: 60_000, error_us: 100 });
        let behind = offset(at(61_000), at(61_001), 1_000);
        assert_eq!(behind, ClockOffset { offset_us: -60_001, error_us: 1 });
        // A clock that was set back meanwhile.
        assert_eq!(offset(at(2_000), at(1_000), 2_000), ClockOffset { offset_us: 0, error_us: 0 });
    }
}
