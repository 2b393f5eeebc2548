//! Short connections: connect, one message, its echo, close. Each carries its message from the start,
//! so that the time at which it was due travels with it; from there on it is as any other.

use std::time::Duration;

use crate::base::constants::{CHURN_TRIES_MAX, CONNECTS_PER_TURN, MESSAGES_IN_FLIGHT};
use crate::base::errno::Errno;
use crate::engine::driver::{Dial, ShutdownMode};
use crate::engine::protocol::Expectation;
use crate::engine::protocol::message::Message;
use crate::engine::slot::{ConnState, Queue, ReadSide};
use crate::engine::token::{Operation, SlotId};

use crate::engine::client::Client;
use crate::engine::client::aside::Short;
use crate::engine::client::tuple_allocator::is_taken;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Begins the short connections that are due.
    pub(super) fn start_churn(&mut self) {
        let mut allowance = CONNECTS_PER_TURN;
        while allowance > 0 && self.churning < MESSAGES_IN_FLIGHT && self.may_connect() {
            let Some(due) = self.phase.churn.due_by(self.end.now) else { break };
            allowance -= 1;
            self.arm_short_connect(due);
        }
    }

    fn arm_short_connect(&mut self, due: Duration) {
        match self.connect_short(due) {
            None => return,
            Some(Err(errno)) if self.may_try_another(errno) => return,
            Some(Err(errno)) => self.count_churn_failed(errno),
            Some(Ok(())) => {}
        }
        self.churn_tries = 0;
        self.phase.churn.has_begun();
        self.end.stats.churn_started_total.add(1);
        self.count_lag(due);
    }

    /// A connect through the next tuple; `None` when there is no place for it now.
    fn connect_short(&mut self, due: Duration) -> Option<Result<(), Errno>> {
        let buffer = self.end.take_buffer()?;
        let Some(id) = self.take_slot() else {
            self.end.give_buffer(buffer);
            return None;
        };
        // Last, because a tuple that is taken and not used comes round too early.
        let connected = self.tuples.next_churn().map(|(number, tuple)| {
            let token = self.end.arena[id].token(Operation::Connect, id);
            let done = self.end.driver.connect(token, tuple.source, tuple.target);
            done.map(|()| (number, tuple))
        });
        if let Some(Ok((number, tuple))) = connected {
            self.churning += 1;
            self.on_connecting(id, number);
            if E::OPENS {
                // Its message is written when it is open.
                self.end.give_buffer(buffer);
                let (target, source) = (tuple.target, tuple.source);
                self.shorts.insert(id, Short { due, target, source });
            } else {
                self.write_message(id, buffer, due);
            }
        } else {
            self.end.arena.put_back(id, self.end.now_ms);
            self.end.give_buffer(buffer);
        }
        connected.map(|connected| connected.map(|_| ()))
    }

    /// A tuple that is taken is passed over, unless too many have been, one after the other.
    fn may_try_another(&mut self, errno: Errno) -> bool {
        self.churn_tries += 1;
        let may = is_taken(errno) && self.churn_tries < CHURN_TRIES_MAX;
        if may {
            self.end.stats.tuples_skipped_total.add(1);
        }
        may
    }

    /// It did not connect. A pinned port is found taken no sooner, as a rule because a process listens
    /// on it at another address. Then it is made anew through the next tuple, as due as it was.
    pub(super) fn on_short_failed(&mut self, id: SlotId, errno: Errno) {
        self.churning -= 1;
        let due = self.due_of_message(id);
        let is_made_anew = is_taken(errno)
            && self.may_try_another(errno)
            && matches!(self.connect_short(due), Some(Ok(())));
        if !is_made_anew {
            self.count_churn_failed(errno);
        }
    }

    pub(super) fn send_short_message(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        slot.transition_to(ConnState::Open);
        let due = self.due_of_message(id);
        self.end.stats.churn_connect_latency_us.record(self.end.now - due);
        self.await_short_answer(id);
    }

    /// It is open, as a layer has it, and its message goes out in the buffer in which that came.
    pub(super) fn send_short_when_open(&mut self, id: SlotId) {
        let (buffer, due) = (self.end.arena[id].buffer, self.due_of_message(id));
        self.write_message(id, buffer, due);
        self.await_short_answer(id);
    }

    fn await_short_answer(&mut self, id: SlotId) {
        let slot = &mut self.end.arena[id];
        slot.wait_from(self.end.now);
        slot.role.pending = 1;
        self.end.push(id, Queue::Waiting);
        if self.end.arena[id].read == ReadSide::Idle {
            self.end.arm_poll(id);
        }
        self.end.arm_send(id);
    }

    pub(super) fn count_churn_failed(&self, errno: Errno) {
        self.end.stats.churn_failed_total.add(1);
        self.end.stats.churn_failed[errno.index()].add(1);
    }

    pub(super) fn is_short(&self, id: SlotId) -> bool {
        self.tuples.is_short(self.end.arena[id].role.number)
    }

    /// When the message that the slot carries, or will, was due.
    pub(super) fn due_of_message(&mut self, id: SlotId) -> Duration {
        if E::OPENS {
            return self.shorts[&id].due;
        }
        let slot = &self.end.arena[id];
        let range = usize::from(slot.start)..usize::from(slot.end);
        Message::due_of(&self.end.driver.buffer(slot.buffer)[range])
    }

    /// An exchange is done; nothing is with the kernel, so a close in order is all it takes.
    pub(super) fn on_short_answer(&mut self, id: SlotId, took: Duration) {
        self.end.stats.churned_total.add(1);
        self.end.stats.churn_latency_us.record(took);
        self.end.leave_queue(id);
        self.churning -= 1;
        if E::OPENS && self.config.close == ShutdownMode::Sending {
            self.end.arm_poll(id);
            if self.leave(id, ShutdownMode::Sending) {
                return;
            }
        }
        self.begin_end(id);
        match self.config.close {
            mode @ (ShutdownMode::Reset | ShutdownMode::Vanishing) => {
                self.end.arm_shutdown(id, mode)
            }
            ShutdownMode::Sending | ShutdownMode::Both => self.close_step(id),
        }
    }
}
