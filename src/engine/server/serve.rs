//! An open connection: it is idle, bytes come in, the protocol says what follows, bytes go out, and at
//! last it closes.

use std::time::Duration;

use crate::base::constants::{STALL_GRACE, WARM_MAX, WARM_TIME};
use crate::base::errno::Errno;
use crate::engine::close_reason::CloseReason;
use crate::engine::driver::{Listen, Readiness};
use crate::engine::protocol::{Action, Protocol};
use crate::engine::server::Server;
use crate::engine::server::role::{
    CAST_DUE, CAST_SENDS, KEPT, OPENING, RESET, Remainder, Serving, TIMER_DUE, TIMER_SENDS,
};
use crate::engine::server::speak::Spoken;
use crate::engine::slot::{BufferId, Queue, ReadSide, Slot, WriteSide};
use crate::engine::token::SlotId;

/// What became of bytes that the protocol was shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    /// An answer is on its way, and nothing else is to be done.
    Answered,
    /// An answer is on its way, and then there is more to do.
    AnsweredInPart,
    /// They are the beginning of a message, and stay in the buffer.
    Kept,
    /// They are dealt with, and the buffer is free for others.
    Done,
    /// The connection closes.
    Closed,
}

impl<D: Listen, P: Protocol> Server<D, P> {
    // ---- it is idle, until it is readable -------------------------------------------------

    pub(super) fn on_readable(&mut self, id: SlotId, result: Result<Readiness, Errno>) {
        let slot = &mut self.end.arena[id];
        match result {
            // A timer that ran out meanwhile sends when the message is whole and answered.
            Ok(_) if slot.queue() == Queue::Partial => self.give_buffer_and_recv(id),
            Ok(_) if slot.role.pending != 0 => slot.read = ReadSide::Deferred,
            Ok(_) => self.receive_or_wait(id),
            Err(_) => self.close(id, CloseReason::Reset),
        }
    }

    pub(super) fn give_buffer_and_recv(&mut self, id: SlotId) {
        if self.end.arena[id].queue() == Queue::Partial {
            self.end.remove(id, Queue::Partial);
            return self.end.arm_recv(id);
        }
        match self.end.take_buffer() {
            Some(buffer) => {
                self.end.arena[id].buffer = buffer;
                self.end.arm_recv(id);
            }
            None => {
                self.end.stats.recv_starved_total.add(1);
                self.leave_queue(id);
                self.end.arena[id].read = ReadSide::Starved;
                self.end.push(id, Queue::Starved);
                self.evict_for_starved();
            }
        }
    }

    // ---- bytes in -------------------------------------------------------------------------

    pub(super) fn on_received(&mut self, id: SlotId) {
        self.end.stats.messages_total.add(1);
        let slot = &mut self.end.arena[id];
        let is_brisk = slot.waited(self.end.now) < WARM_TIME;
        slot.wait_from(self.end.now);
        let filled = slot.end;
        match self.handle_bytes(id, filled) {
            // A connection that sends often needs no poll: what follows is awaited once the answer is out.
            Handled::Answered if is_brisk && !self.is_shaking(id) => {}
            Handled::Closed => {}
            _ => self.end.arm_poll(id),
        }
    }

    /// It was readable, and there were no bytes: a connection that waited for our buffer until now is not
    /// to pay for it.
    pub(super) fn on_nothing(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        slot.wait_from(self.end.now);
        if slot.end == 0 {
            return self.become_idle(id);
        }
        self.await_rest(id);
        self.end.arm_poll(id);
    }

