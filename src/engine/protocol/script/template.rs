//! Bytes that are sent, with places that are filled in for each connection. What is filled in has a width that
//! the template fixes, so that lengths within the bytes stay right.

use std::net::{IpAddr, SocketAddr};

/// Bytes with places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Box<[u8]>),
    /// The number of the connection, in so many decimal digits.
    Number(usize),
    /// So many random hexadecimal digits.
    Random(usize),
    /// The source address: 15 characters of IPv4, 39 of IPv6.
    Source,
    /// Milliseconds since 1970, in 13 digits.
    TimeMs,
}

/// What places are filled in with.
pub struct Filling<R> {
    /// The number of the connection.
    pub number: u64,
    /// Its source.
    pub source: SocketAddr,
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// Gives 64 random bits.
    pub random: R,
}

/// Digits of a place at most.
const WIDTH_MAX: usize = 64;

impl Template {
    /// Finds the places: `{n}`, `{n:08}`, `{rand:hex:16}`, `{source}` and `{time_ms}`. Any other brace is a
    /// byte as others.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Template {
        let (mut parts, mut plain, mut rest) = (Vec::new(), Vec::new(), bytes);
        while let Some((&first, behind)) = rest.split_first() {
            if let Some((part, after)) = place(rest) {
                if !plain.is_empty() {
                    parts.push(Part::Bytes(std::mem::take(&mut plain).into()));
                }
                parts.push(part);
                rest = after;
            } else {
                plain.push(first);
                rest = behind;
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Bytes(plain.into()));
        }
        Template(parts)
    }

    /// Whether it is text in UTF-8, whatever it is filled in with.
    #[must_use]
    pub fn is_text(&self) -> bool {
        let is_text = |part: &Part| match part {
            Part::Bytes(bytes) => std::str::from_utf8(bytes).is_ok(),
            Part::Number(_) | Part::Random(_) | Part::Source | Part::TimeMs => true,
        };
        self.0.iter().all(is_text)
    }

    /// Its longest size, whatever it is filled in with.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Number(width) | Part::Random(width) => *width,
            Part::Source => 39,
            Part::TimeMs => 13,
        };
        self.0.iter().map(size).sum()
    }

    /// Writes it at the beginning of `out`; its size.
    ///
    /// # Panics
    /// When `out` is shorter than [`Template::size`].
    pub fn write(&self, filling: &mut Filling<impl FnMut() -> u64>, out: &mut [u8]) -> usize {
        self.0.iter().fold(0, |at, part| {
            let out = &mut out[at..];
            at + match part {
                Part::Bytes(bytes) => {
                    out[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }
                Part::Number(width) => decimal(filling.number, &mut out[..*width]),
                Part::TimeMs => decimal(filling.time_ms, &mut out[..13]),
                Part::Random(width) => random(&mut filling.random, &mut out[..*width]),
                Part::Source => source(filling.source.ip(), out),
            }
        })
    }
}

/// The place at the beginning of `bytes`, and what is behind it.
fn place(bytes: &[u8]) -> Option<(Part, &[u8])> {
    let inner = bytes.strip_prefix(b"{")?;
    let end = inner.iter().take(WIDTH_MAX).position(|byte| *byte == b'}')?;
    let word = std::str::from_utf8(&inner[..end]).ok()?;
    let width = |text: &str| text.parse().ok().filter(|width| (1..=WIDTH_MAX).contains(width));
    let part = match word {
        "n" => Part::Number(10),
        "source" => Part::Source,
        "time_ms" => Part::TimeMs,
        _ => match (word.strip_prefix("n:0"), word.strip_prefix("rand:hex:")) {
            (Some(digits), _) => Part::Number(width(digits)?),
            (_, Some(digits)) => Part::Random(width(digits)?),
            _ => return None,
        },
    };
    Some((part, &inner[end + 1..]))
}

/// The last digits of a number.
fn decimal(mut number: u64, out: &mut [u8]) -> usize {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + number.to_le_bytes()[0].wrapping_sub((number / 10 * 10).to_le_bytes()[0]);
        number /= 10;
    }
    out.len()
}

fn random(bits: &mut impl FnMut() -> u64, out: &mut [u8]) -> usize {
    for chunk in out.chunks_mut(16) {
        let digits = bits().to_le_bytes().into_iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
        for (out, digit) in chunk.iter_mut().zip(digits) {
            *out = b"0123456789abcdef"[usize::from(digit)];
        }
    }
    out.len()
}

/// An address in full: `127.000.000.002`.
fn source(address: IpAddr, out: &mut [u8]) -> usize {
    match address {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                decimal(octet.into(), &mut out[index * 4..index * 4 + 3]);
                if index < 3 {
                    out[index * 4 + 3] = b'.';
                }
            }
            15
        }
        IpAddr::V6(address) => {
            for (index, pair) in address.octets().chunks(2).enumerate() {
                let digits = pair.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
                for (out, digit) in out[index * 5..].iter_mut().zip(digits) {
                    *out = b"0123456789abcdef"[usize::from(digit)];
                }
                if index < 7 {
                    out[index * 5 + 4] = b':';
                }
            }
            39
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(template: &str, source: &str) -> String {
        let template = Template::new(template.as_bytes());
        let mut out = [b'#'; 256];
        let mut filling = Filling {
            number: 1_234,
            source: source.parse().expect("an address"),
            time_ms: 1_764_450_000_123,
            random: || 0x0123_4567_89ab_cdef,
        };
        let size = template.write(&mut filling, &mut out);
        assert!(size <= template.size() && out[size..].iter().all(|byte| *byte == b'#'));
        String::from_utf8(out[..size].to_vec()).expect("text")
    }

    #[test]
    fn places_are_filled_in_at_their_width() {
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("a{n}b", "a0000001234b"),
            ("{n:02}{n:06}", "34001234"),
            ("{rand:hex:4}", "efcd"),
            ("{rand:hex:20}", "efcdab8967452301efcd"),
            ("{source}", "127.000.000.002"),
            ("t={time_ms};", "t=1764450000123;"),
            (r#"{"type":"ping","id":{n:04}}"#, r#"{"type":"ping","id":1234}"#),
            ("{n:8}{n:00}{n:099}{x}{", "{n:8}{n:00}{n:099}{x}{"),
        ] {
            assert_eq!(written(template, "127.0.0.2:5"), expected, "{template}");
        }
        assert_eq!(written("{source}", "[fe80::1]:5"), "fe80:0000:0000:0000:0000:0000:0000:0001");
    }
}
