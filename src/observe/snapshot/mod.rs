//! A process and its cores at one moment, as another process sees them: by the text of a metrics address
//! or by dump lines. Both come from elsewhere: they are taken for nothing but what they are, and are
//! never a reason to panic.

use std::collections::BTreeMap;

use crate::base::endpoints::Endpoints;
use crate::base::side::Side;
use crate::host::counters::Counters;
use crate::host::cpu::CpuTime;
use crate::observe::names::Names;
pub use crate::observe::snapshot::buckets::Buckets;
use crate::observe::stats::Listed;

mod buckets;
mod by_dumps;
mod by_metrics;
mod sample;

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether it is a server or a client.
    pub side: Side,
    /// Figures by their names, over all cores, and those of the process. One that is not there was not
    /// seen of every core.
    pub figures: BTreeMap<String, u64>,
    /// Failed operations by the name of the error, over all cores.
    pub failed: BTreeMap<String, u64>,
    /// Lost connections by cause, over all cores.
    pub lost: BTreeMap<String, u64>,
    /// Every core, in order.
    pub cores: Vec<CoreSnapshot>,
    /// Counters of its host's kernel; dumps do not have them.
    pub host: Option<Counters>,
    /// Where a server listens; dumps do not say it.
    pub listen: Vec<Endpoints>,
}

/// One core at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreSnapshot {
    /// Its number.
    pub core: u64,
    /// The CPU it runs on.
    pub cpu: u16,
    /// Figures by their names. One that is not there was not seen.
    pub figures: BTreeMap<String, u64>,
    /// Histograms by their names, of those that were seen.
    pub latencies: BTreeMap<String, Buckets>,
}

/// Why something is no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// No figure of ours.
    #[error("there is no figure of megaconn in it")]
    NotOurs,
    /// A client's, where a server was looked for.
    #[error("it is of a {0}, not of a server")]
    OtherSide(String),
    /// The text ends before its end.
    #[error("it is cut short")]
    Truncated,
    /// A line of ours that cannot be.
    #[error("line {line} {what}")]
    Malformed {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Figures that add up to more than a number holds.
    #[error("{0} is too large over all cores")]
    TooLarge(String),
}

impl SnapshotError {
    /// A line, by its number from 1, and what is wrong with it.
    fn malformed(line: usize, what: impl Into<String>) -> SnapshotError {
        SnapshotError::Malformed { line, what: what.into() }
    }
}

impl Snapshot {
    /// The CPU time of the process; `None` when it was not seen.
    #[must_use]
    pub fn cpu_time(&self) -> Option<CpuTime> {
        let figure = |name| self.figures.get(name).copied();
        Some(CpuTime {
            ran_ms: figure("process_ran_ms")?,
            waited_ms: figure("process_waited_ms")?,
            lived_ms: figure("process_lived_ms")?,
        })
    }
}

impl CoreSnapshot {
    /// A core with such figures.
    pub fn of(
        core: u64,
        cpu: u16,
        figures: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> CoreSnapshot {
        let figures = figures.into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        CoreSnapshot { core, cpu, figures, latencies: BTreeMap::new() }
    }

    /// The counters and gauges of each of this process's own cores, now.
    pub fn of_own<'a, S: Listed + 'a>(
        cpus: &[u16],
        stats: impl IntoIterator<Item = &'a S>,
    ) -> Vec<CoreSnapshot> {
        let cores = (0..).zip(cpus).zip(stats);
        cores.map(|((core, cpu), stats)| CoreSnapshot::of(core, *cpu, stats.numbers())).collect()
    }

    /// Most connections at once; 0 when that was not seen.
    #[must_use]
    pub fn connections_peak(&self) -> u64 {
        self.figure_or_0("connections_peak")
    }

    /// Messages; 0 when they were not seen.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.figure_or_0("messages_total")
    }

    fn figure_or_0(&self, name: &str) -> u64 {
        self.figures.get(name).copied().unwrap_or(0)
    }
}

/// `side` may be a server's alone.
fn only_server(side: Side) -> Result<(), SnapshotError> {
    match side {
        Side::Server => Ok(()),
        Side::Client => Err(SnapshotError::OtherSide(side.name().to_owned())),
    }
}

/// Figures over all cores; one that a core lacks is left out.
fn totals(names: &Names, cores: &[CoreSnapshot]) -> Result<BTreeMap<String, u64>, SnapshotError> {
    let mut totals = BTreeMap::new();
    for name in &names.figures {
        let each: Option<Vec<u64>> =
            cores.iter().map(|core| core.figures.get(*name).copied()).collect();
        if let Some(each) = each.filter(|each| !each.is_empty()) {
            let sum = each.into_iter().try_fold(0, u64::checked_add);
            let sum = sum.ok_or_else(|| SnapshotError::TooLarge((*name).to_owned()))?;
            totals.insert((*name).to_owned(), sum);
        }
    }
    Ok(totals)
}

/// Counts of all cores together, by the name that each has.
fn by_name(
    what: &str,
    counts: impl IntoIterator<Item = (String, u64)>,
) -> Result<BTreeMap<String, u64>, SnapshotError> {
    let mut all = BTreeMap::new();
    for (name, n) in counts {
        let sum: &mut u64 = all.entry(name).or_default();
        *sum = sum.checked_add(n).ok_or_else(|| SnapshotError::TooLarge(what.to_owned()))?;
    }
    Ok(all)
}
