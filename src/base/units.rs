//! What people type: counts (`10k`, `1M`), sizes (`512MiB`), times (`500ms`), ports and addresses. Every error says what would have been right.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub use crate::base::text::Text;

/// A count: `1000`, `10k`, `1M`, `2.4M`, `1G` (powers of ten), `2.4e6`.
///
/// # Errors
/// One line, when the text is no such count.
pub fn count(text: &str) -> Result<u64, String> {
    scaled(text, &POWERS).map_err(|why| why.of(text, "count", "1000, 10k or 2.4M"))
}

/// Powers of ten as people write them.
const POWERS: [(&str, u64); 12] = [
    ("k", 1_000),
    ("K", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("e3", 1_000),
    ("e4", 10_000),
    ("e5", 100_000),
    ("e6", 1_000_000),
    ("e7", 10_000_000),
    ("e8", 100_000_000),
    ("e9", 1_000_000_000),
    ("e10", 10_000_000_000),
];

/// A count of at least one.
///
/// # Errors
/// As [`count`], and for 0.
pub fn positive_count(text: &str) -> Result<u64, String> {
    match count(text)? {
        0 => Err("the count must be at least 1; fix: write 1 or more".into()),
        n => Ok(n),
    }
}

/// A count from 1 to `most`.
///
/// # Errors
/// As [`positive_count`], and for more.
pub fn count_up_to(text: &str, most: u64) -> Result<u64, String> {
    let count = positive_count(text)?;
    let error = || format!("`{text}` is too much; fix: write {most} or less");
    (count <= most).then_some(count).ok_or_else(error)
}

/// A rate, in things per second: `20k/s`, `0.5/s`, `30/m`, `2/h`; a number alone is per second.
///
/// # Errors
/// One line, when the text is no such rate, below 10^-6 per second, or above 10^15.
pub fn rate(text: &str) -> Result<f64, String> {
    let pers = [("/s", 1.0), ("/m", 60.0), ("/h", 3_600.0)];
    let found = pers.iter().find_map(|(per, time)| Some((text.strip_suffix(per)?, *time)));
    let (number, time) = found.unwrap_or((text, 1.0));
    let error = |why: NotScaled| why.of(text, "rate", "500/s, 0.5/s, 30/m or 20k/s");
    let (number, scale) = split_unit(number, &POWERS).map_err(error)?;
    let number = number.parse::<f64>().map_err(|_| error(NotScaled::Otherwise))?;
    match number * scale as f64 / time {
        rate if rate < RATE_MIN => Err(error(NotScaled::Otherwise)),
        rate if rate > RATE_MAX => Err(error(NotScaled::TooLarge)),
        rate => Ok(rate),
    }
}

/// No rate is lower: once in eleven days.
const RATE_MIN: f64 = 1e-6;

/// No rate is higher; below it whole numbers are exact.
const RATE_MAX: f64 = 1e15;

/// A size in bytes: `0`, `65536`, `64KiB`, `512MiB`, `2GiB`, `1TiB`; whole numbers.
///
/// # Errors
/// One line, when the text is no such size.
pub fn size(text: &str) -> Result<u64, String> {
    let suffixes = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
    scaled(text, &suffixes).map_err(|why| why.of(text, "size", "512MiB, 2GiB or 0"))
}

/// A size from `least` to `most`, both of which fit a buffer.
///
/// # Errors
/// As [`size`], and for less or more.
pub fn size_within(text: &str, least: usize, most: u16) -> Result<u16, String> {
    let size =
        size(text).map_err(|_| format!("`{text}` is no size; fix: write {least} or 1KiB"))?;
    let size = u16::try_from(size).ok().filter(|size| usize::from(*size) >= least && *size <= most);
    size.ok_or_else(|| format!("`{text}` is out of range; fix: write {least} to {most} bytes"))
}

/// A duration: `500ms`, `30s`, `5m`, `1h`, `7d`, `0s`.
///
/// # Errors
/// One line, when the text is no such duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let suffixes = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    let error = |why: NotScaled| why.of(text, "duration", "500ms, 30s, 5m, 1h or 7d");
    if text.ends_with(|c: char| c.is_ascii_digit()) {
        return Err(error(NotScaled::Otherwise));
    }
    match scaled(text, &suffixes).map_err(error)? {
        DURATION_MAX_MS.. => Err(error(NotScaled::TooLarge)),
        ms => Ok(Duration::from_millis(ms)),
    }
}

