//! What a server can say of itself: which wall keeps it from starting, and which walls it met when
//! it ends. Only its clients know what was lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::errno::Errno;
use crate::base::layers::UserMemory;
use crate::base::units::grouped;
use crate::host::counters::Counters;
use crate::host::kernel_log::KernelLog;
use crate::observe::snapshot::CoreSnapshot;
use crate::observe::stats::{Listed, ServerStats, ServerTotals};
use crate::plan::demand::Demand;
use crate::walls::diagnosis::{Attribution, diagnose};
use crate::walls::host::Host;
use crate::walls::place::Place;
use crate::walls::reading::rows;
use crate::walls::run_facts::{ClientFacts, End, RunFacts};

/// Walls that keep a server from starting, whatever connects later.
const BEFORE_THE_START: [&str; 3] = ["threads", "memlock", "nofile"];

/// What a server did as it was told is a wall to its clients, and none to itself.
const AS_TOLD: [&str; 2] = ["drain", "idle-timeout"];

/// The wall that keeps a server on `cores` cores from starting, in one line with what lifts it.
#[must_use]
pub fn short_at_start(host: &Host, cores: usize, memory: UserMemory) -> Option<String> {
    let rows = rows(host, &demand(1, cores, 0, memory));
    let row = rows.iter().find(|row| !row.fits() && BEFORE_THE_START.contains(&row.id))?;
    let have = row.have?;
    let (id, unit, need) = (row.id, row.unit, grouped(row.need.unwrap_or(0)));
    Some(format!(
        "{id}: a server on {cores} cores needs {need} {unit}, have {}; fix: {}",
        grouped(have),
        row.fixes()
    ))
}

/// The demand on a host that has the server alone.
fn demand(connections: u64, cores: usize, backlog: u64, memory: UserMemory) -> Demand {
    Demand { backlog, ..Demand::of_server(connections, cores as u64, memory) }
}

/// The kernel's counters and its log from the moment at which the server began.
pub struct Begun {
    host: Host,
    counters: Counters,
    log: Option<KernelLog>,
    memory: UserMemory,
}

impl Begun {
    /// From now on, on `host`, for connections that take so much memory.
    #[must_use]
    pub fn now(host: Host, memory: UserMemory) -> Begun {
        Begun { counters: Counters::read(&host.procfs), log: KernelLog::open(), host, memory }
    }

    /// The walls at the server's side that were met since then, for cores on `cpus` with accept
    /// queues of length `backlog`.
    #[must_use]
    pub fn met_since(
        mut self,
        cpus: &[u16],
        stats: &[Arc<ServerStats>],
        backlog: u64,
    ) -> Vec<Attribution> {
        let mut figures = BTreeMap::new();
        for (name, n) in stats.iter().flat_map(|core| core.numbers()) {
            *figures.entry(name.to_owned()).or_insert(0) += n;
        }
        let failed = &ServerTotals::of(stats.iter().map(AsRef::as_ref)).failed;
        let named = (0..).zip(failed).filter(|(_, n)| **n > 0);
        let connections = figures.get("connections_peak").copied().unwrap_or(0);
        let mut lines = self.log.as_mut().map(KernelLog::lines_since).unwrap_or_default();
        // A process that the kernel killed meanwhile was not this one.
        lines.retain(|line| line.killed().is_none());
        let run = RunFacts {
            demand: demand(connections, cpus.len(), backlog, self.memory),
            symptoms: BTreeMap::new(),
            // It reads the log and the settings of its own host.
            shares_kernel: true,
            client: End::default(),
            server: Some(End {
                counters: Some((self.counters, Counters::read(&self.host.procfs))),
                figures,
                failed: named.map(|(errno, n)| (Errno(errno).to_string(), *n)).collect(),
                cores: CoreSnapshot::of_own(cpus, stats.iter().map(AsRef::as_ref)),
                // Only a client knows when CPU time was short.
                cpu_time: None,
                is_early: false,
            }),
            host: self.host,
            log: Some(lines.into_iter().map(|line| line.text).collect()),
            facts: ClientFacts::default(),
        };
        let of_ours =
            |wall: &Attribution| wall.side == Place::Server && !AS_TOLD.contains(&wall.id);
        diagnose(&run).met_without_loss.into_iter().filter(of_ours).collect()
    }
}
