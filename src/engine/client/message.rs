//! One message out, and what comes in: its answer, which is verified, texts that come unasked, or
//! nothing of ours.

use std::ops::Range;
use std::time::Duration;

use crate::base::constants::{ECHO_LATE_AFTER, MESSAGES_IN_FLIGHT, SWEEPS_IN_FLIGHT};
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::aside::Aside;
use crate::engine::client::phase::Phase;
use crate::engine::driver::{Dial, Readiness};
use crate::engine::protocol::message::Message;
use crate::engine::protocol::{Expectation, Heard, What};
use crate::engine::slot::{BufferId, ConnState, Queue, ReadSide};
use crate::engine::token::SlotId;
use crate::observe::stats::LostCause;

impl<D: Dial, E: Expectation> Client<D, E> {
    // ---- one message out ------------------------------------------------------------------

    /// Sends what is left to send of this phase; whether every answer has come.
    pub(super) fn start_messages(&mut self) -> bool {
        // A sweep measures no latency, and may meet a server that answers no message.
        let is_sweep = self.phase.now() == Phase::Sweep;
        let most = if is_sweep { SWEEPS_IN_FLIGHT } else { MESSAGES_IN_FLIGHT };
        let mut allowance = MESSAGES_IN_FLIGHT;
        while self.phase.to_send.min(allowance.into()) > 0
            && self.end.count(Queue::Waiting) < most
            && self.send_message(self.end.now)
        {
            allowance -= 1;
            self.phase.to_send -= 1;
        }
        let open = self.end.count(Queue::Resting) + self.end.count(Queue::Aside);
        (self.phase.to_send == 0 || open == 0) && self.end.count(Queue::Waiting) == 0
    }

    pub(super) fn start_scheduled_messages(&mut self) {
        while self.end.count(Queue::Waiting) < MESSAGES_IN_FLIGHT {
            let due = self.phase.messages.due_by(self.end.now);
            let Some(due) = due.filter(|&due| self.send_message(due)) else { return };
            self.phase.messages.has_begun();
            self.count_lag(due);
        }
    }

    /// Sends a message that was due at `due` on the connection that has rested the longest.
    fn send_message(&mut self, due: Duration) -> bool {
        // One that was readable unasked holds its buffer; its receive says in a moment what it is.
        let is_quiet = |id: &SlotId| self.end.arena[*id].read == ReadSide::Polling;
        let first = self.end.first(Queue::Resting).filter(is_quiet);
        first.is_some_and(|id| self.send_message_on(id, due))
    }

    /// Sends a message that was due at `due` on a connection on which nothing is out; whether there was a buffer.
    pub(super) fn send_message_on(&mut self, id: SlotId, due: Duration) -> bool {
        let Some(buffer) = self.end.take_buffer() else { return false };
        self.end.remove(id, Queue::Resting);
        let slot = &mut self.end.arena[id];
        slot.wait_from(self.end.now);
        slot.role.pending = 1;
        self.expectation.next_sequence(&mut slot.role.state);
        self.end.push(id, Queue::Waiting);
        self.end.stats.messages_sent_total.add(1);
        self.write_message(id, buffer, due);
        self.end.arm_send(id);
        true
    }

    pub(super) fn write_message(&mut self, id: SlotId, buffer: BufferId, due: Duration) {
        if E::OPENS {
            self.asides[buffer.index()] = Aside::default();
        }
        let connection = E::FILLS_IN.then(|| self.connection(id));
        let slot = &mut self.end.arena[id];
        slot.buffer = buffer;
        let message = Message {
            run: self.config.run,
            connection: self.tuples.identity(slot.role.number),
            sequence: self.expectation.sequence(&slot.role.state).into(),
            due,
        };
        let bytes = self.end.driver.buffer(buffer);
        let size = self.config.message_bytes;
        let state = &mut slot.role.state;
        let written = self.expectation.write(state, connection, &message, size, bytes);
        (slot.start, slot.end) = (written.start, written.end);
    }

