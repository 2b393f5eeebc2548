//! One listening socket of a core, as its server sees it.

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
