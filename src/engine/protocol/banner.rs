//! A text that every connection is sent first, before the protocol that it holds has its turn.

use std::time::Duration;

use crate::base::units::Text;
use crate::engine::protocol::broadcast::Said;
use crate::engine::protocol::{Action, Protocol, Shaking};

/// A layer that greets.
#[derive(Clone, Debug)]
pub struct Banner<P> {
    /// What every connection is sent first.
    pub text: Option<Text>,
    /// What follows.
    pub then: P,
}

impl<P: Protocol> Protocol for Banner<P> {
    type State = P::State;

    const KEEPS: bool = P::KEEPS;

    const SHAKES: bool = P::SHAKES;

    fn speaks_first(&self) -> bool {
        self.text.is_some() || self.then.speaks_first()
    }

    fn handshake(&self, state: &P::State) -> Shaking {
        self.then.handshake(state)
    }

    fn handshakes(&self) -> u32 {
        self.then.handshakes()
    }

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every()
    }

    fn on_open(&self, state: &mut P::State, out: &mut [u8]) -> Action {
        let Some(text) = &self.text else { return self.then.on_open(state, out) };
        let (banner, rest) = out.split_at_mut(text.len().into());
        banner.copy_from_slice(text.bytes());
        let Action { send, kept, again, close } = self.then.on_open(state, rest);
        rest.copy_within(usize::from(send.start)..usize::from(send.end), 0);
        let sent = text.len() + (send.end - send.start);
        Action { send: 0..sent, kept: text.len() + kept.start..text.len() + kept.end, again, close }
    }

    #[inline]
    fn on_bytes(&self, state: &mut P::State, buffer: &mut [u8], filled: u16) -> Action {
        self.then.on_bytes(state, buffer, filled)
    }

    fn on_timer(&self, state: &mut P::State, out: &mut [u8]) -> Action {
        self.then.on_timer(state, out)
    }

    fn on_broadcast(&self, state: &mut P::State, said: &Said<'_>, out: &mut [u8]) -> Action {
        self.then.on_broadcast(state, said, out)
    }
}
