//! `bystanders` in `result.json`: what became of each bystander in each phase, beside what it was on
//! the idle host before. And `bystanders.ndjson`, which has every answer.

use serde::{Deserialize, Serialize};

use crate::results::lenient::{List, Map, Maybe, Word};
use crate::results::percentiles::Percentiles;

/// All that is known of bystanders.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bystanders {
    /// When the panel began, in milliseconds since 1970.
    pub began_at_ms: Maybe<u64>,
    /// Tries of each bystander.
    pub rate_per_s: Maybe<f64>,
    /// In the order of the panel.
    pub probes: List<Probe>,
    /// Bystanders that were not tried, and why.
    pub not_probed: Map<String>,
    /// How late the panel itself was: from when something was due to when it was begun.
    pub lag_us: Maybe<Percentiles>,
    /// Samples that there was no room for.
    pub samples_dropped: Maybe<u64>,
    /// The stretches of the run, in the order of time.
    pub spans: List<BystanderSpan>,
    /// The answer in plain sentences, one for each bystander.
    pub answer: List<String>,
}

impl Bystanders {
    /// Whether there was a panel.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        !self.probes.is_empty() || !self.spans.is_empty()
    }
}

/// A bystander: an operation that is tried again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// Unique in the panel: `ping`, or `ping 10.0.0.9` when there are several.
    pub name: Maybe<String>,
    /// `ping`, `connect`, `request`, `udp`, `resolve`, `disk` or `schedule`.
    pub kind: Maybe<String>,
    /// The host, service, name or directory that it asks.
    pub target: Maybe<String>,
}

/// A phase of the run, as bystanders see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanPhase {
    /// The idle host, before the first connection.
    Baseline,
    /// Connections are being opened.
    Connecting,
    /// They are held, and nothing is asked of them.
    Settled,
    /// They carry messages, pushes, or short connections beside them.
    Messages,
    /// They are being closed.
    Closing,
    /// The idle host, after the last one.
    Recovery,
    /// Something else goes on, of which nothing is known.
    Watched,
}

/// What happened in one stretch of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BystanderSpan {
    /// What the run did.
    pub phase: Maybe<Word<SpanPhase>>,
    /// Held connections that it is about; 0 of an idle host.
    pub connections: Maybe<u64>,
    /// Since the panel began.
    pub from_ms: Maybe<u64>,
    /// Since the panel began.
    pub to_ms: Maybe<u64>,
    /// In the order of the panel.
    pub probes: List<Probed>,
    /// Counters of the kernel that rose meanwhile, of those that count failures.
    pub counters: Map<u64>,
    /// Part of the time in which some task waited, in per cent, by /proc/pressure.
    pub pressure: Map<f64>,
}

impl BystanderSpan {
    /// The bystander of this name.
    #[must_use]
    pub fn of(&self, name: &str) -> Option<&Probed> {
        self.probes.iter().find(|probed| probed.name.as_deref() == Some(name))
    }
}

/// One bystander in one stretch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probed {
    /// Its name in the panel.
    pub name: Maybe<String>,
    /// Tries.
    pub sent: Maybe<u64>,
    /// Not answered: `timed_out` and `failed` together.
    pub lost: Maybe<u64>,
    /// Not answered within a second.
    pub timed_out: Maybe<u64>,
    /// Ended by an error, such as a refused connect.
    pub failed: Maybe<u64>,
    /// Answered after one that was sent later.
    pub reordered: Maybe<u64>,
    /// Of the answers.
    pub latency_us: Maybe<Latency>,
    /// Fraction lost, with Wilson's interval of 95 %.
    pub loss: Maybe<Interval>,
    /// `null` of the baseline itself, and where there is none.
    pub against_baseline: Maybe<Comparison>,
    /// What can be claimed.
    pub finding: Maybe<Word<Finding>>,
    /// Further samples that a claim would need.
    pub more_samples: Maybe<u64>,
    /// The finding in words.
    pub sentence: Maybe<String>,
}

/// Exact, of the samples themselves; in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// 90 of 100 are not above it.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// An estimate and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub estimate: f64,
    /// The lower bound.
    pub low: f64,
    /// The upper bound.
    pub high: f64,
}

/// A phase held against the baseline; each interval is so wide that over all comparisons of a run one
/// in twenty runs has a false alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// By how much the latency has moved, in microseconds: Hodges and Lehmann's estimate.
    pub shift_us: Maybe<Interval>,
    /// The part of answers that are slower than the slowest twentieth of the baseline.
    pub tail: Maybe<Tail>,
    /// By how much the lost fraction has risen: Newcombe's interval.
    pub loss: Maybe<Interval>,
}

/// Answers beyond a high bound of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    /// The bound, in microseconds.
    pub above_us: u64,
    /// The part of the baseline's answers beyond the bound.
    pub expected: f64,
    /// The part of this phase's answers beyond the bound.
    pub fraction: f64,
    /// Whether it is more than chance would have it.
    pub is_more: bool,
}

/// What can be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// This is what the other phases are held against.
    #[default]
    Baseline,
    /// Enough was seen, and no effect.
    None,
    /// Its median is the same or better, its tail is longer.
    SlowerTail,
    /// Its median is higher.
    Slower,
    /// Its median is lower.
    Faster,
    /// It loses more than before, whatever its latency.
    Losing,
    /// Too few samples for any claim.
    TooFew,
}

/// `safe_capacity` in `result.json`: the most connections with which bystanders were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SafeCapacity {
    /// What was to be kept.
    pub expression: Maybe<String>,
    /// `null` when not even the first step held.
    pub connections: Maybe<u64>,
    /// The fewest with which they were not kept.
    pub broke_at: Maybe<u64>,
    /// What broke there.
    pub why: Maybe<String>,
    /// In the order in which they were tried.
    pub steps: List<CapacityStep>,
}

/// One number of connections, and whether bystanders were kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapacityStep {
    /// Held connections.
    pub connections: Maybe<u64>,
    /// Whether they were kept.
    pub held: Maybe<bool>,
    /// Clause by clause, with figures.
    pub figures: List<String>,
}

/// One second of one bystander: a line of `bystanders.ndjson`. A line that is not whole is no line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Second {
    /// [`crate::results::BYSTANDERS`]'s.
    pub schema: String,
    /// Its name in the panel.
    pub name: String,
    /// When that second begins, in milliseconds since 1970.
    pub at_ms: u64,
    /// Tries without an answer.
    pub lost: u64,
    /// Answers after one that was sent later.
    #[serde(default)]
    pub reordered: u64,
    /// Of its answers, in the order in which they came.
    pub latency_us: Vec<u32>,
}
