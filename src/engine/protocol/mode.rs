//! The protocols that a flag of `serve` chooses from.

use std::time::Duration;

use crate::engine::protocol::echo::Echo;
use crate::engine::protocol::push::Push;
use crate::engine::protocol::sink::Sink;
use crate::engine::protocol::{Action, Protocol};

/// What becomes of the bytes that arrive, and what is sent unasked.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Every byte is sent back, in order.
    Echo,
    /// What arrives is dropped; a text is sent again and again.
    Push(Push),
    /// What arrives is dropped.
    Sink,
}

impl Protocol for Mode {
    type State = ();

    const KEEPS: bool = Echo::KEEPS || Push::KEEPS || Sink::KEEPS;

    fn timer_every(&self) -> Option<Duration> {
        match self {
            Mode::Push(push) => push.timer_every(),
            Mode::Echo | Mode::Sink => None,
        }
    }

    #[inline]
    fn on_bytes(&self, state: &mut (), buffer: &mut [u8], filled: u16) -> Action {
        match self {
            Mode::Echo => Echo.on_bytes(state, buffer, filled),
            Mode::Push(push) => push.on_bytes(state, buffer, filled),
            Mode::Sink => Sink.on_bytes(state, buffer, filled),
        }
    }

    fn on_timer(&self, state: &mut (), out: &mut [u8]) -> Action {
        match self {
            Mode::Push(push) => push.on_timer(state, out),
            Mode::Echo | Mode::Sink => Action::NOTHING,
        }
    }
}
