//! `--accept-rate`: how fast a core takes connections from its listeners. What waits meanwhile is in the kernel's
//! queue, which has its length (`--backlog`) and takes no time of the core.
//!
//! A bucket of turns: it fills at the rate, each accepted connection takes one, and no more accepts are with the
//! kernel than there are turns. So as many as it holds may come at once after a quiet time, and never more.

use std::time::Duration;

use crate::base::constants::{ACCEPT_BURST, PACE_STEP};
use crate::engine::driver::Listen;
use crate::engine::protocol::Protocol;
use crate::engine::server::Server;

/// The turns of one core.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    rate_per_s: f64,
    most: f64,
    turns: f64,
    at: Duration,
    /// Some listener has had no accept with the kernel since then, for want of turns.
    held_back: bool,
}

impl Pace {
    /// A full bucket, of one turn for each listener at least.
    pub(super) fn new(rate_per_s: f64, listeners: usize, now: Duration) -> Pace {
        #[expect(clippy::cast_precision_loss, reason = "listeners are few")]
        let most = (rate_per_s * ACCEPT_BURST.as_secs_f64()).max(listeners.max(1) as f64);
        Pace { rate_per_s, most, turns: most, at: now, held_back: false }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.turns = (self.turns + passed * self.rate_per_s).min(self.most);
        self.at = now;
    }

    /// Accepts that may be with the kernel now.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is positive")]
    fn accepts(&self) -> usize {
        self.turns as usize
    }

    /// A connection was accepted.
    pub(super) fn take(&mut self) {
        // One that was asked for when there was a turn.
        self.turns = (self.turns - 1.0).max(0.0);
    }

    /// Until there is a turn more than now, and not sooner than a core looks again.
    fn wait(&self) -> Duration {
        let missing = 1.0 - self.turns.fract();
        Duration::try_from_secs_f64(missing / self.rate_per_s)
            .unwrap_or(Duration::MAX)
            .max(PACE_STEP)
    }
}

impl<D: Listen, P: Protocol> Server<D, P> {
    fn accepts_armed(&self) -> usize {
        self.listeners.iter().map(|listener| listener.accepts.len() as usize).sum()
    }

    /// Whether one more accept is too many for `--accept-rate`.
    pub(super) fn is_paced(&self) -> bool {
        self.pace.is_some_and(|pace| self.accepts_armed() >= pace.accepts())
    }

    /// Counts the time in which accepting was held back, and accepts as many as may be by now.
    pub(super) fn keep_pace(&mut self) {
        let Some(pace) = &mut self.pace else { return };
        let (now, since) = (self.end.now, pace.at);
        pace.fill(now);
        if pace.held_back {
            let micros = now.saturating_sub(since).as_micros();
            self.end.stats.accept_paced_us_total.add(u64::try_from(micros).unwrap_or(u64::MAX));
        }
        self.arm_accepts();
        let held_back = !self.accepts_no_more()
            && self.is_paced()
            && self.listeners.iter().any(|listener| listener.accepts.is_empty());
        if let Some(pace) = &mut self.pace {
            pace.held_back = held_back;
        }
    }

    /// Until when the core may sleep, while fewer accepts are with the kernel than are wanted.
    pub(super) fn pace_sleep(&self) -> Option<Duration> {
        let pace = self.pace.filter(|_| !self.accepts_no_more())?;
        let wanted = self.accepts_wanted as usize * self.listeners.len();
        let is_full = pace.turns >= pace.most;
        (self.accepts_armed() < wanted && !is_full).then(|| pace.wait())
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
