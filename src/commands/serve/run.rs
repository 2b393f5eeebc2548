//! A server from its start to its end: what it needs is opened, the cores are started, and what became
//! of them is told.

use std::sync::{Arc, Mutex};

use megaconn::base::constants::{BUFFER_BYTES, BUFFERS_PER_CORE};
use megaconn::base::errno::Errno;
use megaconn::base::stderr::talk;
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::host::cpu::own_thread;
use megaconn::host::ports;
use megaconn::host::rlimit;
use megaconn::observe::dump::ticker::{self, Ticker};
use megaconn::observe::metrics::{Metrics, http};
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::launch::{self, LaunchError};
use megaconn::runtime::listeners::{self, Listeners};
use megaconn::runtime::memory_reserve::Watch;
use megaconn::runtime::signals::{Signals, Stop};
use megaconn::sys::doorbell::Doorbell;
use megaconn::walls::of_server::Begun;

use crate::commands::serve::bystander;
use crate::commands::serve::config::Config;
use crate::commands::serve::effective;
use crate::commands::serve::flags::Steer;
use crate::commands::serve::housekeeping::{drain, housekeep};
use crate::commands::serve::preflight::{Prepared, prepare};
use crate::commands::serve::refusal::Refusal;

/// Why a server that had started ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// A signal asked it to.
    Stopped(Stop),
    /// A core died: our bug.
    Died(LaunchError),
}

/// Serves until a signal stops it.
///
/// # Errors
/// Whatever kept it from starting, each with its fix.
pub(crate) fn serve(config: &Config) -> Result<Served, Refusal> {
    let prepared = prepare(config)?;
    let signals = Signals::install().map_err(Refusal::Signals)?;
    let cpus = &prepared.cpus[..];
    let opened = open_listeners(config, cpus)?;
    let open = |path| ticker::open(path).map_err(|error| Refusal::Stats(path.into(), error));
    let out = config.outputs.stats.as_deref().map(open).transpose()?;
    let stats: Vec<Arc<ServerStats>> = cpus.iter().map(|_| Arc::default()).collect();
    let metrics = http::offer(config.outputs.metrics, Metrics::new(cpus, &stats))?;
    let bystander = bystander::offer(config.bystander)?;
    let lines = effective::lines(config, &prepared, metrics, bystander);
    lines.iter().for_each(|line| talk(line));
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let make = make_core(config, &prepared, opened, &stats);
    let begun = Begun::now(prepared.host.clone());
    let cores = launch::start(cpus, make)?;
    let dumps = Ticker::begin(cpus, &stats, out, config.outputs.stats_every)?;
    let (stop, died) = cores.run(async |commands| {
        let mut memory = Watch::new(prepared.memory_reserve);
        for endpoints in &config.places.listen {
            talk(&format!("listening on {endpoints}"));
        }
        let stop = housekeep(&signals, &commands, &dumps, &mut memory).await;
        let within = config.connections.drain;
        if stop == Some(Stop::Terminate) && !within.is_zero() {
            drain(&signals, &commands, &stats, &dumps, within).await;
        }
        dumps.end();
        stop
    })?;
    for wall in begun.met_since(cpus, &stats, config.connections.backlog.unsigned_abs().into()) {
        talk(&format!(
            "met {}: {}; fix: {}",
            wall.id,
            wall.evidence.join("; "),
            wall.fix.join("; or: ")
        ));
    }
    Ok(match (died, stop) {
        (None, Some(stop)) => Served::Stopped(stop),
        (died, _) => Served::Died(died.unwrap_or(LaunchError::Died { core: 0 })),
    })
}

fn open_listeners(config: &Config, cpus: &[u16]) -> Result<Listeners, Refusal> {
    let steer = match config.connections.steer {
        Steer::Cpu => listeners::Steer::Cpu,
        Steer::Hash => listeners::Steer::Hash,
    };
    let (listen, connections) = (&config.places.listen, &config.connections);
    Ok(listeners::open(listen, cpus, connections.backlog, steer, connections.keepalive)?)
}

/// Makes a core on the core itself, from its number and its bell.
fn make_core(
    config: &Config,
    prepared: &Prepared,
    opened: Listeners,
    stats: &[Arc<ServerStats>],
) -> impl Fn(usize, &Doorbell) -> Result<Server<UringDriver, Banner<Mode>>, String> + Clone + Send + use<>
{
    let per_core: Vec<_> = opened.per_core.into_iter().map(|l| Mutex::new(Some(l))).collect();
    let (per_core, stats) = (Arc::new(per_core), stats.to_vec());
    let (traffic, slots_per_segment) = (config.traffic.clone(), prepared.slots_per_segment);
    let connections_max = prepared.connections_max.clone();
    move |core, bell| {
        stats[core].thread.set(own_thread());
        let listeners = per_core[core].lock().ok().and_then(|mut l| l.take());
        let listeners = listeners.ok_or("its listeners were taken twice")?;
        let traffic = traffic.clone();
        let server = ServerConfig {
            listeners: listeners.len(),
            slots_per_segment,
            connections_max: connections_max[core],
            idle_timeout: traffic.idle_timeout,
            send_timeout: traffic.send_timeout,
        };
        let driver = UringConfig {
            listeners,
            targets: Vec::new(),
            ephemeral_ports: ports::ephemeral(),
            buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            keepalive: None,
        };
        let driver =
            UringDriver::new(driver, bell).map_err(|error| launch::short_of_something(&error))?;
        let protocol = Banner { text: traffic.banner, then: traffic.mode };
        Server::new(driver, server, protocol, Arc::clone(&stats[core])).map_err(ring_refused)
    }
}

/// What the first ring of a core was refused for.
fn ring_refused(errno: Errno) -> String {
    match rlimit::memlock_bytes() {
        Some(limit) if errno == Errno::ENOMEM => format!(
            "no ring: {errno}, all rings of this user share RLIMIT_MEMLOCK ({limit} bytes); \
             fix: ulimit -l unlimited, or end other io_uring programs of this user"
        ),
        _ if errno == Errno::EMFILE => {
            format!("no ring: {errno}; fix: more open files by `ulimit -n`")
        }
        _ => format!("no ring: {errno}; fix: see `dmesg`, and man 2 io_uring_setup"),
    }
}
