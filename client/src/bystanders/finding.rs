//! What became of each bystander in each phase, and what of that can be claimed. It counts, compares
//! with the idle host and decides; how that is said is `sentence`'s. No clock and no files: samples
//! and spans come from the panel, when the run is over.
//!
//! A claim is an interval that leaves out 0, at a level that holds for all comparisons of the run
//! together ([`statistics::level`]). With thousands of samples that alone would make news of a
//! microsecond, so a claim also has to matter, which [`claim`] decides.

use megaconn::results::bystanders::{Comparison, Latency, SpanPhase, Tail};

use crate::bystanders::account::{Described, ProbeAccount};
use crate::bystanders::claim::{self, shift_floor_us};
use crate::bystanders::sample::{Outcome, Sample, Span};
use crate::bystanders::sentence;
use crate::bystanders::statistics::shift::{self, Seen};
use crate::bystanders::statistics::{self, Part, serial, tail};

/// Fewer samples tell nothing: neither a percentile, nor whether neighbours are alike.
pub(crate) const SAMPLES_MIN: u64 = 30;

/// The tail of the baseline begins above this many thousandths of its answers. One in
/// twenty is slower.
const TAIL_PERMILLE: usize = 950;

/// What is claimed of one bystander in one phase: shift, tail, loss.
const MEASURES: usize = 3;

/// Span by span, in each the bystanders in the order of `probes`. The first span of the baseline is
/// what the others are held against.
pub(crate) fn judge(
    probes: &[Described],
    samples: &[Sample],
    spans: &[Span],
) -> Vec<Vec<ProbeAccount>> {
    let seen = by_span_and_probe(probes.len(), samples, spans);
    let baseline = spans.iter().position(|span| span.phase == SpanPhase::Baseline);
    let compared = spans.iter().filter(|span| span.phase != SpanPhase::Baseline).count();
    let level = statistics::level(compared * probes.len() * MEASURES);
    let nothing = Met::default();
    let account = |span: usize, probe: usize| {
        let mut account = seen[span][probe].account(&probes[probe].name);
        if spans[span].phase != SpanPhase::Baseline {
            let idle = baseline.map_or(&nothing, |baseline| &seen[baseline][probe]);
            judge_one(&seen[span][probe], idle, level, &mut account);
        }
        account
    };
    let each = |span| (0..probes.len()).map(|probe| account(span, probe)).collect();
    let mut accounts: Vec<Vec<ProbeAccount>> = (0..spans.len()).map(each).collect();
    sentence::write(&mut accounts, spans, baseline);
    accounts
}

fn judge_one(now: &Met, idle: &Met, level: f64, account: &mut ProbeAccount) {
    let z = statistics::deviations(level / 2.0);
    let comparison = now.held_against(idle, level);
    let missing = now.missing(z).max(idle.missing(z));
    account.finding = claim::finding(&comparison, idle.latency().map_or(0, |idle| idle.p50));
    account.more_samples = (missing > 0).then_some(missing);
    account.against_baseline = Some(comparison);
}

/// What one bystander met in one span.
#[derive(Default)]
struct Met {
    samples: Vec<Sample>,
    /// Of answers alone, in the order of time.
    latencies: Vec<u32>,
    sorted: Vec<u32>,
    /// The number of answers that count as one, by the ranks of their latencies.
    inflation: f64,
    /// The number of samples that count as one, by whether they are lost.
    loss_inflation: f64,
}

/// Samples belong to the span in which they were due; one that was due in none is left out.
fn by_span_and_probe(probes: usize, samples: &[Sample], spans: &[Span]) -> Vec<Vec<Met>> {
    let mut of_each = vec![vec![Vec::new(); probes]; spans.len()];
    for sample in samples {
        let at = |span: &Span| (span.from_us..span.to_us).contains(&sample.due_us);
        if let Some(span) = spans.iter().position(at) {
            of_each[span][usize::from(sample.probe)].push(*sample);
        }
    }
    let met = |of_span: Vec<_>| of_span.into_iter().map(Met::new).collect();
    of_each.into_iter().map(met).collect()
}

impl Met {
    fn new(mut samples: Vec<Sample>) -> Met {
        samples.sort_by_key(|sample| sample.due_us);
        let answers = samples.iter().filter(|sample| sample.outcome.is_answer());
        let latencies: Vec<u32> = answers.map(|sample| sample.latency_us).collect();
        let mut sorted = latencies.clone();
        sorted.sort_unstable();
        let is_lost = samples.iter().map(|sample| !sample.outcome.is_answer());
        Met {
            inflation: serial::inflation(&serial::ranks(&latencies)),
            loss_inflation: serial::inflation(&serial::indicators(is_lost)),
            samples,
            latencies,
            sorted,
        }
    }

