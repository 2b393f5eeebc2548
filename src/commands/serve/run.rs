//! A server from its start to its end: what it needs is opened, the cores are started, and what became
//! of them is told.

use megaconn::base::stderr::talk;
use megaconn::engine::server::drain::{Accepting, Command};
use megaconn::runtime::commands::Commands;
use megaconn::runtime::hand_over::give::Giver;
use megaconn::runtime::listeners::{self, Settings};
use megaconn::runtime::memory_reserve::ReserveWatchdog;
use megaconn::runtime::process::{Controls, Dumps, Process, open_stats};
use megaconn::runtime::signals::{HangUp, Stop};
use megaconn::runtime::start_error::LaunchError;
use megaconn::walls::of_server::Begun;

use crate::commands::serve::bystander;
use crate::commands::serve::config::Config;
use crate::commands::serve::cores::{make_core, seeds};
use crate::commands::serve::effective;
use crate::commands::serve::flags::Steer;
use crate::commands::serve::housekeeping::{End, drain, housekeep, let_go};
use crate::commands::serve::preflight::prepare;
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::sockets::{self, Goods, Kept};

/// Why a server that had started ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// A signal asked it to.
    Stopped(Stop),
    /// A newer server accepts in its place.
    TakenOver,
    /// A core died: our bug.
    Died(LaunchError),
}

/// Serves until a signal stops it.
///
/// # Errors
/// Whatever kept it from starting, each with its fix.
pub(crate) fn serve(mut config: Config) -> Result<Served, Refusal> {
    let found = sockets::find(&config.places.listen, config.places.take_over.as_deref())?;
    config.places.listen.clone_from(&found.listen);
    let config = &config;
    let prepared = prepare(config)?;
    let cpus = &prepared.cpus[..];
    let hang_up = if config.tls.has_files() { HangUp::Reloads } else { HangUp::Stops };
    let process = Process::begin_with(cpus, hang_up)?;
    let settings = settings(config, prepared.tls.is_some());
    let opened = found.open(cpus, settings, config.places.take_over.as_deref())?;
    let out = config.outputs.stats.as_deref().map(open_stats).transpose()?;
    let metrics = process.offer_metrics(config.outputs.metrics, &config.places.listen)?;
    let bystander = bystander::offer(config.bystander)?;
    let lines = effective::lines(config, &prepared, metrics, bystander);
    lines.iter().for_each(|line| talk(line));
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let accepting = Accepting::of(cpus.len());
    let seeds = seeds(config, &prepared, opened.per_core, &accepting);
    let stats = process.stats();
    let begun = Begun::now(prepared.host.clone(), prepared.memory);
    let reload = || prepared.tls.iter().for_each(|tls| config.tls.reload(tls));
    let dumps = Dumps { out, every: config.outputs.stats_every };
    let (end, died) = process.run(seeds, make_core, dumps, async |controls| {
        let Controls { commands, signals, dumps } = controls;
        let mut memory = ReserveWatchdog::new(prepared.memory_reserve);
        let giver = begin(opened.kept, &commands).await;
        for endpoints in &config.places.listen {
            talk(&format!("listening on {endpoints}"));
        }
        let giver_of = giver.as_ref();
        let end = housekeep(&signals, &commands, &dumps, &mut memory, reload, giver_of).await;
        let within = config.connections.drain;
        let drains = match end {
            Some(End::TakenOver(pid)) => {
                talk(&format!("taken over by process {pid}, which accepts from now on"));
                let_go(&commands, &accepting).await;
                giver.into_iter().for_each(Giver::hand_over);
                true
            }
            Some(End::Stop(Stop::Terminate | Stop::HangUp)) => {
                if opened.are_shared {
                    let_go(&commands, &accepting).await;
                }
                true
            }
            _ => false,
        };
        if drains && !within.is_zero() {
            drain(&signals, &commands, &stats, &dumps, within).await;
        }
        dumps.end();
        end
    })?;
    for wall in begun.met_since(cpus, &stats, config.connections.backlog.unsigned_abs().into()) {
        talk(&format!(
            "met {}: {}; fix: {}",
            wall.id,
            wall.evidence.join("; "),
            wall.fix.join("; or: ")
        ));
    }
    Ok(match (died, end) {
        (None, Some(End::Stop(stop))) => Served::Stopped(stop),
        (None, Some(End::TakenOver(_))) => Served::TakenOver,
        (died, _) => Served::Died(died.unwrap_or(LaunchError::Died { core: 0 })),
    })
}

/// The cores accept: an older server is told so, and a newer one may ask from now on.
async fn begin(kept: Option<Kept>, commands: &Commands<Command>) -> Option<Giver> {
    let (has_older, goods) = kept?.begin();
    if has_older {
        commands.broadcast(Command::LookAnew).await;
    }
    let Goods { place: (listener, file), sockets } = goods?;
    let no_thread = |error: &std::io::Error| {
        talk(&format!("warning: this server cannot be taken over: {error}"));
    };
    Giver::begin(listener, file, sockets).inspect_err(no_thread).ok()
}

/// What the listening sockets have alike.
fn settings(config: &Config, has_tls: bool) -> Settings {
    let connections = &config.connections;
    Settings {
        backlog: connections.backlog,
        steer: match connections.steer {
            Steer::Cpu => listeners::Steer::Cpu,
            Steer::Hash => listeners::Steer::Hash,
        },
        keepalive: connections.keepalive,
        sends_at_once: has_tls || config.traffic.websocket.is_some(),
    }
}
