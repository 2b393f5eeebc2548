//! Moments of the wall clock as people and schedulers write them.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// No moment is later: the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// A moment since 1970: `2026-11-30T21:00:00Z`, with an offset or parts of a second, or whole or broken seconds.
///
/// # Errors
/// One line, when the text is no such moment.
pub fn moment(text: &str) -> Result<Duration, String> {
    let error = || {
        format!(
            "`{text}` is no moment; fix: write 2026-11-30T21:00:00Z, seconds since 1970, or +30s from now"
        )
    };
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if is_number && text.starts_with(|c: char| c.is_ascii_digit()) {
        let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds <= LAST_SECOND);
        return seconds.map(Duration::from_secs_f64).ok_or_else(error);
    }
    let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| error())?;
    Duration::try_from(at - OffsetDateTime::UNIX_EPOCH).map_err(|_| error())
}

/// The time since 1970 by the wall clock as it is now, set or not: what other hosts go by.
#[must_use]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_seconds() {
        let seconds = |text: &str| moment(text).map(|at| at.as_secs_f64());
        for (text, expected) in [
            ("2026-11-30T21:00:00Z", 1_796_072_400.0),
            ("2026-11-30T22:00:00+01:00", 1_796_072_400.0),
            ("2026-11-30T21:00:00.25Z", 1_796_072_400.25),
            ("1796072400", 1_796_072_400.0),
            ("1796072400.25", 1_796_072_400.25),
            ("0", 0.0),
        ] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for bad in [
            "",
            "now",
            "-1",
            ".5",
            "1.2.3",
            "1e9",
            "999999999999",
            "2026-11-30",
            "2026-11-30T21:00:00",
            "2026-13-30T21:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(moment(bad).expect_err(bad).contains("fix: "), "{bad}");
        }
    }

    #[test]
    fn the_wall_clock_goes_on() {
        let before = wall_clock();
        assert!(before.as_secs() > 1_700_000_000 && before <= wall_clock());
    }
}
