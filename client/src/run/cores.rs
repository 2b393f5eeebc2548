//! What each core of the client is made of, from what the run was told.

use std::sync::Arc;

use megaconn::base::constants::{BUFFER_BYTES, BUFFERS_PER_CORE};
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::host::cpu::own_thread;
use megaconn::observe::stats::CoreStats;
use megaconn::plan;
use megaconn::runtime::launch;
use megaconn::sys::doorbell::Doorbell;

use crate::run::config::Config;
use megaconn::engine::client::Client;
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::protocol::expect::Expect;

/// A core, or why there is none, with the fix.
type MakeCore = Result<Client<UringDriver, Expect>, String>;

/// Makes a core on the core itself, from its number and its bell.
pub(crate) fn make_core(
    config: &Config,
    stats: &[Arc<CoreStats>],
) -> impl Fn(usize, &Doorbell) -> MakeCore + Clone + Send + use<> {
    let plan = Arc::clone(&config.plan);
    let (of_core, stats, keepalive) = (config.of_core(), stats.to_vec(), config.keepalive);
    let expect = config.expect.clone();
    let tuples: Vec<TupleAllocator> =
        (0..config.cpus.len()).map(|core| config.tuples(core)).collect();
    move |core, bell| {
        stats[core].thread.set(own_thread());
        let driver = UringConfig {
            listeners: Vec::new(),
            targets: plan.targets().to_vec(),
            ephemeral_ports: plan::ephemeral_ports(),
            buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            keepalive,
        };
        let driver =
            UringDriver::new(driver, bell).map_err(|error| launch::short_of_something(&error))?;
        let (tuples, stats) = (tuples[core].clone(), Arc::clone(&stats[core]));
        Ok(Client::new(driver, of_core.clone(), expect.clone(), tuples, stats))
    }
}
