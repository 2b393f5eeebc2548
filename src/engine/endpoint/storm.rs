//! The connections that storms take, one after the other, some of them in one turn.

use crate::engine::endpoint::Endpoint;
use crate::engine::slot::{ConnState, Role, Slot};
use crate::engine::storm::{Budget, Way};
use crate::engine::token::SlotId;

impl<D, R: Role, S> Endpoint<D, R, S> {
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
