//! Connections that read slowly, or not at all, as some users do: chosen by the seed among the held ones, from the first
//! hold on. They stand apart from the others: nothing that they are sent is verified or timed, and what becomes of
//! them for that is no loss.
//!
//! What is not read stays with the kernel: first in the client's receive buffer, then with the server.

use std::time::Duration;

use crate::base::constants::{CONNECTS_PER_TURN, READERS_LOOK};
use crate::engine::client::Client;
use crate::engine::client::choices::Choice;
use crate::engine::client::config::Schedule;
use crate::engine::client::dues::Due;
use crate::engine::client::phase::Phase;
use crate::engine::client::role::CUT;
use crate::engine::driver::{Dial, Readiness};
use crate::engine::protocol::Expectation;
use crate::engine::slot::{BufferId, Queue, ReadSide, WriteSide};
use crate::engine::token::SlotId;

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Connections that read as they should.
    pub(super) fn prompt_connections(&self) -> u64 {
        self.connections.saturating_sub(self.reluctant.count())
    }

    #[inline]
    pub(super) fn is_reluctant(&self, id: SlotId) -> bool {
        self.end.arena[id].queue() == Queue::Reluctant
    }

    /// Where a connection stands among all, from 0 to 1: first those that are silent, then the slow ones.
    fn stands(&self, id: SlotId) -> f64 {
        let number = self.end.arena[id].role.number;
        self.choices.part(Choice::Reader, self.tuples.identity(number), 0, 0)
    }

    fn is_silent(&self, id: SlotId) -> bool {
        self.config.readers.is_some_and(|readers| self.stands(id) <= readers.silent)
    }

    /// A hold begins: those that are chosen, and have not been so far, read as they do from now on.
    pub(super) fn begin_reluctant(&mut self, phase: Phase) {
        let Some(readers) = self.config.readers.filter(|_| phase == Phase::Traffic) else { return };
        let mut chosen = Vec::new();
        for queue in [Queue::Resting, Queue::Overdue] {
            let mut next = self.end.first(queue);
            while let Some(id) = next {
                let slot = &self.end.arena[id];
                let is_quiet = slot.read == ReadSide::Polling && slot.write == WriteSide::Idle;
                if is_quiet && self.stands(id) <= readers.silent + readers.slow {
                    chosen.push(id);
                }
                next = self.end.behind(id);
            }
        }
        for id in chosen {
            if self.end.arena[id].buffer != BufferId::NONE {
                self.end.drop_buffer(id);
            }
            self.end.leave_queue(id);
            self.end.push(id, Queue::Reluctant);
            let is_silent = self.is_silent(id);
            *self.reluctant_count(is_silent) += 1;
        }
    }

    fn reluctant_count(&mut self, is_silent: bool) -> &mut u64 {
        if is_silent { &mut self.reluctant.silent } else { &mut self.reluctant.slow }
    }

    /// Messages are due on them as on the others, each by itself: a server that only sends what it was sent has
    /// nothing else for them.
    pub(super) fn begin_reluctant_sends(&mut self, now: Duration) {
        if self.reluctant.count() == 0 {
            return;
        }
        let is_time = self.phase.now() == Phase::Traffic && !self.config.pace.is_paused;
        let mut all = Vec::new();
        let mut next = self.end.first(Queue::Reluctant).filter(|_| is_time);
        while let Some(id) = next {
            // The first of them are spread over a whole interval.
            let part =
                self.choices.part(Choice::Reader, self.tuples.identity(self.number(id)), 0, 1);
            let generation = self.end.arena[id].generation();
            let first = self.send_interval(id, 0).map(|interval| now + interval.mul_f64(part));
            all.extend(first.map(|at| Due { at, id, generation, nth: 0 }));
            next = self.end.behind(id);
        }
        self.reluctant.sends.set(all.into_iter());
    }

    fn number(&self, id: SlotId) -> u32 {
        self.end.arena[id].role.number
    }

    /// Time between two messages.
    fn send_interval(&self, id: SlotId, nth: u32) -> Option<Duration> {
        match self.config.pace.schedule {
            Schedule::None => None,
            Schedule::Every(interval) => Some(interval),
            Schedule::Exponential(mean) => Some(self.think(id, mean, nth)),
            Schedule::PerSecond(rate) => {
                let per_s = self.phase.part_of(rate);
                Duration::try_from_secs_f64(self.connections as f64 / per_s).ok()
            }
        }
    }

    /// Does what is due on them.
    pub(super) fn start_reluctant(&mut self) {
        if self.reluctant.count() == 0 {
            return;
        }
        let now = self.end.now;
        while let Some(due) = self.reluctant.reads.take_by(now) {
            if self.is_alive(&due) && self.end.arena[due.id].read == ReadSide::Idle {
                self.end.arm_poll(due.id);
            }
        }
        if self.phase.now() != Phase::Traffic || self.config.pace.is_paused {
            return;
        }
        for _ in 0..CONNECTS_PER_TURN {
            let Some(due) = self.reluctant.sends.take_by(now) else { return };
            if !self.is_alive(&due) {
                continue;
            }
            self.send_reluctantly(due);
            if let Some(interval) = self.send_interval(due.id, due.nth + 1) {
                self.reluctant.sends.add(Due { at: due.at + interval, nth: due.nth + 1, ..due });
            }
        }
    }

    /// Sends one message, unless the one before is stuck.
    fn send_reluctantly(&mut self, due: Due) {
        let slot = &self.end.arena[due.id];
        let is_free = slot.write == WriteSide::Idle
            && slot.buffer == BufferId::NONE
            && matches!(slot.read, ReadSide::Idle | ReadSide::Polling);
        if !is_free {
            return;
        }
        let Some(buffer) = self.end.take_buffer() else { return };
        self.expectation.next_sequence(&mut self.end.arena[due.id].role.state);
        self.end.stats.reluctant_messages_total.add(1);
        self.write_message(due.id, buffer, due.at);
        self.end.arm_send(due.id);
    }

    pub(super) fn on_sent_reluctantly(&mut self, id: SlotId) {
        self.end.drop_buffer(id);
        if self.end.arena[id].read == ReadSide::Deferred {
            self.end.arena[id].read = ReadSide::Idle;
            self.read_later(id, Duration::ZERO);
        }
    }

    fn read_later(&mut self, id: SlotId, wait: Duration) {
        let generation = self.end.arena[id].generation();
        self.reluctant.reads.add(Due { at: self.end.now + wait, id, generation, nth: 0 });
    }

    /// There is something to read, or the server has ended it.
    pub(super) fn on_readable_reluctantly(&mut self, id: SlotId, ready: Readiness) {
        if !self.is_silent(id) {
            return self.receive(id);
        }
        if ready.peer_has_ended() || ready.has_error() || ready.is_gone() {
            return self.end_reluctant(id);
        }
        self.read_later(id, READERS_LOOK);
    }

    /// What a slow one has read is not looked at; after as long as it takes to read it, it reads on.
    pub(super) fn hear_reluctantly(&mut self, id: SlotId) {
        let bytes = self.end.arena[id].end.saturating_sub(E::HEADROOM);
        self.end.stats.reluctant_bytes_total.add(bytes.into());
        self.end.drop_buffer(id);
        let rate = self.config.readers.map_or(1.0, |readers| readers.bytes_per_s);
        let wait = Duration::try_from_secs_f64(f64::from(bytes) / rate);
        self.read_later(id, wait.unwrap_or(Duration::MAX));
    }

    /// The server, or what is between, has ended one: no loss of a connection that reads.
    pub(super) fn end_reluctant(&mut self, id: SlotId) {
        let ended = if self.is_silent(id) {
            &self.end.stats.silent_readers_ended_total
        } else {
            &self.end.stats.slow_readers_ended_total
        };
        ended.add(1);
        self.cut_reluctant(id);
    }

    /// Cuts one, however much the kernel holds of it.
    pub(super) fn cut_reluctant(&mut self, id: SlotId) {
        let is_silent = self.is_silent(id);
        *self.reluctant_count(is_silent) -= 1;
        self.connections -= 1;
        self.end.leave_queue(id);
        self.begin_end_by(id, CUT);
        self.close_step(id);
    }

    pub(super) fn set_reluctant_gauges(&self) {
        self.end.stats.silent_readers.set(self.reluctant.silent);
        self.end.stats.slow_readers.set(self.reluctant.slow);
    }

    /// Time until something is due on one of them.
    pub(super) fn reluctant_sleep(&self) -> Option<Duration> {
        let [reads, sends] = [&self.reluctant.reads, &self.reluctant.sends];
        let sends = sends.sleep(self.end.now).filter(|_| self.phase.now() == Phase::Traffic);
        reads.sleep(self.end.now).into_iter().chain(sends).min()
    }
}
