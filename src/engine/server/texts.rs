//! What a server says unasked, and when: banners and pushes, the wheel that tells when one is due, and
//! the silence of peers, which is looked at with it.

use crate::base::constants::TIMERS_PER_TURN;
use crate::engine::close_reason::Ending;
use crate::engine::driver::Driver;
use crate::engine::server::traffic::Mode;
use crate::engine::slot::{BufferId, ReadSide, WriteSide, low_milliseconds};
use crate::engine::token::SlotId;

use super::{BANNER, PUSH, Shard};

impl<D: Driver> Shard<D> {
    pub(super) fn plan_first_push(&mut self, id: SlotId) {
        if let Some(every) = self.config.mode.push_every() {
            let due_ms = self.spread.first_due_ms(self.now, every, self.connections);
            self.arena[id].set_due_ms(due_ms);
        }
    }

    /// Looks at the slots that are due, some of them in one turn.
    pub(super) fn look_at_due(&mut self) {
        let now_ms = low_milliseconds(self.now);
        let mut looks = TIMERS_PER_TURN;
        while let Some(id) = self.wheel.expire(&mut self.arena, now_ms, &mut looks) {
            self.on_due(id);
        }
    }

    pub(super) fn on_due(&mut self, id: SlotId) {
        let slot = &self.arena[id];
        // Bytes that wait to be received are no silence.
        let is_silent = slot.read == ReadSide::Polling;
        let is_silent = is_silent && self.hears_all;
        if is_silent && self.config.idle_timeout.is_some_and(|most| slot.waited(self.now) >= most) {
            return self.end(id, Ending::Idle);
        }
        if self.config.mode.push_every().is_none() {
            return self.await_due(id);
        }
        // In the middle of a receive it waits for the buffer that is there.
        let is_free = slot.buffer == BufferId::NONE;
        self.arena[id].owed |= PUSH;
        if is_free {
            self.give_buffer_and_send_text(id);
        }
    }

    pub(super) fn give_buffer_and_send_text(&mut self, id: SlotId) {
        match self.driver.take_buffer() {
            Some(buffer) => {
                self.buffers_used += 1;
                self.arm_text(id, buffer);
            }
            None => {
                self.stats.push_starved_total.add(1);
                self.starved.push(&mut self.arena, id);
                self.evict_for_starved();
            }
        }
    }

    /// Sends the text that the slot owes, the banner before any push.
    pub(super) fn arm_text(&mut self, id: SlotId, buffer: BufferId) {
        let slot = &mut self.arena[id];
        slot.buffer = buffer;
        let text = match (&self.config.banner, &self.config.mode) {
            (Some(banner), _) if slot.owes(BANNER) => banner,
            (_, Mode::Push { text, .. }) => {
                slot.owed &= !PUSH;
                self.stats.push_lateness_us.record(slot.overdue(self.now));
                text
            }
            _ => unreachable!("a slot owes what its server does not send"),
        };
        self.driver.bytes(buffer, 0..text.len()).copy_from_slice(text.bytes());
        self.arm_send_of(id, text.len());
    }

    /// Adds an open slot to the wheel, unless it stands there, or there is nothing to look for.
    pub(super) fn await_due(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        if slot.is_queued() {
            return;
        }
        match (&self.config.mode, self.config.idle_timeout) {
            (Mode::Push { .. }, _) => {}
            (_, Some(most)) => {
                let rest = most.saturating_sub(slot.waited(self.now));
                slot.set_due_ms(low_milliseconds(self.now + rest).wrapping_add(1));
            }
            (_, None) => return,
        }
        self.wheel.add(&mut self.arena, id);
    }

    /// Takes a slot out of the queue in which it stands, if any.
    pub(super) fn leave_queue(&mut self, id: SlotId) {
        let slot = &self.arena[id];
        if !slot.is_queued() {
            return;
        }
        let lacks_buffer = slot.buffer == BufferId::NONE;
        if slot.write == WriteSide::Stalled {
            self.stalled.remove(&mut self.arena, id);
        } else if slot.read == ReadSide::Starved || (slot.owed != 0 && lacks_buffer) {
            self.starved.remove(&mut self.arena, id);
        } else if slot.read == ReadSide::Awaiting {
            self.warm.remove(&mut self.arena, id);
        } else {
            self.wheel.remove(&mut self.arena, id);
        }
    }
}
