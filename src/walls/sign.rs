//! What betrays a wall while a run goes.

use std::fmt;

use crate::base::errno::Errno;
use crate::walls::evidence::Evidence;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;

/// What betrays a wall. Each is looked for at the sides where the wall may stand.
#[derive(Clone, Copy)]
pub enum Sign {
    /// A counter of the kernel rose. That makes the wall likely and no more, since other programs
    /// move the counter as well.
    Rises(&'static str),
    /// Counters or log lines of the kernel, examined together; the clause says how.
    Kernel(&'static str, fn(&RunFacts, Place) -> Option<Evidence>),
    /// One of the program's own figures rose.
    Counted(&'static str),
    /// An operation of the program failed with this error.
    Errno(Errno),
    /// The kernel's log has a line that contains this text. How often it happened is not known.
    Logged(&'static str),
    /// A loss that is its own sign; the clause says which. Like an error number it is the loss
    /// itself, and says nothing when another wall explains it better.
    Became(&'static str, fn(&RunFacts, Place) -> Option<Evidence>),
    /// Any other sign; the clause says which.
    Seen(&'static str, fn(&RunFacts, Place) -> Option<Evidence>),
}

impl Sign {
    /// Whether the kernel keeps it, and neither of the programs.
    #[must_use]
    pub fn is_of_kernel(&self) -> bool {
        matches!(self, Sign::Rises(_) | Sign::Kernel(..) | Sign::Logged(_))
    }

    /// Its absence, in a clause.
    #[must_use]
    pub fn absence(&self) -> String {
        match self {
            Sign::Rises(name) | Sign::Counted(name) => format!("{name} did not rise"),
            Sign::Errno(errno) => format!("{errno} did not occur"),
            Sign::Logged(text) => format!("the kernel's log has no \"{text}\""),
            Sign::Kernel(what, _) | Sign::Became(what, _) | Sign::Seen(what, _) => {
                format!("not so: {what}")
            }
        }
    }
}

/// What must have been seen, beside what the signs of a wall read, before their absence says that the
/// wall was not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The CPU time of the program at that end.
    CpuTime,
    /// The kernel's log, where the server is gone: a kill stands nowhere else.
    LogOfAKill,
    /// The queues of the listeners at the target.
    Listeners,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sign::Rises(counter) => write!(f, "{counter} rises"),
            Sign::Counted(figure) => write!(f, "{figure} rises"),
            Sign::Errno(errno) => write!(f, "{errno}"),
            Sign::Logged(text) => write!(f, "kernel log: {text}"),
            Sign::Kernel(what, _) | Sign::Became(what, _) | Sign::Seen(what, _) => {
                f.write_str(what)
            }
        }
    }
}
