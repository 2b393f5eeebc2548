//! A server from its start to its end: what it needs is opened, the cores are started, and what became
//! of them is told.

use std::io::Write;
use std::path::Path;
use std::rc::Rc;

use megaconn::base::stderr::talk;
use megaconn::base::until::Until;
use megaconn::engine::server::drain::{Accepting, Command};
use megaconn::engine::storm::Storms;
use megaconn::observe::dump::place;
use megaconn::runtime::commands::Commands;
use megaconn::runtime::hand_over::Use;
use megaconn::runtime::hand_over::give::Giver;
use megaconn::runtime::listeners::{self, Settings};
use megaconn::runtime::memory_reserve::ReserveWatchdog;
use megaconn::runtime::process::{Controls, Dumps, Process, ProcessError, open_stats};
use megaconn::runtime::signals::{HangUp, Stop};
use megaconn::runtime::start_error::LaunchError;
use megaconn::walls::of_server;
use socket2::Socket;

use crate::commands::serve::broadcast::Desk;
use crate::commands::serve::config::Config;
use crate::commands::serve::cores::{make_core, seeds};
use crate::commands::serve::effective;
use crate::commands::serve::flags::Steer;
use crate::commands::serve::housekeeping::{End, Others, drain, housekeep, let_go};
use crate::commands::serve::preflight::prepare;
use crate::commands::serve::refusal::Refusal;
use crate::commands::serve::services::{Offer, Services};
use crate::commands::serve::sockets::{self, Begun, Kept, Past};

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
    let mut found = sockets::find(&config.places.listen, config.places.take_over.as_deref())?;
    config.places.listen.clone_from(&found.listen);
    let config = &config;
    let prepared = prepare(config)?;
    let cpus = &prepared.cpus[..];
    let hang_up = if config.tls.has_files() { HangUp::Reloads } else { HangUp::Stops };
    let process = Process::begin_with(cpus, hang_up)?;
    let (outputs, took_over) = (&config.outputs, Until::default());
    let (mut taken, stats_of_older) = (std::mem::take(&mut found.services), found.stats.take());
    let orders_of_older = taken.extract_if(.., |(entry, _)| entry.r#use == Use::Broadcast).next();
    let orders_of_older =
        orders_of_older.map(|(entry, socket)| (entry, socket, found.broadcast_on.take()));
    let settings = settings(config, prepared.tls.is_some());
    let mut opened = found.open(cpus, settings, config.places.take_over.as_deref())?;
    let out = outputs.stats.as_deref();
    let open = |path| open_stats_of(path, stats_of_older.as_deref(), &took_over);
    let out = out.map(open).transpose()?;
    let services = Services::open(outputs.metrics, config.bystander, taken)?;
    let [metrics, bystander] = services.addresses();
    let broadcasts = config.traffic.broadcasts.as_ref();
    let mut desk = Desk::open(broadcasts, process.stats(), orders_of_older)?;
    opened.keep(&services, desk.try_clone(), outputs.stats.as_deref())?;
    let lines = effective::lines(config, &prepared, metrics, bystander);
    lines.iter().for_each(|line| talk(line));
    if let Some(place) = desk.place() {
        talk(&format!("broadcast_on={place}"));
    }
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let (accepting, offered) = (Accepting::of(cpus.len()), Until::default());
    // A client finds the server of its target by this: one that drains is not it any more.
    let listens = Until::default();
    let metrics = process.metrics(&config.places.listen, &listens);
    let offer = Offer { services, metrics };
    // The older server answers until its sockets are ours.
    let offer = if opened.takes_over { Some(offer) } else { offer.begin(&offered)? };
    let seeds = seeds(config, &prepared, opened.per_core, &accepting);
    let stats = process.stats();
    let begun = of_server::Begun::now(prepared.host.clone(), prepared.memory);
    let reload = || prepared.tls.iter().for_each(|tls| config.tls.reload(tls));
    let dumps = Dumps { out, every: outputs.stats_every };
    let (end, died) = process.run(seeds, make_core, dumps, async |controls| {
        let Controls { commands, signals, dumps } = controls;
        let commands = Rc::new(commands);
        let orders = desk.pass_on(Rc::clone(&commands));
        let mut memory = ReserveWatchdog::new(prepared.memory_reserve);
        let storms = Storms::new(&config.connections.storm);
        let (giver, older) = begin(opened.kept, &commands, &took_over).await;
        if let Err(error) = desk.begin(older, giver.as_ref()) {
            talk(&format!("warning: {error}"));
        }
        if let Some(Err(error)) = offer.map(|offer| offer.begin(&offered)) {
            talk(&format!("warning: {error}"));
        }
        for endpoints in &config.places.listen {
            talk(&format!("listening on {endpoints}"));
        }
        let others = Others { giver: giver.as_ref(), share_sockets: opened.are_shared };
        let end = housekeep(&signals, &commands, &dumps, &mut memory, storms, reload, others).await;
        listens.end();
        let is_taken_over = matches!(end, Some(End::TakenOver(_)));
        if is_taken_over {
            offered.end();
        }
        if is_taken_over || opened.are_shared {
            let_go(&commands, &accepting).await;
        }
        if let (Some(End::TakenOver(pid)), Some(giver)) = (end, giver) {
            desk.hand_over();
            giver.hand_over().into_iter().for_each(|stream| desk.follow(stream));
            talk(&format!("taken over by process {pid}, which accepts from now on"));
        }
        let within = config.connections.drain;
        let is_in_order = matches!(end, Some(End::Stop(Stop::Terminate | Stop::HangUp)));
        if (is_taken_over || is_in_order) && !within.is_zero() {
            drain(&signals, &commands, &stats, &dumps, within).await;
        }
        desk.end(&signals).await;
        dumps.end();
        if let Some(orders) = orders {
            orders.cancel().await;
        }
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
async fn begin(
    kept: Option<Kept>,
    commands: &Commands<Command>,
    took_over: &Until,
) -> (Option<Giver>, Option<Socket>) {
    let Some(kept) = kept else { return (None, None) };
    let Begun { older, goods } = kept.begin();
    if older.is_some() {
        took_over.end();
        commands.broadcast(Command::LookAnew).await;
    }
    let no_thread = |error: &std::io::Error| {
        talk(&format!("warning: this server cannot be taken over: {error}"));
    };
    let giver =
        goods.and_then(|(place, goods)| Giver::begin(place, goods).inspect_err(no_thread).ok());
    let stream = match older {
        Some(Past::Drains(stream)) => Some(stream),
        Some(Past::Ended) | None => None,
    };
    (giver, stream)
}

/// Where the statistics go; a file that the older server writes, from when it is taken over.
fn open_stats_of(
    path: &Path,
    of_older: Option<&Path>,
    took_over: &Until,
) -> Result<Box<dyn Write + Send>, ProcessError> {
    match of_older {
        Some(other) if path.canonicalize().is_ok_and(|own| own == other) => {
            Ok(place::open_later(path, took_over.clone()))
        }
        _ => open_stats(path),
    }
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
