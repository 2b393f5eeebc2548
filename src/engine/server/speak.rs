//! What a connection is sent unasked: what its protocol says first, what its timer sends, and texts that go to all.

use crate::engine::close_reason::CloseReason;
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::server::role::{CAST_DUE, CAST_SENDS, OPENING, TIMER_DUE, TIMER_SENDS};
use crate::engine::slot::{BufferId, Queue};
use crate::engine::token::SlotId;

/// What became of a buffer that was free for what is pending.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoken {
    /// Bytes in it are on their way.
    Sends,
    /// It is still free: nothing was pending, or nothing was to be said.
    Silent,
    /// The connection is to be closed.
    Closes(CloseReason),
}

impl<D: Listen, P: Protocol> Server<D, P> {
    pub(super) fn give_buffer_and_speak(&mut self, id: SlotId) {
        match self.end.take_buffer() {
            Some(buffer) => {
                self.end.arena[id].buffer = buffer;
                self.use_or_drop_buffer(id);
            }
            None => {
                self.end.stats.push_starved_total.add(1);
                self.end.push(id, Queue::Starved);
                self.evict_for_starved();
            }
        }
    }

    /// Sends what is pending from the slot's buffer, if it has one: what goes first before anything of
    /// the timer.
    #[inline]
    pub(super) fn speak(&mut self, id: SlotId) -> Spoken {
        if self.can_speak(id) { self.say(id) } else { Spoken::Silent }
    }

    #[inline]
    fn can_speak(&self, id: SlotId) -> bool {
        let slot = &self.end.arena[id];
        slot.role.is_pending(OPENING | TIMER_DUE | CAST_DUE) && slot.buffer != BufferId::NONE
    }

    fn say(&mut self, id: SlotId) -> Spoken {
        while self.can_speak(id) {
            let slot = &mut self.end.arena[id];
            let is_opening = slot.role.is_pending(OPENING);
            let is_timer = !is_opening && slot.role.is_pending(TIMER_DUE);
            let out = self.end.driver.buffer(slot.buffer);
            let action = if is_opening {
                self.protocol.on_open(&mut slot.role.protocol, out)
            } else if !is_timer {
                slot.role.pending = slot.role.pending & !CAST_DUE | CAST_SENDS;
                let order = self.broadcasts.order().expect("an order is under way");
                let said = order.said(id.index() % self.config.topics);
                self.protocol.on_broadcast(&mut slot.role.protocol, &said, out)
            } else {
                self.end.stats.push_lateness_us.record(slot.overdue(self.end.now));
                slot.role.pending = slot.role.pending & !TIMER_DUE | TIMER_SENDS;
                self.protocol.on_timer(&mut slot.role.protocol, out)
            };
            if !action.send.is_empty() {
                self.answer(id, action);
                return Spoken::Sends;
            }
            // A ping may be answered by what waits to be received: then it is looked at again.
            let is_over =
                |reason: &CloseReason| *reason != CloseReason::PingTimeout || self.is_silent(id);
            if let Some(reason) = action.close.filter(is_over) {
                self.end.arena[id].role.pending &= !TIMER_SENDS;
                return Spoken::Closes(reason);
            }
            if is_opening {
                self.end.arena[id].role.pending &= !OPENING;
            } else if is_timer {
                self.restart_timer(id);
            } else {
                self.on_broadcast_unsaid(id);
            }
        }
        Spoken::Silent
    }

    /// What was said unasked is out.
    pub(super) fn has_said(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        if slot.role.is_pending(OPENING) {
            slot.role.pending &= !OPENING;
        } else if slot.role.is_pending(TIMER_SENDS) {
            let stats = &self.end.stats;
            let sent = if self.protocol.pings() { &stats.pings_total } else { &stats.pushes_total };
            sent.add(1);
            self.restart_timer(id);
        } else {
            self.on_broadcast_sent(id);
        }
    }
}
