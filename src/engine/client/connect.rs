//! A connection begins: a tuple, a connect, and then it is held.

use std::time::Duration;

use crate::base::constants::CONNECTS_PER_TURN;
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::tuple_allocator::is_taken;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::{ConnState, Queue, low_milliseconds};
use crate::engine::token::{Operation, SlotId};
use crate::observe::stats::Ending;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Starts connects; whether all have been answered.
    pub(super) fn start_connects(&mut self) -> bool {
        let mut allowance = CONNECTS_PER_TURN;
        while allowance > 0 && self.phase.to_start > 0 && self.may_connect() {
            let Some(due) = self.phase.connects.due_by(self.end.now) else { break };
            allowance -= 1;
            self.arm_connect(due);
        }
        self.phase.to_start == 0 && self.connecting() == 0
    }

    pub(super) fn may_connect(&self) -> bool {
        self.connecting() < self.config.connects_in_flight && self.end.may_grow()
    }

    /// Connects that have begun, and are no connections yet.
    pub(super) fn connecting(&self) -> u32 {
        self.end.count(Queue::Connecting) + self.end.count(Queue::Opening)
    }

    fn arm_connect(&mut self, due: Duration) {
        let Some(id) = self.take_slot() else { return };
        let Some((number, tuple)) = self.tuples.next_long_lived() else {
            self.end.arena.put_back(id, self.end.now_ms);
            return self.give_up(Errno::EADDRNOTAVAIL);
        };
        self.phase.to_start -= 1;
        self.end.stats.connect_started_total.add(1);
        self.opened.begin(number, low_milliseconds(self.end.now));
        let token = self.end.arena[id].token(Operation::Connect, id);
        match self.end.driver.connect(token, tuple.source, tuple.target) {
            Ok(()) => {
                self.phase.connects.has_begun();
                if self.config.pace.connects_per_s.is_some() {
                    self.end.stats.schedule_lag_us.record(self.end.now - due);
                }
                self.on_connecting(id, number);
            }
            Err(errno) => {
                self.end.arena.put_back(id, self.end.now_ms);
                self.count_failed(number, errno, Duration::ZERO);
            }
        }
    }

    pub(super) fn on_connecting(&mut self, id: SlotId, number: u32) {
        let slot = &mut self.end.arena[id];
        slot.transition_to(ConnState::Connecting);
        slot.role.number = number;
        slot.wait_from(self.end.now);
        self.end.push(id, Queue::Connecting);
    }

    /// A free slot, if need be of another segment.
    pub(super) fn take_slot(&mut self) -> Option<SlotId> {
        if self.end.arena.is_full() {
            if self.phase.is_filling() {
                self.give_up(Errno::EMFILE);
            }
            return None;
        }
        match self.end.take_slot() {
            Ok(slot) => slot,
            Err(errno) => {
                // Nothing on its way that could free a slot? Then there will never be one.
                if self.connecting() == 0 && self.end.count(Queue::Ending) == 0 {
                    self.give_up(errno);
                }
                None
            }
        }
    }

    /// Counts every connect that was not started yet as failed.
    fn give_up(&mut self, errno: Errno) {
        if self.phase.is_filling() {
            return self.give_up_filling(errno);
        }
        self.count_connects_failed(errno, self.phase.to_start);
        self.phase.to_start = 0;
    }

    pub(super) fn on_connect(&mut self, id: SlotId, result: Result<u32, Errno>) {
        self.end.remove(id, Queue::Connecting);
        let errno = match result {
            Ok(_) if E::OPENS => return self.begin_opening(id),
            Ok(_) if self.is_short(id) => return self.send_short_message(id),
            Ok(_) => {
                self.record_connect(id);
                self.end.arena[id].transition_to(ConnState::Open);
                self.hold(id);
                return self.end.arm_poll(id);
            }
            // Only a connect that takes too long is cancelled.
            Err(Errno::ECANCELED) => Errno::ETIMEDOUT,
            Err(errno) => errno,
        };
        if self.is_short(id) {
            self.on_short_failed(id, errno);
        } else {
            let number = self.end.arena[id].role.number;
            if is_taken(errno) && !self.returns.is_under_way(number) {
                self.phase.connects.give_back();
            }
            self.count_failed(number, errno, self.end.waited(id));
        }
        self.begin_end(id);
        self.close_step(id);
    }

    /// How long a connect took, unless it is of a connection that comes back: those have figures of their own.
    pub(super) fn record_connect(&self, id: SlotId) {
        if !self.is_return(id) {
            self.end.stats.connect_latency_us.record(self.end.waited(id));
        }
    }

    pub(super) fn is_return(&self, id: SlotId) -> bool {
        self.returns.is_under_way(self.end.arena[id].role.number)
    }

    /// It counts as a connection.
    pub(super) fn hold(&mut self, id: SlotId) {
        self.connections += 1;
        self.end.stats.connected_total.add(1);
        self.has_returned(self.end.arena[id].role.number);
        self.begin_life(id);
        self.end.arena[id].wait_from(self.end.now);
        self.end.push(id, Queue::Resting);
        self.think_of(id);
        self.look_for_wall(None);
    }

    /// A tuple that is taken is passed over, its connect is made with another; anything else counts.
    pub(super) fn count_failed(&mut self, number: u32, errno: Errno, waited: Duration) {
        if self.is_return_failed(number, errno) {
            return;
        }
        if is_taken(errno) {
            self.tuples.skip();
            self.losses.skip(number);
            self.phase.start(1, &self.end.stats);
            self.end.stats.tuples_skipped_total.add(1);
        } else {
            self.count_connects_failed(errno, 1);
            self.note_loss(number, Ending::Failed(errno), waited);
            self.look_for_wall(Some(errno));
        }
    }

    pub(super) fn count_connects_failed(&self, errno: Errno, connects: u64) {
        self.end.stats.connect_failed_total.add(connects);
        self.end.stats.failed[errno.index()].add(connects);
    }
}
