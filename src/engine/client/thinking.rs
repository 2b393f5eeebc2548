//! Messages by think times: each connection has its own, and when its next message is due depends on no other's. A
//! message is due one think time after the one before it was due, however long the answer takes.

use std::time::Duration;

use crate::base::constants::{MESSAGES_IN_FLIGHT, SCHEDULE_SLACK};
use crate::engine::client::Client;
use crate::engine::client::config::Schedule;
use crate::engine::client::dues::Due;
use crate::engine::client::phase::Phase;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::{ConnState, Queue, ReadSide};
use crate::engine::token::{Operation, SlotId, Token};

impl<D: Dial, E: Expectation> Client<D, E> {
    /// The mean of think times, while messages are due by them.
    pub(super) fn think_mean(&self) -> Option<Duration> {
        let is_time = self.phase.now() == Phase::Traffic && !self.config.pace.is_paused;
        match self.config.pace.schedule {
            Schedule::Exponential(mean) if is_time => Some(mean),
            _ => None,
        }
    }

    /// From now on every connection has its first message due, or none has any.
    pub(super) fn begin_thinking(&mut self, now: Duration) {
        let Some(mean) = self.think_mean() else { return self.thoughts.set(std::iter::empty()) };
        let mut all = Vec::new();
        for queue in [Queue::Resting, Queue::Aside, Queue::Waiting] {
            let mut next = self.end.first(queue);
            while let Some(id) = next {
                if !self.is_short(id) {
                    all.push(self.first_thought(id, mean, now));
                }
                next = self.end.behind(id);
            }
        }
        self.thoughts.set(all.into_iter());
    }

    /// A connection has come into being: its first message is due where messages are due by think times.
    pub(super) fn think_of(&mut self, id: SlotId) {
        if let Some(mean) = self.think_mean() {
            let first = self.first_thought(id, mean, self.end.now);
            self.thoughts.add(first);
        }
    }

    fn first_thought(&self, id: SlotId, mean: Duration, now: Duration) -> Due {
        let generation = self.end.arena[id].generation();
        let at = now + self.think(id, mean, 0);
        Due { at, id, generation, nth: 0 }
    }

    pub(super) fn think(&self, id: SlotId, mean: Duration, nth: u32) -> Duration {
        let number = self.end.arena[id].role.number;
        let life = self.returns.life(number);
        self.choices.think(mean, self.tuples.identity(number), life, nth)
    }

    /// Whether the connection of something that is due still lives.
    pub(super) fn is_alive(&self, due: &Due) -> bool {
        let token = Token::new(Operation::PollReadable, due.generation, due.id);
        self.end.arena.is_current(token) && self.end.arena[due.id].state() == ConnState::Open
    }

    /// Sends what is due.
    pub(super) fn start_thoughts(&mut self) {
        let Some(mean) = self.think_mean() else { return };
        let now = self.end.now;
        for due in std::mem::take(&mut self.thoughts.held_back) {
            // The message before was waited for, or what keeps the connection alive: no lag of the client.
            if self.is_alive(&due) && !(self.may_send_on(due.id) && self.send_thought(due, mean)) {
                self.thoughts.held_back.push(due);
            }
        }
        while self.end.count(Queue::Waiting) < MESSAGES_IN_FLIGHT {
            let Some(due) = self.thoughts.take_by(now) else { return };
            if !self.is_alive(&due) {
                continue;
            }
            if !self.may_send_on(due.id) {
                self.thoughts.held_back.push(due);
            } else if self.send_thought(due, mean) {
                self.count_lag(due.at);
            } else {
                // A buffer comes back with what is out.
                return self.thoughts.add(due);
            }
        }
    }

    /// Whether nothing is out on a connection, and nothing is coming.
    fn may_send_on(&self, id: SlotId) -> bool {
        let slot = &self.end.arena[id];
        let is_free = slot.queue() == Queue::Resting && slot.read == ReadSide::Polling;
        is_free && self.end.count(Queue::Waiting) < MESSAGES_IN_FLIGHT
    }

    /// Sends one message, behind which the next is due; whether there was a buffer.
    fn send_thought(&mut self, due: Due, mean: Duration) -> bool {
        if !self.send_message_on(due.id, due.at) {
            return false;
        }
        let nth = due.nth + 1;
        let at = due.at + self.think(due.id, mean, nth);
        self.thoughts.add(Due { at, nth, ..due });
        true
    }

    /// Messages that were due, and had not begun when think times end, are counted.
    pub(super) fn end_thinking(&self, now: Duration) {
        let Some(mean) = self.think_mean() else { return };
        // What came due at the very end has no time to begin.
        let until = now.saturating_sub(SCHEDULE_SLACK);
        let unsent = |due: Due| {
            let (mut at, mut nth, mut count) = (due.at, due.nth, 0);
            while at <= until {
                (count, nth) = (count + 1, nth + 1);
                at += self.think(due.id, mean, nth);
            }
            count
        };
        let unsent: u64 = self.thoughts.iter().filter(|due| self.is_alive(due)).map(unsent).sum();
        self.end.stats.messages_unsent_total.add(unsent);
    }
}
