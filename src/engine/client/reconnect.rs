//! A connection that was lost comes back: it waits its time, and is then made again under its number, through its tuple
//! or, where that is taken, through another one.

use std::cmp::Reverse;
use std::time::Duration;

use crate::base::constants::CONNECTS_PER_TURN;
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::choices::Choice;
use crate::engine::client::config::Reconnect;
use crate::engine::client::phase::Phase;
use crate::engine::client::returns::Lost;
use crate::engine::client::tuple_allocator::is_taken;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::low_milliseconds;
use crate::engine::token::{Operation, SlotId};

/// When a place that could not be filled is tried again: without end.
const PLACE_AGAIN: Reconnect = Reconnect {
    first: Duration::from_millis(100),
    most: Duration::from_secs(5),
    jitter: 1.0,
    tries: u32::MAX,
};

impl<D: Dial, E: Expectation> Client<D, E> {
    /// A held connection was lost: it waits for its first try. One that had just come back goes on with its waits where
    /// they were: a kernel completes handshakes for a server that takes none of them, and a full one resets them.
    pub(super) fn await_return(&mut self, number: u32) {
        let Some(reconnect) = self.config.reconnect.filter(|_| !self.phase.is_closing()) else {
            return;
        };
        let now = self.end.now;
        if self.returns.len() == 0 {
            self.returns.since = now;
        }
        let failed = match self.returns.back.remove(&number) {
            Some((at, failed)) if now.saturating_sub(at) < reconnect.most => {
                self.end.stats.lost_again_total.add(1);
                failed + 1
            }
            // It waits from the beginning, and is one of the same storm still.
            Some((at, _)) if at >= self.returns.since => {
                self.end.stats.lost_again_total.add(1);
                0
            }
            _ => 0,
        };
        let lost =
            Lost { due: now, number, failed, since: now, has_departed: false, goes_on: false };
        self.try_later(lost);
    }

    /// So many tries of it have failed: it waits for the next, or is given up.
    fn try_later(&mut self, lost: Lost) {
        let of_place = lost.has_departed.then_some(PLACE_AGAIN);
        let Some(reconnect) = of_place.or(self.config.reconnect) else { return };
        if lost.failed >= reconnect.tries {
            return self.end.stats.given_up_total.add(1);
        }
        let Lost { number, failed, .. } = lost;
        let (whose, life) = (self.tuples.identity(number), self.returns.life(number));
        let part = self.choices.part(Choice::Jitter, whose, life, failed);
        let due = self.end.now + reconnect.wait(failed, part);
        self.returns.waiting.push(Reverse(Lost { due, ..lost }));
    }

    /// Makes again what is due.
    pub(super) fn start_returns(&mut self) {
        for _ in 0..CONNECTS_PER_TURN {
            if self.returns.waiting.is_empty() || !self.may_connect() || !self.phase.may_open() {
                break;
            }
            let Some(lost) = self.returns.take_due(self.end.now) else { break };
            let Some(id) = self.take_slot() else {
                self.returns.waiting.push(Reverse(lost));
                break;
            };
            self.arm_return(id, lost);
        }
    }

    fn arm_return(&mut self, id: SlotId, lost: Lost) {
        let number = lost.number;
        self.returns.under_way.insert(number, lost);
        let stats = &self.end.stats;
        let tries = if lost.has_departed {
            &stats.arrival_tries_total
        } else {
            &stats.reconnect_tries_total
        };
        tries.add(u64::from(!lost.goes_on));
        let tuple = self.tuples.tuple_of(number);
        let token = self.end.arena[id].token(Operation::Connect, id);
        match self.end.driver.connect(token, tuple.source, tuple.target) {
            Ok(()) => self.on_connecting(id, number),
            Err(errno) => {
                self.end.arena.put_back(id, self.end.now_ms);
                self.is_return_failed(number, errno);
            }
        }
    }

    /// A connection counts, as one that has come back, or one in the place of another, where it is one.
    pub(super) fn has_returned(&mut self, number: u32) {
        let Some(lost) = self.returns.under_way.remove(&number) else { return };
        let waited = self.end.now.saturating_sub(lost.since);
        if lost.has_departed {
            self.end.stats.arrivals_total.add(1);
            self.end.stats.arrival_latency_us.record(waited);
        } else {
            self.end.stats.returned_total.add(1);
            self.end.stats.return_latency_us.record(waited);
            self.returns.back.insert(number, (self.end.now, lost.failed));
        }
        self.returns.has_tried(lost, true);
        self.returns.lives_again(number);
        self.opened.begin_again(number, low_milliseconds(self.end.now));
        self.phase.has_one_more(&self.config, self.end.now, &self.end.stats);
    }

    /// A connect has failed; whether it was one of a connection that comes back, which is then tried again or given up.
    pub(super) fn is_return_failed(&mut self, number: u32, errno: Errno) -> bool {
        let Some(lost) = self.returns.under_way.remove(&number) else { return false };
        if self.phase.is_closing() {
            self.call_off(lost);
            return true;
        }
        if is_taken(errno) && self.has_another_tuple(lost) {
            self.end.stats.tuples_skipped_total.add(1);
            self.returns.waiting.push(Reverse(Lost { goes_on: true, ..lost }));
            return true;
        }
        let stats = &self.end.stats;
        let failed =
            if lost.has_departed { &stats.arrival_failed } else { &stats.reconnect_failed };
        failed[errno.index()].add(1);
        self.returns.has_tried(lost, false);
        self.try_later(Lost { failed: lost.failed + 1, goes_on: false, ..lost });
        true
    }

    /// Its tuple was taken: whether it has one now that no connection has had. A place goes on with those that others
    /// have left, of which the first is likelier to be free later.
    fn has_another_tuple(&mut self, lost: Lost) -> bool {
        if lost.has_departed {
            self.tuples.replace(lost.number)
        } else {
            self.tuples.move_on(lost.number)
        }
    }

    fn call_off(&mut self, lost: Lost) {
        let stats = &self.end.stats;
        let off = if lost.has_departed {
            &stats.arrivals_called_off_total
        } else {
            &stats.called_off_total
        };
        off.add(1);
        self.returns.has_tried(lost, true);
    }

    /// Connections are closed: what waits does not come back. Where some are kept, they are closed with the others.
    pub(super) fn call_off_returns(&mut self, phase: Phase) {
        let is_end = phase == Phase::Close { keep: 0 };
        for Reverse(lost) in std::mem::take(&mut self.returns.waiting) {
            let is_closed = !is_end && !lost.has_departed;
            self.end.stats.closed_away_total.add(u64::from(is_closed));
            self.call_off(lost);
        }
    }
}
