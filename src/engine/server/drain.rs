//! How a server that is told to stop lets its connections go: at an even pace, those that rest
//! first, within a time. Arithmetic and a place in the arena; the server does the closing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::base::constants::DRAIN_STEP;
use crate::engine::arena::Arena;
use crate::engine::protocol::broadcast::Order;
use crate::engine::server::role::Serving;
use crate::engine::slot::ConnState;
use crate::engine::storm::DropPart;
use crate::engine::token::SlotId;

/// What a core is told while it runs.
#[derive(Clone, Debug)]
pub enum Command {
    /// Accept no more connections, and end the open ones within this time.
    Drain(Duration),
    /// What memory is left: while it is short, new connections are refused.
    Memory(MemoryLeft),
    /// A storm: drop this part of the connections now.
    Drop(DropPart),
    /// Accept no more connections, and leave those that wait to the other processes that have the
    /// listening sockets.
    LetGo,
    /// Look anew for connections that wait: another process that had the listening sockets as well has
    /// let go of them, and may have been woken for one.
    LookAnew,
    /// A text goes to all connections, or to those of a topic.
    Broadcast(Arc<Order>),
}

/// Whether the reserve of memory is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryLeft {
    /// It is left.
    #[default]
    Enough,
    /// Not on the host.
    ShortOnHost,
    /// Not in a memory cgroup of this process.
    ShortInCgroup,
}

/// How many cores of a server accept, or have accepts that are not done: one number that all of them share.
#[derive(Clone, Debug, Default)]
pub struct Accepting(Arc<AtomicUsize>);

impl Accepting {
    /// All of so many cores.
    #[must_use]
    pub fn of(cores: usize) -> Accepting {
        Accepting(Arc::new(AtomicUsize::new(cores)))
    }

    /// Cores that accept, or whose last accepts are not done.
    #[must_use]
    pub fn cores(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// One of them has let go of its listeners.
    pub(super) fn let_go(&self) {
        // A server of tests may have said nothing of its cores.
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }
}

/// One drain.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    began: Duration,
    /// Four fifths of its time: then all that rest have been ended, and the busy ones have a fifth.
    span: Duration,
    until: Duration,
    /// Connections at its beginning.
    connections: u32,
    /// Connections that have ended since, whichever way.
    pub ended: u32,
    /// The slot that was looked at last.
    cursor: Option<SlotId>,
    /// No sweep before this time: the last one found nothing more.
    next_sweep: Duration,
}

impl Drain {
    /// A drain of `connections` that begins now.
    #[must_use]
    pub fn new(now: Duration, time: Duration, connections: u32) -> Drain {
        let (began, span, until) = (now, time * 4 / 5, now + time);
        Drain { began, span, until, connections, ended: 0, cursor: None, next_sweep: now }
    }

    /// Whether its time is up: a connection that is left is cut.
    #[must_use]
    pub fn is_over(&self, now: Duration) -> bool {
        now >= self.until
    }

    /// The next connection to end, if one is wanted: one that rests, or any when the time is up.
    /// Looks at no more than `looks` slots.
    pub fn next<S: Copy + Default + std::fmt::Debug>(
        &mut self,
        arena: &Arena<Serving<S>>,
        now: Duration,
        looks: &mut u32,
    ) -> Option<SlotId> {
        if now < self.next_sweep {
            return None;
        }
        while self.wanted(now) > 0 {
            *looks = looks.checked_sub(1)?;
            self.cursor = arena.slot_behind(self.cursor);
            // The arena's end: busy connections are looked at again, but not at once.
            let Some(id) = self.cursor else { break };
            let slot = &arena[id];
            if slot.state() == ConnState::Open && (self.is_over(now) || slot.is_at_rest()) {
                return Some(id);
            }
        }
        self.next_sweep = now + DRAIN_STEP;
        None
    }

    /// How long until there may be another one to end.
    #[must_use]
    pub fn sleep(&self, now: Duration) -> Duration {
        self.next_sweep.saturating_sub(now)
    }

    /// Connections that are to be ended now to keep pace.
    fn wanted(&self, now: Duration) -> u32 {
        let elapsed = now.saturating_sub(self.began);
        if elapsed >= self.span {
            return u32::MAX;
        }
        let by_now = u128::from(self.connections) * elapsed.as_micros() / self.span.as_micros();
        u32::try_from(by_now).unwrap_or(u32::MAX).saturating_sub(self.ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_pace_and_then_takes_all() {
        let at = Duration::from_millis;
        let mut drain = Drain::new(at(5_000), at(10_000), 1_000);
        assert_eq!((drain.wanted(at(5_000)), drain.wanted(at(7_000))), (0, 250));
        drain.ended = 300;
        assert_eq!((drain.wanted(at(7_000)), drain.wanted(at(9_000))), (0, 200));
        assert_eq!(drain.wanted(at(13_000)), u32::MAX);
        assert!(!drain.is_over(at(14_999)) && drain.is_over(at(15_000)));
        // Nothing divides by a time of nothing.
        assert_eq!(Drain::new(at(1), Duration::ZERO, 9).wanted(at(1)), u32::MAX);
    }
}
