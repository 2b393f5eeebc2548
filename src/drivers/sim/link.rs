//! One connection between two simulated drivers, as the wire keeps it: two lanes and how it began.

use std::time::Duration;

/// One of the two ends of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The driver with the listeners.
    Server,
    /// The driver that connects.
    Client,
}

impl End {
    /// Both ends.
    pub const BOTH: [End; 2] = [End::Server, End::Client];

    /// The opposite end.
    #[must_use]
    pub fn other(self) -> End {
        match self {
            End::Server => End::Client,
            End::Client => End::Server,
        }
    }
}

/// What became of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is under way.
    Connecting,
    /// The listener was closed.
    Refused,
    /// The client gave up before its connect reached the listener.
    Abandoned,
    /// The handshake is done: the connection waits at the listener, or was accepted.
    Established,
}

/// One connection. Peers are named by their number in the driver of the end that sees them.
#[derive(Clone, Debug)]
pub struct Link {
    /// What became of its connect.
    pub outcome: Outcome,
    /// The listener it goes to.
    pub listener: usize,
    /// The far end as the client sees it.
    pub client: usize,
    /// The far end as the server sees it, once the handshake is done.
    pub server: Option<usize>,
    /// A reset was sent over it, by an end or by the wire: bytes may be lost.
    pub was_reset: bool,
    /// The wire broke it.
    pub was_broken: bool,
    pub(super) syns: u32,
    pub(super) lanes: [Lane; 2],
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Lane {
    /// Bytes under way.
    pub(super) in_flight: usize,
    /// When the last of what is under way arrives.
    pub(super) last_arrival: Duration,
    /// Nothing that is sent from now on arrives before.
    pub(super) held_until: Duration,
    /// The end of the stream is under way, or has arrived.
    pub(super) has_ended: bool,
    /// A reset is under way, or has arrived. Nothing else is carried any more.
    pub(super) has_reset: bool,
}

impl Link {
    pub(super) fn new(listener: usize, client: usize) -> Link {
        Link {
            outcome: Outcome::Connecting,
            listener,
            client,
            server: None,
            was_reset: false,
            was_broken: false,
            syns: 0,
            lanes: [Lane::default(), Lane::default()],
        }
    }

    /// The number of the peer that stands for this connection in the driver of `end`.
    #[must_use]
    pub fn peer(&self, end: End) -> Option<usize> {
        match end {
            End::Server => self.server,
            End::Client => Some(self.client),
        }
    }

    /// The direction in which `from` sends.
    pub(super) fn lane(&mut self, from: End) -> &mut Lane {
        &mut self.lanes[from as usize]
    }
}
