//! What arrives is dropped; a client expects not a byte.

use std::ops::Range;

use crate::engine::protocol::{Action, Expectation, Heard, Protocol, What};

/// A server that takes bytes and answers none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sink;

impl Protocol for Sink {
    type State = ();

    const KEEPS: bool = false;

    fn on_bytes(&self, (): &mut (), _buffer: &mut [u8], _filled: u16) -> Action {
        Action::NOTHING
    }
}

/// A client to which nothing may come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silence;

impl Expectation for Silence {
    /// The number of the last message.
    type State = u16;

    fn is_answered(&self) -> bool {
        false
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

    fn on_bytes(&self, _state: &mut u16, _buffer: &mut [u8], _bytes: Range<u16>) -> Heard {
        Heard::all(What::Mismatch)
    }
}
