//! The table read before a run: what each wall has here, what a plan needs, which one binds first.

use serde::Serialize;

use crate::plan::demand::{Demand, Ends};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::host::Host;
use crate::walls::side::Side;
use crate::walls::table::all;
use crate::walls::wall::Wall;

/// What a reading says of a wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// The plan does not fit.
    Fail,
    /// The plan fits, and will be disturbed.
    Warn,
    /// There is enough.
    Ok,
    /// It could not be read.
    Unknown,
    /// It shows only when it is met.
    Unread,
}

/// One wall, as this host has it and a plan needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The wall.
    pub id: &'static str,
    /// What it limits.
    pub limits: &'static str,
    /// Where it may stand.
    pub sides: &'static [Side],
    /// What is counted.
    pub unit: &'static str,
    /// What there is.
    pub have: Have,
    /// What the plan needs.
    pub need: Option<u64>,
    /// Connections that it allows; `None` when it bounds none.
    pub allows_connections: Option<u64>,
    /// Whether that is enough.
    pub standing: Standing,
    /// What lifts it, when it is not.
    pub fix: Vec<Fix>,
    /// What one should know besides.
    pub remark: &'static str,
}

impl Row {
    /// Whether a run can begin.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.standing != Standing::Fail
    }
}

/// Every wall, the one that binds first at the top, those that bind no number of connections below.
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
    let standing = match (reading.have, reading.need) {
        (Have::Nothing, _) => Standing::Unread,
        (Have::Unknown, _) => Standing::Unknown,
        (Have::Some(have), Some(need)) if have < need && reading.stops => Standing::Fail,
        (Have::Some(have), Some(need)) if have < need => Standing::Warn,
        _ => Standing::Ok,
    };
    let is_short = matches!(standing, Standing::Fail | Standing::Warn);
    Row {
        id: wall.id,
        limits: wall.limits,
        sides: wall.at.sides(),
        unit: wall.unit,
        have: reading.have,
        need: reading.need,
        allows_connections: reading.allows,
        standing,
        fix: if is_short { (wall.fix)(host, demand) } else { Vec::new() },
        remark: wall.remark,
    }
}

/// Whether a wall of `side` can be read on a host that has these ends: what lies between them is
/// read wherever a client is, or could be.
fn is_here(side: Side, ends: Ends) -> bool {
    match side {
        Side::Client => ends != Ends::Server,
        Side::Server => ends != Ends::Client,
        Side::Between => true,
    }
}
