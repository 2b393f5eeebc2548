//! Figures as people read them: the summary and the report say the same number in the same words.

use crate::base::units::{self, grouped};

/// A count or a difference with thousands separators: `1,000,000`, `-37`; parts are rounded away.
#[must_use]
pub fn count(n: f64) -> String {
    let rounded = n.round();
    let digits = grouped(whole(rounded.abs()));
    if rounded < 0.0 { format!("-{digits}") } else { digits }
}

/// A count of few characters, as an axis has room for: `0`, `950`, `20k`, `1.5M`.
#[must_use]
pub fn short(n: f64) -> String {
    let (scale, suffix) = match n.abs() {
        ..1e3 => (1.0, ""),
        1e3..1e6 => (1e3, "k"),
        1e6..1e9 => (1e6, "M"),
        1e9..1e12 => (1e9, "G"),
        _ => return format!("{n:.0e}"),
    };
    // Ticks of an axis differ in their third digit at most.
    let digits = format!("{:.2}", n / scale);
    format!("{}{suffix}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// A time: `559 us`, `17.4 ms`, `12.0 s`.
#[must_use]
pub fn microseconds(us: f64) -> String {
    units::microseconds(whole(us))
}

/// A time: `47 ms`, `0.4 s`, `5.1 s`, `93 s`.
#[must_use]
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.1 => format!("{:.0} ms", seconds * 1e3),
        0.1..60.0 => format!("{seconds:.1} s"),
        _ => format!("{seconds:.0} s"),
    }
}

/// A rate: `200/s`, `196.5k/s`.
#[must_use]
pub fn per_second(rate: f64) -> String {
    match rate {
        ..1e3 => format!("{rate:.0}/s"),
        1e3..1e6 => format!("{:.1}k/s", rate / 1e3),
        _ => format!("{:.2}M/s", rate / 1e6),
    }
}

/// Bytes: `42 B`, `8,302 B`, `61.5 KiB`, `24.0 GiB`.
#[must_use]
pub fn bytes(bytes: f64) -> String {
    let in_unit = |shift: u32, name| format!("{:.1} {name}", bytes / f64::from(1 << shift));
    match bytes.abs() {
        ..10_240.0 => format!("{} B", count(bytes)),
        ..1_048_576.0 => in_unit(10, "KiB"),
        ..1_073_741_824.0 => in_unit(20, "MiB"),
        _ => in_unit(30, "GiB"),
    }
}

/// A whole number that is not negative; what no such number can say, as infinity, is its nearest.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it rounds and saturates, as a number for people may"
)]
fn whole(n: f64) -> u64 {
    n as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!(
            (count(1e6).as_str(), count(-36.6).as_str(), count(-0.2).as_str()),
            ("1,000,000", "-37", "0")
        );
        let shorts = [0.0, 950.0, 2e4, 1.5e6, 12_500.0, 1e9, 3e15].map(short);
        assert_eq!(shorts, ["0", "950", "20k", "1.5M", "12.5k", "1G", "3e15"]);
        assert_eq!([0.4, 559.0, 17_400.0].map(microseconds), ["0 us", "560 us", "17.4 ms"]);
        assert_eq!([0.047, 0.42, 5.14, 113.4].map(seconds), ["47 ms", "0.4 s", "5.1 s", "113 s"]);
        assert_eq!([200.0, 196_480.0, 2.5e6].map(per_second), ["200/s", "196.5k/s", "2.50M/s"]);
        let sizes = [42.0, 8_302.4, 62_976.0, 25_769_803_776.0, -2_097_152.0].map(bytes);
        assert_eq!(sizes, ["42 B", "8,302 B", "61.5 KiB", "24.0 GiB", "-2.0 MiB"]);
    }

    #[test]
    fn numbers_that_are_none_are_no_panic() {
        for n in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE] {
            for text in [count(n), short(n), microseconds(n), seconds(n), per_second(n), bytes(n)] {
                assert!(!text.is_empty());
            }
        }
    }
}
