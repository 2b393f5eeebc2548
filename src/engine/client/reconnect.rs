//! Connections that were lost and come back: each waits its time, and is then made again under its number, through
//! its tuple or, where that is taken, through another one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use fastrand::Rng;

use crate::base::constants::{CONNECTS_PER_TURN, TICK_MS};
use crate::base::errno::Errno;
use crate::engine::client::Client;
use crate::engine::client::config::Reconnect;
use crate::engine::client::tuple_allocator::is_taken;
use crate::engine::driver::Dial;
use crate::engine::protocol::Expectation;
use crate::engine::slot::low_milliseconds;
use crate::engine::token::Operation;

impl Reconnect {
    /// Time before a try, when so many have failed.
    fn wait(&self, failed: u32, random: &mut Rng) -> Duration {
        let doubled = 1_u32.checked_shl(failed).unwrap_or(u32::MAX);
        let most = self.first.saturating_mul(doubled).min(self.most);
        most.mul_f64(1.0 - self.jitter * random.f64())
    }
}

/// A connection that is to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lost {
    due: Duration,
    number: u32,
    /// Tries that have failed.
    failed: u32,
    /// When it was lost.
    since: Duration,
}

/// The connections of a core that are to come back.
#[derive(Debug)]
pub(super) struct Returns {
    waiting: BinaryHeap<Reverse<Lost>>,
    /// Those that are being made again, by their number.
    under_way: HashMap<u32, Lost>,
    random: Rng,
}

impl Returns {
    pub(super) fn new(seed: u64) -> Returns {
        let (waiting, under_way) = (BinaryHeap::new(), HashMap::new());
        Returns { waiting, under_way, random: Rng::with_seed(seed) }
    }

    fn take_due(&mut self, now: Duration) -> Option<Lost> {
        let Reverse(first) = self.waiting.peek()?;
        if first.due > now {
            return None;
        }
        self.waiting.pop().map(|Reverse(lost)| lost)
    }

    /// Whether this one is being made again.
    pub(super) fn is_under_way(&self, number: u32) -> bool {
        self.under_way.contains_key(&number)
    }

    /// Connections that wait, or are being made again.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    /// Time until the next one is due; what is due already waits for something that rings, or for the tick.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        let Reverse(first) = self.waiting.peek()?;
        let wait = first.due.saturating_sub(now);
        Some(if wait.is_zero() { Duration::from_millis(TICK_MS.into()) } else { wait })
    }
}

impl<D: Dial, E: Expectation> Client<D, E> {
    /// A held connection was lost: it waits for its first try.
    pub(super) fn await_return(&mut self, number: u32) {
        let Some(reconnect) = self.config.reconnect.filter(|_| !self.phase.is_closing()) else {
            return;
        };
        let (now, returns) = (self.end.now, &mut self.returns);
        let due = now + reconnect.wait(0, &mut returns.random);
        returns.waiting.push(Reverse(Lost { due, number, failed: 0, since: now }));
    }

    /// Makes again what is due.
    pub(super) fn start_returns(&mut self) {
        for _ in 0..CONNECTS_PER_TURN {
            if self.returns.waiting.is_empty() || !self.may_connect() || !self.phase.may_open() {
                break;
            }
            let Some(lost) = self.returns.take_due(self.end.now) else { break };
            self.arm_return(lost);
        }
    }

    fn arm_return(&mut self, lost: Lost) {
        let number = lost.number;
        let Some(id) = self.take_slot() else {
            return self.returns.waiting.push(Reverse(lost));
        };
        self.returns.under_way.insert(number, lost);
        self.end.stats.reconnect_tries_total.add(1);
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

    /// A connection counts, as one that has come back where it is one.
    pub(super) fn has_returned(&mut self, number: u32) {
        let Some(lost) = self.returns.under_way.remove(&number) else { return };
        self.end.stats.returned_total.add(1);
        self.opened.begin_again(number, low_milliseconds(self.end.now));
        self.end.stats.return_latency_us.record(self.end.now.saturating_sub(lost.since));
        self.phase.has_one_more(&self.config, self.end.now, &self.end.stats);
    }

    /// A connect has failed; whether it was one of a connection that comes back, which is then tried again or given up.
    pub(super) fn is_return_failed(&mut self, number: u32, errno: Errno) -> bool {
        let Some(lost) = self.returns.under_way.remove(&number) else { return false };
        if is_taken(errno) && self.tuples.move_on(number) {
            self.end.stats.tuples_skipped_total.add(1);
            self.returns.waiting.push(Reverse(lost));
            return true;
        }
        self.end.stats.reconnect_failed[errno.index()].add(1);
        let Some(reconnect) = self.config.reconnect else { return true };
        let failed = lost.failed + 1;
        if failed >= reconnect.tries {
            self.end.stats.given_up_total.add(1);
            return true;
        }
        let returns = &mut self.returns;
        let due = self.end.now + reconnect.wait(failed, &mut returns.random);
        returns.waiting.push(Reverse(Lost { due, failed, ..lost }));
        true
    }

    /// Connections are closed: what waits does not come back.
    pub(super) fn call_off_returns(&mut self) {
        self.end.stats.called_off_total.add(self.returns.waiting.len() as u64);
        self.returns.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_the_longest_and_its_jitter_is_part_of_it() {
        let seconds = Duration::from_secs;
        let fixed = Reconnect { first: seconds(1), most: seconds(30), jitter: 0.0, tries: 9 };
        let mut random = Rng::with_seed(1);
        let waits: Vec<u64> = (0..7).map(|n| fixed.wait(n, &mut random).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(fixed.wait(u32::MAX, &mut random), seconds(30));
        for jitter in [0.1, 0.5, 1.0] {
            let jittered = Reconnect { jitter, ..fixed };
            let waits: Vec<f64> =
                (0..1_000).map(|_| jittered.wait(3, &mut random).as_secs_f64()).collect();
            let (least, most) = (8.0 * (1.0 - jitter), 8.0);
            assert!(waits.iter().all(|wait| (least..=most).contains(wait)));
            let mean = waits.iter().sum::<f64>() / 1_000.0;
            assert!((mean - f64::midpoint(least, most)).abs() < 0.5, "{mean} with {jitter}");
        }
    }
}
