//! What a client keeps of a connection besides: which one it is, what is pending on it, and the state
//! of what is expected.

use std::cell::Cell;

use crate::engine::slot::{Queue, Role, Slot};

/// A client's part of a slot.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Calling<S> {
    /// Which connection of its core this is.
    pub number: u32,
    /// What the expectation remembers.
    pub state: S,
    /// 1 while a message, or what is said first, is out; of texts that come unasked, those that are
    /// overdue; of one that closes, how its end goes, if not at once.
    pub pending: u8,
    queue: Cell<Queue>,
}

/// Pending, of a connection that is closing: what is on its way goes out whole, and the server ends it then.
pub(super) const LEAVES: u8 = 1;

/// Pending, of a connection that is closing: it is cut by a reset.
pub(super) const CUT: u8 = 2;

/// Pending, of a connection that is closing: it goes without a packet.
pub(super) const VANISHES: u8 = 3;

const _: () =
    assert!(size_of::<Slot<Calling<u16>>>() == 32, "a million connections must stay 32 MB");

impl<S: Copy + Default + std::fmt::Debug> Role for Calling<S> {
    fn queue(&self) -> &Cell<Queue> {
        &self.queue
    }

    fn is_cut(&self) -> bool {
        matches!(self.pending, CUT | VANISHES)
    }

    fn vanishes(&self) -> bool {
        self.pending == VANISHES
    }

    fn leaves(&self) -> bool {
        self.pending == LEAVES
    }
}