    /// All but the comparison.
    fn account(&self, name: &str) -> ProbeAccount {
        let sent = self.samples.len() as u64;
        let loss = self.lost(self.loss_inflation);
        ProbeAccount {
            name: name.to_owned(),
            sent,
            lost: self.count(Outcome::TimedOut) + self.count(Outcome::Failed),
            timed_out: self.count(Outcome::TimedOut),
            failed: self.count(Outcome::Failed),
            reordered: self.count(Outcome::Reordered),
            latency_us: self.latency(),
            loss: (sent > 0).then(|| statistics::wilson(loss, statistics::deviations(0.025))),
            ..ProbeAccount::default()
        }
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.samples.iter().filter(|sample| sample.outcome == outcome).count() as u64
    }

    fn lost(&self, inflation: f64) -> Part {
        let lost = self.samples.len() - self.latencies.len();
        Part::new(lost as u64, self.samples.len() as u64, inflation)
    }

    /// With what chance may do in one comparison.
    fn held_against(&self, idle: &Met, level: f64) -> Comparison {
        let z = statistics::deviations(level / 2.0);
        let is_enough = self.missing(z).max(idle.missing(z)) == 0;
        let sent = self.samples.len().min(idle.samples.len()) as u64;
        let bursts = self.loss_inflation.max(idle.loss_inflation);
        Comparison {
            shift_us: is_enough.then(|| shift::shift(&self.seen(), &idle.seen(), z)).into(),
            tail: is_enough.then(|| self.tail(idle, level)).into(),
            loss: (sent >= SAMPLES_MIN)
                .then(|| statistics::newcombe(self.lost(bursts), idle.lost(bursts), z))
                .into(),
        }
    }

    /// How many more answers it takes before a shift could be claimed. Of fewer than the least it
    /// cannot be told how alike neighbours are.
    fn missing(&self, z: f64) -> u64 {
        let answers = self.sorted.len() as u64;
        match SAMPLES_MIN.saturating_sub(answers) {
            0 => whole((shift::fewest(z) * self.inflation).ceil()).saturating_sub(answers),
            more => more,
        }
    }

    fn seen(&self) -> Seen<'_> {
        Seen { sorted: &self.sorted, inflation: self.inflation }
    }

    /// Both stretches have answers. How much the slow ones come in bursts is the greater of both: if
    /// nothing has changed, a burst that is seen in one of them could as well have met the other.
    fn tail(&self, idle: &Met, level: f64) -> Tail {
        let [median, bound] = [500, TAIL_PERMILLE].map(|permille| idle.percentile(permille));
        let above_us = bound + whole(shift_floor_us(median));
        let [now, before] = [self, idle].map(|met| met.sorted.len() as u64);
        let expected = idle.beyond(above_us) as f64 / before as f64;
        let fraction = self.beyond(above_us) as f64 / now as f64;
        let is_more = fraction > expected && {
            let bursts = self.bursts_beyond(above_us).max(idle.bursts_beyond(bound));
            tail::chance(self.beyond(above_us), now, idle.beyond(bound), before, bursts) < level
        };
        Tail { above_us, expected, fraction, is_more }
    }

    fn beyond(&self, us: u64) -> u64 {
        self.sorted.iter().filter(|latency| u64::from(**latency) > us).count() as u64
    }

    fn bursts_beyond(&self, us: u64) -> f64 {
        let is_beyond = self.latencies.iter().map(|latency| u64::from(*latency) > us);
        serial::inflation(&serial::indicators(is_beyond))
    }

    fn latency(&self) -> Option<Latency> {
        (!self.sorted.is_empty()).then(|| Latency {
            p50: self.percentile(500),
            p90: self.percentile(900),
            p99: self.percentile(990),
            max: self.percentile(1000),
        })
    }

    /// What `permille` thousandths of the answers do not exceed: one of them, the nearest rank. There
    /// is an answer.
    fn percentile(&self, permille: usize) -> u64 {
        let rank = (self.sorted.len() * permille).div_ceil(1000);
        u64::from(self.sorted[rank - 1])
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, or whole us")]
fn whole(n: f64) -> u64 {
    n as u64
}
