//! The doctor: every wall as this host has it and a plan needs it, the two that bind first, and the
//! settings that nobody should have. `megaconn doctor` shows it, the client keeps it as
//! `doctor.json`.
//!
//! Nothing here changes the host or opens a socket.

use std::net::SocketAddr;

use serde::Serialize;

use crate::plan::demand::{Demand, Ends};
use crate::walls::have::Have;
use crate::walls::host::Host;
use crate::walls::obsolete;
use crate::walls::obsolete::rules::Plan;
use crate::walls::obsolete::setting::Setting;
use crate::walls::reading::{self, Standing};
use crate::walls::side::Side;

pub mod text;

/// What the doctor says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `megaconn.doctor/1`.
    pub schema: &'static str,
    /// Connections asked about.
    pub connections: u64,
    /// The ends that are on this host.
    pub side: Ends,
    /// Whether nothing stops so many; what only disturbs does not count.
    pub fits: bool,
    /// Slots of one segment.
    pub slots_per_segment: u64,
    /// Segments of one end.
    pub segments: u64,
    /// The wall that binds first.
    pub binds_first: Option<Bound>,
    /// The one that would bind next, were that one lifted.
    pub binds_next: Option<Bound>,
    /// Every wall: what stops the plan, what disturbs it, what is unknown, what is enough in the
    /// order in which it binds, what shows only when it is met.
    pub rows: Vec<Row>,
    /// Settings that are obsolete, mistaken or harmful.
    pub settings: Vec<Setting>,
}

/// A wall that bounds the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The wall.
    pub id: &'static str,
    /// How many it allows.
    pub at_connections: u64,
}

/// One wall.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Its name.
    pub id: &'static str,
    /// What it limits.
    pub limits: &'static str,
    /// Where it may stand.
    pub sides: &'static [Side],
    /// What is counted.
    pub unit: &'static str,
    /// What there is; `null` is no limit, or not to be read: see the verdict.
    pub have: Option<u64>,
    /// What the plan needs; `null` when nothing can be said before a run.
    pub need: Option<u64>,
    /// Connections that it allows; `null` when it bounds none.
    pub allows_connections: Option<u64>,
    /// Whether that is enough.
    pub verdict: Verdict,
    /// What lifts it, the best first; empty where nothing is short.
    pub fix: Vec<String>,
    /// How long each of them lasts, and how it is made to last.
    pub lasts: Vec<&'static str>,
    /// What one should know besides.
    pub remark: &'static str,
}

/// What is said of a wall; the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The plan does not fit.
    Fail,
    /// It fits, and will be disturbed.
    Warn,
    /// It could not be read.
    Unknown,
    /// There is enough.
    Ok,
    /// It shows only when it is met, or is not on this host.
    #[serde(rename = "n/a")]
    NotApplicable,
}

impl From<Standing> for Verdict {
    fn from(standing: Standing) -> Verdict {
        match standing {
            Standing::Fail => Verdict::Fail,
            Standing::Warn => Verdict::Warn,
            Standing::Unknown => Verdict::Unknown,
            Standing::Ok => Verdict::Ok,
            Standing::Unread => Verdict::NotApplicable,
        }
    }
}

/// Examines `host` for `demand`, whose connections go to `targets`.
#[must_use]
pub fn report(host: &Host, demand: &Demand, targets: &[SocketAddr]) -> Report {
    let readings = reading::rows(host, demand);
    let bound =
        |row: &reading::Row| Some(Bound { id: row.id, at_connections: row.allows_connections? });
    let mut bounds = readings.iter().filter_map(bound);
    let (binds_first, binds_next) = (bounds.next(), bounds.next());
    let connects_away = demand.ends == Ends::Client;
    let ports_here = targets.iter().filter(|_| !connects_away).map(SocketAddr::port).collect();
    let plan = Plan { ports_here, connects_away };
    let mut rows: Vec<Row> = readings.iter().map(Row::from).collect();
    rows.sort_by_key(|row| row.verdict);
    Report {
        schema: "megaconn.doctor/1",
        connections: demand.connections,
        side: demand.ends,
        fits: readings.iter().all(reading::Row::fits),
        slots_per_segment: host.slots_per_segment,
        segments: host.segments(demand),
        binds_first,
        binds_next,
        rows,
        settings: obsolete::settings(&host.tree, &plan),
    }
}

impl From<&reading::Row> for Row {
    fn from(row: &reading::Row) -> Row {
        Row {
            id: row.id,
            limits: row.limits,
            sides: row.sides,
            unit: row.unit,
            have: match row.have {
                Have::Some(have) => Some(have),
                Have::Unlimited | Have::Unknown | Have::Nothing => None,
            },
            need: row.need,
            allows_connections: row.allows_connections,
            verdict: row.standing.into(),
            fix: row.fix.iter().map(ToString::to_string).collect(),
            lasts: row.fix.iter().map(crate::walls::fix::Fix::lasts).collect(),
            remark: row.remark,
        }
    }
}
