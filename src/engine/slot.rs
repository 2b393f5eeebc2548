//! The record of one connection: 32 bytes, and the moves it may make.
//!
//! A slot holds no descriptor (its index is the descriptor), no address and no buffer of its own.
//! The arena owns the records; shards change them; nobody else sees them.

use std::time::Duration;

use crate::base::constants::SEND_TIMEOUT_MAX;
use crate::engine::token::{Generation, Operation, SlotId, Token};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Life {
    /// Nobody's: on the free list of its segment.
    Free,
    /// An accept into this slot is with the kernel.
    Accepting,
    /// A connect from this slot is with the kernel.
    Connecting,
    /// A connection.
    Open,
    /// Ending: the join waits for both sides, then the descriptor is closed.
    Closing,
}

impl Life {
    /// The table of legal moves.
    const MOVES: &[(Life, Life)] = &[
        (Life::Free, Life::Accepting),
        (Life::Free, Life::Connecting),
        (Life::Accepting, Life::Open),
        (Life::Accepting, Life::Free),
        (Life::Connecting, Life::Open),
        (Life::Connecting, Life::Closing),
        (Life::Open, Life::Closing),
        (Life::Closing, Life::Free),
    ];

    /// Whether a slot may go from this state to `next`.
    #[must_use]
    pub fn may_become(self, next: Life) -> bool {
        Life::MOVES.contains(&(self, next))
    }
}

/// What the reading side has with the kernel, or waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ReadSide {
    /// Nothing is armed.
    Idle,
    /// A poll for bytes is with the kernel: what an idle connection costs.
    Polling,
    /// Readable, but its buffer is still on its way out.
    Held,
    /// Readable, in the queue for a buffer.
    Starved,
    /// A receive is with the kernel, of bytes that are there.
    Receiving,
    /// A receive waits in the kernel for bytes, its buffer in hand: the connection has just spoken.
    Awaiting,
    /// Such a receive is being cancelled.
    Cooling,
}

/// What the writing side has with the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum WriteSide {
    /// Nothing is armed.
    Idle,
    /// A send is with the kernel.
    Sending,
    /// The peer takes no bytes: a poll for room is with the kernel.
    Stalled,
    /// A shutdown of our direction is with the kernel.
    Ending,
    /// A shutdown of both directions is with the kernel.
    Cutting,
    /// Both directions are shut down.
    Cut,
    /// The close of the descriptor is with the kernel, the last operation of this life.
    Closing,
}

/// The next step of a connection's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unwinding {
    /// Something is with the kernel that completes by itself.
    Wait,
    /// A poll or receive waits in the kernel that only a shutdown completes.
    Cut,
    /// Nothing is: close the descriptor.
    Close,
}

/// The pool's buffer that a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct BufferId(u16);

impl BufferId {
    /// No buffer is held: the state of every idle connection.
    pub const NONE: BufferId = BufferId(u16::MAX);

    /// Buffer number `index` of the core's pool.
    #[must_use]
    pub const fn new(index: u16) -> BufferId {
        BufferId(index)
    }

    /// Its number in the pool.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One connection, or the place for one.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Slot {
    /// Which life of the slot this is; raised when it is freed.
    pub generation: Generation,
    life: Life,
    /// At most one operation of the reading side is with the kernel.
    pub read: ReadSide,
    /// At most one operation of the writing side is with the kernel.
    pub write: WriteSide,
    /// What one end still owes on this connection. Server: a banner that is not out whole, a push
    /// that is due and has not begun, see [`Slot::owes`]. Client: the echo of a message that is
    /// out, or pushes that are overdue.
    pub owed: u8,
    /// The buffer held while bytes are on their way through.
    pub buffer: BufferId,
    /// First byte of the buffer that is still to be sent. Client that expects pushes and sends
    /// nothing: intervals by which the beginning of its wait was moved since the last push.
    pub start: u16,
    /// End of the bytes in the buffer.
    pub end: u16,
    /// Client: number of the last message sent, or place in the stream of pushes. Server: since when
    /// the peer takes no bytes, see [`Slot::stalled_for`].
    pub sequence: u16,
    /// Neighbours in the one queue the slot may stand in, itself at an end, none outside of a
    /// queue; `next` also links the free list.
    pub(crate) previous: SlotId,
    pub(crate) next: SlotId,
    /// When it entered its present wait (server: when it was last heard): the low 32 bits of the
    /// core's clock in microseconds, so that waits are shorter than 71 minutes.
    pub since_us: u32,
    /// Client: which connection of its core this is. Server: the listener of an accept; once open,
    /// when the wheel looks at it, see [`Slot::due_ms`].
    pub number: u32,
}

const _: () = assert!(size_of::<Slot>() <= 32, "a million connections must stay 32 MB");

