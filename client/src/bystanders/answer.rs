//! The answer to what happens to everything else meanwhile: of each bystander the worst that was found
//! in any phase, and what else was seen in that phase that may explain it.

use std::collections::BTreeMap;

use megaconn::base::units::grouped;
use megaconn::results::bystanders::{Finding, SpanPhase};

use crate::bystanders::account::{Described, ProbeAccount, Severity};
use crate::bystanders::claim;
use crate::bystanders::sample::Span;
use crate::bystanders::sentence::{self, us};

/// The kind of bystander that only sleeps: what it suffers is want of CPU, and no network's doing.
const SLEEPER: &str = "schedule";

/// A sleep that was late by this part of what a bystander lost explains it.
const EXPLAINS_PART: f64 = 0.5;

/// Counters that one sentence has room for.
const COUNTERS_MAX: usize = 4;

/// One sentence for each of `probes`. `accounts` are `finding::judge`'s, and `counters` those of the
/// kernel that moved, both span by span.
pub(crate) fn answer(
    probes: &[Described],
    spans: &[Span],
    accounts: &[Vec<ProbeAccount>],
    counters: &[BTreeMap<String, u64>],
) -> Vec<String> {
    let sleeper = probes.iter().position(|probe| probe.kind == SLEEPER);
    let baseline = spans.iter().position(|span| span.phase == SpanPhase::Baseline);
    let sentence = |probe: usize| {
        let of_span = |span: usize| &accounts[span][probe];
        let idle = baseline.map(of_span);
        let Some(worst) = worst(spans, of_span) else {
            let loaded = (0..spans.len()).filter(|&span| is_loaded(spans[span].phase));
            let loaded: Vec<_> = loaded.map(|span| (spans[span], of_span(span))).collect();
            return no_effect(&loaded, idle);
        };
        let suffered = of_span(worst);
        let sleep = sleeper.filter(|&sleeper| sleeper != probe).map(|at| &accounts[worst][at]);
        let slept_before = sleeper.zip(baseline).map(|(at, baseline)| &accounts[baseline][at]);
        let mut parts = vec![format!("{}, {}", during(spans[worst]), suffered.sentence)];
        parts.extend(sleep.and_then(|sleep| of_sleep(suffered, idle, sleep, slept_before)));
        parts.extend(counters.get(worst).and_then(of_counters));
        parts.join("; ")
    };
    let named = |probe: usize| format!("{}: {}", probes[probe].name, sentence(probe));
    (0..probes.len()).map(named).collect()
}

fn is_loaded(phase: SpanPhase) -> bool {
    !matches!(phase, SpanPhase::Baseline | SpanPhase::Recovery)
}

/// The span of the worst effect: any harm before what is only faster, and what was under load before
/// what came afterwards.
fn worst<'a>(spans: &[Span], of_span: impl Fn(usize) -> &'a ProbeAccount) -> Option<usize> {
    let weighed = |span: usize| {
        let ProbeAccount { finding, against_baseline, loss, .. } = *of_span(span);
        Some((span, Severity::of(finding, against_baseline, loss)?))
    };
    let heavier = |a: &(usize, Severity), b: &(usize, Severity)| {
        let kind = |of: &(usize, Severity)| (of.1.is_harm(), is_loaded(spans[of.0].phase));
        kind(a).cmp(&kind(b)).then_with(|| a.1.compare(&b.1))
    };
    (0..spans.len()).filter_map(weighed).max_by(heavier).map(|(span, _)| span)
}

fn during(span: Span) -> String {
    let connections = match span.connections {
        1 => "1 connection".to_owned(),
        n => format!("{} connections", grouped(n)),
    };
    match span.phase {
        SpanPhase::Baseline => "before the first connection".into(),
        SpanPhase::Connecting => format!("while {connections} were opened"),
        SpanPhase::Settled => format!("with {connections} held"),
        SpanPhase::Messages => format!("with {connections} at work"),
        SpanPhase::Closing => format!("while {connections} were closed"),
        SpanPhase::Recovery => "after the last connection".into(),
        SpanPhase::Watched => "afterwards".into(),
    }
}

