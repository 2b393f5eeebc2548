//! What a server keeps of a connection besides: when its timer runs out, since when its peer takes no
//! bytes, what it is still to be sent, and the state of the protocol.

use std::cell::Cell;
use std::time::Duration;

use crate::base::constants::SEND_TIMEOUT_MAX;
use crate::engine::close_reason::CloseReason;
use crate::engine::slot::{
    BufferId, Queue, ReadSide, Role, Slot, Timed, WriteSide, low_milliseconds,
};

/// A server's part of a slot.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Serving<S> {
    /// While an accept is with the kernel, the number of the listener; then when the wheel looks at it.
    due_ms: u32,
    /// Since when the peer takes no bytes, see [`Slot::stalled_for`].
    stalled_since: u16,
    /// What is pending, as flags.
    pub(super) pending: u8,
    queue: Cell<Queue>,
    /// What the protocol remembers.
    pub protocol: S,
}

const _: () = assert!(
    size_of::<Slot<Serving<()>>>() == 32,
    "a million connections of a protocol that remembers nothing must stay 32 MB"
);

/// Pending: what is sent first is not out whole.
pub(super) const OPENING: u8 = 1;

/// Pending: the timer has run out, and what it sends has not begun.
pub(super) const TIMER_DUE: u8 = 2;

/// Pending: what the timer sends is on its way.
pub(super) const TIMER_SENDS: u8 = 4;

/// Pending: when the answer is out, there is more to do with the buffer.
pub(super) const KEPT: u8 = 8;

/// Pending, of a connection that is closing: it is cut by a reset.
pub(super) const RESET: u8 = 16;

/// Pending: a text that goes to all waits until what is under way is done.
pub(super) const CAST_DUE: u8 = 32;

/// Pending: such a text is on its way.
pub(super) const CAST_SENDS: u8 = 64;

/// What is to be done with a buffer when the answer in it is out.
#[derive(Clone, Copy, Default)]
pub(super) struct Remainder {
    pub(super) kept: (u16, u16),
    pub(super) close: Option<CloseReason>,
}

/// What was seen of a peer that takes no more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stall {
    /// Bytes that it had not acknowledged; `None` before they are known.
    pub(super) unacked: Option<u32>,
    /// Where the bytes began that were left to be sent.
    pub(super) start: u16,
    /// When it was last looked at, by the clock of stalls.
    pub(super) looked: u16,
    /// What became of that look.
    pub(super) look: Look,
}

/// What became of a look at a peer that takes no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Look {
    /// It is answered.
    #[default]
    Answered,
    /// The kernel was asked what is acknowledged.
    Asked,
    /// A send tries whether there is room.
    Tried,
}

impl<S: Copy + Default + std::fmt::Debug> Role for Serving<S> {
    fn queue(&self) -> &Cell<Queue> {
        &self.queue
    }

    fn is_cut(&self) -> bool {
        self.is_pending(RESET)
    }
}

impl<S: Copy + Default + std::fmt::Debug> Timed for Serving<S> {
    fn due_ms(&self) -> u32 {
        self.due_ms
    }
}

impl<S: Copy + Default + std::fmt::Debug> Serving<S> {
    /// Sets when the wheel looks at it.
    pub fn set_due_ms(&mut self, due_ms: u32) {
        self.due_ms = due_ms;
    }

    /// The listener whose accept is with the kernel.
    pub(super) fn listener(&self) -> usize {
        self.due_ms as usize
    }

    pub(super) fn set_listener(&mut self, listener: usize) {
        self.due_ms = u32::try_from(listener).expect("listeners are few");
    }

    /// Whether one of `flags` is pending.
    pub(super) fn is_pending(&self, flags: u8) -> bool {
        self.pending & flags != 0
    }
}

impl<S: Copy + Default + std::fmt::Debug> Slot<Serving<S>> {
    /// Begins a stall now.
    pub(super) fn stall_from(&mut self, now: Duration) {
        self.role.stalled_since = stall_units(now);
    }

    /// How long the present stall has lasted, up to 17 minutes, less than 32 ms short.
    #[must_use]
    pub fn stalled_for(&self, now: Duration) -> Duration {
        units_since(self.role.stalled_since, now)
    }

    /// Whether nothing is on its way in or out, or waits to be: the peer may send, and does not.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let waits = self.read == ReadSide::Polling && self.buffer == BufferId::NONE;
        waits && self.write == WriteSide::Idle && self.role.pending == 0
    }

    /// How far the wheel is behind at `now`, in looking at it.
    pub(super) fn overdue(&self, now: Duration) -> Duration {
        let whole = low_milliseconds(now).wrapping_sub(self.role.due_ms);
        let part = Duration::from_nanos(u64::from(now.subsec_nanos() % 1_000_000));
        if whole > u32::MAX / 2 {
            Duration::ZERO
        } else {
            Duration::from_millis(whole.into()) + part
        }
    }
}

/// Milliseconds of one step of the clock of stalls, of which a slot keeps 16 bits.
const STALL_UNIT_MS: u64 = 16;

const _: () = assert!(
    SEND_TIMEOUT_MAX.as_millis() < u16::MAX as u128 * STALL_UNIT_MS as u128 / 2,
    "a stall must not outlast its clock"
);

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
pub(super) fn stall_units(time: Duration) -> u16 {
    (time.as_millis() / u128::from(STALL_UNIT_MS)) as u16
}

/// Time since `since` of the clock of stalls, up to 17 minutes, less than 32 ms short.
pub(super) fn units_since(since: u16, now: Duration) -> Duration {
    let units = stall_units(now).wrapping_sub(since);
    Duration::from_millis(u64::from(units.saturating_sub(1)) * STALL_UNIT_MS)
}
