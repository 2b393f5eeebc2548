//! Bytes that are awaited: as they stand, with `{any}` for as few bytes as will do, and `{any:N}` for N of them.

/// What is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Bytes(Box<[u8]>),
    Any,
    Count(usize),
}

/// What bytes are beside a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// They may be the beginning of it.
    NeedMore,
    /// So many of them are what was awaited.
    Whole(usize),
    /// They are something else.
    Other,
}

impl Pattern {
    /// Finds the places; any other brace is a byte as others.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Pattern {
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
        Pattern(parts)
    }

    /// The fewest bytes that match it.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |part: &Part| match part {
            Part::Bytes(bytes) => bytes.len(),
            Part::Any => 0,
            Part::Count(count) => *count,
        };
        self.0.iter().map(size).sum()
    }

    /// Whether nothing is awaited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Count(0)))
    }

    /// Whether it ends in any bytes, so that nothing tells its end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.0.last(), Some(Part::Any))
    }

    /// Holds `bytes` against it.
    #[must_use]
    pub fn look(&self, bytes: &[u8]) -> Match {
        let (mut at, mut is_any) = (0, false);
        for part in &self.0 {
            match part {
                Part::Any => is_any = true,
                Part::Count(count) => {
                    if bytes.len() - at < *count {
                        return Match::NeedMore;
                    }
                    at += count;
                }
                Part::Bytes(wanted) if is_any => {
                    // The first place is as good as any later one: what is behind it is awaited there.
                    let found =
                        bytes[at..].windows(wanted.len()).position(|some| some == &**wanted);
                    let Some(found) = found else { return Match::NeedMore };
                    at += found + wanted.len();
                    is_any = false;
                }
                Part::Bytes(wanted) => {
                    let there = &bytes[at..bytes.len().min(at + wanted.len())];
                    if !wanted.starts_with(there) {
                        return Match::Other;
                    }
                    if there.len() < wanted.len() {
                        return Match::NeedMore;
                    }
                    at += wanted.len();
                }
            }
        }
        // One that ends in any bytes takes all that are there.
        Match::Whole(if is_any { bytes.len() } else { at })
    }
}

fn place(bytes: &[u8]) -> Option<(Part, &[u8])> {
    if let Some(rest) = bytes.strip_prefix(b"{any}") {
        return Some((Part::Any, rest));
    }
    let inner = bytes.strip_prefix(b"{any:")?;
    let end = inner.iter().take(6).position(|byte| *byte == b'}')?;
    let count = std::str::from_utf8(&inner[..end]).ok()?.parse().ok()?;
    Some((Part::Count(count), &inner[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_held_against_a_pattern() {
        for (pattern, bytes, expected) in [
            ("+PONG\r\n", "", Match::NeedMore),
            ("+PONG\r\n", "+PO", Match::NeedMore),
            ("+PONG\r\n", "+PONG\r\n", Match::Whole(7)),
            ("+PONG\r\n", "+PONG\r\nx", Match::Whole(7)),
            ("+PONG\r\n", "-ERR", Match::Other),
            ("* OK{any}\r\n", "* OK ready", Match::NeedMore),
            ("* OK{any}\r\n", "* OK ready\r\nmore", Match::Whole(12)),
            ("* OK{any}\r\n", "* BYE\r\n", Match::Other),
            ("{any:2}x", "ab", Match::NeedMore),
            ("{any:2}x", "abx", Match::Whole(3)),
            ("{any:2}x", "aby", Match::Other),
            ("{any}", "abc", Match::Whole(3)),
            ("a{any}", "a", Match::Whole(1)),
            (r#"{"ok":true}"#, r#"{"ok":true}"#, Match::Whole(11)),
        ] {
            let found = Pattern::new(pattern.as_bytes()).look(bytes.as_bytes());
            assert_eq!(found, expected, "{pattern:?} {bytes:?}");
        }
    }

    #[test]
    fn a_match_is_found_at_the_same_place_however_it_comes() {
        let pattern = Pattern::new(b"HTTP/1.1 200{any}\r\n\r\n{any:5}");
        let bytes = b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\nhelloHTTP";
        let whole = bytes.len() - 4;
        for cut in 0..=bytes.len() {
            let expected = if cut < whole { Match::NeedMore } else { Match::Whole(whole) };
            assert_eq!(pattern.look(&bytes[..cut]), expected, "cut at {cut}");
        }
        assert_eq!(pattern.size(), 12 + 4 + 5);
        assert!(!pattern.is_open() && !pattern.is_empty());
        let states = |text: &[u8]| (Pattern::new(text).is_open(), Pattern::new(text).is_empty());
        assert_eq!(states(b"a{any}"), (true, false));
        assert_eq!(states(b"{any}"), (true, false));
        assert_eq!([states(b""), states(b"{any:0}")], [(false, true); 2]);
    }
}
