//! What each core of the client is made of, from the config and the plan of the run.

use std::sync::Arc;

use megaconn::base::constants::{BUFFER_BYTES, BUFFERS_PER_CORE};
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::client::Client;
use megaconn::engine::client::config::ClientConfig;
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::protocol::expect::Expect;
use megaconn::host::cpu::own_thread;
use megaconn::host::ports;
use megaconn::observe::stats::ClientStats;
use megaconn::plan::tuples;
use megaconn::runtime::launch;
use megaconn::sys::doorbell::Doorbell;

use crate::run::config::Config;
use crate::run::preflight::RunPlan;

/// A core, or why there is none, with the fix.
type MakeCore = Result<Client<UringDriver, Expect>, String>;

/// Makes a core on the core itself, from its number and its bell.
pub(crate) fn make_core(
    config: &Config,
    plan: &RunPlan,
    stats: &[Arc<ClientStats>],
) -> impl Fn(usize, &Doorbell) -> MakeCore + Clone + Send + use<> {
    let tuples = Arc::clone(&plan.tuples);
    let (of_core, stats) = (client_config(config, plan), stats.to_vec());
    let expect = config.traffic.expect.clone();
    let allocators: Vec<TupleAllocator> =
        (0..plan.cpus.len()).map(|core| allocator(config, plan, core)).collect();
    let keepalive = config.traffic.keepalive;
    move |core, bell| {
        stats[core].thread.set(own_thread());
        let driver = UringConfig {
            listeners: Vec::new(),
            targets: tuples.targets().to_vec(),
            ephemeral_ports: ports::ephemeral(),
            buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            keepalive,
        };
        let driver =
            UringDriver::new(driver, bell).map_err(|error| launch::short_of_something(&error))?;
        let (allocator, stats) = (allocators[core].clone(), Arc::clone(&stats[core]));
        Ok(Client::new(driver, of_core.clone(), expect.clone(), allocator, stats))
    }
}

/// What every core is told.
fn client_config(config: &Config, plan: &RunPlan) -> ClientConfig {
    let (load, traffic, cores) = (&config.load, &config.traffic, plan.cpus.len() as f64);
    ClientConfig {
        slots_per_segment: plan.slots_per_segment,
        connects_in_flight: load.connects_in_flight,
        connects_per_s: load.rate_per_s.map(|rate| rate as f64 / cores),
        message_bytes: traffic.message_bytes,
        message_count: traffic.message_count,
        schedule: traffic.schedule,
        churn_per_s: traffic.churn_per_s().unwrap_or(0) as f64 / cores,
        close: traffic.close,
        run: plan.run_id,
    }
}

/// The tuples of `core`, which has its even share of the connections.
fn allocator(config: &Config, plan: &RunPlan, core: usize) -> TupleAllocator {
    let cores = plan.cpus.len();
    let share = tuples::share(config.connections(), cores, core);
    let churn = plan.demand.churn_tuples.div_ceil(cores as u64);
    TupleAllocator::new(Arc::clone(&plan.tuples), core, share, churn, plan.run_id)
}
