//! One row of the table of walls.

use crate::plan::demand::Demand;
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::host::Host;
use crate::walls::place::At;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::{Need, Sign};
use crate::walls::symptom::Symptom;

/// One wall. The names are those that `result.json`, `plan` and `doctor` use.
pub struct Wall {
    /// Its name.
    pub id: &'static str,
    /// Of two walls that could explain the same loss as surely, the one with the lower number is named.
    /// Wherever walls are listed and nothing else tells them apart, it comes first. No two walls have
    /// the same number.
    pub precedence: u16,
    /// What it limits, in a clause.
    pub limits: &'static str,
    /// At which end of a connection it stands.
    pub at: At,
    /// What is counted.
    pub unit: &'static str,
    /// What this host has, what a plan needs, and how many connections that allows.
    pub read: fn(&Host, &Demand) -> Reading,
    /// What can become of a run that meets it.
    pub explains: &'static [Symptom],
    /// Whether it drops packets, so that what is late because of it was sent again.
    pub drops: bool,
    /// Whether every queue that drops packets moves its signs, so that it is named only where the kernel
    /// counted for no wall that makes things late.
    pub is_general: bool,
    /// What betrays it; one is enough.
    pub signs: &'static [Sign],
    /// What it means that no sign of it is there, in a clause; empty where the signs say it.
    pub absent: &'static str,
    /// What else must have been seen before it is ruled out.
    pub needs: &'static [Need],
    /// What lifts it, the best first.
    pub fix: fn(&Host, &Demand) -> Vec<Fix>,
    /// What lifts it where it was met, when that depends on the run; in place of `fix`.
    pub fix_of_run: Option<fn(&RunFacts) -> Vec<Fix>>,
    /// What else a reader should know.
    pub remark: &'static str,
}
