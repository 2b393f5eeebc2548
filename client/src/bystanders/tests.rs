//! Findings and answers in words, from samples made by hand.

use std::collections::BTreeMap;

use megaconn::results::bystanders::{Finding, SpanPhase};

use crate::bystanders::account::{Described, ProbeAccount};
use crate::bystanders::answer::answer;
use crate::bystanders::finding::judge;
use crate::bystanders::sample::{Outcome, Sample, Span};

const SECOND_US: u64 = 1_000_000;

/// The baseline, one phase of 10,000 connections, and the recovery, a minute each.
fn spans() -> Vec<Span> {
    let phases = [SpanPhase::Baseline, SpanPhase::Settled, SpanPhase::Recovery];
    let span = |(index, phase): (u64, SpanPhase)| Span {
        phase,
        connections: if phase == SpanPhase::Settled { 10_000 } else { 0 },
        from_us: index * 60 * SECOND_US,
        to_us: (index + 1) * 60 * SECOND_US,
    };
    (0..).zip(phases).map(span).collect()
}

fn probes() -> Vec<Described> {
    let named = |name: &str, kind| Described { name: name.into(), kind, target: String::new() };
    vec![named("ping", "ping"), named("schedule", "schedule")]
}

/// `n` samples of a span: the latency of each by its number, with some noise; `None` is a loss.
fn fill(
    samples: &mut Vec<Sample>,
    (probe, span): (u8, u64),
    n: u64,
    latency: impl Fn(u64) -> Option<u32>,
) {
    let mut rng = fastrand::Rng::with_seed(u64::from(probe) + span);
    for index in 0..n {
        let due_us = span * 60 * SECOND_US + index * 50_000;
        let us = latency(index);
        let outcome = if us.is_some() { Outcome::Answered } else { Outcome::TimedOut };
        let latency_us = us.map_or(1_000_000, |us| us + rng.u32(0..=us / 10));
        samples.push(Sample { due_us, latency_us, probe, outcome });
    }
}

/// Twenty a second of both bystanders in each span, by `[baseline, settled, recovery]` of `ping` and of
/// `schedule`.
fn judged(latencies: [[u32; 3]; 2]) -> Vec<Vec<ProbeAccount>> {
    let mut samples = Vec::new();
    for (probe, of_probe) in (0..).zip(latencies) {
        for (span, us) in (0..).zip(of_probe) {
            fill(&mut samples, (probe, span), 1_200, |_| Some(us));
        }
    }
    judge(&probes(), &samples, &spans())
}

fn answered(accounts: &[Vec<ProbeAccount>]) -> Vec<String> {
    let moved = BTreeMap::from([("ListenOverflows".to_owned(), 12), ("Quiet".to_owned(), 0)]);
    answer(&probes(), &spans(), accounts, &[BTreeMap::new(), moved, BTreeMap::new()])
}

#[test]
fn a_host_that_does_not_change_has_no_effect() {
    let accounts = judged([[100; 3]; 2]);
    let ping = &accounts[1][0];
    assert_eq!((ping.finding, ping.sent, ping.more_samples), (Finding::None, 1_200, None));
    assert_eq!(ping.sentence, "no effect found (median 105 us, 105 us when idle)");
    assert_eq!(accounts[0][0].finding, Finding::Baseline);
    assert_eq!(accounts[0][0].sentence, "median 105 us, p99 110 us");
    let said = "ping: no effect found in 1 phase, up to 10,000 connections \
                (median 105 us, 105 us when idle)";
    assert_eq!(answered(&accounts)[0], said);
}

#[test]
fn what_is_slower_is_said_with_its_size_and_what_explains_it() {
    let accounts = judged([[100, 300, 100], [50, 250, 50]]);
    let ping = &accounts[1][0];
    assert_eq!(ping.finding, Finding::Slower);
    let shift = ping.against_baseline.unwrap().shift_us.unwrap();
    assert!(shift.low > 200.0 && shift.high < 220.0, "{shift:?}");
    assert!(ping.sentence.starts_with("slower by 210 us at the median ("), "{}", ping.sentence);
    assert!(ping.sentence.ends_with(" us), p99 330 us against 110 us"), "{}", ping.sentence);
    let said = &answered(&accounts)[0];
    assert!(said.starts_with("ping: with 10,000 connections held, slower by 210 us"), "{said}");
    let why = "the host was short of CPU: the sleep was late by as much (210 us); \
               meanwhile ListenOverflows 12";
    assert!(said.ends_with(why), "{said}");
}

#[test]
fn a_sleep_in_time_clears_the_cpu() {
    let said = &answered(&judged([[100, 300, 100], [50; 3]]))[0];
    assert!(said.contains("the host was not short of CPU: the sleep was in time"), "{said}");
    let said = &answered(&judged([[100, 900, 100], [50, 70, 50]]))[0];
    assert!(said.contains("the sleep was late by 21 us alone"), "{said}");
}

#[test]
fn a_host_that_has_drifted_is_told_with_the_claim() {
    let sentence = |recovery| judged([[100, 300, recovery], [50; 3]])[1][0].sentence.clone();
    assert!(sentence(200).ends_with("; the idle host itself has drifted by 105 us"));
    assert!(!sentence(110).contains("drifted") && !sentence(50).contains("drifted"));
}

