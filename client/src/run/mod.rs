//! One run from start to end: what it needs is opened, it takes its course, and the report is written.

use std::io::{Write, stdout};
use std::path::Path;
use std::sync::Arc;

use megaconn::base::stderr::talk;
use megaconn::observe::dump::Side;
use megaconn::observe::dump::ticker::Ticker;
use megaconn::observe::metrics::{Metrics, http};
use megaconn::observe::stats::CoreStats;
use megaconn::runtime::launch;
use megaconn::runtime::signals::{Signals, Stop};

use crate::bystanders::panel::Panel;
use crate::measure::environment::{Environment, examine};
use crate::measure::figures::Figures;
use crate::measure::server_metrics;
use crate::output::directory::{forget_earlier, open_stats, write_json, write_report};
use crate::output::summary::summary;
use crate::run::config::Config;
use crate::run::controller::Run;
use crate::run::cores::make_core;
use crate::run::refusal::Refusal;

pub(crate) mod config;
mod controller;
mod cores;
pub(crate) mod flags;
pub(crate) mod gates;
mod reach;
pub(crate) mod refusal;
pub(crate) mod steps;

/// How a run ended.
pub(crate) enum Outcome {
    Met,
    Missed,
    Stopped(Stop),
}

/// Does what `config` says and leaves the run directory behind.
pub(crate) fn run(config: &Config) -> Result<Outcome, Refusal> {
    let signals = Signals::install().map_err(Refusal::Signals)?;
    let stats: Vec<Arc<CoreStats>> = config.cpus.iter().map(|_| Arc::default()).collect();
    let server = config.server_metrics.map(server_metrics::first).transpose()?;
    let metrics = http::offer(config.metrics, Metrics::new(Side::Client, &config.cpus, &stats))?;
    let out = open_stats(config.stats.as_deref(), config.out.as_deref())?;
    config.lines().iter().for_each(|line| talk(line));
    talk(&format!("metrics={}", http::url(metrics)));
    let environment = Environment::read(config.plan.targets(), config.demand.ends.count());
    if let Some(dir) = &config.out {
        forget_earlier(dir)?;
        write_json(dir, "environment.json", &environment)?;
        write_json(
            dir,
            "doctor.json",
            &examine(&config.host, &config.demand, config.plan.targets()),
        )?;
    }
    let whom = config.bystanders.clone();
    let panel = whom.map(|whom| Panel::begin(whom, config.expected_time())).transpose()?;
    if let Some((keep, panel)) = config.keep.as_ref().zip(panel.as_ref()) {
        keep.kinds()
            .find(|kind| !panel.asks(kind))
            .map_or(Ok(()), |kind| Err(Refusal::NotWatched(kind, panel.why_not(kind))))?;
    }
    let cores = launch::start(&config.cpus, make_core(config, &stats))?;
    let dumps = Ticker::begin(Side::Client, &config.cpus, &stats, out, config.stats_every)?;
    let figures = Figures::new(&config.cpus, &stats, config.out.as_deref(), server);
    let run = Run::new(config, signals, figures, dumps, panel);
    let topology = environment.topology();
    let ((mut result, stop), died) =
        cores.run(async move |commands| run.all(&commands, topology).await)?;
    if let Some(died) = died {
        result.verdict.met = false;
        result.verdict.missed.push(died.to_string());
    }
    let summary = summary(&result);
    if config.stats.as_deref() == Some(Path::new("-")) {
        // stdout is the dumps'.
        talk(summary.trim_end());
    } else {
        // It may be closed by whoever had enough; the report goes to disk as well.
        let _ = stdout().write_all(summary.as_bytes());
    }
    let written =
        config.out.as_deref().map_or(Ok(()), |dir| write_json(dir, "result.json", &result));
    if let Err(error) = &written {
        talk(&format!("error: {error}"));
    }
    config.out.as_deref().into_iter().for_each(write_report);
    Ok(match stop {
        Some(stop) => Outcome::Stopped(stop),
        None if result.verdict.met && written.is_ok() => Outcome::Met,
        None => Outcome::Missed,
    })
}
