//! What goes out on a connection beside its messages: replies to what the server asks of the layers between,
//! and a farewell.
//!
//! Only an expectation that opens has any of it ([`Expectation::OPENS`]).

use std::ops::Range;

use crate::base::constants::ECHO_TIMEOUT;
use crate::engine::client::Client;
use crate::engine::client::aside::Aside;
use crate::engine::client::role::{CUT, LEAVES, VANISHES};
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::slot::{BufferId, Queue, ReadSide, WriteSide};
use crate::engine::token::SlotId;
use crate::observe::stats::LostCause;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Bytes of the slot's buffer go out, which are no message, and then the rest is looked at.
    pub(super) fn reply(&mut self, id: SlotId, send: Range<u16>, rest: Range<u16>) {
        self.send_aside(id, send, rest, None);
    }

    /// Bytes of the slot's buffer go out, if there are any, and then the connection is lost by `cause`.
    pub(super) fn end_with(&mut self, id: SlotId, send: Range<u16>, cause: LostCause) {
        if send.is_empty() {
            return self.lose(id, cause);
        }
        self.send_aside(id, send, 0..0, Some(cause));
    }

    fn send_aside(
        &mut self,
        id: SlotId,
        send: Range<u16>,
        rest: Range<u16>,
        ends: Option<LostCause>,
    ) {
        self.step_aside(id);
        let slot = &mut self.end.arena[id];
        let rest = (rest.start, rest.end);
        let aside = Aside { is_out: true, rest, start: slot.start, ends, is_open: false };
        self.asides[slot.buffer.index()] = aside;
        (slot.start, slot.end) = (send.start, send.end);
        self.end.arm_send(id);
    }

    /// Nothing begins on it until it rests again. One on which texts come unasked keeps its place: nothing
    /// ever begins on it, and its wait goes on.
    pub(super) fn step_aside(&mut self, id: SlotId) {
        if self.end.arena[id].queue() == Queue::Resting && !self.expectation.is_unasked() {
            self.end.remove(id, Queue::Resting);
            self.end.arena[id].wait_from(self.end.now);
            self.end.push(id, Queue::Aside);
        }
    }

    /// It rests again, unless the answer to what keeps it alive is awaited.
    pub(super) fn step_back(&mut self, id: SlotId) {
        let slot = &self.end.arena[id];
        if slot.queue() == Queue::Aside && !self.expectation.awaits_keepalive(&slot.role.state) {
            self.end.remove(id, Queue::Aside);
            self.end.arena[id].wait_from(self.end.now);
            self.end.push(id, Queue::Resting);
        }
    }

    /// Whether what is gone was no message; then it is dealt with.
    pub(super) fn has_sent_aside(&mut self, id: SlotId) -> bool {
        let slot = &mut self.end.arena[id];
        let aside = &mut self.asides[slot.buffer.index()];
        let Aside { is_out, rest, start, ends, .. } = std::mem::take(aside);
        if !is_out {
            return false;
        }
        slot.start = start;
        match ends {
            Some(cause) => self.lose(id, cause),
            None => self.hear_rest(id, rest.0..rest.1),
        }
        true
    }

    /// Looks at what is left of a buffer.
    pub(super) fn hear_rest(&mut self, id: SlotId, rest: Range<u16>) {
        let slot = &mut self.end.arena[id];
        let range = usize::from(rest.start)..usize::from(rest.end);
        self.end.driver.buffer(slot.buffer).copy_within(range, E::HEADROOM.into());
        slot.end = E::HEADROOM + (rest.end - rest.start);
        if rest.is_empty() { self.keep(id, E::HEADROOM..E::HEADROOM) } else { self.hear(id) }
    }

    /// Keeps the beginning of something, and waits for the rest of it; with nothing kept it is idle again.
    pub(super) fn keep(&mut self, id: SlotId, rest: Range<u16>) {
        if rest.is_empty() {
            self.end.drop_buffer(id);
            self.step_back(id);
        } else {
            self.end.arena[id].end = rest.end;
            self.step_aside(id);
        }
        self.end.arm_poll(id);
    }

    // ---- a farewell -----------------------------------------------------------------------

    /// Ends a connection that rests, by a farewell where one is said; whether it could be. One that is just
    /// receiving is heard first, and a farewell needs a buffer.
    pub(super) fn leave(&mut self, id: SlotId, mode: ShutdownMode) -> bool {
        let slot = &self.end.arena[id];
        if E::OPENS && slot.write != WriteSide::Idle {
            // A reply goes out whole before the end.
            self.end.leave_queue(id);
            self.begin_end_by(id, pending_of(mode));
            return true;
        }
        if !E::OPENS || mode != ShutdownMode::Sending {
            self.end.leave_queue(id);
            self.begin_end(id);
            self.end.arm_shutdown(id, mode);
            return true;
        }
        if slot.read != ReadSide::Polling {
            return false;
        }
        let kept = Some(slot.buffer).filter(|buffer| *buffer != BufferId::NONE);
        let Some(buffer) = kept.or_else(|| self.end.take_buffer()) else { return false };
        let state = &mut self.end.arena[id].role.state;
        let range = self.expectation.farewell(state, self.end.driver.buffer(buffer));
        if range.is_empty() {
            if kept.is_none() {
                self.end.give_buffer(buffer);
            }
            self.end.leave_queue(id);
            self.begin_end(id);
            self.end.arm_shutdown(id, mode);
            return true;
        }
        self.end.arena[id].buffer = buffer;
        self.end.leave_queue(id);
        self.begin_end_by(id, LEAVES);
        let slot = &mut self.end.arena[id];
        (slot.start, slot.end) = (range.start, range.end);
        self.end.arm_send(id);
        true
    }

    /// Gives up those whose reply, or the rest of what came, has waited too long.
    pub(super) fn give_up_asides(&mut self) {
        while let Some(id) =
            self.end.first(Queue::Aside).filter(|&id| self.end.waited(id) >= ECHO_TIMEOUT)
        {
            self.lose(id, LostCause::Silent);
        }
    }
}

/// What is pending on a connection that is closed in this way.
fn pending_of(mode: ShutdownMode) -> u8 {
    match mode {
        ShutdownMode::Sending => LEAVES,
        ShutdownMode::Both => 0,
        ShutdownMode::Reset => CUT,
        ShutdownMode::Vanishing => VANISHES,
    }
}
