//! The table read before a run: what each wall has here, what a plan needs, which one binds first.

use serde::Serialize;

use crate::plan::demand::{Demand, Ends};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::host::Host;
use crate::walls::place::Place;
use crate::walls::present::Present;
use crate::walls::table::all;
use crate::walls::wall::Wall;

/// Whether what a wall has is enough; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The plan does not fit.
    Fail,
    /// The plan fits, and will be disturbed.
    Warn,
    /// It could not be read.
    Unknown,
    /// There is enough.
    Ok,
    /// It shows only when it is met, or is not on this host.
    #[serde(rename = "n/a")]
    NotApplicable,
}

/// One wall, as this host has it and a plan needs it. `megaconn plan`, the doctor, the files that lift
/// walls and the client's refusals all show this row; as JSON it is a row of `doctor.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The wall.
    pub id: &'static str,
    /// What it limits.
    pub limits: &'static str,
    /// Where it may stand.
    pub sides: &'static [Place],
    /// What is counted.
    pub unit: &'static str,
    /// What there is; `None` is no limit, or not to be read: see the verdict.
    pub have: Option<u64>,
    /// What the plan needs; `None` when nothing can be said before a run.
    pub need: Option<u64>,
    /// Connections that it allows; `None` when it bounds none.
    pub allows_connections: Option<u64>,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// What lifts it, the best first; empty where nothing is short.
    pub fix: Vec<Fix>,
    /// How long each fix lasts, and how it is made to last.
    pub lasts: Vec<&'static str>,
    /// What else a reader should know.
    pub remark: &'static str,
}

impl Row {
    /// Whether a run can begin.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.verdict != Verdict::Fail
    }

    /// Whether there is less than the plan needs, so that it fails or is disturbed.
    #[must_use]
    pub fn is_short(&self) -> bool {
        matches!(self.verdict, Verdict::Fail | Verdict::Warn)
    }

    /// What lifts it, in one line.
    #[must_use]
    pub fn fixes(&self) -> String {
        let fixes: Vec<String> = self.fix.iter().map(ToString::to_string).collect();
        fixes.join("; or: ")
    }
}

/// Every wall: those that bound the number of connections first, the tightest at the top.
#[must_use]
pub fn rows(host: &Host, demand: &Demand) -> Vec<Row> {
    let mut rows: Vec<Row> = all().map(|wall| row(wall, host, demand)).collect();
    rows.sort_by_key(|row| row.allows_connections.unwrap_or(u64::MAX));
    rows
}

/// The first wall that a plan beyond every limit would meet, and at how many connections.
#[must_use]
pub fn next_wall(rows: &[Row]) -> Option<(&'static str, u64)> {
    rows.iter().find_map(|row| Some((row.id, row.allows_connections?)))
}

fn row(wall: &'static Wall, host: &Host, demand: &Demand) -> Row {
    let is_here = wall.at.sides().iter().any(|side| is_here(*side, demand.ends));
    let reading = if is_here { (wall.read)(host, demand) } else { Reading::NOTHING };
    let verdict = match (reading.have, reading.need) {
        (Have::Nothing, _) => Verdict::NotApplicable,
        (Have::Unknown, _) => Verdict::Unknown,
        (Have::Some(have), Some(need)) if have < need && reading.stops => Verdict::Fail,
        (Have::Some(have), Some(need)) if have < need => Verdict::Warn,
        _ => Verdict::Ok,
    };
    let mut row = Row {
        id: wall.id,
        limits: wall.limits,
        sides: wall.at.sides(),
        unit: wall.unit,
        have: reading.have.number(),
        need: reading.need,
        allows_connections: reading.allows,
        verdict,
        fix: Vec::new(),
        lasts: Vec::new(),
        remark: wall.remark,
    };
    if row.is_short() {
        row.fix = Present::of_plan(host, demand).useful(&(wall.fix)(host, demand));
        row.lasts = row.fix.iter().map(Fix::lasts).collect();
    }
    row
}

/// Whether a wall of `side` can be read on a host that has these ends. A wall between the ends is
/// read everywhere: a client is there, or could be.
fn is_here(side: Place, ends: Ends) -> bool {
    match side {
        Place::Client => ends != Ends::Server,
        Place::Server => ends != Ends::Client,
        Place::Between => true,
    }
}
