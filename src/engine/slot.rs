//! The record of one connection: 24 bytes that both ends have, 8 of its role, and the moves it may make.
//!
//! A slot holds no descriptor (its index is the descriptor), no address and no buffer of its own.
//! The arena owns the records; the two ends change them.

use std::cell::Cell;
use std::time::Duration;

use crate::engine::token::{Generation, Operation, SlotId, Token};

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum ConnState {
    /// On the free list of its segment.
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

impl ConnState {
    /// The table of legal moves.
    const MOVES: &[(ConnState, ConnState)] = &[
        (ConnState::Free, ConnState::Accepting),
        (ConnState::Free, ConnState::Connecting),
        (ConnState::Accepting, ConnState::Open),
        (ConnState::Accepting, ConnState::Free),
        (ConnState::Connecting, ConnState::Open),
        (ConnState::Connecting, ConnState::Closing),
        (ConnState::Open, ConnState::Closing),
        (ConnState::Closing, ConnState::Free),
    ];

    /// Whether a slot may go from this state to `next`.
    #[must_use]
    pub fn may_become(self, next: ConnState) -> bool {
        ConnState::MOVES.contains(&(self, next))
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
    Deferred,
    /// Readable, and waits for a buffer, or in a handshake for its turn.
    Starved,
    /// A receive is with the kernel, of bytes that are there.
    Receiving,
    /// A receive waits in the kernel for bytes, its buffer in hand: the connection has just spoken.
    RecvArmed,
    /// Such a receive is being cancelled.
    Cancelling,
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
    ShuttingDown,
    /// Both directions are shut down.
    ShutDown,
    /// The close of the descriptor is with the kernel, the last operation of this life.
    Closing,
}

/// The next step of a connection's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseStep {
    /// Something is with the kernel that completes by itself.
    Wait,
    /// A poll or receive waits in the kernel that only a shutdown completes.
    Shutdown,
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

/// The queues of both ends, as a slot names the one in which it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[repr(u8)]
pub enum Queue {
    /// It stands in none.
    #[default]
    None,
    /// Server: an accept into the slot is with the kernel.
    Accepting,
    /// Server: it waits for a buffer.
    Starved,
    /// Server: bytes of a handshake that has not begun wait for their turn.
    Arriving,
    /// Server: bytes of a handshake under way wait for their turn.
    Shaking,
    /// Server: its peer takes no bytes, of an answer or of what goes first.
    Stalled,
    /// Server: its peer takes no bytes, of a text of the timer.
    StalledText,
    /// Server: a receive waits in the kernel, its buffer in hand.
    Warm,
    /// Server: the beginning of a message is in its buffer.
    Partial,
    /// Server: a timer runs.
    Wheel,
    /// Client: a connect is with the kernel.
    Connecting,
    /// Client: it is connected, and something is said and heard before it counts.
    Opening,
    /// Client: something beside messages is under way on it.
    Aside,
    /// Client: nothing is out on it.
    Resting,
    /// Client: the answer to its message is waited for.
    Waiting,
    /// Client: a push has not come in time.
    Overdue,
    /// Client: it reads slowly, or not at all.
    Reluctant,
    /// Client: it is closing.
    Ending,
}

impl Queue {
    /// Every one, at the place of its number.
    pub(in crate::engine) const ALL: [Queue; 18] = [
        Queue::None,
        Queue::Accepting,
        Queue::Starved,
        Queue::Arriving,
        Queue::Shaking,
        Queue::Stalled,
        Queue::StalledText,
        Queue::Warm,
        Queue::Partial,
        Queue::Wheel,
        Queue::Connecting,
        Queue::Opening,
        Queue::Aside,
        Queue::Resting,
        Queue::Waiting,
        Queue::Overdue,
        Queue::Reluctant,
        Queue::Ending,
    ];
}

const _: () = {
    let mut number = 0;
    while number < Queue::ALL.len() {
        assert!(Queue::ALL[number] as usize == number, "a queue is found by its number");
        number += 1;
    }
    assert!(Queue::Ending as usize + 1 == number, "no queue is left out");
};

/// What one end of a connection keeps in a slot besides, in 8 bytes: [`crate::engine::server`] and
/// [`crate::engine::client`] have one each. One of the bytes names the queue in which the slot stands.
pub trait Role: Clone + Default + std::fmt::Debug {
    /// The byte that names the queue in which the slot stands; queues alone write it.
    fn queue(&self) -> &Cell<Queue>;

    /// Whether a connection that closes is cut by a reset.
    fn is_cut(&self) -> bool {
        false
    }

    /// Whether one that is cut goes without a packet.
    fn vanishes(&self) -> bool {
        false
    }

    /// Whether a connection that closes sends what it has, ends our direction alone, and the peer its own.
    fn leaves(&self) -> bool {
        false
    }
}

/// A role with a timer, which a [`crate::engine::wheel::Wheel`] runs.
pub trait Timed: Role {
    /// When the wheel looks at the slot: the low 32 bits of the core's clock in milliseconds.
    fn due_ms(&self) -> u32;
}

/// One connection, or the place for one.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Slot<R> {
    /// See [`Slot::generation`].
    generation: [u8; 3],
    state: ConnState,
    /// Neighbours in the one queue the slot may stand in; `next` also links the free list.
    pub(in crate::engine) previous: SlotId,
    pub(in crate::engine) next: SlotId,
    /// When it entered its present wait (server: when it was last heard): the low 32 bits of the
    /// core's clock in microseconds, so that waits are shorter than 71 minutes.
    pub since_us: u32,
    /// The buffer held while bytes are on their way through.
    pub buffer: BufferId,
    /// First byte of the buffer that is still to be sent.
    pub start: u16,
    /// End of the bytes in the buffer.
    pub end: u16,
    /// At most one operation of the reading side is with the kernel.
    pub read: ReadSide,
    /// At most one operation of the writing side is with the kernel.
    pub write: WriteSide,
    /// What its end keeps of it besides.
    pub role: R,
}

const _: () =
    assert!(size_of::<Slot<()>>() == 24, "what both ends keep of a connection is 24 bytes");

impl<R: Role> Slot<R> {
    pub(in crate::engine) fn free() -> Slot<R> {
        Slot {
            generation: [0; 3],
            state: ConnState::Free,
            previous: SlotId::NONE,
            next: SlotId::NONE,
            since_us: 0,
            buffer: BufferId::NONE,
            start: 0,
            end: 0,
            read: ReadSide::Idle,
            write: WriteSide::Idle,
            role: R::default(),
        }
    }

    /// Which life of the slot this is; raised when it is freed.
    #[must_use]
    pub fn generation(&self) -> Generation {
        let [low, middle, high] = self.generation;
        Generation::new(u32::from_le_bytes([low, middle, high, 0]))
    }

    pub(in crate::engine) fn set_generation(&mut self, generation: Generation) {
        let [low, middle, high, _] = generation.get().to_le_bytes();
        self.generation = [low, middle, high];
    }

    /// Where the slot is in its life.
    #[must_use]
    pub fn state(&self) -> ConnState {
        self.state
    }

    /// Takes the next step of life; a step outside the table is our bug.
    ///
    /// # Panics
    /// When the table of legal moves has no such step.
    pub fn transition_to(&mut self, next: ConnState) {
        let from = self.state;
        assert!(
            from.may_become(next),
            "a slot went from {from:?} to {next:?}, which no table allows"
        );
        self.state = next;
    }

    /// Whether nothing of this slot is with the kernel, so that its descriptor may be closed.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.close_step() == CloseStep::Close
    }

    /// What is to be done for a slot that is closing.
    #[must_use]
    pub fn close_step(&self) -> CloseStep {
        match (self.read, self.write) {
            (ReadSide::Idle, WriteSide::Idle | WriteSide::ShutDown) => CloseStep::Close,
            (ReadSide::Polling | ReadSide::RecvArmed, WriteSide::Idle) => CloseStep::Shutdown,
            _ => CloseStep::Wait,
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

    /// The queue in which it stands.
    #[must_use]
    pub fn queue(&self) -> Queue {
        self.role.queue().get()
    }

    /// Whether it stands in a queue, whichever.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.queue() != Queue::None
    }

    /// How long the present wait has lasted, up to 35 minutes; `None` when it begins in the future.
    #[must_use]
    pub fn waited_if_begun(&self, now: Duration) -> Option<Duration> {
        Some(self.waited(now)).filter(|waited| waited.as_micros() < 1 << 31)
    }

    /// The token of `operation` on this life of the slot at `id`.
    #[must_use]
    pub fn token(&self, operation: Operation, id: SlotId) -> Token {
        Token::new(operation, self.generation(), id)
    }
}

/// The low 32 bits of `time` in milliseconds, as timers have them.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
pub fn low_milliseconds(time: Duration) -> u32 {
    time.as_millis() as u32
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn low_microseconds(time: Duration) -> u32 {
    time.as_micros() as u32
}
