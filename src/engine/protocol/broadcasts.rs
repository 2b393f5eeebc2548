//! What a client expects of a server that sends one text to all.

use std::ops::Range;

use crate::engine::protocol::broadcast::{Receipt, Wrong};
use crate::engine::protocol::places::short;
use crate::engine::protocol::{Expectation, Heard, What};

/// What a client is told that a server sends to all; it holds the server to it: every text is whole, comes once at
/// most, and in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broadcasts;

impl Expectation for Broadcasts {
    /// One more than the low bits of the sequence of the last text; 0 before the first.
    type State = u16;

    fn is_answered(&self) -> bool {
        false
    }

    fn is_unasked(&self) -> bool {
        true
    }

    fn on_bytes(&self, place: &mut u16, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let came = &buffer[usize::from(bytes.start)..usize::from(bytes.end)];
        match Receipt::read(place, came) {
            Ok(None) => Heard::need_more(bytes),
            Ok(Some((receipt, size))) => Heard {
                what: What::Broadcast(receipt),
                rest: if size == came.len() { 0..0 } else { bytes.start + short(size)..bytes.end },
            },
            Err(Wrong) => Heard::all(What::Mismatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::constants::{BROADCAST_TEXT_MAX, BUFFER_BYTES};
    use crate::engine::protocol::broadcast::{Clock, Moment, Numbers, Order};
    use std::time::Duration;

    fn came(place: &mut u16, bytes: &[u8]) -> What {
        let mut buffer = bytes.to_vec();
        let all = 0..short(bytes.len());
        Broadcasts.on_bytes(place, &mut buffer, all).what
    }

    fn written(order: &Order, topic: u16) -> Vec<u8> {
        let mut out = vec![0; BUFFER_BYTES.into()];
        let size = order.said(topic).write(&mut out);
        out.truncate(size.into());
        out
    }

    #[test]
    fn what_is_written_is_read_at_every_cut() {
        let moment = Moment { monotonic_ns: 7, unix_ns: u64::MAX, boot: 0xfedc_ba98 };
        let mut numbers = Numbers::new(1, false);
        for text in [&b"hello\n"[..], &[], &[0xff; BROADCAST_TEXT_MAX as usize]] {
            let order = numbers.order(None, text, moment);
            let bytes = written(&order, 0);
            for cut in 0..bytes.len() {
                assert_eq!(came(&mut 0, &bytes[..cut]), What::NeedMore, "cut at {cut}");
            }
            let receipt = Receipt { number: order.number, moment, missed: 0 };
            assert_eq!(came(&mut 0, &bytes), What::Broadcast(receipt));
        }
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let order = Numbers::new(1, false).order(None, b"a text", Moment::default());
        let bytes = written(&order, 0);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut other = bytes.clone();
                other[at] ^= 1 << bit;
                // One that is said to be longer has not all come.
                let what = came(&mut 0, &other);
                assert!(matches!(what, What::Mismatch | What::NeedMore), "{what:?} at {at}");
            }
        }
    }

    #[test]
    fn doubles_gaps_and_disorder_are_found() {
        let mut numbers = Numbers::new(1, false);
        let mut text = || written(&numbers.order(None, b"x", Moment::default()), 0);
        let texts: Vec<Vec<u8>> = (0..5).map(|_| text()).collect();
        let mut place = 0;
        let missed = |what: What| match what {
            What::Broadcast(receipt) => Some(receipt.missed),
            _ => None,
        };
        // A connection that comes late has missed nothing.
        assert_eq!(missed(came(&mut place, &texts[1])), Some(0));
        assert_eq!(missed(came(&mut place, &texts[4])), Some(2));
        assert_eq!(came(&mut place, &texts[4]), What::Mismatch, "twice");
        assert_eq!(came(&mut place, &texts[2]), What::Mismatch, "behind a later one");
        // Further than a round goes.
        let mut place = 0;
        for n in 0..1 << 16 {
            assert_eq!(missed(came(&mut place, &text())), Some(0), "{n}");
        }
    }

    #[test]
    fn the_members_of_a_topic_miss_nothing_of_others() {
        let mut numbers = Numbers::new(3, false);
        let mut places = [0_u16; 3];
        for topic in [None, Some(2), Some(2), Some(1), None] {
            let order = numbers.order(topic, b"x", Moment::default());
            for member in (0..3).filter(|member| topic.is_none_or(|topic| topic == *member)) {
                let bytes = written(&order, member);
                let what = came(&mut places[usize::from(member)], &bytes);
                assert!(matches!(what, What::Broadcast(Receipt { missed: 0, .. })), "{what:?}");
            }
        }
    }

    #[test]
    fn a_raw_text_goes_as_it_is_and_times_are_of_one_clock_on_one_host() {
        let order = Numbers::new(2, true).order(None, b"raw", Moment::default());
        assert_eq!(written(&order, 1), b"raw");
        let clock = Clock { epoch: Moment { monotonic_ns: 100, unix_ns: 9_000, boot: 5 } };
        let moment = Moment { monotonic_ns: 150, unix_ns: 9_100, boot: 5 };
        let now = Duration::from_nanos(60);
        assert_eq!(clock.since(&moment, now), (10, true));
        assert_eq!(clock.since(&Moment { boot: 6, ..moment }, now), (-40, false));
    }
}
