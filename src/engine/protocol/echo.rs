//! Every byte is sent back, in order; a client verifies each message that comes back.

use std::cmp::Ordering;
use std::ops::Range;

use crate::engine::protocol::message::Message;
use crate::engine::protocol::{Action, Expectation, Heard, Protocol, What};

/// A server that sends every byte back.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl Protocol for Echo {
    type State = ();

    const KEEPS: bool = false;

    fn on_bytes(&self, (): &mut (), _buffer: &mut [u8], filled: u16) -> Action {
        Action::send(0..filled)
    }
}

/// A client that gets every message back.
#[derive(Clone, Copy, Debug)]
pub struct Echoed {
    /// Bytes of a message.
    pub message_bytes: u16,
}

impl Expectation for Echoed {
    /// The number of the last message.
    type State = u16;

    fn is_answered(&self) -> bool {
        true
    }

    fn is_unasked(&self) -> bool {
        false
    }

    fn sequence(&self, state: &u16) -> u16 {
        *state
    }

    fn next_sequence(&self, state: &mut u16) {
        *state = state.wrapping_add(1);
    }

    #[inline]
    fn on_bytes(&self, _state: &mut u16, buffer: &mut [u8], range: Range<u16>) -> Heard {
        let bytes = &buffer[usize::from(range.start)..usize::from(range.end)];
        match bytes.len().cmp(&usize::from(self.message_bytes)) {
            // What is no message is known by its beginning: the rest may never come.
            Ordering::Less if Message::may_begin(bytes) => Heard::need_more(range),
            Ordering::Equal => {
                Heard::all(Message::read(bytes).map_or(What::Mismatch, What::Answer))
            }
            Ordering::Less | Ordering::Greater => Heard::all(What::Mismatch),
        }
    }
}