/// No duration is longer: a hundred years, which any sum of some of them has room for.
const DURATION_MAX_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// A duration longer than nothing.
///
/// # Errors
/// As [`duration`], and for `0s`.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("the duration must be above 0; fix: write 500ms, 30s or 5m".into()),
        duration => Ok(duration),
    }
}

/// An interval of keepalive probes: whole seconds, which is what the kernel counts in.
///
/// # Errors
/// As [`positive_duration`], and for parts of a second.
pub fn keepalive(text: &str) -> Result<Duration, String> {
    match positive_duration(text)? {
        duration if duration.subsec_nanos() > 0 || duration > KEEPALIVE_MAX => Err(format!(
            "`{text}` is no interval of probes; fix: write whole seconds, 1s to 32767s"
        )),
        duration => Ok(duration),
    }
}

/// The kernel takes at most 32,767 s, see tcp(7).
const KEEPALIVE_MAX: Duration = Duration::from_secs(32_767);

/// Why a text is no number with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotScaled {
    Negative,
    TooLarge,
    Otherwise,
}

impl NotScaled {
    /// The line: `text` is no `what`, and why where that can be told; what to write.
    fn of(self, text: &str, what: &str, fix: &str) -> String {
        let why = match self {
            NotScaled::Negative => ", which is never negative",
            NotScaled::TooLarge => " that there may be: it is too large",
            NotScaled::Otherwise => "",
        };
        format!("`{text}` is no {what}{why}; fix: write {fix}")
    }
}

/// The digits of `text`, with a point among them or not, and what its unit stands for.
fn split_unit<'a>(text: &'a str, units: &[(&str, u64)]) -> Result<(&'a str, u64), NotScaled> {
    let found = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, *scale)));
    let (number, scale) = found.unwrap_or((text, 1));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |t: &str| t.chars().all(|c| c.is_ascii_digit());
    if whole.strip_prefix('-').is_some_and(|rest| !rest.is_empty() && is_digits(rest)) {
        return Err(NotScaled::Negative);
    }
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || number.ends_with('.') {
        return Err(NotScaled::Otherwise);
    }
    Ok((number, scale))
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, NotScaled> {
    let (number, scale) = split_unit(text, units)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().map_err(|_| NotScaled::TooLarge)?;
    let mut value = whole.checked_mul(scale).ok_or(NotScaled::TooLarge)?;
    let mut unit = scale;
    for digit in fraction.chars().filter_map(|digit| digit.to_digit(10)) {
        if !unit.is_multiple_of(10) {
            return Err(NotScaled::Otherwise);
        }
        unit /= 10;
        value = value.checked_add(u64::from(digit) * unit).ok_or(NotScaled::TooLarge)?;
    }
    Ok(value)
}

/// An address without a port.
///
/// # Errors
/// One line, when the text is no such address.
pub fn address(text: &str) -> Result<IpAddr, String> {
    let address = text.parse();
    let address =
        address.map_err(|_| format!("`{text}` is no address; fix: write 10.0.0.5 or ::1"))?;
    of_one_host(address).map(|()| address)
}

/// TCP is between two hosts: neither end is a group of them.
pub(super) fn of_one_host(address: IpAddr) -> Result<(), String> {
    let group = match address {
        _ if address.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        _ => return Ok(()),
    };
    Err(format!(
        "{address} is {group}, and TCP has one host at each end; fix: an address of a host"
    ))
}

/// A range of ports: `7000` or `7000-7009`, both ends included, none of them 0.
///
/// # Errors
/// One line, when the text is no such range.
pub fn port_range(text: &str) -> Result<(u16, u16), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    // `u16` takes a plus sign as part of a number; a port has none.
    let port = |t: &str| t.parse::<u16>().ok().filter(|&port| port > 0 && !t.starts_with('+'));
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(format!("`{text}` is no port range; fix: write 7000 or 7000-7009, lowest first")),
    }
}

/// An address with one port, to listen on; with port 0 the kernel chooses one.
///
/// # Errors
/// One line, when the text is no such address.
pub fn own_address(text: &str) -> Result<SocketAddr, String> {
    let error = |_| format!("`{text}` is no address; fix: write 127.0.0.1:9100 or [::1]:9100");
    let address: SocketAddr = text.parse().map_err(error)?;
    of_one_host(address.ip()).map(|()| address)
}

