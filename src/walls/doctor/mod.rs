//! The doctor: every wall as this host has it and a plan needs it, the two that bind first, and
//! settings that are obsolete, mistaken or harmful. `megaconn doctor` shows the report, and the
//! client keeps it as `doctor.json`.
//!
//! Nothing here changes the host or opens a socket.

use std::net::SocketAddr;

use serde::Serialize;

use crate::plan::demand::{Demand, Ends};
use crate::walls::host::Host;
use crate::walls::obsolete;
use crate::walls::obsolete::rules::Plan;
use crate::walls::obsolete::setting::Setting;
use crate::walls::reading::{self, Row};

pub mod text;

/// What the doctor says.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `megaconn.doctor/1`.
    pub schema: &'static str,
    /// Connections that are planned.
    pub connections: u64,
    /// The ends that are on this host.
    pub side: Ends,
    /// Whether no wall stops the plan. A wall that only disturbs it does not count.
    pub fits: bool,
    /// Slots of one segment.
    pub slots_per_segment: u64,
    /// Segments of one end.
    pub segments: u64,
    /// The wall that binds first.
    pub binds_first: Option<Bound>,
    /// The wall that binds next when that one is lifted.
    pub binds_next: Option<Bound>,
    /// Every wall, by its verdict: what stops the plan, what disturbs it, what is unknown, what is
    /// enough in the order in which it binds, what shows only when it is met.
    pub rows: Vec<Row>,
    /// Settings that are obsolete, mistaken or harmful.
    pub settings: Vec<Setting>,
}

/// A wall that bounds the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bound {
    /// The wall.
    pub id: &'static str,
    /// Connections that it allows.
    pub at_connections: u64,
}

/// Examines `host` for `demand`, whose connections go to `targets`.
#[must_use]
pub fn report(host: &Host, demand: &Demand, targets: &[SocketAddr]) -> Report {
    let mut rows = reading::rows(host, demand);
    let bound = |row: &Row| Some(Bound { id: row.id, at_connections: row.allows_connections? });
    let mut bounds = rows.iter().filter_map(bound);
    let (binds_first, binds_next) = (bounds.next(), bounds.next());
    let connects_away = demand.ends == Ends::Client;
    let ports_here = targets.iter().filter(|_| !connects_away).map(SocketAddr::port).collect();
    let plan = Plan { ports_here, connects_away };
    rows.sort_by_key(|row| row.verdict);
    Report {
        schema: "megaconn.doctor/1",
        connections: demand.connections,
        side: demand.ends,
        fits: rows.iter().all(Row::fits),
        slots_per_segment: host.slots_per_segment,
        segments: host.segments(demand),
        binds_first,
        binds_next,
        rows,
        settings: obsolete::settings(&host.procfs, &plan),
    }
}
