//! What a run came to that opened as many connections as there can be.

use serde::{Deserialize, Serialize};

use crate::results::lenient::Maybe;
use crate::results::plateau::Counts;

/// The end of the opening, with `--connections max`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Max {
    /// Connections that were held, and verified where the server answers, when no more could be opened;
    /// `null` when a signal came before.
    pub connections: Maybe<u64>,
    /// The wall that ended the opening; `unknown` when no wall explains it. It is `verdict.wall`.
    pub stopped_by: Maybe<String>,
    /// The wall that was expected, by arithmetic before the run.
    pub expected_wall: Maybe<String>,
    /// How many connections that one was expected to allow.
    pub expected_connections: Maybe<u64>,
    /// Connects that failed at the wall, by the name of the error. They are in no other count.
    pub failed: Counts,
    /// Connections that ended at the wall, by cause, before they were verified. They are in no other count.
    pub lost: Counts,
}
