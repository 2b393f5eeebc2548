//! Texts that come unasked, by a server's own schedule: which of them are late, and which have not come.
//!
//! A wait begins with the text before, or with the connection. When a text does not come in time, the
//! wait for the next one begins where this one ended; by how many intervals it was moved stands in the
//! slot's `start`, which nothing else uses on a connection on which nothing is sent.

use std::time::Duration;

use crate::base::constants::PUSH_GRACE_MAX;
use crate::engine::client::Client;
use crate::engine::client::role::Calling;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::{Queue, Slot, WriteSide};
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// A part of the stream of texts has come, which completes `texts` of them.
    pub(super) fn on_unasked(&mut self, id: SlotId, texts: u64, had_one: bool) {
        if texts > 0 {
            self.end.leave_queue(id);
            self.count_arrived(id, texts, had_one);
            self.end.push(id, Queue::Resting);
        }
    }

    /// `texts` of them have come in one piece: they end the waits for those that were overdue first.
    fn count_arrived(&mut self, id: SlotId, texts: u64, had_one: bool) {
        let now = self.end.now;
        while self.is_overdue(&self.end.arena[id]) {
            self.count_overdue(id, had_one);
        }
        let stats = &self.end.stats;
        let slot = &mut self.end.arena[id];
        if had_one && let Some(waited) = slot.waited_if_begun(now) {
            let moved = self.expectation.every().unwrap_or_default() * u32::from(slot.start);
            stats.push_gap_us.record(waited + moved);
        }
        // Those behind the first came with it.
        (1..texts).for_each(|_| stats.push_gap_us.record(Duration::ZERO));
        let late = texts.min(u64::from(slot.role.pending));
        stats.pushes_total.add(texts);
        stats.pushes_late_total.add(late);
        slot.role.pending -= u8::try_from(late).expect("no more than were overdue");
        slot.start = 0;
        slot.wait_from(now);
    }

    /// Counts what has not come in time on the connections that rest, and on those whose waits were
    /// moved: both queues are in the order in which waits began, and stay so.
    pub(super) fn count_all_overdue(&mut self) {
        loop {
            let arena = &self.end.arena;
            let heads = [self.end.first(Queue::Resting), self.end.first(Queue::Overdue)]
                .into_iter()
                .flatten();
            let longest = heads.max_by_key(|id| arena[*id].waited_if_begun(self.end.now));
            let Some(id) = longest.filter(|id| self.is_overdue(&arena[*id])) else { return };
            self.end.leave_queue(id);
            let had_one = self.expectation.had_one(&self.end.arena[id].role.state);
            self.count_overdue(id, had_one);
            self.end.push(id, Queue::Overdue);
        }
    }

    /// Whether the text that is due next on `slot` has not come in time.
    fn is_overdue(&self, slot: &Slot<Calling<E::State>>) -> bool {
        let grace = |every: Duration| every + PUSH_GRACE_MAX.min(every / 2);
        let after = self.expectation.every().map(grace);
        after.is_some_and(|after| slot.waited_if_begun(self.end.now) > Some(after))
    }

    /// It has not: from now on the one behind it is waited for. A server spreads first texts, so
    /// that the first may take two intervals. Of those overdue, 255 are told apart; beyond that
    /// silence is silence.
    fn count_overdue(&mut self, id: SlotId, had_one: bool) {
        let now = self.end.now;
        let slot = &mut self.end.arena[id];
        // A reply that is on its way uses the slot's own, and has kept this one.
        let moved = match slot.write {
            WriteSide::Idle => &mut slot.start,
            _ => &mut self.asides[slot.buffer.index()].start,
        };
        let is_late = (had_one || *moved > 0) && slot.role.pending < u8::MAX;
        *moved = moved.saturating_add(1);
        let since = now.saturating_sub(slot.waited(now));
        slot.wait_from(since + self.expectation.every().unwrap_or_default());
        slot.role.pending += u8::from(is_late);
        self.end.stats.pushes_overdue_total.add(u64::from(is_late));
    }
}
