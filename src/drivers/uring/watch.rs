//! Whether a core watches its rings for a moment before it sleeps.
//!
//! To fall asleep and to be woken takes longer than the round trip of a peer that is awake, so a core
//! that only waits for the next message looks for it by itself. A watch in vain is time of the CPU
//! that others may want: after each, twice as many rests as before begin without one.

use std::time::{Duration, Instant};

use crate::base::constants::{RESTS_UNWATCHED_MAX, WATCH_TIME};

#[derive(Default)]
pub(super) struct Watch {
    /// Rests without a watch after the last one in vain.
    unwatched: u32,
    /// Those of them that are still to come.
    to_come: u32,
}

impl Watch {
    /// Begins a rest: watches until `has_come`, when that is worth its while; whether it has.
    pub(super) fn sees(&mut self, has_come: impl FnMut() -> bool) -> bool {
        if self.to_come > 0 {
            self.to_come -= 1;
            return false;
        }
        let seen = holds_within(WATCH_TIME, has_come);
        self.unwatched = if seen { 0 } else { (2 * self.unwatched + 1).min(RESTS_UNWATCHED_MAX) };
        self.to_come = self.unwatched;
        seen
    }
}

fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < time {
        if condition() {
            return true;
        }
        std::hint::spin_loop();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Rests of `count` that begin with a watch when nothing ever comes.
    fn watches_in_vain(watch: &mut Watch, count: u32) -> u32 {
        let watched = Cell::new(false);
        let mut watches = 0;
        for _ in 0..count {
            watched.set(false);
            assert!(!watch.sees(|| {
                watched.set(true);
                false
            }));
            watches += u32::from(watched.get());
        }
        watches
    }

    #[test]
    fn a_core_on_which_nothing_comes_hardly_ever_watches() {
        let mut watch = Watch::default();
        let rests = 100 * RESTS_UNWATCHED_MAX;
        let watches = watches_in_vain(&mut watch, rests);
        assert!((100..120).contains(&watches), "{watches} watches in {rests} rests");
    }

    #[test]
    fn a_watch_that_paid_is_followed_by_another() {
        let mut watch = Watch::default();
        watches_in_vain(&mut watch, 10_000);
        let seen = (0..2 * RESTS_UNWATCHED_MAX).filter(|_| watch.sees(|| true)).count();
        assert!(seen >= RESTS_UNWATCHED_MAX as usize, "it watched {seen} times");
        assert_eq!(watches_in_vain(&mut watch, 4), 2, "once at once, and once after a rest");
    }
}
