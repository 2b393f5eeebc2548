//! `doctor.json`, as far as the report reads it: `walls::doctor` has more to say, and writes it.

use serde::{Deserialize, Serialize};

use crate::results::lenient::{List, Maybe};

/// The doctor's table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Doctor {
    /// Every wall.
    pub rows: List<Wall>,
}

/// A wall as it stood before the run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wall {
    /// Its name.
    pub id: Maybe<String>,
    /// What it limits.
    pub limits: Maybe<String>,
    /// What is counted.
    pub unit: Maybe<String>,
    /// What there is; `null` is no limit, or not to be read: see the verdict.
    pub have: Maybe<u64>,
    /// What the plan needs.
    pub need: Maybe<u64>,
    /// Connections that it allows.
    pub allows_connections: Maybe<u64>,
    /// `fail`, `warn`, `unknown`, `ok` or `n/a`.
    pub verdict: Maybe<String>,
    /// What lifts it, the best first.
    pub fix: List<String>,
}
