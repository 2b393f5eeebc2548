//! Lives of held connections that end in a hold: a connection whose life is over is closed in order, and another is made
//! in its place at once, under its number and through another tuple.
//!
//! A life begins when its connection counts as one. One that is over while no hold goes on is taken for several, one after
//! the other, as if its connection had come and gone meanwhile: else all of these would end together when a hold begins.

use std::cmp::Reverse;
use std::time::Duration;

use crate::base::clock::microseconds;
use crate::base::constants::{CLOSES_IN_FLIGHT, CONNECTS_PER_TURN};
use crate::engine::client::Client;
use crate::engine::client::dues::Due;
use crate::engine::client::returns::Lost;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::Queue;
use crate::engine::token::SlotId;

/// Lives of one connection that are looked at, to find the one that goes on when a hold begins.
const RENEWED_MOST: u32 = 64;

/// The least of a life that is left when a hold begins.
const RENEWED_LEAST: Duration = Duration::from_micros(1);

impl<D: Dial, E: Expectation> Client<D, E> {
    /// Whether lives end now.
    pub(super) fn lives_end(&self) -> bool {
        self.config.lifetime.is_some() && self.phase.holds() && !self.config.pace.is_paused
    }

    /// A connection counts as one: its life begins.
    pub(super) fn begin_life(&mut self, id: SlotId) {
        let Some(lasts) = self.lasts(id) else { return };
        let generation = self.end.arena[id].generation();
        self.lives.ends.add(Due { at: self.end.now + lasts, id, generation, nth: 0 });
    }

    /// How long the life of a connection is.
    fn lasts(&self, id: SlotId) -> Option<Duration> {
        let number = self.end.arena[id].role.number;
        let life = self.returns.life(number);
        Some(self.choices.lifetime(self.config.lifetime?, self.tuples.identity(number), life))
    }

    /// Ends the lives that are over.
    pub(super) fn start_departures(&mut self) {
        if !self.lives_end() || !self.phase.may_open() {
            return;
        }
        for due in std::mem::take(&mut self.lives.ends.held_back) {
            if self.is_alive(&due) && !self.depart(due) {
                self.lives.ends.held_back.push(due);
            }
        }
        for _ in 0..CONNECTS_PER_TURN {
            if self.end.count(Queue::Ending) >= CLOSES_IN_FLIGHT {
                return;
            }
            let Some(due) = self.lives.ends.take_by(self.end.now) else { return };
            if self.is_alive(&due) && !self.depart(due) {
                self.lives.ends.held_back.push(due);
            }
        }
    }

    /// Closes a connection whose life is over, unless something is out on it; another takes its place.
    fn depart(&mut self, due: Due) -> bool {
        // A push that is overdue would be missing for ever.
        let is_at_rest = self.end.arena[due.id].queue() == Queue::Resting;
        let has_room = self.end.count(Queue::Ending) < CLOSES_IN_FLIGHT;
        let begun = self.lasts(due.id).map(|lasts| due.at.saturating_sub(lasts));
        if !is_at_rest || !has_room || !self.leave(due.id, self.config.close) {
            return false;
        }
        let (now, number) = (self.end.now, self.end.arena[due.id].role.number);
        self.connections -= 1;
        self.end.stats.departures_total.add(1);
        self.end.stats.lifetime_us.record(now.saturating_sub(begun.unwrap_or(now)));
        self.phase.has_one_less(&self.config, now, &self.end.stats);
        // That of the one that leaves is in TIME_WAIT from now on.
        self.tuples.replace(number);
        self.returns.departed += 1;
        self.returns.fresh += 1;
        let place =
            Lost { due: now, number, failed: 0, since: now, has_departed: true, goes_on: false };
        self.returns.waiting.push(Reverse(place));
        true
    }

    /// Whether places that were left in the hold are still to be filled, that have not been tried in vain.
    pub(super) fn is_filling_places(&self) -> bool {
        self.returns.fresh > 0 && self.phase.may_open()
    }

    /// Lives that were over while none could end are followed by others, of which the last goes on now.
    fn renew(&mut self, now: Duration) {
        while let Some(due) = self.lives.ends.take_by(now) {
            if !self.is_alive(&due) {
                continue;
            }
            let number = self.end.arena[due.id].role.number;
            let mut at = due.at;
            for _ in 0..RENEWED_MOST {
                self.returns.lives_again(number);
                at += self.lasts(due.id).unwrap_or_default();
                if at > now {
                    break;
                }
            }
            let at = if at > now { at } else { now + self.lasts(due.id).unwrap_or_default() };
            self.lives.ends.add(Due { at: at.max(now + RENEWED_LEAST), ..due });
        }
    }

    /// Counts the connections of the time since this was last called, of which there has been no other number.
    pub(super) fn count_population(&mut self, now: Duration) {
        if self.config.lifetime.is_none() {
            return;
        }
        // What is less than a microsecond is counted with the next part.
        let passed_us = microseconds(now.saturating_sub(self.lives.counted));
        self.lives.counted += Duration::from_micros(passed_us);
        if self.lives_end() {
            self.end.stats.connection_us_total.add(passed_us.saturating_mul(self.connections));
        }
    }

    /// Looks whether there are fewer connections than there were since the hold began.
    pub(super) fn look_for_least(&self) {
        if self.lives_end() && self.connections < self.end.stats.connections_least.get() {
            self.end.stats.connections_least.set(self.connections);
        }
    }

    /// A hold begins.
    pub(super) fn begin_population(&mut self, now: Duration) {
        self.lives.counted = now;
        if self.lives_end() {
            self.renew(now);
        }
    }

    /// The same, of which the fewest connections are told.
    pub(super) fn begin_least(&self) {
        if self.lives_end() {
            self.end.stats.connections_least.set(self.connections);
        }
    }
}