fn no_effect(loaded: &[(Span, &ProbeAccount)], idle: Option<&ProbeAccount>) -> String {
    let (enough, few): (Vec<_>, Vec<_>) =
        loaded.iter().partition(|(_, account)| account.finding == Finding::None);
    let median = |account: &ProbeAccount| account.latency_us.map(|latency| latency.p50);
    let medians = enough.iter().filter_map(|(_, account)| median(account));
    let Some((low, high)) = medians.clone().min().zip(medians.max()) else {
        let more = few.iter().filter_map(|(_, account)| account.more_samples).min();
        let more = more.map(|more| format!(": {} more are needed", grouped(more)));
        return format!("too few samples in each of {}", phases(few.len()))
            + &more.unwrap_or_default();
    };
    let most = enough.iter().map(|(span, _)| span.connections).max().unwrap_or(0);
    let before = idle.and_then(median).unwrap_or(0);
    let medians = if low == high {
        us(low as f64)
    } else {
        format!("{} to {}", us(low as f64), us(high as f64))
    };
    let found = format!(
        "no effect found in {}, up to {} connections (median {medians}, {} when idle)",
        phases(enough.len()),
        grouped(most),
        us(before as f64),
    );
    let few = match few.len() {
        0 => String::new(),
        n => format!("; too few samples in {n} more"),
    };
    let sum = |of: fn(&ProbeAccount) -> u64| loaded.iter().map(|(_, account)| of(account)).sum();
    let all =
        ProbeAccount { sent: sum(|a| a.sent), lost: sum(|a| a.lost), ..ProbeAccount::default() };
    let lost = idle.map(|idle| sentence::unclaimed_loss(&all, idle)).unwrap_or_default();
    found + &few + &lost
}

fn phases(n: usize) -> String {
    if n == 1 { "1 phase".into() } else { format!("{n} phases") }
}

/// What the sleep of the same span says of the CPU; `None` when it says nothing.
fn of_sleep(
    suffered: &ProbeAccount,
    idle: Option<&ProbeAccount>,
    sleep: &ProbeAccount,
    slept_before: Option<&ProbeAccount>,
) -> Option<String> {
    let shift = |account: &ProbeAccount, idle: Option<&ProbeAccount>| {
        let median_us = idle.and_then(|idle| idle.latency_us).map_or(0, |latency| latency.p50);
        let moved = claim::moved(&account.against_baseline?, median_us)?.estimate;
        (moved > 0.0).then_some(moved)
    };
    match (suffered.finding, sleep.finding) {
        (Finding::Faster, _) | (_, Finding::TooFew | Finding::Baseline) => None,
        (_, Finding::None | Finding::Faster) => {
            Some("the host was not short of CPU: the sleep was in time".into())
        }
        _ => Some(match (shift(suffered, idle), shift(sleep, slept_before)) {
            (Some(slower), Some(late)) if late >= slower * EXPLAINS_PART => {
                format!("the host was short of CPU: the sleep was late by as much ({})", us(late))
            }
            (Some(_), Some(late)) => format!("the sleep was late by {} alone", us(late)),
            _ => "the host was short of CPU at times: the sleep was late as well".into(),
        }),
    }
}

/// The counters that moved most.
fn of_counters(moved: &BTreeMap<String, u64>) -> Option<String> {
    let mut moved: Vec<_> = moved.iter().filter(|(_, n)| **n > 0).collect();
    moved.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let said = moved.iter().take(COUNTERS_MAX).map(|(name, n)| format!("{name} {}", grouped(**n)));
    let said: Vec<_> = said.collect();
    (!said.is_empty()).then(|| format!("meanwhile {}", said.join(", ")))
}
