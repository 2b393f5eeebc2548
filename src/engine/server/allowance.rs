//! How many connections a server may still hold, all cores together: one number that all of them share.
//!
//! A core takes one when it accepts and gives it back when the connection is closed, each in one atomic
//! step. A core whose accept is answered when none is left resets what it has accepted. A server without
//! a bound has no such number, and its cores share nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Connections that may still be accepted, by all cores that have a clone of it.
#[derive(Clone, Debug, Default)]
pub struct Allowance(Option<Arc<AtomicU64>>);

impl Allowance {
    /// For `most` connections.
    #[must_use]
    pub fn of(most: u64) -> Allowance {
        Allowance(Some(Arc::new(AtomicU64::new(most))))
    }

    /// Takes one; whether there was one.
    #[must_use]
    pub(super) fn take(&self) -> bool {
        let Some(left) = &self.0 else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    /// Gives one back.
    pub(super) fn give_back(&self) {
        if let Some(left) = &self.0 {
            left.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether none is left now.
    #[must_use]
    pub(super) fn is_used_up(&self) -> bool {
        self.0.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_share_it_have_as_many_as_there_are() {
        let allowance = Allowance::of(1_000);
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..600).filter(|_| allowance.take()).count();
            let threads = [0, 1].map(|_| scope.spawn(take));
            threads.map(|thread| thread.join().expect("it only counts")).iter().sum()
        });
        assert_eq!((taken, allowance.is_used_up(), allowance.take()), (1_000, true, false));
        allowance.give_back();
        assert!(!allowance.is_used_up() && allowance.clone().take() && !allowance.take());
        let without = Allowance::default();
        assert!((0..9).all(|_| without.take()) && !without.is_used_up());
    }
}
