//! One text to all connections of a core, or to those of a topic, order after order.
//!
//! A core goes over its slots in slices, some in each turn, so that traffic goes on. A connection that rests takes a
//! buffer, and its protocol writes the text into it. One on which something is under way has it when that is out. One
//! whose peer has not taken what was sent before is left out, or closed. So each member is counted once: the text
//! was sent, skipped, its connection was closed for it, or had gone. Members are the connections that were there
//! when the core was told. A topic has each slot of a segment whose number leaves it as a remainder: a slot keeps
//! nothing for it, and an order to one topic costs its members alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::base::constants::{
    BROADCAST_LOOKS_PER_TURN, BROADCAST_PATIENCE_MS, BROADCASTS_PER_TURN,
};
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::protocol::broadcast::Order;
use crate::engine::server::Server;
use crate::engine::server::orders::{SlowReader, Underway};
use crate::engine::server::role::{CAST_DUE, CAST_SENDS};
use crate::engine::slot::{ConnState, Queue, ReadSide, WriteSide};
use crate::engine::token::SlotId;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// A text is to go out, behind those that are not done.
    pub(super) fn take_order(&mut self, order: Arc<Order>) {
        let now = self.end.driver.now();
        self.broadcasts.orders.push_back(Underway::told(order, now));
    }

    /// Goes on with the present order.
    pub(super) fn go_on_with_broadcast(&mut self) {
        self.broadcasts.lacks_buffer = false;
        let (mut looks, mut sends) = (BROADCAST_LOOKS_PER_TURN, BROADCASTS_PER_TURN);
        while looks > 0 && sends > 0 && self.look_at_next(&mut sends) {
            looks -= 1;
        }
        if self.broadcasts.lacks_buffer {
            self.evict_for_starved();
        }
        self.give_up_due();
        self.end_order();
    }

    /// Looks at the next slot; `false` when there is none for now.
    fn look_at_next(&mut self, sends: &mut u32) -> bool {
        let topics = self.config.topics;
        let Some(present) = self.broadcasts.orders.front_mut() else { return false };
        if present.swept_at.is_some() {
            return false;
        }
        let (step, first) = present.order.topic.map_or((1, 0), |topic| (topics, topic));
        let before = present.cursor;
        let Some(id) = self.end.arena.slot_behind_by(before, step, first) else {
            present.swept_at = Some(self.end.now);
            return false;
        };
        present.cursor = Some(id);
        let number = present.order.number;
        if !self.is_member(id, number) {
            return true;
        }
        let slot = &self.end.arena[id];
        if slot.write == WriteSide::Stalled {
            self.pass_over(id);
        } else if slot.is_at_rest() {
            let may_take = self.end.count(Queue::Starved) == 0 && self.end.has_spare_buffers();
            let Some(buffer) = may_take.then(|| self.end.take_buffer()).flatten() else {
                self.present().cursor = before;
                self.broadcasts.lacks_buffer = true;
                return false;
            };
            *sends -= 1;
            self.end.arena[id].buffer = buffer;
            self.make_due(id);
            self.use_or_drop_buffer(id);
        } else {
            let life = (id, slot.generation());
            let is_warm = slot.read == ReadSide::RecvArmed;
            self.make_due(id);
            self.present().due.push(life);
            if is_warm {
                self.end.cancel_await(id);
            }
        }
        true
    }

    fn present(&mut self) -> &mut Underway {
        self.broadcasts.orders.front_mut().expect("an order is under way")
    }

    /// Whether the order of that number is for an open connection, its topic apart.
    fn is_member(&self, id: SlotId, number: u64) -> bool {
        let is_open = self.end.arena[id].state() == ConnState::Open;
        let was_there = || self.broadcasts.newcomers.get(&id).is_none_or(|from| *from <= number);
        is_open && !self.is_shaking(id) && was_there()
    }

    fn make_due(&mut self, id: SlotId) {
        self.end.arena[id].role.pending |= CAST_DUE;
        self.present().open += 1;
    }

    /// The flags of the present order are gone from a connection.
    fn settle(&mut self, id: SlotId) {
        self.end.arena[id].role.pending &= !(CAST_DUE | CAST_SENDS);
        self.present().open -= 1;
    }

    /// It has not taken what was sent before.
    fn pass_over(&mut self, id: SlotId) {
        match self.config.slow_reader {
            SlowReader::Skip => self.skip(),
            SlowReader::Close => {
                self.present().counts.closed += 1;
                self.close(id, CloseReason::SlowReader);
            }
        }
    }

    fn skip(&mut self) {
        self.present().counts.skipped += 1;
        self.end.stats.broadcast_skipped_total.add(1);
    }

    /// The text is out.
    pub(super) fn on_broadcast_sent(&mut self, id: SlotId) {
        self.settle(id);
        self.present().counts.sent += 1;
        self.end.stats.broadcast_sent_total.add(1);
    }

    /// The protocol had nothing to send for it.
    pub(super) fn on_broadcast_unsaid(&mut self, id: SlotId) {
        self.settle(id);
        self.skip();
    }

    /// The peer does not take all of the text. It waits in its buffer, as an answer does, and those that come behind
    /// it are left out; or the connection is closed, and this is `false`.
    pub(super) fn may_stall(&mut self, id: SlotId) -> bool {
        match self.config.slow_reader {
            SlowReader::Skip => {
                self.on_broadcast_sent(id);
                true
            }
            SlowReader::Close => {
                self.settle(id);
                self.pass_over(id);
                false
            }
        }
    }

    /// A connection ends: it is gone for the orders that it has not had.
    pub(super) fn leave_broadcasts(&mut self, id: SlotId) {
        let is_under_way = self.end.arena[id].role.is_pending(CAST_DUE | CAST_SENDS);
        let topic = id.index() % self.config.topics;
        for at in 0..self.broadcasts.orders.len() {
            let Underway { order, cursor, swept_at, .. } = &self.broadcasts.orders[at];
            let was_looked_at = swept_at.is_some() || *cursor >= Some(id);
            let is_for_it = order.topic.is_none_or(|own| own == topic);
            let is_unreached = is_for_it && !was_looked_at && self.is_member(id, order.number);
            let is_gone = is_unreached || at == 0 && is_under_way;
            self.broadcasts.orders[at].counts.gone += u64::from(is_gone);
        }
        if is_under_way {
            self.settle(id);
        }
    }

    /// Those on which something is under way for too long count as slow.
    fn give_up_due(&mut self) {
        let now = self.end.now;
        let Some(present) = self.broadcasts.orders.front_mut() else { return };
        let patience = Duration::from_millis(BROADCAST_PATIENCE_MS);
        let is_over = present.swept_at.is_some_and(|at| now.saturating_sub(at) >= patience);
        if !is_over {
            return;
        }
        for (id, generation) in std::mem::take(&mut present.due) {
            let slot = &self.end.arena[id];
            if slot.generation() == generation && slot.role.is_pending(CAST_DUE) {
                self.settle(id);
                self.pass_over(id);
            }
        }
    }

    /// The present order is done when each member was looked at, and has it or will not have it.
    fn end_order(&mut self) {
        let now = self.end.now;
        let Some(present) = self.broadcasts.orders.front_mut() else { return };
        present.flush();
        if present.swept_at.is_none() || present.open > 0 {
            return;
        }
        let took = now.saturating_sub(present.told_at).as_micros();
        let tally = &present.order.tally;
        tally.took_us.fetch_max(u64::try_from(took).unwrap_or(u64::MAX), Ordering::AcqRel);
        tally.cores_done.fetch_add(1, Ordering::AcqRel);
        self.end.stats.broadcasts_total.add(1);
        self.broadcasts.orders.pop_front();
        if !self.broadcasts.is_active() {
            self.broadcasts.newcomers = HashMap::new();
        }
    }
}