impl Slot {
    pub(crate) const fn free() -> Slot {
        Slot {
            generation: Generation::new(0),
            life: Life::Free,
            read: ReadSide::Idle,
            write: WriteSide::Idle,
            owed: 0,
            buffer: BufferId::NONE,
            start: 0,
            end: 0,
            sequence: 0,
            previous: SlotId::NONE,
            next: SlotId::NONE,
            since_us: 0,
            number: 0,
        }
    }

    /// Where the slot is in its life.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }

    /// Takes the next step of life; a step outside the table is our bug.
    ///
    /// # Panics
    /// When the table of legal moves has no such step.
    pub fn go(&mut self, next: Life) {
        let from = self.life;
        assert!(
            from.may_become(next),
            "a slot went from {from:?} to {next:?}, which no table allows"
        );
        self.life = next;
    }

    /// Whether nothing of this slot is with the kernel, so that its descriptor may be closed.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.unwinding() == Unwinding::Close
    }

    /// What is to be done for a slot that is closing.
    #[must_use]
    pub fn unwinding(&self) -> Unwinding {
        match (self.read, self.write) {
            (ReadSide::Idle, WriteSide::Idle | WriteSide::Cut) => Unwinding::Close,
            (ReadSide::Polling | ReadSide::Awaiting, WriteSide::Idle) => Unwinding::Cut,
            _ => Unwinding::Wait,
        }
    }

    /// Begins a wait now.
    pub fn wait_from(&mut self, now: Duration) {
        self.since_us = low_microseconds(now);
    }

    /// How long the present wait has lasted, up to 71 minutes.
    #[must_use]
    pub fn waited(&self, now: Duration) -> Duration {
        Duration::from_micros(u64::from(low_microseconds(now).wrapping_sub(self.since_us)))
    }

    /// Begins a stall now.
    pub fn stall_from(&mut self, now: Duration) {
        self.sequence = stall_units(now);
    }

    /// How long the present stall has lasted, up to 17 minutes, less than 32 ms short.
    #[must_use]
    pub fn stalled_for(&self, now: Duration) -> Duration {
        let units = stall_units(now).wrapping_sub(self.sequence);
        Duration::from_millis(u64::from(units.saturating_sub(1)) * STALL_UNIT_MS)
    }

    /// Whether one of `texts` is still owed.
    #[must_use]
    pub fn owes(&self, texts: u8) -> bool {
        self.owed & texts != 0
    }

    /// Whether nothing is on its way in or out, or waits to be: the peer may speak, and does not.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let waits = matches!(self.read, ReadSide::Polling | ReadSide::Awaiting);
        waits && self.write == WriteSide::Idle && self.owed == 0
    }

    /// Whether it stands in a queue, whichever.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.previous != SlotId::NONE
    }

    /// How far the wheel is behind at `now`, in looking at it.
    #[must_use]
    pub fn overdue(&self, now: Duration) -> Duration {
        let whole = low_milliseconds(now).wrapping_sub(self.due_ms());
        let part = Duration::from_nanos(u64::from(now.subsec_nanos() % 1_000_000));
        if whole > u32::MAX / 2 {
            Duration::ZERO
        } else {
            Duration::from_millis(whole.into()) + part
        }
    }

    /// When the wheel looks at it: the low 32 bits of the core's clock in milliseconds.
    #[must_use]
    pub fn due_ms(&self) -> u32 {
        self.number
    }

    /// Sets when the wheel looks at it.
    pub fn set_due_ms(&mut self, due_ms: u32) {
        self.number = due_ms;
    }

    /// How long the present wait has lasted, up to 35 minutes; `None` when it begins in the future.
    #[must_use]
    pub fn waited_if_begun(&self, now: Duration) -> Option<Duration> {
        Some(self.waited(now)).filter(|waited| waited.as_micros() < 1 << 31)
    }

    /// The token of `operation` on this life of the slot at `id`.
    #[must_use]
    pub fn token(&self, operation: Operation, id: SlotId) -> Token {
        Token::new(operation, self.generation, id)
    }
}

/// Milliseconds of one step of the clock of stalls, of which a slot keeps 16 bits.
const STALL_UNIT_MS: u64 = 16;

const _: () = assert!(
    SEND_TIMEOUT_MAX.as_millis() < u16::MAX as u128 * STALL_UNIT_MS as u128 / 2,
    "a stall must not outlast its clock"
);

/// The low 32 bits of `time` in milliseconds, as [`Slot::due_ms`] has them.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
pub fn low_milliseconds(time: Duration) -> u32 {
    time.as_millis() as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn stall_units(time: Duration) -> u16 {
    (time.as_millis() / u128::from(STALL_UNIT_MS)) as u16
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn low_microseconds(time: Duration) -> u32 {
    time.as_micros() as u32
}
