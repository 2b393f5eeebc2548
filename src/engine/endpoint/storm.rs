//! The connections that storms take, one after the other, some of them in one turn.

use crate::base::constants::{DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN};
use crate::engine::endpoint::Endpoint;
use crate::engine::slot::{ConnState, Role, Slot};
use crate::engine::storm::{Budget, Way};
use crate::engine::token::SlotId;

impl<D, R: Role, S> Endpoint<D, R, S> {
    /// What one turn may take of a storm.
    #[must_use]
    pub fn storm_budget(&self) -> Budget {
        Budget { takes: DRAIN_CLOSES_PER_TURN, looks: DRAIN_LOOKS_PER_TURN }
    }

    /// The next open connection that a storm takes, see [`crate::engine::storm::Storming::next`].
    pub fn take_of_storm(
        &mut self,
        of: (u64, usize),
        budget: &mut Budget,
        is_one: impl Fn(&Slot<R>) -> bool,
    ) -> Option<(SlotId, Way)> {
        let is_one = |slot: &Slot<R>| slot.state() == ConnState::Open && is_one(slot);
        self.storms.next(&self.arena, of, budget, is_one)
    }
}