    pub(super) fn on_sent(&mut self, id: SlotId) {
        if E::OPENS && self.is_opening(id) {
            return self.has_said_first(id);
        }
        if self.is_reluctant(id) {
            return self.on_sent_reluctantly(id);
        }
        if E::OPENS && self.has_sent_aside(id) {
            return;
        }
        self.end.drop_buffer(id);
        if E::OPENS && self.end.arena[id].queue() == Queue::Aside {
            self.step_back(id);
        } else if !self.expectation.is_answered() {
            self.rest(id);
        }
        if self.end.arena[id].read == ReadSide::Deferred {
            self.receive(id);
        }
    }

    /// Nothing is out on it any more.
    fn rest(&mut self, id: SlotId) {
        self.end.arena[id].role.pending = 0;
        self.end.remove(id, Queue::Waiting);
        self.end.push(id, Queue::Resting);
    }

    // ---- it is readable -------------------------------------------------------------------

    pub(super) fn on_readable(&mut self, id: SlotId, result: Result<Readiness, Errno>) {
        let ready = result.unwrap_or(Readiness::ERROR);
        if self.is_reluctant(id) {
            return self.on_readable_reluctantly(id, ready);
        }
        let has_only_ended = ready.peer_has_ended() && !ready.has_error();
        let is_asked = self.end.arena[id].role.pending > 0 || self.expectation.is_unasked();
        let may_have_sent = is_asked || E::OPENS;
        if has_only_ended && !may_have_sent {
            return self.lose(id, LostCause::Fin);
        }
        self.receive(id);
    }

    pub(super) fn receive(&mut self, id: SlotId) {
        if self.end.arena[id].buffer == BufferId::NONE {
            if E::COSTLY && self.is_opening(id) {
                return self.shaking.push(&mut self.end.arena, id);
            }
            let Some(buffer) = self.end.take_buffer() else { return self.starve(id) };
            self.place_buffer(id, buffer);
        }
        self.end.arm_recv(id);
    }

    /// Bytes come into a buffer behind what an expectation has free before them.
    fn place_buffer(&mut self, id: SlotId, buffer: BufferId) {
        let slot = &mut self.end.arena[id];
        slot.buffer = buffer;
        slot.end = E::HEADROOM;
    }

    /// A connection is readable, and there is no buffer.
    fn starve(&mut self, id: SlotId) {
        self.end.stats.recv_starved_total.add(1);
        if self.expectation.is_unasked() {
            // Nothing is sent, so that every buffer is in a receive of bytes that are there, and comes
            // back in the next turn. The slot's range counts what is overdue.
            return self.end.arm_poll(id);
        }
        self.starved.push(&mut self.end.arena, id);
    }

    /// Gives what buffers there are to the connections that wait for one.
    pub(super) fn feed_starved(&mut self) {
        while !self.starved.is_empty() {
            let Some(buffer) = self.end.take_buffer() else { return };
            let id = self.starved.pop(&mut self.end.arena).expect("it is not empty");
            self.feed(id, buffer);
        }
    }

    /// What has waited for a buffer or its turn has one.
    pub(super) fn feed(&mut self, id: SlotId, buffer: BufferId) {
        if E::OPENS && self.is_to_open(id) {
            self.say_first(id, buffer);
        } else {
            self.place_buffer(id, buffer);
            self.end.arm_recv(id);
        }
    }

    /// There were no bytes after all. The beginning of an answer stays in its buffer.
    pub(super) fn poll_again(&mut self, id: SlotId) {
        if self.end.arena[id].end == E::HEADROOM {
            self.end.drop_buffer(id);
        }
        self.end.arm_poll(id);
    }

