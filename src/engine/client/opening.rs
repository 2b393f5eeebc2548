//! A connection opens: what is said and heard on it before it counts as one.
//!
//! Only an expectation that opens has any of it ([`Expectation::OPENS`]).

use std::ops::Range;

use crate::base::constants::{CONNECT_TIMEOUT, HANDSHAKES_PER_TURN};
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::aside::Aside;
use crate::engine::client::role::LEAVES;
use crate::engine::driver::Dial;
use crate::engine::protocol::{Connection, Expectation, Handshaken, Opening};
use crate::engine::slot::{BufferId, ConnState, Queue, ReadSide};
use crate::engine::token::SlotId;
use crate::observe::stats::{Ending, LostCause};

impl<D: Dial, E: Expectation> Client<D, E> {
    /// It is connected, and what is said first goes out.
    pub(super) fn begin_opening(&mut self, id: SlotId) {
        if self.is_short(id) {
            let due = self.due_of_message(id);
            self.end.stats.churn_connect_latency_us.record(self.end.now - due);
        } else {
            self.record_connect(id);
        }
        let slot = &mut self.end.arena[id];
        slot.transition_to(ConnState::Open);
        slot.wait_from(self.end.now);
        slot.role.pending = 0;
        self.end.push(id, Queue::Opening);
        if E::COSTLY {
            return self.shaking.push(&mut self.end.arena, id);
        }
        match self.end.take_buffer() {
            Some(buffer) => self.say_first(id, buffer),
            None => self.starved.push(&mut self.end.arena, id),
        }
    }

    pub(super) fn is_opening(&self, id: SlotId) -> bool {
        self.end.arena[id].queue() == Queue::Opening
    }

    /// Whether nothing has been said on it.
    pub(super) fn is_to_open(&self, id: SlotId) -> bool {
        self.is_opening(id) && self.end.arena[id].role.pending == 0
    }

    pub(super) fn say_first(&mut self, id: SlotId, buffer: BufferId) {
        let (connection, now) = (self.connection(id), self.end.now);
        self.asides[buffer.index()] = Aside::default();
        let slot = &mut self.end.arena[id];
        let out = self.end.driver.buffer(buffer);
        let size = self.expectation.open(&mut slot.role.state, connection, now, out);
        slot.buffer = buffer;
        (slot.start, slot.end) = (0, size);
        slot.role.pending = 1;
        self.end.arm_poll(id);
        match size {
            0 => self.has_said_first(id),
            _ => self.end.arm_send(id),
        }
    }

    /// Goes on with some of the handshakes that wait for their turn.
    pub(super) fn take_handshakes(&mut self) {
        self.lacks_buffer = false;
        for _ in 0..HANDSHAKES_PER_TURN {
            if self.shaking.is_empty() {
                return;
            }
            let Some(buffer) = self.end.take_buffer() else { return self.lacks_buffer = true };
            let id = self.shaking.pop(&mut self.end.arena).expect("it is not empty");
            self.feed(id, buffer);
        }
    }

    pub(super) fn connection(&self, id: SlotId) -> Connection {
        let number = self.end.arena[id].role.number;
        let (target, source) = match self.shorts.get(&id) {
            Some(short) => (short.target, short.source),
            None => {
                let tuple = self.tuples.tuple_of(number);
                (tuple.target, tuple.source)
            }
        };
        Connection { number: self.tuples.identity(number), target, source }
    }

    pub(super) fn hear_opening(&mut self, id: SlotId) {
        let (connection, now) = (self.connection(id), self.end.now);
        let slot = &mut self.end.arena[id];
        let buffer = self.end.driver.buffer(slot.buffer);
        let (state, bytes) = (&mut slot.role.state, E::HEADROOM..slot.end);
        let opening = self.expectation.on_opening(state, connection, now, buffer, bytes);
        if let Some(kind) = self.expectation.take_handshake() {
            self.count_handshake(id, kind);
        }
        let slot = &mut self.end.arena[id];
        let buffer_bytes = self.end.driver.buffer(slot.buffer).len();
        match opening {
            Opening::NeedMore(rest) if usize::from(rest.end) < buffer_bytes => {
                slot.end = rest.end;
                if rest.is_empty() {
                    self.end.drop_buffer(id);
                }
                self.end.arm_poll(id);
            }
            Opening::Say { send, rest, is_open } => {
                let rest = (rest.start, rest.end);
                let aside = Aside { is_out: true, rest, is_open, ..Aside::default() };
                self.asides[slot.buffer.index()] = aside;
                (slot.start, slot.end) = (send.start, send.end);
                self.end.arm_send(id);
            }
            Opening::Open(rest) => self.opens_by_bytes(id, rest),
            Opening::NeedMore(_) => {
                self.note_bytes(id);
                self.fail_opening(id, Errno::EPROTO);
            }
            Opening::Refused { send, why } => {
                match why {
                    Some(why) => self.losses.opening_failed(&why),
                    None => self.note_bytes(id),
                }
                self.refuse_opening(id, send);
            }
        }
    }

