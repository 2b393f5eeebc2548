//! What can become of a connection or of a run. A wall explains some of these symptoms.

use std::fmt;

use crate::base::errno::Errno;
use crate::observe::stats::LostCause;

/// What can become of a connection, or of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Symptom {
    /// Connects failed with this error.
    Failed(Errno),
    /// Connections were lost for this cause.
    Lost(LostCause),
    /// Connections were not even tried.
    Untried,
    /// No more could be opened, of as many as there can be, for a reason that no connect met.
    NoMore,
    /// Messages, pushes or short connections were late or did not begin in time, or a gate on
    /// latency was missed.
    Late,
    /// The server did not end connections in time.
    NotEnded,
    /// A gate was missed for none of the reasons above.
    Missed,
}

impl Symptom {
    /// Whether it is of connections: messages and gates are something else, and are not added to
    /// them.
    #[must_use]
    pub fn is_of_connections(self) -> bool {
        !matches!(self, Symptom::NoMore | Symptom::Late | Symptom::Missed)
    }
}

impl fmt::Display for Symptom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Symptom::Failed(errno) => write!(f, "connects failed ({errno})"),
            Symptom::Lost(cause) => write!(f, "connections lost ({})", cause.name()),
            Symptom::Untried => f.write_str("connections not tried"),
            Symptom::NoMore => f.write_str("end of the opening"),
            Symptom::Late => f.write_str("late or not begun in time"),
            Symptom::NotEnded => f.write_str("connections not ended in time"),
            Symptom::Missed => f.write_str("gates missed"),
        }
    }
}