    /// Bytes came: the expectation says what they are.
    pub(super) fn hear(&mut self, id: SlotId) {
        if E::OPENS && self.is_opening(id) {
            return self.hear_opening(id);
        }
        if self.is_reluctant(id) {
            return self.hear_reluctantly(id);
        }
        let slot = &mut self.end.arena[id];
        let is_asked = slot.role.pending > 0 || self.expectation.is_unasked();
        if !is_asked && !E::OPENS {
            return self.mismatch(id);
        }
        let buffer = self.end.driver.buffer(slot.buffer);
        let bytes = E::HEADROOM..slot.end;
        let Heard { what, rest } = self.expectation.on_bytes(&mut slot.role.state, buffer, bytes);
        match what {
            // An answer that is longer than a buffer never ends.
            What::NeedMore if usize::from(rest.end) == buffer.len() => self.mismatch(id),
            What::NeedMore if E::OPENS => self.keep(id, rest),
            What::NeedMore => self.end.arm_poll(id),
            What::Answer(message) if is_asked && self.is_ours(id, &message) => {
                self.on_answer(id, message.due);
                self.go_on(id, rest);
            }
            What::Done(due_us) if is_asked => {
                self.on_answer(id, before(self.end.now, due_us));
                self.go_on(id, rest);
            }
            What::Alive => {
                self.end.stats.keepalives_answered_total.add(1);
                self.go_on(id, rest);
            }
            What::Nothing => self.go_on(id, rest),
            What::Unasked { texts, had_one } => {
                self.on_unasked(id, texts, had_one);
                self.go_on(id, rest);
            }
            What::Broadcast(receipt) => self.on_broadcast(id, &receipt, rest),
            What::Reply(send) => self.reply(id, send, rest),
            What::Ends(send) => self.end_with(id, send, LostCause::Fin),
            What::Wrong(send) => {
                self.count_mismatch(id);
                self.end_with(id, send, LostCause::Mismatch);
            }
            What::Answer(_) | What::Done(_) | What::Mismatch => self.mismatch(id),
        }
    }

    /// What follows the bytes that are dealt with: others behind them, or it is idle again.
    #[inline]
    pub(super) fn go_on(&mut self, id: SlotId, rest: Range<u16>) {
        if self.end.arena[id].state() != ConnState::Open {
            // A short connection that is answered closes.
            return;
        }
        if E::OPENS && rest.is_empty() {
            return self.keep(id, rest);
        }
        if E::OPENS {
            return self.hear_rest(id, rest);
        }
        self.end.drop_buffer(id);
        self.end.arm_poll(id);
    }

    /// Whether a message is the one that was sent last on this connection.
    fn is_ours(&self, id: SlotId, message: &Message) -> bool {
        let role = &self.end.arena[id].role;
        message.run == self.config.run
            && message.connection == self.tuples.identity(role.number)
            && message.sequence == u32::from(self.expectation.sequence(&role.state))
            && message.due <= self.end.now
    }

    fn on_answer(&mut self, id: SlotId, due: Duration) {
        let took = self.end.now - due;
        if self.is_short(id) {
            self.end.drop_buffer(id);
            return self.on_short_answer(id, took);
        }
        self.end.stats.messages_total.add(1);
        // A sweep asks whether they live, not how fast.
        if self.phase.now() != Phase::Sweep {
            self.end.stats.message_latency_us.record(took);
            if self.returns.len() > 0 && self.returns.has_stayed(self.end.arena[id].role.number) {
                self.end.stats.stayed_latency_us.record(took);
            }
            self.end.stats.messages_late_total.add(u64::from(took > ECHO_LATE_AFTER));
        }
        self.rest(id);
    }

    /// Bytes that are not what was to come.
    fn mismatch(&mut self, id: SlotId) {
        self.count_mismatch(id);
        self.lose(id, LostCause::Mismatch);
    }

    fn count_mismatch(&mut self, id: SlotId) {
        self.end.stats.messages_mismatched_total.add(1);
        self.note_bytes(id);
    }

    /// Keeps the first of the bytes that are not what was to come.
    pub(super) fn note_bytes(&mut self, id: SlotId) {
        let slot = &self.end.arena[id];
        let bytes = E::HEADROOM.min(slot.end)..slot.end;
        let shown = self.expectation.last_shown(self.end.driver.buffer(slot.buffer), bytes);
        self.losses.unexpected(&shown);
    }
}

/// The last time before `now` of which these are the low 32 bits in microseconds.
#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn before(now: Duration, low_us: u32) -> Duration {
    let passed = (now.as_micros() as u32).wrapping_sub(low_us);
    now.saturating_sub(Duration::from_micros(passed.into()))
}
