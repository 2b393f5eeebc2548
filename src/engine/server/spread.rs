//! When the first timer of each connection runs out, so that a burst of accepts does not become a burst
//! of pushes. Arithmetic alone.

use std::time::Duration;

use crate::base::constants::PUSH_GAP;
use crate::engine::slot::low_milliseconds;

/// When the first push of each connection is due, so that a burst of accepts does not become a
/// burst of pushes for ever: one interval after the accept, and behind the one before.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spread {
    last: Duration,
}

impl Spread {
    /// When the first push is due of a connection accepted `now`, the `live`-th of its core: the
    /// low 32 bits of the clock in milliseconds, rounded up, so that it is never early.
    pub(super) fn first_due_ms(&mut self, now: Duration, every: Duration, live: u32) -> u32 {
        let gap = PUSH_GAP.min(every / live.max(1));
        self.last = (self.last + gap).clamp(now + every, now + 2 * every);
        low_milliseconds(self.last + Duration::from_nanos(999_999))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lone_connection_waits_one_interval() {
        let mut spread = Spread::default();
        for accepted_ms in [0_u32, 10, 5_000, 5_001] {
            let now = Duration::from_millis(accepted_ms.into());
            assert_eq!(spread.first_due_ms(now, SECOND, 1), accepted_ms + 1_000);
        }
        let now = Duration::from_micros(9_000_001);
        assert_eq!(spread.first_due_ms(now, SECOND, 1), 10_001, "a push was early");
    }

    #[test]
    fn a_burst_is_spread_and_no_push_is_later_than_two_intervals() {
        let mut spread = Spread::default();
        let due: Vec<u32> = (1..=100_000).map(|n| spread.first_due_ms(SECOND, SECOND, n)).collect();
        assert_eq!((due[0], due[99_999]), (2_000, 3_000));
        assert!(due.is_sorted());
        let busiest = due[..30_000].chunk_by(|a, b| a == b).map(<[u32]>::len).max();
        assert!(busiest <= Some(110), "{busiest:?} pushes in one millisecond");
    }
}
