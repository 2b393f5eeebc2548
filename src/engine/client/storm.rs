//! A storm: the client drops a part of its own connections, and what was dropped comes back as what was lost does.

use crate::base::constants::CLOSES_IN_FLIGHT;
use crate::engine::client::Client;
use crate::engine::client::role::CUT;
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::slot::Queue;
use crate::engine::storm::DropPart;
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Drops those that a storm takes, in a hold. In order no more of them close at once than at the end of a run: a server
    /// has one minute for each.
    pub(super) fn drop_stormed(&mut self) {
        let mut budget = self.end.storm_budget();
        while self.may_drop() {
            let (tuples, of) = (&self.tuples, (self.prompt_connections(), self.tuples.core()));
            let taken = self.end.take_of_storm(of, &mut budget, |slot| {
                let is_held = !tuples.is_short(slot.role.number) && slot.queue() != Queue::Opening;
                is_held && slot.queue() != Queue::Reluctant
            });
            let Some((id, by_reset)) = taken else { return };
            self.drop_one(id, by_reset);
        }
    }

    /// Whether a storm goes on that waits for no end.
    pub(super) fn may_drop(&self) -> bool {
        let has_room = self.end.count(Queue::Ending) < CLOSES_IN_FLIGHT;
        let may_go_on = |drop: DropPart| drop.by_reset || has_room;
        self.phase.holds() && self.end.storms.now().is_some_and(may_go_on)
    }

    fn drop_one(&mut self, id: SlotId, by_reset: bool) {
        self.connections -= 1;
        self.end.stats.dropped_total.add(1);
        let number = self.end.arena[id].role.number;
        let is_at_rest = matches!(self.end.arena[id].queue(), Queue::Resting | Queue::Overdue);
        let mode = if by_reset { ShutdownMode::Reset } else { ShutdownMode::Sending };
        // What is half done cannot end in order.
        if !(is_at_rest && self.leave(id, mode)) {
            self.end.leave_queue(id);
            self.begin_end_by(id, CUT);
            self.close_step(id);
        }
        self.phase.has_one_less(&self.config, self.end.now, &self.end.stats);
        self.returns.back.remove(&number);
        self.await_return(number);
    }
}
