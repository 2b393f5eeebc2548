//! Until when a small service of a process goes on: it is told that its time is over when another process
//! offers the same at the same sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// All that have a clone of it see its end.
#[derive(Clone, Debug, Default)]
pub struct Until(Arc<AtomicBool>);

impl Until {
    /// The time is over.
    pub fn end(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
