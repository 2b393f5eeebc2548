//! One listening socket of a core, as its server sees it, and how far it is with letting go of all.

use crate::engine::queue::SlotQueue;
use crate::engine::slot::Queue;

/// One listening socket of the core.
pub(super) struct Listener {
    /// Slots into which an accept is with the kernel.
    pub(super) accepts: SlotQueue,
    pub(super) is_watched: bool,
}

impl Default for Listener {
    fn default() -> Listener {
        Listener { accepts: SlotQueue::new(Queue::Accepting), is_watched: false }
    }
}

/// How far a core is with letting go of its listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It keeps them.
    #[default]
    Stays,
    /// Its accepts are being taken back.
    CallsBack,
    /// It has none of them any more.
    IsGone,
}

impl Leaving {
    pub(super) fn has_begun(self) -> bool {
        self != Leaving::Stays
    }
}
