//! A text is sent again and again, unasked; a client follows the stream of texts, after a banner or
//! without one.

use std::ops::Range;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::base::units::Text;
use crate::engine::protocol::{Action, Expectation, Heard, Protocol, What};

/// A server that pushes.
#[derive(Clone, Debug)]
pub struct Push {
    /// Time between two pushes on one connection, whole milliseconds.
    pub every: Duration,
    /// What is sent.
    pub text: Text,
}

impl Protocol for Push {
    type State = ();

    const KEEPS: bool = false;

    fn timer_every(&self) -> Option<Duration> {
        Some(self.every)
    }

    fn on_bytes(&self, (): &mut (), _buffer: &mut [u8], _filled: u16) -> Action {
        Action::NOTHING
    }

    fn on_timer(&self, (): &mut (), out: &mut [u8]) -> Action {
        out[..self.text.len().into()].copy_from_slice(self.text.bytes());
        Action::send(0..self.text.len())
    }
}

/// What a client is told that such a server sends on every connection; it holds the server to it.
#[derive(Clone, Debug)]
pub struct Pushes {
    /// What comes once, first.
    pub banner: Option<Text>,
    /// What comes again and again.
    pub text: Text,
    /// Interval between two pushes; without it gaps are measured and nothing is late.
    pub every: Option<Duration>,
}

impl std::fmt::Display for Pushes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "push {}", self.text)?;
        match self.every {
            Some(every) => write!(f, " every {every:?}"),
            None => write!(f, " at any time"),
        }?;
        self.banner.iter().try_for_each(|banner| write!(f, " after banner {banner}"))
    }
}

/// The part of a place that says that a text has been completed before.
const HAD_ONE: u16 = 1 << 15;

const _: () = assert!(2 * BUFFER_BYTES < HAD_ONE, "banner and text together are a place");

impl Pushes {
    /// Follows the stream from `place`, where 0 is its beginning: the place after `bytes` and how
    /// many texts were completed; `None` when the bytes are others. A place is how far into banner
    /// and text together, with `HAD_ONE` once the first text is complete.
    #[must_use]
    pub fn follow(&self, place: u16, bytes: &[u8]) -> Option<(u16, u64)> {
        let banner = self.banner.as_ref().map_or(&[][..], Text::bytes);
        let text = self.text.bytes();
        let (mut at, mut texts) = (usize::from(place & !HAD_ONE), 0);
        for &byte in bytes {
            if at == banner.len() + text.len() {
                at = banner.len();
            }
            let expected = banner.get(at).or_else(|| text.get(at - banner.len()));
            if expected != Some(&byte) {
                return None;
            }
            at += 1;
            texts += u64::from(at == banner.len() + text.len());
        }
        let had_one = if texts > 0 { HAD_ONE } else { place & HAD_ONE };
        Some((u16::try_from(at).expect("both texts fit a buffer") | had_one, texts))
    }
}

impl Expectation for Pushes {
    /// The place in the stream.
    type State = u16;

    fn is_answered(&self) -> bool {
        false
    }

    fn is_unasked(&self) -> bool {
        true
    }

    fn every(&self) -> Option<Duration> {
        self.every
    }

    fn had_one(&self, place: &u16) -> bool {
        place & HAD_ONE != 0
    }

    fn on_bytes(&self, place: &mut u16, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let had_one = self.had_one(place);
        let bytes = &buffer[usize::from(bytes.start)..usize::from(bytes.end)];
        let Some((after, texts)) = self.follow(*place, bytes) else {
            return Heard::all(What::Mismatch);
        };
        *place = after;
        Heard::all(What::Unasked { texts, had_one })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushes(banner: Option<&str>) -> Pushes {
        let text = |text: &str| text.parse::<Text>().expect("a text");
        Pushes { banner: banner.map(text), text: text(r"ok\n"), every: None }
    }

    #[test]
    fn a_stream_is_followed_at_every_cut() {
        let stream = b"hello\nok\nok\nok\n";
        let pushes = pushes(Some(r"hello\n"));
        for cut in 0..stream.len() {
            let (place, before) = pushes.follow(0, &stream[..cut]).expect("the stream is right");
            let (_, behind) = pushes.follow(place, &stream[cut..]).expect("the stream is right");
            assert_eq!(before + behind, 3, "cut at {cut}");
            assert_eq!(place & HAD_ONE == 0, cut < 9, "cut at {cut}");
        }
    }

    #[test]
    fn any_other_byte_is_found() {
        let stream = b"ok\nok\n";
        for at in 0..stream.len() {
            let mut other = *stream;
            other[at] ^= 1;
            assert_eq!(pushes(None).follow(0, &other), None);
        }
        assert_eq!(pushes(Some("hi")).follow(0, b"ok\n"), None);
    }
}