    fn count_handshake(&self, id: SlotId, kind: Handshaken) {
        if self.is_return(id) {
            return;
        }
        let stats = &self.end.stats;
        let counter = match (self.is_short(id), kind) {
            (false, Handshaken::Full) => &stats.handshakes_full_total,
            (false, Handshaken::Resumed) => &stats.handshakes_resumed_total,
            (true, Handshaken::Full) => &stats.churn_handshakes_full_total,
            (true, Handshaken::Resumed) => &stats.churn_handshakes_resumed_total,
        };
        counter.add(1);
    }

    /// It counts as a connection, and what is left of its bytes belongs to it.
    fn opens_by_bytes(&mut self, id: SlotId, rest: Range<u16>) {
        self.end_opening(id);
        if !self.is_short(id) {
            self.hold(id);
            self.go_on(id, rest);
        } else if rest.is_empty() {
            self.send_short_when_open(id);
        } else {
            // Nothing may come before its message.
            self.note_bytes(id);
            self.end.push(id, Queue::Waiting);
            self.lose(id, LostCause::Mismatch);
        }
    }

    /// It never was a connection.
    fn fail_opening(&mut self, id: SlotId, errno: Errno) {
        self.count_opening_failed(id, errno);
        self.begin_end(id);
        self.close_step(id);
    }

    /// The same, and the server is told so by bytes of the slot's buffer, if there are any.
    fn refuse_opening(&mut self, id: SlotId, send: Range<u16>) {
        if send.is_empty() {
            return self.fail_opening(id, Errno::EPROTO);
        }
        self.count_opening_failed(id, Errno::EPROTO);
        // Its end is awaited: a close at once might be a reset, which overtakes these.
        self.end.arm_poll(id);
        self.begin_end_by(id, LEAVES);
        let slot = &mut self.end.arena[id];
        (slot.start, slot.end) = (send.start, send.end);
        self.end.arm_send(id);
    }

    fn count_opening_failed(&mut self, id: SlotId, errno: Errno) {
        self.end.stats.opening_failed_total.add(1);
        if self.is_short(id) {
            self.churning -= 1;
            self.count_churn_failed(errno);
        } else {
            let number = self.end.arena[id].role.number;
            self.count_failed(number, errno, self.end.waited(id));
        }
        self.end.remove(id, Queue::Opening);
    }

    /// It ended, as `ending` says, before it counted as a connection.
    pub(super) fn lose_opening(&mut self, id: SlotId, ending: Ending) {
        let errno = match ending {
            Ending::Failed(errno) => errno,
            Ending::Lost(LostCause::Silent | LostCause::Timeout) => Errno::ETIMEDOUT,
            Ending::Lost(LostCause::Reset) => Errno::ECONNRESET,
            Ending::Lost(LostCause::Mismatch) => Errno::EPROTO,
            Ending::Lost(LostCause::Fin | LostCause::Local) => Errno::ECONNABORTED,
        };
        self.fail_opening(id, errno);
    }

    fn end_opening(&mut self, id: SlotId) {
        if self.expectation.awaits_opening() && !self.is_return(id) {
            self.end.stats.opening_latency_us.record(self.end.waited(id));
        }
        self.end.remove(id, Queue::Opening);
        self.end.arena[id].role.pending = 0;
    }

    /// What was said first, or behind it, is gone. Where no answer is awaited it is open.
    pub(super) fn has_said_first(&mut self, id: SlotId) {
        let aside = &mut self.asides[self.end.arena[id].buffer.index()];
        let Aside { is_out, rest: (start, end), is_open, .. } = std::mem::take(aside);
        if is_out {
            return match is_open {
                true => self.opens_by_bytes(id, start..end),
                false if start < end => self.hear_rest(id, start..end),
                false => {
                    self.end.drop_buffer(id);
                    self.end.arm_poll(id);
                }
            };
        }
        if !self.expectation.awaits_opening() {
            self.end_opening(id);
            if self.is_short(id) {
                return self.send_short_when_open(id);
            }
            self.hold(id);
        }
        self.end.drop_buffer(id);
        if self.end.arena[id].read == ReadSide::Deferred {
            self.receive(id);
        }
    }

    /// Gives up those whose server does not agree in time.
    pub(super) fn give_up_openings(&mut self) {
        while let Some(id) =
            self.end.first(Queue::Opening).filter(|&id| self.end.waited(id) >= CONNECT_TIMEOUT)
        {
            self.fail_opening(id, Errno::ETIMEDOUT);
        }
    }
}
