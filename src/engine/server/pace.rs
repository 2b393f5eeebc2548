//! `--accept-rate`: how fast a core takes connections from its listeners. What waits meanwhile is in the kernel's
//! queue, which has its length (`--backlog`) and takes no time of the core.
//!
//! A bucket of turns: it fills at the rate, each accepted connection takes one, and no more accepts are with the
//! kernel than there are turns. So as many as it holds may come at once after a quiet time, and never more.

use std::time::Duration;

use crate::base::constants::{ACCEPT_BURST, PACE_STEP};

/// The turns of one core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate_per_s: f64,
    most: f64,
    turns: f64,
    pub(super) at: Duration,
    /// Some listener has no accept with the kernel for want of turns, since it was last filled.
    pub(super) held_back: bool,
}

impl Pace {
    /// A full bucket, of one turn for each listener at least.
    pub(super) fn new(rate_per_s: f64, listeners: usize, now: Duration) -> Pace {
        #[expect(clippy::cast_precision_loss, reason = "listeners are few")]
        let most = (rate_per_s * ACCEPT_BURST.as_secs_f64()).max(listeners.max(1) as f64);
        Pace { rate_per_s, most, turns: most, at: now, held_back: false }
    }

    pub(super) fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.turns = (self.turns + passed * self.rate_per_s).min(self.most);
        self.at = now;
    }

    /// Accepts that may be with the kernel now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive")]
    pub(super) fn accepts(&self) -> usize {
        self.turns as usize
    }

    /// A connection was accepted.
    pub(super) fn take(&mut self) {
        // One that was asked for when there was a turn.
        self.turns = (self.turns - 1.0).max(0.0);
    }

    /// Whether it holds all that it can.
    pub(super) fn is_full(&self) -> bool {
        self.turns >= self.most
    }

    /// Until there is a turn more than now, and not sooner than a core looks again.
    pub(super) fn wait(&self) -> Duration {
        let missing = 1.0 - self.turns.fract();
        Duration::try_from_secs_f64(missing / self.rate_per_s)
            .unwrap_or(Duration::MAX)
            .max(PACE_STEP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lets_in_as_many_as_the_rate_says_and_a_few_at_once() {
        let at = Duration::from_millis;
        let mut pace = Pace::new(1_000.0, 1, at(0));
        let mut accepted = 0;
        // Connections wait at any time.
        for ms in 0..10_000 {
            pace.fill(at(ms));
            for _ in 0..pace.accepts() {
                pace.take();
                accepted += 1;
            }
        }
        assert!((9_990..=10_015).contains(&accepted), "{accepted}");
        // After a quiet time there are as many turns as the bucket holds.
        pace.fill(at(60_000));
        assert_eq!(pace.accepts(), 10);
        // A slow one has a turn for each listener, and waits for the next.
        let mut slow = Pace::new(0.5, 3, at(0));
        assert_eq!(slow.accepts(), 3);
        (0..3).for_each(|_| slow.take());
        assert_eq!((slow.accepts(), slow.wait()), (0, at(2_000)));
        slow.fill(at(1_000));
        assert_eq!((slow.accepts(), slow.wait()), (0, at(1_000)));
    }
}
