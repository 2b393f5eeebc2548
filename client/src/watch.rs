//! `megaconn-client watch`: the bystanders alone, from another host or in the other direction, beside a
//! run of another process.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use clap::Args;
use megaconn::base::constants::{LOOK_EVERY, SERVER_EMPTY_TIMEOUT};
use megaconn::base::stderr::talk;
use megaconn::base::units;
use megaconn::results::RESULT;
use megaconn::results::bystanders::{Bystanders, SpanPhase};
use megaconn::results::lenient::Part;
use megaconn::results::result::{RunResult, Watched};
use megaconn::runtime::signals::{HangUp, Signals, Stop};

use crate::bystanders::flags::BystanderFlags;
use crate::bystanders::runner::{NoProbeRunner, ProbeRunner};
use crate::output::directory::{WriteError, create, take, write_json, write_report};
use crate::run::outcome::Outcome;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn-client watch --ping 10.0.0.1 --bystander-service 10.0.0.1:7900 --for 60s --out runs/watch\n  \
    megaconn-client watch --ping 10.77.0.2 --beside runs/first --out runs/first/back")]
pub(crate) struct Flags {
    /// Time to watch [default: until a signal]
    #[arg(long = "for", value_name = "DUR", value_parser = units::positive_duration)]
    time: Option<Duration>,
    /// Run beside which it goes on
    ///
    /// The run directory of `megaconn-client run --bystanders`: what was seen is told by the phases of
    /// that run, once both are over. Both need one clock, and so one host.
    #[arg(long, value_name = "DIR")]
    beside: Option<PathBuf>,
    /// Where result.json, bystanders.ndjson and report.html go; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    out: PathBuf,
    #[command(flatten)]
    panel: BystanderFlags,
}

/// Why nothing was watched, with the fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("nothing to watch; fix: --ping ADDR, --bystander-service ADDR:PORT, or both")]
    NoTarget,
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Bystanders(#[from] NoProbeRunner),
}

/// Watches until the time is up, the run beside it is over, or a signal comes; writes what it saw.
pub(crate) fn watch(flags: &Flags) -> Result<Outcome, Refusal> {
    let (panel, dir) = (&flags.panel, &flags.out);
    if !panel.names_a_target() {
        return Err(Refusal::NoTarget);
    }
    let signals = Signals::install(HangUp::Stops).map_err(Refusal::Signals)?;
    create(dir)?;
    let _taken = take(dir)?;
    let whom = panel.whom(None, Some(dir));
    talk(&format!("version={}\nbystanders={whom}", megaconn::VERSION));
    let idle = whom.idle;
    let mut panel = ProbeRunner::begin(whom, flags.time.unwrap_or(Duration::from_secs(600)))?;
    let began = Instant::now();
    panel.enter(SpanPhase::Baseline, 0);
    let mut stop = wait(&signals, began, Some(idle));
    panel.enter(SpanPhase::Watched, 0);
    talk("watching");
    stop = stop.or_else(|| wait(&signals, began, flags.time));
    panel.stop();
    let mut is_whole = true;
    if let Some(beside) = &flags.beside {
        match phases(beside, &signals) {
            Ok(phases) => panel.retell(&phases),
            Err(why) => {
                let dir = beside.display();
                talk(&format!("warning: --beside {dir}: {why}; told by the time before and after"));
                is_whole = false;
            }
        }
    }
    let result = Watched { schema: RESULT.schema.into(), bystanders: Part(panel.account()) };
    result.bystanders.answer.iter().for_each(|line| talk(line));
    write_json(dir, RESULT.name, &result)?;
    write_report(dir);
    // Without a time a signal is the regular end.
    let ended = if is_whole { Outcome::Met } else { Outcome::Missed };
    Ok(stop.filter(|_| flags.time.is_some()).map_or(ended, Outcome::Stopped))
}

/// Waits until `time` after `began`, or for a signal.
fn wait(signals: &Signals, began: Instant, time: Option<Duration>) -> Option<Stop> {
    while time.is_none_or(|time| began.elapsed() < time) {
        thread::sleep(LOOK_EVERY);
        if let Some(stop) = signals.stop() {
            return Some(stop);
        }
    }
    None
}

/// The phases of the run in `dir`, which may be on its way to its end still.
fn phases(dir: &Path, signals: &Signals) -> Result<Vec<(SpanPhase, u64, u64, u64)>, String> {
    let path = dir.join(RESULT.name);
    let began = Instant::now();
    loop {
        if let Ok(text) = fs::read_to_string(&path) {
            return spans_of(&text);
        }
        if began.elapsed() > SERVER_EMPTY_TIMEOUT {
            return Err("it has no result.json".to_owned());
        }
        wait(signals, Instant::now(), Some(LOOK_EVERY));
    }
}

fn spans_of(text: &str) -> Result<Vec<(SpanPhase, u64, u64, u64)>, String> {
    let run: RunResult =
        serde_json::from_str(text).map_err(|error| format!("its result.json: {error}"))?;
    let bystanders =
        run.bystanders.as_ref().ok_or("it was run without --bystanders, and so without phases")?;
    spans(bystanders).ok_or_else(|| "its result.json: phases that are not whole".to_owned())
}

/// The phases, in milliseconds since 1970; `None` when one of them is not whole.
fn spans(bystanders: &Bystanders) -> Option<Vec<(SpanPhase, u64, u64, u64)>> {
    let began_at_ms = bystanders.began_at_ms.0?;
    let whole = bystanders.spans.iter().map(|span| {
        let [from, to] = [span.from_ms.0?, span.to_ms.0?].map(|ms| began_at_ms.saturating_add(ms));
        Some((span.phase.known()?, span.connections.0?, from, to))
    });
    whole.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_by_the_clock_of_both() {
        let text = r#"{"bystanders": {"began_at_ms": 1000, "spans": [
            {"phase": "baseline", "connections": 0, "from_ms": 5, "to_ms": 17, "probes": []},
            {"phase": "connecting", "connections": 9, "from_ms": 17, "to_ms": 20, "x": 1}]}}"#;
        let expected =
            [(SpanPhase::Baseline, 0, 1_005, 1_017), (SpanPhase::Connecting, 9, 1_017, 1_020)];
        assert_eq!(spans_of(text).expect("it is whole"), expected);
    }

    #[test]
    fn a_result_without_phases_is_refused() {
        for text in ["", "{", "{}", r#"{"bystanders": null}"#, r#"{"bystanders": {"spans": 3}}"#] {
            assert!(spans_of(text).is_err(), "{text}");
        }
    }
}
