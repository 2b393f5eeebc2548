//! Connections that were lost, and places of those whose lives were over, by when they are tried again.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use crate::base::constants::TICK_MS;
use crate::engine::client::config::Reconnect;

impl Reconnect {
    /// Time before a try, when so many have failed, of which a part of the random part is left out.
    pub(super) fn wait(&self, failed: u32, part: f64) -> Duration {
        let doubled = 1_u32.checked_shl(failed).unwrap_or(u32::MAX);
        let most = self.first.saturating_mul(doubled).min(self.most);
        most.mul_f64(1.0 - self.jitter * part)
    }
}

/// A connection that is to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lost {
    pub(super) due: Duration,
    pub(super) number: u32,
    /// Tries that have failed.
    pub(super) failed: u32,
    /// When it was lost.
    pub(super) since: Duration,
    /// Its last try met a tuple that was taken, and the next is the same try with another.
    pub(super) goes_on: bool,
    /// It was not lost: its life was over, and another takes its place.
    pub(super) has_departed: bool,
}

/// The connections of a core that are to come back.
#[derive(Debug, Default)]
pub(super) struct Returns {
    pub(super) waiting: BinaryHeap<Reverse<Lost>>,
    /// Those that are being made again, by their number.
    pub(super) under_way: HashMap<u32, Lost>,
    /// Those that have come back: when, and how many tries had failed before.
    pub(super) back: HashMap<u32, (Duration, u32)>,
    /// How often each has lived before, of those that have.
    lives: HashMap<u32, u32>,
    /// Places of those whose lives were over, that are not filled.
    pub(super) departed: usize,
    /// Of these, those that have not been tried in vain.
    pub(super) fresh: usize,
    /// Since when there are lost ones that are not back.
    pub(super) since: Duration,
}

impl Returns {
    pub(super) fn take_due(&mut self, now: Duration) -> Option<Lost> {
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

    /// Whether connection `number` has been there since the first of those was lost that are not back.
    pub(super) fn has_stayed(&self, number: u32) -> bool {
        self.back.get(&number).is_none_or(|(at, _)| *at < self.since)
    }

    /// Lost connections that wait, or are being made again.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len() - self.departed
    }

    /// How often connection `number` has lived before.
    pub(super) fn life(&self, number: u32) -> u32 {
        if self.lives.is_empty() { 0 } else { self.lives.get(&number).copied().unwrap_or(0) }
    }

    pub(super) fn lives_again(&mut self, number: u32) {
        *self.lives.entry(number).or_default() += 1;
    }

    /// It does not wait any more, or not for its first try.
    pub(super) fn has_tried(&mut self, lost: Lost, is_over: bool) {
        if lost.has_departed {
            self.fresh -= usize::from(lost.failed == 0);
            self.departed -= usize::from(is_over);
        }
    }

    /// Time until the next one is due; what is due already waits for something that rings, or for the tick.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        let Reverse(first) = self.waiting.peek()?;
        let wait = first.due.saturating_sub(now);
        Some(if wait.is_zero() { Duration::from_millis(TICK_MS.into()) } else { wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_the_longest_and_its_jitter_is_part_of_it() {
        let seconds = Duration::from_secs;
        let fixed = Reconnect { first: seconds(1), most: seconds(30), jitter: 0.0, tries: 9 };
        let waits: Vec<u64> = (0..7).map(|n| fixed.wait(n, 0.7).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(fixed.wait(u32::MAX, 0.2), seconds(30));
        for jitter in [0.1, 0.5, 1.0] {
            let jittered = Reconnect { jitter, ..fixed };
            let waits: Vec<f64> =
                (0..1_000).map(|n| jittered.wait(3, f64::from(n) / 1e3).as_secs_f64()).collect();
            let (least, most) = (8.0 * (1.0 - jitter), 8.0);
            assert!(waits.iter().all(|wait| (least..=most).contains(wait)));
            let mean = waits.iter().sum::<f64>() / 1_000.0;
            assert!((mean - f64::midpoint(least, most)).abs() < 0.5, "{mean} with {jitter}");
        }
    }
}
