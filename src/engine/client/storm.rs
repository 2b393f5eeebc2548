//! A storm: the client drops a part of its own connections, and what was dropped comes back as what was lost does.

use crate::base::constants::{CLOSES_IN_FLIGHT, CUTS_IN_FLIGHT};
use crate::engine::client::Client;
use crate::engine::client::role::{CUT, VANISHES};
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::slot::Queue;
use crate::engine::storm::{Budget, DropPart, Way};
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Drops those that a storm takes, in a hold. Only so many close at once: what has completed of the others is looked at
    /// in between, before those that stay have to wait.
    pub(super) fn drop_stormed(&mut self) {
        let mut budget = Budget::of_turn();
        while self.may_drop() {
            let (tuples, of) = (&self.tuples, (self.prompt_connections(), self.tuples.core()));
            let taken = self.end.take_of_storm(of, &mut budget, |slot| {
                let is_held = !tuples.is_short(slot.role.number) && slot.queue() != Queue::Opening;
                is_held && slot.queue() != Queue::Reluctant
            });
            let Some((id, by)) = taken else { return };
            self.drop_one(id, by);
        }
    }

    /// Whether a storm goes on that waits for no end.
    pub(super) fn may_drop(&self) -> bool {
        let has_room = |drop: DropPart| {
            let most = if drop.by == Way::Fin { CLOSES_IN_FLIGHT } else { CUTS_IN_FLIGHT };
            self.end.count(Queue::Ending) < most
        };
        self.phase.holds() && self.end.storms.now().is_some_and(has_room)
    }

    fn drop_one(&mut self, id: SlotId, by: Way) {
        self.connections -= 1;
        self.end.stats.dropped_total.add(1);
        let number = self.end.arena[id].role.number;
        let is_at_rest = matches!(self.end.arena[id].queue(), Queue::Resting | Queue::Overdue);
        let (mode, pending) = match by {
            Way::Fin => (ShutdownMode::Sending, CUT),
            Way::Reset => (ShutdownMode::Reset, CUT),
            Way::Vanishing => (ShutdownMode::Vanishing, VANISHES),
        };
        // What is half done cannot end in order.
        if !(is_at_rest && self.leave(id, mode)) {
            self.end.leave_queue(id);
            self.begin_end_by(id, pending);
            self.close_step(id);
        }
        self.phase.has_one_less(&self.config, self.end.now, &self.end.stats);
        if by == Way::Vanishing && self.config.reconnect.is_some() {
            // The server has the tuple still, and would not know a new connection by it.
            self.tuples.move_on(number);
        }
        self.returns.back.remove(&number);
        self.await_return(number);
    }
}
