//! The orders of a core for texts to all, and how far the present one is.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::constants::BROADCAST_BUFFERS_WANTED;
use crate::engine::protocol::broadcast::Order;
use crate::engine::token::{Generation, SlotId};

/// What becomes of a connection that has not taken what was sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SlowReader {
    /// This text is left out.
    #[default]
    Skip,
    /// It is closed.
    Close,
}

/// The orders of a core, the present one first.
#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    pub(super) orders: VecDeque<Underway>,
    /// Slots in which a connection was accepted since the oldest of them, each with the first order that is for it.
    pub(super) newcomers: HashMap<SlotId, u64>,
    /// The present one waits for a buffer.
    pub(super) lacks_buffer: bool,
}

/// An order under way.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) order: Arc<Order>,
    pub(super) told_at: Duration,
    /// The slot that was looked at last.
    pub(super) cursor: Option<SlotId>,
    /// When all had been looked at.
    pub(super) swept_at: Option<Duration>,
    /// Members that have it due or on its way.
    pub(super) open: u32,
    /// Those that had something under way when they were looked at.
    pub(super) due: Vec<(SlotId, Generation)>,
    /// What is not in the tally yet.
    pub(super) counts: Counts,
}

/// Members that were counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) skipped: u64,
    pub(super) closed: u64,
    pub(super) gone: u64,
}

impl Underway {
    /// One of which the core is told now.
    pub(super) fn told(order: Arc<Order>, now: Duration) -> Underway {
        Underway {
            order,
            told_at: now,
            cursor: None,
            swept_at: None,
            open: 0,
            due: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Adds what was counted to what all cores have.
    pub(super) fn flush(&mut self) {
        let Counts { sent, skipped, closed, gone } = std::mem::take(&mut self.counts);
        let tally = &self.order.tally;
        let add = |total: &AtomicU64, n: u64| {
            if n > 0 {
                total.fetch_add(n, Ordering::AcqRel);
            }
        };
        add(&tally.sent, sent);
        add(&tally.skipped, skipped);
        add(&tally.closed, closed);
        add(&tally.gone, gone);
    }
}

impl Broadcasts {
    #[inline]
    pub(super) fn is_active(&self) -> bool {
        !self.orders.is_empty()
    }

    /// The present order.
    pub(super) fn order(&self) -> Option<&Order> {
        self.orders.front().map(|present| &*present.order)
    }

    /// Buffers that it wants back from connections that have them for long.
    pub(super) fn buffers_wanted(&self) -> u32 {
        if self.lacks_buffer { BROADCAST_BUFFERS_WANTED } else { 0 }
    }

    /// How long the core may sleep for it: not while there is more to send, and otherwise until the next tick.
    pub(super) fn sleep(&self, tick: Duration) -> Option<Duration> {
        let present = self.orders.front()?;
        let goes_on = present.swept_at.is_none() && !self.lacks_buffer;
        Some(if goes_on { Duration::ZERO } else { tick })
    }

    /// A connection is accepted into `id`: none of the orders is for it.
    pub(super) fn joins(&mut self, id: SlotId) {
        if let Some(last) = self.orders.back() {
            self.newcomers.insert(id, last.order.number + 1);
        }
    }
}
