//! The verdict in `result.json`: whether a run reached what was asked for, and the walls that it met.

use serde::{Deserialize, Serialize};

use crate::base::units::grouped;
use crate::results::lenient::{List, Map, Maybe};

/// How the reason begins that a percentile is over its gate.
pub const P99_MISSED: &str = "p99 of";

/// The verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// Whether every gate was met.
    pub met: Maybe<bool>,
    /// Why not, in one line each; empty when met.
    pub missed: List<String>,
    /// The wall that cost most; what no wall explains is `unknown`.
    pub wall: Maybe<Attribution>,
    /// The others that cost something, the dearest first.
    pub more_walls: List<Attribution>,
    /// Walls that were met and cost nothing that was asked for.
    pub met_without_loss: List<Attribution>,
    /// When nothing was lost: the wall that comes next, by arithmetic.
    pub next_wall: Maybe<NextWall>,
}

/// A wall, and what was lost to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attribution {
    /// The wall's name, or `unknown`.
    pub id: Maybe<String>,
    /// What it limits, in a clause; `null` of `unknown`.
    pub limits: Maybe<String>,
    /// Where it stands: `client`, `server` or `between`.
    pub side: Maybe<String>,
    /// Connections that were lost to it, or failed.
    pub lost: Maybe<u64>,
    /// What became of connections, and of messages, each by its name. Another version may have none.
    pub became: Map<u64>,
    /// What was seen, with figures before and after.
    pub evidence: List<String>,
    /// What else could have explained it: each wall with its state, `ruled out`, `not seen` or `possible`.
    pub ruled_out: List<String>,
    /// What lifts it, as commands, the best first.
    pub fix: List<String>,
    /// How sure this is: `certain`, `likely` or `possible`.
    pub confidence: Maybe<String>,
}

impl Attribution {
    /// What it took: connections and messages each by their names, never added up.
    #[must_use]
    pub fn toll(&self) -> String {
        if self.became.is_empty() {
            return format!("{} lost to it", self.lost.map_or("an unknown number".into(), grouped));
        }
        let each = self.became.iter().map(|(name, n)| format!("{} {name}", grouped(*n)));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// The wall that a larger run would meet first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NextWall {
    /// Its name.
    pub id: Maybe<String>,
    /// What it limits, in a clause.
    pub limits: Maybe<String>,
    /// How many connections it allows.
    pub at_connections: Maybe<u64>,
}