    /// Shows the protocol the first `filled` bytes of the slot's buffer, and does what it says.
    fn handle_bytes(&mut self, id: SlotId, filled: u16) -> Handled {
        let was_shaking = self.is_shaking(id);
        let slot = &mut self.end.arena[id];
        let bytes = self.end.driver.buffer(slot.buffer);
        let action = self.protocol.on_bytes(&mut slot.role.protocol, bytes, filled);
        if was_shaking && !self.is_shaking(id) {
            self.on_handshake_done(id);
        }
        if !action.send.is_empty() {
            return self.answer(id, action);
        }
        match action.close {
            None if action.kept.is_empty() => {
                self.end.arena[id].end = 0;
                if self.use_or_drop_buffer(id) { Handled::Done } else { Handled::Closed }
            }
            None => self.keep(id, action.kept.start, action.kept.end),
            Some(reason) => {
                self.close(id, reason);
                Handled::Closed
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        id: SlotId,
        Action { send, kept, again, close }: Action,
    ) -> Handled {
        let slot = &mut self.end.arena[id];
        (slot.start, slot.end) = (send.start, send.end);
        let has_more = again || !kept.is_empty() || close.is_some();
        debug_assert!(P::KEEPS || !has_more, "a protocol that keeps nothing left something to do");
        let is_all = !P::KEEPS || !has_more;
        if !is_all {
            slot.role.pending |= KEPT;
            self.remainders[slot.buffer.index()] =
                Remainder { kept: (kept.start, kept.end), close };
        }
        self.end.arm_send(id);
        if is_all { Handled::Answered } else { Handled::AnsweredInPart }
    }

    /// Keeps the beginning of a message at the front of the buffer.
    fn keep(&mut self, id: SlotId, start: u16, end: u16) -> Handled {
        let slot = &mut self.end.arena[id];
        let bytes = self.end.driver.buffer(slot.buffer);
        bytes.copy_within(usize::from(start)..usize::from(end), 0);
        slot.end = end - start;
        if usize::from(slot.end) == bytes.len() {
            // A message that is longer than a buffer never ends.
            self.close(id, CloseReason::Malformed);
            return Handled::Closed;
        }
        self.await_rest(id);
        Handled::Kept
    }

    /// The rest of a message is awaited with the buffer in hand.
    fn await_rest(&mut self, id: SlotId) {
        self.leave_queue(id);
        self.end.push(id, Queue::Partial);
    }

    /// The slot's buffer is free: what is pending goes out in it, or it goes back. Whether the
    /// connection is still open.
    pub(super) fn use_or_drop_buffer(&mut self, id: SlotId) -> bool {
        match self.speak(id) {
            Spoken::Sends => {}
            Spoken::Silent => {
                if let Some(buffer) = self.end.detach_buffer(id) {
                    self.hand_on(buffer);
                }
                self.await_due(id);
            }
            Spoken::Closes(reason) => {
                if let Some(buffer) = self.end.detach_buffer(id) {
                    self.hand_on(buffer);
                }
                self.close(id, reason);
                return false;
            }
        }
        true
    }

    // ---- bytes out, until all are gone ----------------------------------------------------

    pub(super) fn on_sent(&mut self, id: SlotId) {
        if self.end.arena[id].role.is_pending(OPENING | TIMER_SENDS | CAST_SENDS) {
            self.has_said(id);
        }
        let slot = &self.end.arena[id];
        if P::KEEPS && slot.role.is_pending(KEPT) {
            return self.go_on(id);
        }
        if slot.read == ReadSide::Idle {
            return self.await_more(id);
        }
        if self.use_or_drop_buffer(id) {
            self.recv_deferred(id);
        }
    }

    /// An answer is out, and there was more behind the bytes that it answers.
    fn go_on(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        slot.role.pending &= !KEPT;
        let Remainder { kept: (start, end), close } = self.remainders[slot.buffer.index()];
        if let Some(reason) = close {
            return self.close(id, reason);
        }
        let bytes = self.end.driver.buffer(slot.buffer);
        bytes.copy_within(usize::from(start)..usize::from(end), 0);
        self.end.arena[id].wait_from(self.end.now);
        match self.handle_bytes(id, end - start) {
            Handled::Kept | Handled::Done => self.recv_deferred(id),
            Handled::Answered | Handled::AnsweredInPart | Handled::Closed => {}
        }
    }

    /// What came while bytes were on their way out is received now.
    fn recv_deferred(&mut self, id: SlotId) {
        let slot = &self.end.arena[id];
        if slot.read == ReadSide::Deferred && slot.write == WriteSide::Idle {
            self.receive_or_wait(id);
        }
    }

    // ---- it has just had bytes, and may go on ---------------------------------------------

    /// Receives what follows without a poll before, for as long as the connection is warm.
    fn await_more(&mut self, id: SlotId) {
        // The wheel does not know a warm connection.
        let slot = &mut self.end.arena[id];
        if self.protocol.timer_every().is_some() && slot.overdue(self.end.now) > Duration::ZERO {
            slot.role.pending |= TIMER_DUE;
        }
        let is_due = slot.role.is_pending(TIMER_DUE | CAST_DUE);
        let is_full = self.end.count(Queue::Warm) >= WARM_MAX || self.end.count(Queue::Starved) > 0;
        // A drain closes a connection only when no byte of it can be in a receive.
        if is_due || is_full || self.drain.is_some() {
            return self.become_idle(id);
        }
        self.leave_queue(id);
        self.end.arm_await(id);
    }

    /// Goes back to where it is idle: a poll, and no buffer.
    pub(super) fn become_idle(&mut self, id: SlotId) {
        if self.use_or_drop_buffer(id) {
            self.end.arm_poll(id);
        }
    }

    // ---- buffers --------------------------------------------------------------------------

    /// Gives a buffer to the slot that has waited the longest for one and has a use for it, or back.
    pub(super) fn hand_on(&mut self, buffer: BufferId) {
        while let Some(waiting) = self.end.pop(Queue::Starved) {
            let slot = &mut self.end.arena[waiting];
            slot.buffer = buffer;
            // A text to all waits until what has come is dealt with.
            if slot.role.pending & !CAST_DUE == 0 {
                self.end.arm_recv(waiting);
                return self.await_due(waiting);
            }
            match self.speak(waiting) {
                Spoken::Sends => return,
                Spoken::Silent if self.end.arena[waiting].read == ReadSide::Polling => {
                    self.end.arena[waiting].buffer = BufferId::NONE;
                    self.await_due(waiting);
                }
                Spoken::Silent => {
                    self.end.arm_recv(waiting);
                    return self.await_due(waiting);
                }
                Spoken::Closes(reason) => {
                    self.end.arena[waiting].buffer = BufferId::NONE;
                    self.close(waiting, reason);
                }
            }
        }
        self.end.give_buffer(buffer);
    }

    /// When slots wait for a buffer, the connection that has been silent the longest with one gives it
    /// back; then the one whose peer has taken no bytes the longest gives way, and then the one whose
    /// message has not gone on the longest.
    pub(super) fn evict_for_starved(&mut self) {
        let wanted = self.end.count(Queue::Starved) + self.broadcasts.buffers_wanted();
        while wanted > self.end.buffers_returning() && self.end.cancel_oldest_await() {}
        let now = self.end.now;
        let mut evictions = wanted.saturating_sub(self.end.buffers_returning());
        let is_stalled = |slot: &Slot<Serving<P::State>>| slot.stalled_for(now) >= STALL_GRACE;
        let has_stopped = |slot: &Slot<Serving<P::State>>| slot.waited(now) >= STALL_GRACE;
        while evictions > 0 {
            let arena = &self.end.arena;
            let stalled = self.longest_stalled().filter(|id| is_stalled(&arena[*id]));
            let partial = || self.end.first(Queue::Partial).filter(|id| has_stopped(&arena[*id]));
            let Some(id) = stalled.or_else(partial) else { return };
            evictions -= 1;
            self.close(id, CloseReason::Evicted);
        }
    }

    /// Takes a slot out of the queue in which it stands, if any.
    #[inline]
    pub(super) fn leave_queue(&mut self, id: SlotId) {
        match self.end.arena[id].queue() {
            Queue::None => {}
            Queue::Wheel => self.wheel.remove(&mut self.end.arena, id),
            queue => self.end.remove(id, queue),
        }
    }

    // ---- the end: a join of both sides, then the close ------------------------------------

    /// Begins the end of a connection. Whatever is still with the kernel is made to complete.
    pub(super) fn close(&mut self, id: SlotId, reason: CloseReason) {
        if let Some(counter) = reason.counter(&self.end.stats) {
            counter.add(1);
        }
        if reason.ends_handshake() && self.is_shaking(id) {
            self.end.stats.handshakes_failed_total.add(1);
        }
        if let Some(drain) = &mut self.drain {
            drain.ended += 1;
        }
        self.leave_source(id, reason);
        if self.broadcasts.is_active() {
            self.leave_broadcasts(id);
        }
        self.leave_queue(id);
        let says = P::SAYS_FAREWELL && reason.has_farewell();
        let says = says && self.write_farewell(id);
        self.end.begin_close(id);
        let slot = &mut self.end.arena[id];
        self.protocol.forget(&mut slot.role.protocol);
        slot.role.pending = if reason.is_hard() { RESET } else { 0 };
        if says {
            // The end goes on when it is gone.
            return self.end.arm_send(id);
        }
        if let Some(buffer) = self.end.close_step(id) {
            self.hand_on(buffer);
        }
    }

    /// Writes what is said last on a connection that rests, if there is a buffer; whether it is to be sent.
    fn write_farewell(&mut self, id: SlotId) -> bool {
        let slot = &mut self.end.arena[id];
        if !slot.is_at_rest() {
            return false;
        }
        let Some(buffer) = self.end.take_buffer() else { return false };
        let slot = &mut self.end.arena[id];
        slot.buffer = buffer;
        let out = self.end.driver.buffer(buffer);
        (slot.start, slot.end) = (0, self.protocol.farewell(&slot.role.protocol, out));
        if slot.end == 0 {
            self.end.drop_buffer(id);
            return false;
        }
        true
    }

    pub(super) fn on_closed(&mut self) {
        self.connections -= 1;
        // Which of them it was is not known any more: what was held gives back last.
        match self.refused.checked_sub(1) {
            Some(refused) => self.refused = refused,
            None => self.config.allowance.give_back(),
        }
        self.arm_accepts();
    }
}
