//! How long a core has been held up: it rested while something was due, because all that could begin it
//! waited for the server. It tells which part of a lag is the client's own.

use std::time::Duration;

use crate::base::constants::HELD_UP_MOST;

/// Time between two moments that are remembered, and how many: they reach as far back as a message may
/// wait for its answer.
const STEP: Duration = Duration::from_millis(20);
const STEPS: usize = 512;

/// The rests of a core in which it was held up, up to now.
pub(super) struct HeldUp {
    /// Since when it rests so, and for how long at most that is the server's fault.
    rest: Option<(Duration, Duration)>,
    total: Duration,
    /// The total at the last moments, each a multiple of [`STEP`], by their numbers.
    past: [Duration; STEPS],
    newest: u64,
}

impl HeldUp {
    pub(super) fn new() -> HeldUp {
        HeldUp { rest: None, total: Duration::ZERO, past: [Duration::ZERO; STEPS], newest: 0 }
    }

    /// A rest begins. While connections are open it is to last no longer than [`HELD_UP_MOST`]: the rest
    /// of it this host did not run the core.
    pub(super) fn begins(&mut self, now: Duration, is_any_open: bool) {
        self.rest = Some((now, if is_any_open { HELD_UP_MOST } else { Duration::MAX }));
    }

    /// The rest is over, if there was one; how long it was held up.
    pub(super) fn ends(&mut self, now: Duration) -> Option<Duration> {
        let (since, most) = self.rest.take()?;
        let waited = now.saturating_sub(since).min(most);
        self.remember(now, since, waited);
        self.total += waited;
        Some(waited)
    }

    /// The part of the time from `due` to `now` in which the core was not held up.
    pub(super) fn own_lag(&self, due: Duration, now: Duration) -> Duration {
        let held_up = self.total - self.total_at(due);
        now.saturating_sub(due).saturating_sub(held_up)
    }

    /// Fills in the moments up to `now`, since the last of which it was held up once.
    fn remember(&mut self, now: Duration, since: Duration, waited: Duration) {
        let now = number(now);
        self.newest = self.newest.max(now.saturating_sub(STEPS as u64));
        while self.newest < now {
            self.newest += 1;
            let part = moment(self.newest).saturating_sub(since).min(waited);
            self.past[place(self.newest)] = self.total + part;
        }
    }

    /// The total at `due`. Between two moments the wait is taken to come first. What is too long ago is
    /// taken for the oldest moment, which leaves more of the lag to the client.
    fn total_at(&self, due: Duration) -> Duration {
        let oldest = self.newest.saturating_sub(STEPS as u64 - 1);
        let number = number(due).max(oldest);
        if number > self.newest {
            return self.total;
        }
        let before = self.past[place(number)];
        let after = if number == self.newest { self.total } else { self.past[place(number + 1)] };
        before + due.saturating_sub(moment(number)).min(after - before)
    }
}

fn number(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / STEP.as_nanos()).unwrap_or(u64::MAX)
}

fn moment(number: u64) -> Duration {
    Duration::from_nanos(number.saturating_mul(u64::try_from(STEP.as_nanos()).unwrap_or(u64::MAX)))
}

fn place(number: u64) -> usize {
    usize::try_from(number % STEPS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_wait_for_the_server_is_no_lag_of_the_client() {
        let mut held_up = HeldUp::new();
        assert_eq!(held_up.own_lag(ms(3), ms(10)), ms(7), "it never waited");
        // Four seconds, ten milliseconds at a time.
        for at in (10..4010).step_by(10) {
            held_up.begins(ms(at), true);
            assert_eq!(held_up.ends(ms(at + 10)), Some(ms(10)));
        }
        let lag = held_up.own_lag(ms(10), ms(4010));
        assert!(lag <= 2 * STEP, "{lag:?}");
        let lag = held_up.own_lag(ms(2000), ms(5010));
        assert!((ms(1000)..ms(1000) + 2 * STEP).contains(&lag), "a second of work: {lag:?}");
        assert_eq!(held_up.ends(ms(6000)), None, "it does not rest");
    }

    #[test]
    fn a_core_that_is_not_run_lags_by_itself() {
        let mut held_up = HeldUp::new();
        held_up.begins(ms(100), true);
        assert_eq!(held_up.ends(ms(3100)), Some(HELD_UP_MOST));
        let lag = held_up.own_lag(ms(100), ms(3100));
        assert!((ms(2900)..=ms(3000)).contains(&lag), "{lag:?}");
        // With nothing open there is nothing that could be run.
        held_up.begins(ms(4000), false);
        assert_eq!(held_up.ends(ms(30_000)), Some(ms(26_000)));
        assert!(held_up.own_lag(ms(25_000), ms(30_000)) <= STEP);
        // Too long ago to know all of it: the more is the client's.
        assert!(held_up.own_lag(ms(4000), ms(30_000)) >= ms(15_000));
    }
}
