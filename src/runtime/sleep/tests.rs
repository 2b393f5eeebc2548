//! The policy of sleep, on a driver that does nothing but tell what it was asked for.

use super::*;
use crate::base::errno::Errno;

const LONG: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// Once or more in a row.
    HasWork,
    Housekeep,
    Wait(Duration),
    Arm(bool),
}

/// A driver to which nothing comes, unless a test says so.
struct Fake {
    asked: Vec<Asked>,
    has_work: bool,
    /// Work comes with the bell, too late to ring it.
    comes_when_armed: bool,
    housekeeps_in: Option<Duration>,
    wait: Result<bool, Errno>,
}

impl Wakeup for Fake {
    fn has_work(&mut self) -> bool {
        if self.asked.last() != Some(&Asked::HasWork) {
            self.asked.push(Asked::HasWork);
        }
        self.has_work
    }

    fn housekeep(&mut self) -> Option<Duration> {
        self.asked.push(Asked::Housekeep);
        self.housekeeps_in
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, Errno> {
        self.asked.push(Asked::Wait(at_most));
        self.wait
    }

    fn arm(&mut self, on: bool) {
        self.asked.push(Asked::Arm(on));
        self.has_work |= on && self.comes_when_armed;
    }
}

fn fake() -> Fake {
    Fake {
        asked: Vec::new(),
        has_work: false,
        comes_when_armed: false,
        housekeeps_in: None,
        wait: Ok(false),
    }
}

/// A core that has just come back from the executor.
fn awake() -> Sleep {
    let mut sleep = Sleep::new();
    sleep.on_wake(&mut fake());
    sleep
}

#[test]
fn an_idle_core_polls_waits_and_sleeps_in_this_order() {
    let (mut sleep, mut driver) = (awake(), fake());
    assert_eq!(sleep.prepare_to_sleep(&mut driver, None), Turn::Idle(None));
    let in_order = [
        Asked::HasWork,
        Asked::Housekeep,
        Asked::Wait(SHORT_WAIT_TIME),
        Asked::Arm(true),
        Asked::HasWork,
    ];
    assert_eq!(driver.asked, in_order);
    // The first busy-poll was in vain: the next sleep begins without one.
    driver.asked.clear();
    assert_eq!(sleep.prepare_to_sleep(&mut driver, Some(LONG)), Turn::Idle(Some(LONG)));
    assert_eq!(driver.asked, in_order[1..]);
}

#[test]
fn work_that_a_busy_poll_finds_ends_it() {
    let mut driver = Fake { has_work: true, ..fake() };
    assert_eq!(awake().prepare_to_sleep(&mut driver, None), Turn::Busy);
    assert_eq!(driver.asked, [Asked::HasWork], "the driver does not tidy while there is work");
}

#[test]
fn a_completion_in_the_short_wait_ends_it() {
    let mut driver = Fake { wait: Ok(true), ..fake() };
    assert_eq!(awake().prepare_to_sleep(&mut driver, Some(LONG)), Turn::Busy);
    assert_eq!(driver.asked.last(), Some(&Asked::Wait(SHORT_WAIT_TIME)), "the bell stays off");
}

#[test]
fn a_deadline_within_the_short_wait_is_kept_without_the_executor() {
    let soon = SHORT_WAIT_TIME / 2;
    for (deadline, housekeeps_in) in
        [(Some(soon), None), (None, Some(soon)), (Some(LONG), Some(soon)), (Some(soon), Some(LONG))]
    {
        let mut driver = Fake { housekeeps_in, ..fake() };
        assert_eq!(awake().prepare_to_sleep(&mut driver, deadline), Turn::Busy);
        assert_eq!(driver.asked.last(), Some(&Asked::Wait(soon)));
    }
}

#[test]
fn the_driver_may_want_a_turn_sooner_than_the_core() {
    let housekeeps_in = Some(LONG / 10);
    for deadline in [None, Some(LONG)] {
        let mut driver = Fake { housekeeps_in, ..fake() };
        assert_eq!(awake().prepare_to_sleep(&mut driver, deadline), Turn::Idle(housekeeps_in));
    }
}

#[test]
fn where_the_short_wait_is_forbidden_the_executor_keeps_the_time() {
    let soon = Some(SHORT_WAIT_TIME / 2);
    for deadline in [None, soon] {
        let mut driver = Fake { wait: Err(Errno::EPERM), ..fake() };
        assert_eq!(awake().prepare_to_sleep(&mut driver, deadline), Turn::Idle(deadline));
        assert!(driver.asked.contains(&Asked::Arm(true)), "{:?}", driver.asked);
    }
}

#[test]
fn an_executor_that_has_waited_for_its_turn_gets_it() {
    let mut sleep = awake();
    sleep.woken_at = Instant::now().checked_sub(YIELD_AFTER).expect("the host is up for longer");
    let mut driver = fake();
    assert_eq!(sleep.prepare_to_sleep(&mut driver, None), Turn::Idle(None));
    let in_order = [Asked::HasWork, Asked::Housekeep, Asked::Arm(true), Asked::HasWork];
    assert_eq!(driver.asked, in_order);
}

#[test]
fn what_completes_before_the_bell_is_on_is_not_slept_on() {
    let mut driver = Fake { comes_when_armed: true, ..fake() };
    assert_eq!(awake().prepare_to_sleep(&mut driver, None), Turn::Busy);
    assert_eq!(driver.asked.last(), Some(&Asked::HasWork));
}

#[test]
fn the_bell_is_off_while_the_core_is_awake() {
    let (mut sleep, mut driver) = (Sleep::new(), fake());
    sleep.on_wake(&mut driver);
    sleep.on_wake(&mut driver);
    assert_eq!(driver.asked, [Asked::Arm(false)], "a driver is made armed, and disarmed once");
    sleep.prepare_to_sleep(&mut driver, None);
    driver.asked.clear();
    sleep.on_wake(&mut driver);
    sleep.on_wake(&mut driver);
    assert_eq!(driver.asked, [Asked::Arm(false)]);
}
