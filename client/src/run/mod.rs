//! `megaconn-client run`, from start to end: flags to a config, the config to a plan on this host, what
//! the run needs is opened, the controller leads the cores through it, and the report is written.

use std::env;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use megaconn::base::moments;
use megaconn::base::stderr::talk;
use megaconn::base::stdout::{Undelivered, deliver};
use megaconn::base::until::Until;
use megaconn::engine::protocol::expect::Expect;
use megaconn::observe::metrics::http;
use megaconn::observe::stats::{BroadcastLog, ClientStats, LossLog};
use megaconn::plan::named::{self, Resolved};
use megaconn::results::result::RunResult;
use megaconn::results::{DOCTOR, ENVIRONMENT, RESULT, SERVER_DUMPS};
use megaconn::runtime::process::{Controls, Dumps, Process, ProcessError, open_stats};

use crate::bystanders::runner::ProbeRunner;
use crate::bystanders::slo::Slo;
use crate::measure::environment::{self, examine};
use crate::measure::figures::Figures;
use crate::measure::server_metrics;
use crate::output::directory::{open_dumps, take, write_json, write_report};
use crate::output::summary::summary;
use crate::run::config::{BystanderPlan, Config, FlagError};
use crate::run::control::{Bounds, Control};
use crate::run::controller::Controller;
use crate::run::cores::{make_core, seeds};
use crate::run::flags::{Flags, Outputs};
use crate::run::outcome::Outcome;
use crate::run::preflight::RunPlan;
use crate::run::refusal::Refusal;

mod config;
mod conflicts;
mod control;
mod controller;
mod cores;
mod cut;
mod effective;
mod filling;
pub(crate) mod flags;
mod gates;
mod lifetime;
mod names;
pub(crate) mod outcome;
mod part;
mod parts;
mod plateaus;
mod preflight;
mod reach;
mod readers;
mod reconnect;
mod refusal;
mod script;
mod stage;
mod steering;
mod stop_on_miss;
mod tls;
mod websocket;

/// Does what `flags` say and leaves the run directory behind.
///
/// # Errors
/// Why the run was refused, before the first connection.
pub(crate) fn run(flags: Flags) -> Result<Outcome, Refusal> {
    let part =
        flags.part.read(|name| env::var(name).ok(), moments::wall_clock()).map_err(FlagError)?;
    let mut resolved = named::resolve(&flags.targets.target)?;
    names::leave_out_dead(&mut resolved);
    let hosts = resolved.hosts();
    let Resolved { endpoints, notes, .. } = resolved;
    let script = flags.script.read()?;
    let tls = flags.tls.read(flags.targets.is_tls() != Some(false), &hosts)?;
    let config = Config::new(flags, endpoints, hosts, script, tls, part)?;
    notes.iter().for_each(|words| talk(&format!("note: {words}")));
    let plan = RunPlan::prepare(&config)?;
    execute(&config, &plan)
}

fn execute(config: &Config, plan: &RunPlan) -> Result<Outcome, Refusal> {
    let (cpus, targets, outputs) = (&plan.cpus[..], plan.tuples.targets(), &config.outputs);
    let process = Process::begin(cpus)?;
    let _taken = outputs.out.as_deref().map(take).transpose()?;
    let server = server_metrics::find(outputs.server_metrics, targets, outputs.out.as_deref())?;
    let metrics = offer_metrics(config, &process)?;
    let control = offer_control(config, plan)?;
    let out = dumps_place(outputs)?;
    effective::lines(config, plan).iter().for_each(|line| talk(line));
    let dumps = outputs.out.as_deref().filter(|dir| server_metrics::has_dumps(dir));
    let dumps = dumps.map(|dir| dir.join(SERVER_DUMPS).display().to_string());
    let seen_at = server.as_ref().map(|(server, _)| server.place().to_string()).or(dumps);
    talk(&format!("server_metrics={}", seen_at.as_deref().unwrap_or("none")));
    talk(&format!("metrics={}", http::url(metrics)));
    if let Some(control) = &control {
        talk(&format!("control={}", control.place()));
    }
    let environment = environment::read(targets, plan.demand.ends.count());
    if let Some(dir) = &outputs.out {
        write_json(dir, ENVIRONMENT.name, &environment)?;
        write_json(dir, DOCTOR.name, &examine(&plan.host, &plan.demand, targets))?;
    }
    let panel = begin_panel(config)?;
    let losses: Vec<Arc<LossLog>> = cpus.iter().map(|_| Arc::default()).collect();
    let texts: Vec<Arc<BroadcastLog>> = cpus.iter().map(|_| Arc::default()).collect();
    let (seeds, stats) = (seeds(config, plan, &losses, &texts), process.stats());
    let dumps = Dumps { out, every: outputs.stats_every };
    let topology = environment.topology;
    let ((mut result, stop), died) =
        process.run(seeds, make_core, dumps, async move |controls| {
            let Controls { commands, signals, dumps } = controls;
            let figures =
                Figures::new(cpus, &stats, (losses, texts), outputs.out.as_deref(), server);
            let controller = Controller::new(config, plan, signals, figures, dumps, panel, control);
            controller.all(&commands, topology).await
        })?;
    if let Some(died) = died {
        result.verdict.met = false.into();
        result.verdict.missed.push(died.to_string());
    }
    let is_written = report(&result, outputs);
    Ok(match (stop, is_written) {
        (Some(stop), _) => Outcome::Stopped(stop),
        (None, Ok(())) if *result.verdict.met == Some(true) => Outcome::Met,
        (None, Err(Unwritten::Pipe(pipe))) if *result.verdict.met == Some(true) => {
            Outcome::Undelivered(pipe)
        }
        (None, _) => Outcome::Missed,
    })
}

