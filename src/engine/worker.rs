//! What the pump of a core drives: a worker, which is a server or a client, and the wake-up
//! of its driver, by which the pump sleeps.

use std::time::Duration;

use crate::base::errno::Errno;

/// One core's work, taken turn by turn.
pub trait Worker {
    /// What the housekeeping thread may tell it.
    type Command: Send + 'static;

    /// What the core sleeps by: its driver.
    type Wakeup: Wakeup;

    /// Does what there is to do now, without ever waiting.
    fn turn(&mut self) -> Turn;

    /// Takes a command, between two turns.
    fn handle_command(&mut self, command: Self::Command);

    /// The driver, for a core that is about to sleep or that is awake again.
    fn wakeup(&mut self) -> &mut Self::Wakeup;
}

/// A worker of any kind, which is chosen when a core starts: one call by pointer each turn.
pub type AnyWorker<C, D> = Box<dyn Worker<Command = C, Wakeup = D>>;

impl<C: Send + 'static, D: Wakeup> Worker for AnyWorker<C, D> {
    type Command = C;
    type Wakeup = D;

    fn turn(&mut self) -> Turn {
        (**self).turn()
    }

    fn handle_command(&mut self, command: C) {
        (**self).handle_command(command);
    }

    fn wakeup(&mut self) -> &mut D {
        (**self).wakeup()
    }
}

/// What a turn found, and so what the core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work: turn again.
    Busy,
    /// There was none: sleep until the bell rings, or for so long.
    Idle(Option<Duration>),
}

/// What a driver does for a core that wants to sleep. When and for how long is the core's policy, the
/// same for every driver.
pub trait Wakeup {
    /// Whether something is there that the next turn would submit or reap.
    fn has_work(&mut self) -> bool;

    /// The core has nothing to do: the driver tidies what it owns, and says how long it may be left
    /// alone; `None` for ever.
    fn housekeep(&mut self) -> Option<Duration>;

    /// Blocks the thread for `at_most`, or until something completes; whether something did.
    ///
    /// A call of the driver, and not a descriptor for the core to poll: a driver has one ring for each
    /// segment and waits on the set of them in one system call. To poll the set instead is one more
    /// layer of the kernel at each wake-up; and the simulator has no descriptor.
    ///
    /// # Errors
    /// When a filter of the process forbids the call: then no time has passed.
    fn wait(&mut self, at_most: Duration) -> Result<bool, Errno>;

    /// From now on a completion rings the core's bell, or does not because the core looks by itself.
    /// What completed before the bell was on does not ring it, but [`Wakeup::has_work`] finds it.
    fn arm(&mut self, on: bool);
}
