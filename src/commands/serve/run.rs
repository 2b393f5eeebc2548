//! A server from its start to its end: what it needs is opened, the cores are started, and what became
//! of them is told.

use std::rc::Rc;

use megaconn::base::stderr::talk;
use megaconn::runtime::listeners::{self, Listeners};
use megaconn::runtime::memory_reserve::ReserveWatchdog;
use megaconn::runtime::process::{Controls, Dumps, Process, open_stats};
use megaconn::runtime::signals::{HangUp, Stop};
use megaconn::runtime::start_error::LaunchError;
use megaconn::walls::of_server::Begun;

use crate::commands::serve::broadcast::Desk;
use crate::commands::serve::bystander;
use crate::commands::serve::config::Config;
use crate::commands::serve::cores::{make_core, seeds};
use crate::commands::serve::effective;
use crate::commands::serve::flags::Steer;
use crate::commands::serve::housekeeping::{drain, housekeep};
use crate::commands::serve::preflight::prepare;
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
    let cpus = &prepared.cpus[..];
    let hang_up = if config.tls.has_files() { HangUp::Reloads } else { HangUp::Stops };
    let process = Process::begin_with(cpus, hang_up)?;
    let opened = open_listeners(config, cpus)?;
    if prepared.tls.is_some() || config.traffic.websocket.is_some() {
        // An end that says one thing after the other waits for no acknowledgement between.
        for listener in opened.per_core.iter().flatten() {
            listener.set_tcp_nodelay(true).map_err(Refusal::Socket)?;
        }
    }
    let out = config.outputs.stats.as_deref().map(open_stats).transpose()?;
    let metrics = process.offer_metrics(config.outputs.metrics, &config.places.listen)?;
    let bystander = bystander::offer(config.bystander)?;
    let desk = (config.traffic.broadcasts.as_ref())
        .map(|broadcasts| Desk::offer(broadcasts, cpus.len()))
        .transpose()?;
    let lines = effective::lines(config, &prepared, metrics, bystander);
    lines.iter().for_each(|line| talk(line));
    if let Some(desk) = &desk {
        talk(&format!("broadcast_on={}", desk.place()));
    }
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let (seeds, stats) = (seeds(config, &prepared, opened.per_core), process.stats());
    let begun = Begun::now(prepared.host.clone(), prepared.memory);
    let reload = || prepared.tls.iter().for_each(|tls| config.tls.reload(tls));
    let dumps = Dumps { out, every: config.outputs.stats_every };
    let (stop, died) = process.run(seeds, make_core, dumps, async |controls| {
        let Controls { commands, signals, dumps } = controls;
        let commands = Rc::new(commands);
        let orders = desk.as_ref().map(|desk| desk.pass_on(Rc::clone(&commands)));
        let mut memory = ReserveWatchdog::new(prepared.memory_reserve);
        for endpoints in &config.places.listen {
            talk(&format!("listening on {endpoints}"));
        }
        let stop = housekeep(&signals, &commands, &dumps, &mut memory, reload).await;
        let within = config.connections.drain;
        if matches!(stop, Some(Stop::Terminate | Stop::HangUp)) && !within.is_zero() {
            drain(&signals, &commands, &stats, &dumps, within).await;
        }
        dumps.end();
        if let Some(orders) = orders {
            orders.cancel().await;
        }
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
