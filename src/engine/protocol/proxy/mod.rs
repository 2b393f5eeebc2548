//! The PROXY protocol, both ends: every connection begins with a header (`header`) that says where it comes from.
//!
//! It is the outermost layer, before TLS: a proxy writes the header before the first byte of its client. A server
//! ([`Awaited`]) takes the header away and keeps nothing of it; a client (`client`) writes one.

use std::cell::RefCell;
use std::ops::Range;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::close_reason::CloseReason;
use crate::engine::protocol::broadcast::Said;
use crate::engine::protocol::places::short;
use crate::engine::protocol::proxy::header::Found;
use crate::engine::protocol::{Action, Protocol, Shaking};

pub mod client;
pub mod header;

/// A server's layer: a header, and then the protocol that it holds, which hears and says nothing before.
#[derive(Debug)]
pub struct Awaited<P> {
    then: P,
    /// What a connection is sent first, while it goes out.
    first: RefCell<Box<[u8]>>,
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<S> {
    stage: Stage,
    then: S,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// The header has not come whole.
    #[default]
    Header,
    /// Of what is said first, so many bytes have gone out.
    SaysFirst(u16),
    /// It is the protocol's.
    Open,
}

impl<P> Awaited<P> {
    /// A layer over `then`.
    #[must_use]
    pub fn new(then: P) -> Awaited<P> {
        Awaited { then, first: RefCell::new(vec![0; BUFFER_BYTES.into()].into()) }
    }
}

impl<P: Protocol> Protocol for Awaited<P> {
    type State = State<P::State>;

    const BYTES_BESIDE: usize = P::BYTES_BESIDE;

    const SAYS_FAREWELL: bool = P::SAYS_FAREWELL;

    const SHAKES: bool = true;

    fn handshake(&self, state: &Self::State) -> Shaking {
        match (state.stage, self.then.handshake(&state.then)) {
            // What comes behind the header in the same packet is the protocol's.
            (Stage::Open, then) | (_, then @ (Shaking::New | Shaking::Costly)) => then,
            (Stage::Header | Stage::SaysFirst(_), _) => Shaking::Cheap,
        }
    }

    fn handshakes(&self) -> u32 {
        self.then.handshakes()
    }

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every()
    }

    fn pings(&self) -> bool {
        self.then.pings()
    }

    #[inline]
    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], filled: u16) -> Action {
        match state.stage {
            Stage::Open => self.then.on_bytes(&mut state.then, buffer, filled),
            Stage::SaysFirst(said) => self.say_first(state, said.into(), buffer, 0..filled.into()),
            Stage::Header => self.take_header(state, buffer, filled),
        }
    }

    fn farewell(&self, state: &Self::State, out: &mut [u8]) -> u16 {
        match state.stage {
            Stage::Open => self.then.farewell(&state.then, out),
            Stage::Header | Stage::SaysFirst(_) => 0,
        }
    }

    fn forget(&self, state: &mut Self::State) {
        self.then.forget(&mut state.then);
    }

    fn on_timer(&self, state: &mut Self::State, out: &mut [u8]) -> Action {
        match state.stage {
            Stage::Open => self.then.on_timer(&mut state.then, out),
            // Nothing is owed before.
            Stage::Header | Stage::SaysFirst(_) => Action::NOTHING,
        }
    }

    fn on_broadcast(&self, state: &mut Self::State, said: &Said<'_>, out: &mut [u8]) -> Action {
        match state.stage {
            Stage::Open => self.then.on_broadcast(&mut state.then, said, out),
            Stage::Header | Stage::SaysFirst(_) => Action::NOTHING,
        }
    }
}

impl<P: Protocol> Awaited<P> {
    fn take_header(&self, state: &mut State<P::State>, buffer: &mut [u8], filled: u16) -> Action {
        let filled_bytes = usize::from(filled);
        let size = match header::read(&buffer[..filled_bytes], buffer.len()) {
            Found::NeedMore => return Action::need_more(0..filled),
            Found::Malformed => return Action::close(CloseReason::Malformed),
            Found::Header { size, .. } => size,
        };
        if self.then.speaks_first() {
            return self.say_first(state, 0, buffer, size..filled_bytes);
        }
        state.stage = Stage::Open;
        if size == filled_bytes {
            return Action::NOTHING;
        }
        buffer.copy_within(size..filled_bytes, 0);
        self.then.on_bytes(&mut state.then, buffer, short(filled_bytes - size))
    }

    /// What is said first goes out from `said` on, before what came behind the header: as much as has room beside it.
    /// A header is not empty, so that there is some.
    fn say_first(
        &self,
        state: &mut State<P::State>,
        said: usize,
        buffer: &mut [u8],
        rest: Range<usize>,
    ) -> Action {
        let (first, mut then) = (&mut *self.first.borrow_mut(), state.then);
        let Action { send, .. } = self.then.on_open(&mut then, first);
        let left = &first[usize::from(send.start) + said..send.end.into()];
        let piece = left.len().min(buffer.len() - rest.len());
        let end = piece + rest.len();
        buffer.copy_within(rest, piece);
        buffer[..piece].copy_from_slice(&left[..piece]);
        if piece == left.len() {
            *state = State { stage: Stage::Open, then };
        } else {
            state.stage = Stage::SaysFirst(short(said + piece));
        }
        Action::send(0..short(piece)).keeping(short(piece)..short(end))
    }
}
