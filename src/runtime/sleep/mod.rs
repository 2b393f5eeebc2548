//! How a core goes to sleep: busy-poll, then a short wait, then the executor. For any driver.
//!
//! 1. A busy-poll looks for work for some 60 us, while that pays: see [`BusyPoll`].
//! 2. A short wait blocks the thread for some milliseconds in the driver's own system call. To sleep
//!    through the executor takes several system calls, and as many to wake. A core that will be woken
//!    soon does with one. Meanwhile the executor's other tasks wait, so it is short, and is left out
//!    when the executor has not had its turn for long.
//! 3. The executor sleeps until the doorbell rings. The bell is armed before the last look at the
//!    driver, so that nothing comes unnoticed in between.
//!
//! The pump asks at the end of each idle turn, and says when the core is awake again.

use std::time::{Duration, Instant};

use crate::base::constants::{SHORT_WAIT_TIME, YIELD_AFTER};
use crate::engine::worker::{Turn, Wakeup};

mod busy_poll;

use busy_poll::BusyPoll;

/// The policy of one core.
pub(super) struct Sleep {
    busy_poll: BusyPoll,
    /// Whether the driver's bell may be on: it is turned off before the first turn.
    is_armed: bool,
    /// When the core last came back from the executor.
    woken_at: Instant,
}

impl Sleep {
    /// For a driver that was just made, whether its bell is on or not.
    pub(super) fn new() -> Sleep {
        Sleep { busy_poll: BusyPoll::default(), is_armed: true, woken_at: Instant::now() }
    }

    /// Before the core sleeps until a completion, or for `at_most`: waits for a moment by itself first.
    /// [`Turn::Idle`] when nothing came; from then on a completion rings the bell, and the driver may
    /// want a turn sooner than the core. [`Turn::Busy`] when something is there, or the time is up, so
    /// that the core must not sleep.
    pub(super) fn prepare_to_sleep(
        &mut self,
        driver: &mut impl Wakeup,
        at_most: Option<Duration>,
    ) -> Turn {
        if self.busy_poll.finds(|| driver.has_work()) {
            return Turn::Busy;
        }
        let at_most = [at_most, driver.housekeep()].into_iter().flatten().min();
        // The executor has commands for the core, which no completion wakes it for.
        if self.woken_at.elapsed() < YIELD_AFTER {
            let short = at_most.map_or(SHORT_WAIT_TIME, |time| time.min(SHORT_WAIT_TIME));
            let is_woken = driver.wait(short);
            if is_woken.is_ok_and(|is_woken| is_woken || at_most == Some(short)) {
                return Turn::Busy;
            }
        }
        self.is_armed = true;
        driver.arm(true);
        if driver.has_work() { Turn::Busy } else { Turn::Idle(at_most) }
    }

    /// The core is awake, and looks by itself. To be called before each turn.
    pub(super) fn on_wake(&mut self, driver: &mut impl Wakeup) {
        if std::mem::take(&mut self.is_armed) {
            self.woken_at = Instant::now();
            driver.arm(false);
        }
    }
}

#[cfg(test)]
mod tests;
