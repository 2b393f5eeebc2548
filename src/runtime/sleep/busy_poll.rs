//! Whether a core looks for work for a moment before it sleeps.
//!
//! To fall asleep and to be woken takes longer than the round trip of a peer that is awake, so a core
//! that only waits for the next message looks for it by itself. A busy-poll in vain takes
//! time of a CPU that other threads may want: after each, twice as many sleeps as before begin without one.

use std::time::{Duration, Instant};

use crate::base::constants::{BUSY_POLL_TIME, SLEEPS_UNPOLLED_MAX};

#[derive(Default)]
pub(super) struct BusyPoll {
    /// Sleeps without a busy-poll after the last one in vain.
    unpolled: u32,
    /// Those of them that are still to come.
    to_come: u32,
}

impl BusyPoll {
    /// Before a sleep: looks until `has_work`, when that is worth its while; whether there is some.
    pub(super) fn finds(&mut self, has_work: impl FnMut() -> bool) -> bool {
        if self.to_come > 0 {
            self.to_come -= 1;
            return false;
        }
        let found = holds_within(BUSY_POLL_TIME, has_work);
        self.unpolled = if found { 0 } else { (2 * self.unpolled + 1).min(SLEEPS_UNPOLLED_MAX) };
        self.to_come = self.unpolled;
        found
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

    /// Busy-polls before `count` sleeps when nothing ever comes.
    fn polls_in_vain(busy_poll: &mut BusyPoll, count: u32) -> u32 {
        let polled = Cell::new(false);
        let mut polls = 0;
        for _ in 0..count {
            polled.set(false);
            assert!(!busy_poll.finds(|| {
                polled.set(true);
                false
            }));
            polls += u32::from(polled.get());
        }
        polls
    }

    #[test]
    fn a_core_to_which_nothing_comes_hardly_ever_polls() {
        let mut busy_poll = BusyPoll::default();
        let sleeps = 100 * SLEEPS_UNPOLLED_MAX;
        let polls = polls_in_vain(&mut busy_poll, sleeps);
        assert!((100..120).contains(&polls), "{polls} busy-polls before {sleeps} sleeps");
    }

    #[test]
    fn a_busy_poll_that_paid_is_followed_by_another() {
        let mut busy_poll = BusyPoll::default();
        polls_in_vain(&mut busy_poll, 10_000);
        let found = (0..2 * SLEEPS_UNPOLLED_MAX).filter(|_| busy_poll.finds(|| true)).count();
        assert!(found >= SLEEPS_UNPOLLED_MAX as usize, "it polled {found} times");
        assert_eq!(polls_in_vain(&mut busy_poll, 4), 2, "once at once, and once after a sleep");
    }
}
