//! When the tries of one bystander are due: at a fixed rate, whatever becomes of them.

use std::time::Duration;

/// An open-loop schedule, in microseconds since the panel began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    first_us: u64,
    every: Duration,
    next: u64,
}

impl Rounds {
    pub(crate) fn new(first_us: u64, every: Duration) -> Rounds {
        Rounds { first_us, every, next: 0 }
    }

    /// The next try, if it is due: its number, and when it was due. It is taken.
    pub(crate) fn due(&mut self, now_us: u64) -> Option<(u64, u64)> {
        let due = (self.next, self.next_us());
        (due.1 <= now_us).then(|| {
            self.next += 1;
            due
        })
    }

    /// When the next one is due.
    pub(crate) fn next_us(&self) -> u64 {
        let since_ns = self.every.as_nanos() * u128::from(self.next);
        self.first_us + u64::try_from(since_ns / 1_000).unwrap_or(u64::MAX / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_once_at_its_time_without_drift() {
        let mut rounds = Rounds::new(10, Duration::from_nanos(333_333));
        assert_eq!(rounds.due(9), None);
        assert_eq!(rounds.due(10), Some((0, 10)));
        assert_eq!(rounds.due(10), None);
        let late: Vec<_> = std::iter::from_fn(|| rounds.due(1_000_010)).collect();
        assert_eq!(late.len(), 3_000, "a round that is late begins all that was due");
        assert_eq!(late.last(), Some(&(3_000, 10 + 999_999)));
    }
}