#[test]
fn microseconds_do_not_matter() {
    let accounts = judged([[100, 103, 100], [50; 3]]);
    let shift = accounts[1][0].against_baseline.unwrap().shift_us.unwrap();
    assert!(shift.low > 0.0, "it is sure: {shift:?}");
    assert_eq!(accounts[1][0].finding, Finding::None);
}

#[test]
fn what_is_faster_is_said_too() {
    let accounts = judged([[300, 100, 300], [50; 3]]);
    assert_eq!(accounts[1][0].finding, Finding::Faster);
    assert!(accounts[1][0].sentence.starts_with("faster by 210 us at the median (2"));
}

#[test]
fn a_longer_tail_is_no_shift() {
    let mut samples = Vec::new();
    fill(&mut samples, (0, 0), 1_200, |_| Some(100));
    let mut rng = fastrand::Rng::with_seed(1);
    let slow: Vec<bool> = (0..1_200).map(|_| rng.f64() < 0.2).collect();
    fill(&mut samples, (0, 1), 1_200, |index| {
        Some(if slow[usize::try_from(index).unwrap()] { 5_000 } else { 97 })
    });
    let accounts = judge(&probes(), &samples, &spans());
    let ping = &accounts[1][0];
    assert_eq!(ping.finding, Finding::SlowerTail);
    let tail = ping.against_baseline.unwrap().tail.unwrap();
    assert_eq!((tail.above_us, tail.expected), (115, 0.0));
    assert!((0.17..0.23).contains(&tail.fraction), "{tail:?}");
    assert!(ping.sentence.ends_with(" of answers take more than 115 us, 0.0 % when idle"));
}

#[test]
fn a_loss_is_said_whatever_the_latency() {
    let mut samples = Vec::new();
    let mut rng = fastrand::Rng::with_seed(2);
    let lost: Vec<bool> = (0..1_200).map(|_| rng.f64() < 0.03).collect();
    fill(&mut samples, (0, 0), 1_200, |_| Some(100));
    fill(&mut samples, (0, 1), 1_200, |index| {
        (!lost[usize::try_from(index).unwrap()]).then_some(100)
    });
    let ping = &judge(&probes(), &samples, &spans())[1][0];
    assert_eq!((ping.finding, ping.lost), (Finding::Losing, ping.timed_out));
    let percent = format!("losing {:.1} % (", ping.lost as f64 / 12.0);
    assert!(ping.sentence.starts_with(&percent), "{}", ping.sentence);
}

/// Nothing at all comes back: that has no latency, and is a finding still.
#[test]
fn what_loses_everything_loses() {
    let mut samples = Vec::new();
    fill(&mut samples, (0, 0), 1_200, |_| Some(100));
    fill(&mut samples, (0, 1), 100, |_| None);
    let ping = &judge(&probes(), &samples, &spans())[1][0];
    assert_eq!((ping.finding, ping.latency_us), (Finding::Losing, None));
    assert!(ping.sentence.starts_with("losing 100 %"), "{}", ping.sentence);
}

#[test]
fn a_loss_that_may_be_chance_is_told_and_not_claimed() {
    let mut samples = Vec::new();
    fill(&mut samples, (0, 0), 100, |_| Some(100));
    fill(&mut samples, (0, 1), 400, |index| (index % 150 != 0).then_some(100));
    let accounts = judge(&probes(), &samples, &spans());
    let ping = &accounts[1][0];
    assert_eq!(ping.finding, Finding::None);
    assert!(ping.sentence.ends_with("; lost 3 of 400, 0 of 100 when idle"), "{}", ping.sentence);
    assert!(answered(&accounts)[0].ends_with("; lost 3 of 400, 0 of 100 when idle"));
}

#[test]
fn too_few_samples_claim_nothing_and_say_how_many_more() {
    let mut samples = Vec::new();
    fill(&mut samples, (0, 0), 1_200, |_| Some(100));
    fill(&mut samples, (0, 1), 12, |_| Some(90_000));
    let accounts = judge(&probes(), &samples, &spans());
    let ping = &accounts[1][0];
    assert_eq!((ping.finding, ping.more_samples), (Finding::TooFew, Some(18)));
    assert_eq!(ping.sentence, "too few: 12 samples, 18 more are needed");
    assert_eq!(
        answered(&accounts)[0],
        "ping: too few samples in each of 1 phase: 18 more are needed"
    );
    let few_when_idle = judge(&probes(), &samples[1_190..], &spans());
    assert_eq!(few_when_idle[1][0].sentence, "too few when idle: 10 samples, 20 more are needed");
}

#[test]
fn nothing_is_claimed_without_an_idle_host() {
    let mut samples = Vec::new();
    fill(&mut samples, (0, 1), 1_200, |_| Some(100));
    let accounts = judge(&probes(), &samples, &spans()[1..]);
    assert_eq!(accounts[0][0].finding, Finding::TooFew);
    assert_eq!(accounts[0][0].sentence, "nothing to hold it against: no idle host before");
    assert!(judge(&probes(), &samples, &[]).is_empty());
    assert_eq!(answer(&probes(), &[], &[], &[]).len(), 2);
}
