//! An open-loop schedule: when each thing is due is fixed before it begins, so that a slow answer
//! does not slow the schedule, and lateness is counted from when a thing was due.

use std::time::Duration;

/// When the next thing is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    /// Things per second; `None` is as fast as they go.
    rate_per_s: Option<f64>,
    since: Duration,
    begun: u64,
}

impl Pacer {
    /// A schedule from `now` on; its first thing is due when this part of an interval is over.
    pub(super) fn start(rate_per_s: Option<f64>, turn: f64, now: Duration) -> Pacer {
        let interval = rate_per_s.filter(|rate| *rate > 0.0).map_or(0.0, |rate| 1.0 / rate);
        match after(now, turn * interval) {
            Some(since) => Pacer { rate_per_s, since, begun: 0 },
            None => Pacer::never(),
        }
    }

    /// A schedule without anything on it.
    pub(super) fn never() -> Pacer {
        Pacer::start(Some(0.0), 0.0, Duration::ZERO)
    }

    /// When the next thing was due, if it was by `now`; without a rate it is due now.
    pub(super) fn due_by(&self, now: Duration) -> Option<Duration> {
        self.next(now).filter(|due| *due <= now)
    }

    /// It has begun.
    pub(super) fn has_begun(&mut self) {
        self.begun += 1;
    }

    /// One that had begun came to nothing, and did not use its turn: it is due again.
    pub(super) fn give_back(&mut self) {
        self.begun = self.begun.saturating_sub(1);
    }

    /// The next thing is due when it was to be, and those behind it come at another rate.
    pub(super) fn go_on_at(&mut self, rate_per_s: f64, now: Duration) {
        if let Some(since) = self.next(now) {
            *self = Pacer { rate_per_s: Some(rate_per_s), since, begun: 0 };
        }
    }

    /// Time until the next thing is due; `None` when nothing ever will be.
    pub(super) fn wait(&self, now: Duration) -> Option<Duration> {
        self.next(now).map(|due| due.saturating_sub(now))
    }

    /// Things that were due by `now` and have not begun; without a rate there are none.
    pub(super) fn missed(&self, now: Duration) -> u64 {
        let Some(rate) = self.rate_per_s.filter(|rate| *rate > 0.0) else { return 0 };
        let Some(passed) = now.checked_sub(self.since) else { return 0 };
        let due = passed.as_secs_f64() * rate;
        // A schedule of 2^53 things is beyond any run.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "above")]
        let due = due as u64;
        due.saturating_sub(self.begun)
    }

    fn next(&self, now: Duration) -> Option<Duration> {
        match self.rate_per_s {
            None => Some(now),
            Some(rate) if rate > 0.0 => after(self.since, self.begun as f64 / rate),
            Some(_) => None,
        }
    }
}

/// A time that is beyond all times is none.
fn after(since: Duration, seconds: f64) -> Option<Duration> {
    since.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_kept_from_its_start() {
        let mut pacer = Pacer::start(Some(100.0), 0.0, Duration::from_secs(5));
        let begun_by = |pacer: &mut Pacer, now: Duration| {
            while pacer.due_by(now).is_some() {
                pacer.has_begun();
            }
            pacer.begun
        };
        assert_eq!(pacer.due_by(Duration::from_secs(5)), Some(Duration::from_secs(5)));
        assert_eq!(begun_by(&mut pacer, Duration::from_secs(5)), 1);
        assert_eq!(begun_by(&mut pacer, Duration::from_millis(5_495)), 50);
        assert_eq!(pacer.wait(Duration::from_millis(5_495)), Some(Duration::from_millis(5)));
        // After a stop the schedule is caught up with, and what is late is late from when it was due.
        let late = pacer.due_by(Duration::from_millis(7_005));
        assert_eq!(late, Some(Duration::from_millis(5_500)));
        assert_eq!(pacer.missed(Duration::from_millis(7_005)), 150);
        assert_eq!(begun_by(&mut pacer, Duration::from_millis(7_005)), 201);
        assert_eq!(pacer.missed(Duration::from_millis(7_005)), 0);
    }

    #[test]
    fn what_is_due_beyond_all_time_is_never_due() {
        let mut slow = Pacer::start(Some(1e-30), 0.0, Duration::ZERO);
        slow.has_begun();
        assert_eq!(slow.wait(Duration::ZERO), None);
        let late = Pacer::start(Some(1e-30), 0.5, Duration::ZERO);
        assert_eq!(late.wait(Duration::ZERO), None);
    }

    #[test]
    fn a_slower_schedule_keeps_what_is_due_next() {
        let mut pacer = Pacer::start(Some(100.0), 0.0, Duration::ZERO);
        (0..10).for_each(|_| pacer.has_begun());
        let now = Duration::from_millis(200);
        assert_eq!(pacer.missed(now), 10);
        pacer.go_on_at(50.0, now);
        assert_eq!(pacer.due_by(now), Some(Duration::from_millis(100)));
        assert_eq!(pacer.missed(now), 5);
        pacer.has_begun();
        assert_eq!(pacer.due_by(now), Some(Duration::from_millis(120)));
        pacer.go_on_at(0.0, now);
        assert_eq!((pacer.due_by(now), pacer.missed(now)), (None, 0));
        pacer.go_on_at(50.0, now);
        assert_eq!(pacer.due_by(now), None, "it has ended");
    }

    #[test]
    fn cores_take_turns() {
        let starts = [0.0, 0.5].map(|turn| Pacer::start(Some(0.25), turn, Duration::from_secs(9)));
        assert_eq!(
            starts.map(|core| core.wait(Duration::from_secs(9))),
            [0, 2].map(|s| Some(Duration::from_secs(s)))
        );
        assert_eq!(starts.map(|core| core.missed(Duration::from_secs(10))), [0, 0]);
    }

    #[test]
    fn without_a_rate_everything_is_due_and_nothing_is_missed() {
        let pacer = Pacer::start(None, 0.5, Duration::ZERO);
        assert_eq!(pacer.due_by(Duration::from_secs(1)), Some(Duration::from_secs(1)));
        assert_eq!(pacer.missed(Duration::from_secs(1)), 0);
        let never = Pacer::never();
        assert_eq!((never.wait(Duration::ZERO), never.missed(Duration::from_secs(9))), (None, 0));
    }
}
