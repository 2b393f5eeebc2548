//! The time of day, as dumps and results have it: read once, at the first call, and from then on told
//! by the clock that only goes forward. A clock that is set meanwhile moves no figure.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use time::OffsetDateTime;

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    unix: Duration,
    instant: Instant,
}

impl Anchor {
    /// Now; a clock that is set before 1970 shows 1970.
    fn now() -> Anchor {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Anchor { unix, instant: Instant::now() }
    }

    fn unix_time_at(self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.instant)
    }
}

/// Of this process.
static ANCHOR: OnceLock<Anchor> = OnceLock::new();

/// Time since 1970, by the time of day when the process first asked.
#[must_use]
pub fn unix_time() -> Duration {
    ANCHOR.get_or_init(Anchor::now).unix_time_at(Instant::now())
}

/// Milliseconds since 1970, as [`unix_time`].
#[must_use]
pub fn unix_ms() -> u64 {
    u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX)
}

/// A moment since 1970 as a name of files: `20261129-021500`, in UTC.
/// What is beyond the year 9999 is 1970.
#[must_use]
pub fn stamp(unix: Duration) -> String {
    let seconds = i64::try_from(unix.as_secs()).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let month = u8::from(month);
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Whole microseconds of a time; those beyond 64 bits are the most there are.
#[must_use]
pub fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_its_date() {
        for (seconds, expected) in [
            (0, "19700101-000000"),
            (951_782_399, "20000228-235959"),
            (951_782_400, "20000229-000000"),
            (951_868_800, "20000301-000000"),
            (1_735_689_599, "20241231-235959"),
            (1_795_918_500, "20261129-021500"),
            (4_107_542_400, "21000301-000000"),
        ] {
            assert_eq!(stamp(Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }

    #[test]
    fn time_goes_by_the_clock_that_only_goes_forward() {
        let hour = Duration::from_secs(3_600);
        let mut anchor = Anchor::now();
        // As if the time of day had been set by an hour since.
        anchor.unix += hour;
        let later = anchor.instant + Duration::from_millis(1_500);
        assert_eq!(anchor.unix_time_at(later) - anchor.unix, Duration::from_millis(1_500));
        let of_process = *ANCHOR.get_or_init(Anchor::now);
        let (before, told, after) = (Instant::now(), unix_time(), Instant::now());
        let [before, after] = [before, after].map(|at| of_process.unix_time_at(at));
        assert!(before <= told && told <= after, "another clock was read");
    }
}
