//! What is asked of the host before a run, and tried: io_uring, the cores, the tuples, the walls, the
//! targets, the run directory. Whatever is short refuses the run here, before the first connection.

use std::sync::Arc;

use megaconn::base::side::Side;
use megaconn::base::stderr::talk;
use megaconn::drivers::uring;
use megaconn::host::rlimit;
use megaconn::plan::demand::Demand;
use megaconn::plan::sources::{self, Typed};
use megaconn::plan::tuples::TuplePlan;
use megaconn::runtime::memory_reserve;
use megaconn::walls::host::{Host, RingTried};
use megaconn::walls::reading::{self, Row};

use crate::output::directory;
use crate::run::config::Config;
use crate::run::reach::reach_all;
use crate::run::refusal::{Refusal, does_not_fit};

/// What a config comes to on this host.
pub(crate) struct RunPlan {
    pub(crate) cpus: Vec<u16>,
    pub(crate) tuples: Arc<TuplePlan>,
    pub(crate) demand: Demand,
    pub(crate) host: Host,
    /// The walls as they stood before the run.
    pub(crate) rows: Vec<Row>,
    pub(crate) slots_per_segment: u32,
    /// Tells the messages of this run from those of any other.
    pub(crate) run_id: u64,
}

impl RunPlan {
    /// Asks the host for what `config` needs.
    ///
    /// # Errors
    /// The first thing that the host does not have, or that does not answer.
    pub(crate) fn prepare(config: &Config) -> Result<RunPlan, Refusal> {
        uring::probe()?;
        let cpus = config.targets.cores.resolve()?;
        let tuples = tuples(config, cpus.len())?;
        let nofile = rlimit::raise_nofile();
        let demand = demand(config, &tuples, cpus.len() as u64);
        let reserve_bytes = memory_reserve::bytes(Side::Client, config.memory_reserve);
        // It was tried above.
        let host = Host { ring: RingTried::Works, ..Host::read(nofile, reserve_bytes) };
        let rows = reading::rows(&host, &demand);
        if let Some(row) = rows.iter().find(|row| !row.fits()) {
            return Err(does_not_fit(config.connections(), config.traffic.churn_per_s(), row));
        }
        reach_all(tuples.targets(), tuples.ports())?;
        config.outputs.out.as_deref().map_or(Ok(()), directory::create)?;
        Ok(RunPlan {
            cpus,
            tuples: Arc::new(tuples),
            demand,
            host,
            rows,
            slots_per_segment: rlimit::slots_per_segment(nofile),
            run_id: fastrand::u64(..),
        })
    }
}

fn tuples(config: &Config, cores: usize) -> Result<TuplePlan, Refusal> {
    let typed = Typed { sources: &config.targets.source, ports: config.targets.source_ports };
    let planned = sources::plan(&typed, config.targets(), cores)?;
    planned.unused_in_words().iter().for_each(|words| talk(&format!("note: {words}")));
    Ok(planned.tuples)
}

fn demand(config: &Config, tuples: &TuplePlan, cores: u64) -> Demand {
    let connections = config.connections();
    Demand {
        churn_tuples: config.traffic.churn.map_or(0, |churn| churn.tuples),
        connects_in_flight: cores * u64::from(config.load.connects_in_flight),
        ..Demand::of_client(connections, tuples.targets(), tuples.capacity(), cores)
    }
}
