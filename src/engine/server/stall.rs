//! A peer takes no more: how long it may, and what it has taken meanwhile.
//!
//! A socket says that it has room again when a third of its send buffer is free, which is a megabyte or
//! more. A peer that reads slowly frees that much in minutes. So a connection that waits for room is
//! looked at: each byte that its peer has acknowledged since the last look is progress, and begins its
//! time anew. Where the kernel cannot tell what was acknowledged, a send tries whether there is room.
//! A peer is given up in answer to such a look, never without one.

use std::time::Duration;

use crate::base::constants::{PUSHES_BACKLOG_MAX, STALL_LOOK_EVERY, STALL_LOOKS_PER_TICK};
use crate::base::errno::Errno;
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::{Listen, Readiness};
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;
use crate::engine::server::role::{CAST_SENDS, Look, Stall, TIMER_SENDS, stall_units, units_since};
use crate::engine::slot::{Queue, ReadSide, WriteSide};
use crate::engine::token::SlotId;

impl<D: Listen, P: Protocol> Server<D, P> {
    /// Connections whose peers take no bytes.
    pub(super) fn stalled(&self) -> u32 {
        self.end.count(Queue::Stalled) + self.end.count(Queue::StalledText)
    }

    /// The one of them whose peer has taken none for the longest time.
    pub(super) fn longest_stalled(&self) -> Option<SlotId> {
        let stalled = [Queue::Stalled, Queue::StalledText].map(|queue| self.end.first(queue));
        stalled.into_iter().flatten().max_by_key(|id| self.end.arena[*id].stalled_for(self.end.now))
    }

    fn stall(&mut self, id: SlotId) -> &mut Stall {
        &mut self.stalls[self.end.arena[id].buffer.index()]
    }

    pub(super) fn on_stalled(&mut self, id: SlotId) {
        if self.end.arena[id].role.is_pending(CAST_SENDS) && !self.may_stall(id) {
            return;
        }
        self.leave_queue(id);
        let now = self.end.now;
        let slot = &self.end.arena[id];
        let (start, is_text) = (slot.start, slot.role.is_pending(TIMER_SENDS));
        let queue = if is_text { Queue::StalledText } else { Queue::Stalled };
        let stall = self.stall(id);
        let was_in_vain = stall.look == Look::Tried && stall.start == start;
        stall.look = Look::Answered;
        if !was_in_vain {
            *stall = Stall { start, looked: stall_units(now), ..Stall::default() };
            self.end.arena[id].stall_from(now);
        }
        self.end.push(id, queue);
        if was_in_vain {
            self.give_up_stalled(id);
        } else {
            self.ask_unacked(id);
        }
    }

    pub(super) fn on_writable(&mut self, id: SlotId, result: Result<Readiness, Errno>) {
        self.leave_queue(id);
        let slot = &mut self.end.arena[id];
        if slot.read == ReadSide::Idle {
            // Nothing was read meanwhile, so that nothing is known of the peer's silence.
            slot.wait_from(self.end.now);
        }
        match result {
            Ok(ready) if !ready.is_gone() => {
                self.stall(id).look = Look::Answered;
                self.end.arm_send(id);
            }
            // Our own: a send tries.
            Err(Errno::ECANCELED) => self.end.arm_send(id),
            Ok(_) | Err(_) => self.close(id, CloseReason::Reset),
        }
    }

    /// Looks at the peers that take no bytes, some of them in one tick.
    pub(super) fn look_at_stalled(&mut self) {
        let mut looks = STALL_LOOKS_PER_TICK;
        for queue in [Queue::Stalled, Queue::StalledText] {
            let (patience, _) = self.send_patience(queue);
            let every = STALL_LOOK_EVERY.min(patience / 16);
            let mut next = self.end.first(queue).filter(|_| self.queue_drained);
            while let Some(id) = next.filter(|_| looks > 0) {
                next = self.end.behind(id);
                let now = self.end.now;
                let is_over = self.end.arena[id].stalled_for(now) >= patience;
                let stall = self.stall(id);
                let is_due = is_over || units_since(stall.looked, now) >= every;
                if stall.look == Look::Answered && is_due {
                    looks -= 1;
                    self.ask_unacked(id);
                }
            }
        }
    }

    fn ask_unacked(&mut self, id: SlotId) {
        let looked = stall_units(self.end.now);
        let stall = self.stall(id);
        (stall.look, stall.looked) = (Look::Asked, looked);
        self.end.ask_unacked(id);
    }

    pub(super) fn on_unacked(&mut self, id: SlotId, result: Result<u32, Errno>) {
        // It may have found room meanwhile.
        if self.end.arena[id].write != WriteSide::Stalled || self.stall(id).look != Look::Asked {
            return;
        }
        let Ok(unacked) = result else {
            self.stall(id).look = Look::Tried;
            return self.end.cancel_poll_writable(id);
        };
        let stall = self.stall(id);
        stall.look = Look::Answered;
        let before = stall.unacked.replace(unacked);
        if before.is_some_and(|before| before != unacked) {
            self.leave_queue(id);
            self.end.arena[id].stall_from(self.end.now);
            let is_text = self.end.arena[id].role.is_pending(TIMER_SENDS);
            self.end.push(id, if is_text { Queue::StalledText } else { Queue::Stalled });
        } else {
            self.give_up_stalled(id);
        }
    }

    /// A look was in vain: when the time of the peer is over, it is closed.
    fn give_up_stalled(&mut self, id: SlotId) {
        let slot = &self.end.arena[id];
        let (patience, reason) = self.send_patience(slot.queue());
        if slot.stalled_for(self.end.now) >= patience && self.queue_drained {
            self.close(id, reason);
        }
    }

    /// How long a peer may take no bytes, and the reason for which it is closed then. Behind a text of
    /// the timer, at most `PUSHES_BACKLOG_MAX` more may come due. An answer has nothing behind it but its
    /// one buffer, behind which nothing is read.
    fn send_patience(&self, queue: Queue) -> (Duration, CloseReason) {
        let every = self.protocol.timer_every().filter(|_| queue == Queue::StalledText);
        match every.map(|every| every * PUSHES_BACKLOG_MAX) {
            Some(backlog) if backlog < self.config.send_timeout => (backlog, CloseReason::Backlog),
            _ => (self.config.send_timeout, CloseReason::SendTimeout),
        }
    }
}
