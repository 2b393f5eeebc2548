//! The pace of connects: an open-loop schedule, so that a slow answer does not slow the schedule.

use std::time::Duration;

/// When the next connect may begin.
pub(crate) struct Pacer {
    /// Connects per second; `None` is as fast as they go.
    rate_per_s: Option<f64>,
    since: Duration,
    begun: u64,
}

impl Pacer {
    /// The shortest sleep of a core that has connects to pace.
    pub(crate) const STEP: Duration = Duration::from_millis(1);

    pub(crate) fn new(rate_per_s: Option<f64>) -> Pacer {
        Pacer { rate_per_s, since: Duration::ZERO, begun: 0 }
    }

    /// The schedule begins now.
    pub(crate) fn start(&mut self, now: Duration) {
        (self.since, self.begun) = (now, 0);
    }

    /// Whether the schedule has a connect that has not begun.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.rate_per_s
            .is_none_or(|rate| self.begun as f64 <= (now - self.since).as_secs_f64() * rate)
    }

    /// One has.
    pub(crate) fn has_begun(&mut self) {
        self.begun += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_kept_from_its_start() {
        let mut pacer = Pacer::new(Some(100.0));
        pacer.start(Duration::from_secs(5));
        let mut begun_by = |now: Duration| {
            while pacer.is_due(now) {
                pacer.has_begun();
            }
            pacer.begun
        };
        assert_eq!(begun_by(Duration::from_secs(5)), 1);
        assert_eq!(begun_by(Duration::from_millis(5_495)), 50);
        // After a stop the schedule is caught up with.
        assert_eq!(begun_by(Duration::from_millis(7_005)), 201);
    }

    #[test]
    fn without_a_rate_everything_is_due() {
        assert!(Pacer::new(None).is_due(Duration::ZERO));
    }
}
