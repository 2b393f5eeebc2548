//! What is asked of the host before a run, and tried: io_uring, the cores, the tuples, the walls, the
//! targets, the run directory. Whatever is short refuses the run here, before the first connection.

use std::sync::Arc;

use megaconn::base::constants::{MESSAGES_OUT_BYTES, REPORT_BYTES};
use megaconn::base::side::Side;
use megaconn::base::stderr::talk;
use megaconn::drivers::uring;
use megaconn::host::rlimit;
use megaconn::plan::demand::Demand;
use megaconn::plan::sources::{self, Typed};
use megaconn::plan::tuples::TuplePlan;
use megaconn::runtime::{footprint, memory_reserve};
use megaconn::walls::host::{Host, RingTried};
use megaconn::walls::reading::{self, Row};

use crate::measure::files;
use crate::output::directory;
use crate::run::config::Config;
use crate::run::reach::reach_all;
use crate::run::refusal::{Refusal, does_not_fit};

/// What a config comes to on this host.
pub(crate) struct RunPlan {
    pub(crate) cpus: Vec<u16>,
    /// Held connections of each plateau.
    pub(crate) plateaus: Vec<u64>,
    /// With --connections max: what the last of them is expected to come to.
    pub(crate) max: Option<MaxPlan>,
    /// The most that may be asked for on the way, and what limits it.
    pub(crate) room: (u64, &'static str),
    /// Held connections for which tuples are set aside before those of short ones.
    pub(crate) set_aside: u64,
    pub(crate) tuples: Arc<TuplePlan>,
    pub(crate) demand: Demand,
    pub(crate) host: Host,
    /// The walls as they stood before the run.
    pub(crate) rows: Vec<Row>,
    pub(crate) slots_per_segment: u32,
    /// Tells the messages of this run from those of any other.
    pub(crate) run_id: u64,
    /// Whether other parts of the run have the same sources, and other ports.
    pub(crate) is_shared: bool,
}

/// As many connections as there can be, as far as it is known before the run.
pub(crate) struct MaxPlan {
    /// The most that tuples allow.
    pub(crate) most: u64,
    /// The wall that comes first, by arithmetic.
    pub(crate) expected_wall: &'static str,
    /// How many connections that one allows.
    pub(crate) expected: u64,
}

impl MaxPlan {
    fn of(rows: &[Row], tuples: &TuplePlan, demand: &Demand, cores: usize) -> MaxPlan {
        // A connection keeps its number in 32 bits of its core.
        let numbered = u64::from(u32::MAX).saturating_mul(cores as u64);
        // Each core needs its whole part of those for short connections.
        let churn = demand.churn_tuples.next_multiple_of(cores.max(1) as u64);
        let most = tuples.capacity().saturating_sub(churn).min(numbered);
        let (expected_wall, expected) =
            reading::next_wall(rows).filter(|(_, at)| *at < most).unwrap_or(("source-ports", most));
        MaxPlan { most, expected_wall, expected }
    }
}

impl RunPlan {
    /// Held connections of the highest plateau, at most.
    pub(crate) fn connections(&self) -> u64 {
        self.plateaus.iter().copied().max().unwrap_or(0)
    }

    /// Asks the host for what `config` needs.
    ///
    /// # Errors
    /// The first thing that the host does not have, or that does not answer.
    pub(crate) fn prepare(config: &Config) -> Result<RunPlan, Refusal> {
        uring::probe()?;
        if config.traffic.vanishes() {
            uring::can_vanish().map_err(Refusal::NoVanishing)?;
        }
        let cpus = config.targets.cores.resolve()?;
        let (tuples, is_shared) = tuples(config, cpus.len())?;
        let nofile = rlimit::raise_nofile();
        let mut demand = demand(config, &tuples, cpus.len() as u64);
        let mut reserve_bytes = memory_reserve::bytes(Side::Client, config.memory_reserve);
        if config.load.to_max && reserve_bytes > 0 {
            // What the run takes itself, when it has opened all.
            reserve_bytes += REPORT_BYTES + cpus.len() as u64 * MESSAGES_OUT_BYTES;
        }
        // It was tried above.
        let host = Host { ring: RingTried::Works, ..Host::read(nofile, reserve_bytes) };
        let rows = reading::rows(&host, &demand);
        if let Some(row) = rows.iter().find(|row| !row.fits()) {
            return Err(does_not_fit(demand.connections, &config.traffic, row));
        }
        let most = MaxPlan::of(&rows, &tuples, &demand, cpus.len());
        let room = match demand.connections {
            // Of --churn alone.
            0 => (0, most.expected_wall),
            asked => (most.expected.max(asked), most.expected_wall),
        };
        let max = config.load.to_max.then_some(most);
        let mut plateaus = config.load.plateaus.clone();
        if let Some(max) = &max {
            let files = max.expected.saturating_mul(demand.ends.count());
            let passes = files::may_pass(&host, files);
            passes.iter().for_each(|words| talk(&format!("note: {words}")));
            plateaus.push(max.most.max(demand.connections));
            demand.connections = max.expected.max(demand.connections);
        }
        // Where the number can be raised, short connections leave room for all that there can be.
        let set_aside = match &config.outputs.control {
            Some(_) => room.0.max(demand.connections),
            None => demand.connections,
        };
        let any = || fastrand::u64(..);
        reach_all(tuples.targets(), tuples.ports())?;
        config.outputs.out.as_deref().map_or(Ok(()), directory::create)?;
        Ok(RunPlan {
            cpus,
            plateaus,
            max,
            room,
            set_aside,
            tuples: Arc::new(tuples),
            demand,
            host,
            rows,
            slots_per_segment: rlimit::slots_per_segment(nofile),
            run_id: config.cut.part.map_or_else(any, |part| part.message_run(any())),
            is_shared,
        })
    }
}

fn tuples(config: &Config, cores: usize) -> Result<(TuplePlan, bool), Refusal> {
    let typed = Typed {
        sources: &config.targets.source,
        ports: config.targets.source_ports,
        part: config.cut.of_sources(),
    };
    let planned = sources::plan(&typed, config.targets(), cores)?;
    planned.unused_in_words().iter().for_each(|words| talk(&format!("note: {words}")));
    Ok((planned.tuples, planned.is_shared))
}

fn demand(config: &Config, tuples: &TuplePlan, cores: u64) -> Demand {
    // Of as many as there can be one at least must fit.
    let connections = config.connections().max(config.load.to_max.into());
    let mut memory = footprint::of(config.traffic.layers());
    memory.client_bytes += config.traffic.kinds().bytes();
    Demand {
        lifetime_tuples: config.traffic.lifetime_tuples,
        churn_tuples: config.traffic.churn.map_or(0, |churn| churn.tuples),
        connects_in_flight: cores * u64::from(config.load.connects_in_flight),
        ..Demand::of_client(connections, tuples.targets(), tuples.capacity(), cores, memory)
    }
}
