//! The connections that a storm takes, one after the other, some of them in one turn.

use crate::base::constants::{DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN};
use crate::engine::endpoint::Endpoint;
use crate::engine::slot::{ConnState, Role, Slot};
use crate::engine::storm::Budget;
use crate::engine::token::SlotId;

impl<D, R: Role, S> Endpoint<D, R, S> {
    /// What one turn may take of a storm.
    #[must_use]
    pub fn storm_budget(&self) -> Budget {
        Budget { takes: DRAIN_CLOSES_PER_TURN, looks: DRAIN_LOOKS_PER_TURN }
    }

    /// The next open connection that a storm takes, of those that `is_one`, and whether it is reset; `None` when this turn
    /// or the storm is over.
    pub fn take_of_storm(
        &mut self,
        budget: &mut Budget,
        is_one: impl Fn(&Slot<R>) -> bool,
    ) -> Option<(SlotId, bool)> {
        let choice = self.storm.as_mut()?;
        budget.takes = budget.takes.checked_sub(1)?;
        let is_one = |slot: &Slot<R>| slot.state() == ConnState::Open && is_one(slot);
        let (next, by_reset) =
            (choice.next(&self.arena, &mut budget.looks, is_one), choice.by_reset);
        if choice.is_over() {
            self.storm = None;
        }
        next.map(|id| (id, by_reset))
    }
}
