//! What the data path asks of the world: sockets and time.
//!
//! A driver owns descriptors, buffers and the clock; the two ends own their meaning. Two drivers exist:
//! `drivers::uring`, the kernel's ring, and `drivers::sim`, a seeded world in which everything fails
//! that can fail. Every operation that is asked for completes exactly once, with its own token.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use crate::base::errno::Errno;
use crate::engine::slot::BufferId;
use crate::engine::token::Token;

/// The answer to one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The token under which it was asked.
    pub token: Token,
    /// Bytes moved, or 0; an error number otherwise. A poll gives its events as poll(2) has them, see
    /// [`Readiness`].
    pub result: Result<u32, Errno>,
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness(u32);

impl Readiness {
    /// The connection has an error to tell.
    pub const ERROR: Readiness = Readiness(libc::POLLERR as u32);

    /// From the events of poll(2).
    #[must_use]
    pub const fn from_events(events: u32) -> Readiness {
        Readiness(events)
    }

    /// Whether the connection has an error to tell.
    #[must_use]
    pub const fn has_error(self) -> bool {
        self.0 & libc::POLLERR as u32 != 0
    }

    /// Whether the peer has ended its direction.
    #[must_use]
    pub const fn peer_has_ended(self) -> bool {
        self.0 & libc::POLLRDHUP as u32 != 0
    }

    /// Whether the peer or the connection is gone.
    #[must_use]
    pub const fn is_gone(self) -> bool {
        self.0 & (libc::POLLERR | libc::POLLHUP) as u32 != 0
    }
}

/// How much of a connection a shutdown ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Our direction, in order: the peer sees the end of the stream and may go on sending.
    Sending,
    /// Both directions, in order.
    Both,
    /// Both, by a reset: bytes on their way are lost, and no TIME_WAIT is left behind.
    Reset,
    /// Both, without a packet: the peer is not told. See `drivers::uring::probe::can_vanish`.
    Vanishing,
}

/// Sockets and time, for one core.
///
/// Slots are named by the token; the operation in the token is the one asked for.
pub trait Driver {
    /// Makes the ring and table behind segment `number`.
    ///
    /// # Errors
    /// `ENOMEM` when the user's RLIMIT_MEMLOCK or memory is used up.
    fn open_segment(&mut self, number: u16, slots: u32) -> Result<(), Errno>;

    /// Drops the ring and table of an empty segment.
    fn close_segment(&mut self, number: u16);

    /// Completes when the slot is readable or ended (`PollReadable`), or takes bytes again
    /// (`PollWritable`).
    fn poll(&mut self, token: Token);

    /// Moves bytes that are there into `buffer` from `start` on; `EAGAIN` when there are none.
    fn recv(&mut self, token: Token, buffer: BufferId, start: u16);

    /// Moves bytes into `buffer` as soon as there are some: what a poll and a receive do, in one.
    fn await_bytes(&mut self, token: Token, buffer: BufferId);

    /// Moves the bytes of `range` out of `buffer`, as many as go without waiting.
    fn send(&mut self, token: Token, buffer: BufferId, range: Range<u16>);

    /// Ends the sending direction, or both; what waits for the peer then completes.
    fn shutdown(&mut self, token: Token, mode: ShutdownMode);

    /// Completes at once with the bytes that were sent on the slot and that its peer has not acknowledged;
    /// with an error where the kernel cannot tell. It may complete after the slot's close.
    fn unacked(&mut self, token: Token);

    /// Cancels the operation `token`, which then completes with `ECANCELED`, unless it is done.
    fn cancel(&mut self, token: Token);

    /// Closes the slot's descriptor.
    fn close(&mut self, token: Token);

    /// Hands everything asked so far to the kernel.
    fn submit(&mut self);

    /// Moves completions into `batch`, up to its capacity.
    fn reap(&mut self, batch: &mut Vec<Completion>);

    /// Buffers of the pool, those in use among them.
    fn buffers(&self) -> usize;

    /// Takes a buffer from the pool; `None` when all are in use.
    fn take_buffer(&mut self) -> Option<BufferId>;

    /// Gives a buffer back that no operation uses.
    fn give_buffer(&mut self, buffer: BufferId);

    /// All bytes of a buffer that no operation uses.
    fn buffer(&mut self, buffer: BufferId) -> &mut [u8];

    /// Time since the driver was made.
    fn now(&self) -> Duration;
}

/// A driver with listening sockets, for a server.
pub trait Listen: Driver {
    /// Accepts one connection of `listener` into the slot.
    fn accept(&mut self, token: Token, listener: usize);

    /// The address of the peer that came with the accept of `token`, which is done; of a driver that was told to keep
    /// them, and asked once for each accept.
    fn peer(&mut self, token: Token) -> Option<IpAddr>;

    /// Completes when `listener` has a connection waiting; the token's slot lies in segment 0.
    fn poll_listener(&mut self, token: Token, listener: usize);

    /// Ends listening, for good: outstanding accepts complete with an error, connections that wait are
    /// reset.
    fn stop_listening(&mut self);

    /// Gives up its hold of the listening sockets, whose accepts and polls have all completed: they listen
    /// on for other processes that have them, and what waits there is theirs. Without such a process
    /// that is an end as any other.
    fn let_go_of_listeners(&mut self);

    /// Accepts and resets up to `limit` connections of `listener`; how many there were.
    fn refuse(&mut self, listener: usize, limit: usize) -> usize;
}

/// A driver that opens connections, for a client.
pub trait Dial: Driver {
    /// Makes a socket at `source` in the slot and connects it to target number `target`.
    ///
    /// # Errors
    /// What `socket`, `bind` or the table said; then nothing is in the slot and nothing completes.
    fn connect(&mut self, token: Token, source: SocketAddr, target: usize) -> Result<(), Errno>;

    /// Learns of more targets, while connections are made: `targets` are all of them by number, and those
    /// that it knew keep theirs.
    fn learn_targets(&mut self, targets: &[SocketAddr]);
}
