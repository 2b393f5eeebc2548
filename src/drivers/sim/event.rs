//! What is asked of a simulated world, what will happen in it, and what it answers.

use std::net::SocketAddr;
use std::ops::Range;

use crate::base::errno::Errno;
use crate::engine::driver::{Completion, ShutdownMode};
use crate::engine::slot::BufferId;
use crate::engine::token::Token;

/// Something that will happen.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A peer's handshake is done: it waits at a listener.
    Arrival { peer: usize, listener: usize },
    /// A peer may act.
    Act { peer: usize },
    /// A peer does what its schedule has due.
    Schedule { peer: usize },
    /// A connect is answered.
    Connected { token: Token, result: Result<u32, Errno> },
    /// An operation that never waits takes effect.
    Effect { token: Token, ask: Ask },
    /// A completion reaches the completion queue.
    Done(Answer),
}

impl Event {
    /// The segment whose ring the event belongs to.
    pub(super) fn segment(&self) -> Option<u16> {
        match self {
            Event::Arrival { .. } | Event::Act { .. } | Event::Schedule { .. } => None,
            Event::Connected { token, .. } | Event::Effect { token, .. } => {
                Some(token.slot().segment())
            }
            Event::Done(answer) => Some(answer.completion.token.slot().segment()),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) completion: Completion,
    /// It answers nothing that is in flight.
    pub(super) is_extra: bool,
}

/// An operation with its arguments.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    Accept(usize),
    PollListener(usize),
    Connect,
    Poll,
    Recv(BufferId, u16),
    Await(BufferId),
    Send(BufferId, Range<u16>),
    Shutdown(ShutdownMode),
    Unacked,
    Cancel,
    Close,
}

/// Bytes that a completion has told an endpoint of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The number of the peer.
    pub peer: usize,
    /// They came from the peer; otherwise they were sent to it.
    pub is_receive: bool,
    /// How many.
    pub bytes: usize,
}

/// A connect that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Our address.
    pub source: SocketAddr,
    /// Number of the target.
    pub target: usize,
    /// Why it failed at once, with nothing in the slot.
    pub failed: Option<Errno>,
}

/// poll(2) events.
pub(super) const POLL_IN: u32 = 0x1;
pub(super) const POLL_OUT: u32 = 0x4;
pub(super) const POLL_ERR: u32 = 0x8;
pub(super) const POLL_HUP: u32 = 0x10;
pub(super) const POLL_PEER_ENDED: u32 = 0x2000;