/// An address with one port, to connect to.
///
/// # Errors
/// As [`own_address`], and for port 0.
pub fn peer_address(text: &str) -> Result<SocketAddr, String> {
    let address = own_address(text)?;
    let error = || format!("`{text}` has no port; fix: write 127.0.0.1:9100 or [::1]:9100");
    (address.port() > 0).then_some(address).ok_or_else(error)
}

/// A count with thousands separators: `1,000,000`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time in the unit that suits it, in as many digits as a histogram knows: `560 us`, `17.4 ms`,
/// `2.0 s`. Its buckets are 3 % wide: two digits, and three of a figure that begins with a 1.
#[must_use]
pub fn microseconds(us: u64) -> String {
    let digits = us.checked_ilog10().unwrap_or(0);
    let first = us / 10_u64.pow(digits);
    let known = if first == 1 { 2 } else { 1 };
    let step = 10_u64.pow(digits.saturating_sub(known));
    // It may come to one digit more: 996 us are 1.0 ms.
    let us = us.saturating_add(step / 2) / step * step;
    let (scale, unit) = match us {
        0..1_000 => return format!("{us} us"),
        1_000..1_000_000 => (1e3, "ms"),
        _ => (1e6, "s"),
    };
    let in_unit = us as f64 / scale;
    let places = match in_unit {
        ..2.0 => 2,
        ..20.0 => 1,
        _ => 0,
    };
    format!("{in_unit:.places$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_sizes_rates_and_times() {
        assert_eq!(count("2.4M"), Ok(2_400_000));
        assert_eq!(count("10k"), Ok(10_000));
        assert_eq!(
            (count("2.4e6"), count("1e3"), count("5e9")),
            (Ok(2_400_000), Ok(1_000), Ok(5_000_000_000))
        );
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        assert_eq!(count("0"), Ok(0));
        for (text, per_s) in [
            ("20k/s", 20_000.0),
            ("1.5k", 1_500.0),
            ("2.4e6/s", 2.4e6),
            ("0.5/s", 0.5),
            ("30/m", 0.5),
            ("1/m", 1.0 / 60.0),
            ("7.2k/h", 2.0),
        ] {
            assert_eq!(rate(text), Ok(per_s), "{text}");
        }
        for text in [
            "0/s",
            "0.0/m",
            "-1/s",
            "1/d",
            "/s",
            "1./s",
            "1e16/s",
            "inf/s",
            "nan",
            "1e-3/s",
            "0.0000001/s",
        ] {
            assert!(rate(text).is_err_and(|line| line.contains("fix: write 500/s")), "{text}");
        }
        assert_eq!((size("0"), size("65536")), (Ok(0), Ok(65_536)));
        assert_eq!((size("64KiB"), size("512MiB")), (Ok(1 << 16), Ok(1 << 29)));
        assert_eq!((size("2GiB"), size("3TiB")), (Ok(1 << 31), Ok(3 << 40)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
        let shown = [0, 99, 559, 1_677, 17_400, 285_700, 2_031_615, 12_000_000, 93_400_000];
        let expected =
            ["0 us", "99 us", "560 us", "1.68 ms", "17.4 ms", "290 ms", "2.0 s", "12.0 s", "93 s"];
        assert_eq!(shown.map(microseconds), expected);
        let edges = [996, 1_996, 9_960, 99_600, 199_600, 996_000, u64::MAX];
        let edges = edges.map(microseconds);
        let expected = ["1.00 ms", "2.0 ms", "10.0 ms", "100 ms", "200 ms", "1.00 s"];
        assert_eq!(edges[..6], expected);
    }

    #[test]
    fn what_is_none_is_refused() {
        for bad in [
            "",
            "-1",
            "1.",
            ".5",
            "1e-6",
            "e6",
            "1e",
            "1e2",
            "M",
            "1 M",
            "1.2345k",
            "99999999999999999999",
            "1x",
        ] {
            assert!(count(bad).is_err(), "{bad:?} was taken for a count");
        }
        for bad in ["", "-1", "1GB", "5 GiB", "1.5GiB", "GiB", "1k", "99999999TiB", "10%"] {
            assert!(size(bad).is_err(), "{bad:?} was taken for a size");
        }
        assert!(positive_duration("0s").is_err());
        assert!(
            keepalive("30s").is_ok() && keepalive("1.5s").is_err() && keepalive("10h").is_err()
        );
        assert!(positive_count("0").is_err());
        for bad in ["", "5", "-5s", "5 s", "s", "5w"] {
            assert!(duration(bad).is_err(), "{bad:?} was taken for a duration");
        }
    }
}
