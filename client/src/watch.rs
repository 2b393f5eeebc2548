//! `megaconn-client watch`: the bystanders alone, from another host or in the other direction, beside a
//! run that somebody else makes.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use megaconn::base::constants::{LOOK_EVERY, SERVER_EMPTY_TIMEOUT};
use megaconn::base::stderr::talk;
use megaconn::runtime::signals::{Signals, Stop};
use serde::{Deserialize, Serialize};

use crate::bystanders::account::Account;
use crate::bystanders::panel::Panel;
use crate::bystanders::sample::SpanPhase;
use crate::output::directory::{create, forget_earlier, write_json, write_report};
use crate::run::Outcome;
use crate::run::flags;
use crate::run::refusal::Refusal;

/// Watches until the time is up, the run beside it is over, or a signal comes; leaves what it saw.
pub(crate) fn watch(flags: &flags::Watch) -> Result<Outcome, Refusal> {
    let (panel, dir) = (&flags.panel, &flags.out);
    if !panel.names_somebody() {
        let nobody = "nobody to watch; fix: --ping ADDR, --bystander-service ADDR:PORT, or both";
        return Err(Refusal::Flags(nobody.to_owned()));
    }
    let signals = Signals::install().map_err(Refusal::Signals)?;
    create(dir)?;
    forget_earlier(dir)?;
    let whom = panel.whom(None, Some(dir));
    talk(&format!("version={}\nbystanders={whom}", megaconn::VERSION));
    let idle = whom.idle;
    let mut panel = Panel::begin(whom, flags.time.unwrap_or(Duration::from_secs(600)))?;
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
    let result = Watched { schema: "megaconn.result/1", bystanders: panel.account() };
    result.bystanders.answer.iter().for_each(|line| talk(line));
    write_json(dir, "result.json", &result)?;
    write_report(dir);
    // Without a time it is a signal that ends it, as it should.
    let ended = if is_whole { Outcome::Met } else { Outcome::Missed };
    Ok(stop.filter(|_| flags.time.is_some()).map_or(ended, Outcome::Stopped))
}

/// What of a result there is without a run.
#[derive(Serialize)]
struct Watched {
    schema: &'static str,
    bystanders: Account,
}

/// Waits until so long after `began`, or for a signal.
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
    let path = dir.join("result.json");
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

/// What is read of the run's result.
#[derive(Deserialize)]
struct Run {
    bystanders: Option<Phases>,
}

#[derive(Deserialize)]
struct Phases {
    began_at_ms: u64,
    spans: Vec<Phase>,
}

#[derive(Deserialize)]
struct Phase {
    phase: SpanPhase,
    connections: u64,
    from_ms: u64,
    to_ms: u64,
}

fn spans_of(text: &str) -> Result<Vec<(SpanPhase, u64, u64, u64)>, String> {
    let run: Run =
        serde_json::from_str(text).map_err(|error| format!("its result.json: {error}"))?;
    let Phases { began_at_ms, spans } =
        run.bystanders.ok_or("it was run without --bystanders, and so without phases")?;
    let at = |phase: &Phase| {
        let [from, to] = [phase.from_ms, phase.to_ms].map(|ms| began_at_ms.saturating_add(ms));
        (phase.phase, phase.connections, from, to)
    };
    Ok(spans.iter().map(at).collect())
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