/// With --metrics.
fn offer_metrics(
    config: &Config,
    process: &Process<ClientStats>,
) -> Result<Option<SocketAddr>, Refusal> {
    let cut = &config.cut;
    let part = cut.part.map(|part| part.to_string());
    let metrics = process.metrics(&[], &Until::default()).of_run(cut.run_id.as_deref(), part);
    Ok(http::offer(config.outputs.metrics, false, metrics).map_err(ProcessError::from)?)
}

/// With --control.
fn offer_control(config: &Config, plan: &RunPlan) -> Result<Option<Control>, Refusal> {
    let Some(place) = &config.outputs.control else { return Ok(None) };
    let (searches, expect) = (config.keep().is_some(), &config.traffic.expect);
    let echo = matches!(expect, Expect::Echo(_));
    let bounds = Bounds {
        fixed_connections: match config.traffic.lifetime {
            _ if searches => Some("--keep-bystanders chooses the number; fix: a run without it"),
            Some(_) => Some("--lifetime keeps the number what it is; fix: a run without it"),
            None => None,
        },
        fixed_messages: matches!(expect, Expect::Push(_) | Expect::Broadcast(_))
            .then_some("--expect push and broadcast send nothing; fix: a run with --expect echo"),
        no_sweep: (!echo).then_some("a sweep needs answers; fix: a run with --expect echo"),
    };
    let may_be_remote = config.outputs.control_remote;
    Control::offer(place, may_be_remote, plan.room, bounds).map(Some)
}

/// Where the dumps go: to the file of `--stats`, or to the run directory.
fn dumps_place(outputs: &Outputs) -> Result<Option<Box<dyn Write + Send>>, Refusal> {
    Ok(match (&outputs.stats, &outputs.out) {
        (Some(path), _) => Some(open_stats(path)?),
        (None, Some(dir)) => Some(open_dumps(dir)?),
        (None, None) => None,
    })
}

/// Bystanders, with --bystanders; each that is to be kept is watched.
fn begin_panel(config: &Config) -> Result<Option<ProbeRunner>, Refusal> {
    let Some(BystanderPlan { whom, keep }) = &config.bystanders else { return Ok(None) };
    let panel = ProbeRunner::begin(whom.clone(), config.expected_time())?;
    let mut kinds = keep.iter().flat_map(Slo::kinds);
    match kinds.find(|kind| !panel.asks(kind)) {
        Some(kind) => Err(Refusal::NotWatched(kind, panel.why_not(kind))),
        None => Ok(Some(panel)),
    }
}

/// What became of a result that was not shown, or not kept.
enum Unwritten {
    /// It is kept, but its reader had seen enough.
    Pipe(Undelivered),
    /// It has been told.
    Failed,
}

/// Keeps and shows `result`.
fn report(result: &RunResult, outputs: &Outputs) -> Result<(), Unwritten> {
    // First what lasts: showing it may fail.
    let kept = outputs.out.as_deref().map_or(Ok(()), |dir| write_json(dir, RESULT.name, result));
    if let Err(error) = &kept {
        talk(&format!("error: {error}"));
    }
    let summary = summary(result);
    let shown = if outputs.stats.as_deref() == Some(Path::new("-")) {
        // The dumps go to stdout.
        talk(summary.trim_end());
        Ok(())
    } else {
        deliver(summary.as_bytes())
    };
    if let Err(Undelivered::Failed(_)) = &shown {
        // What it said is not lost: it is for people.
        talk(summary.trim_end());
    }
    if let Some(dir) = &outputs.out {
        write_report(dir);
    }
    match (kept, shown) {
        (Ok(()), Ok(())) => Ok(()),
        (Ok(()), Err(pipe @ Undelivered::PipeClosed)) => Err(Unwritten::Pipe(pipe)),
        (_, Err(failed @ Undelivered::Failed(_))) => {
            talk(&format!("error: {failed}"));
            Err(Unwritten::Failed)
        }
        (Err(_), _) => Err(Unwritten::Failed),
    }
}
