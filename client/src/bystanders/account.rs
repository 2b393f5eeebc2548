//! `bystanders` in `result.json`: what became of each bystander in each phase, beside what it was on
//! the idle host before.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::bystanders::sample::SpanPhase;
use crate::output::result::Percentiles;

/// All of it.
#[derive(Default, Serialize)]
pub(crate) struct Account {
    /// Of the panel, in milliseconds since 1970.
    pub(crate) began_at_ms: u64,
    pub(crate) rate_per_s: f64,
    pub(crate) probes: Vec<Described>,
    /// Bystanders that were not tried, and why.
    pub(crate) not_probed: BTreeMap<&'static str, String>,
    /// How late the panel itself was: from when something was due to when it was begun.
    pub(crate) lag_us: Option<Percentiles>,
    /// What there was no room for.
    pub(crate) samples_dropped: u64,
    pub(crate) spans: Vec<SpanAccount>,
    /// The answer in plain sentences, one for each bystander.
    pub(crate) answer: Vec<String>,
}

/// A bystander.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Described {
    /// Unique in the panel: `ping`, or `ping 10.0.0.9` when there are several.
    pub(crate) name: String,
    /// `ping`, `connect`, `request`, `udp`, `resolve`, `disk` or `schedule`.
    pub(crate) kind: &'static str,
    /// Whom it asks.
    pub(crate) target: String,
}

/// What happened in one stretch of the run.
#[derive(Serialize)]
pub(crate) struct SpanAccount {
    pub(crate) phase: SpanPhase,
    /// Held connections that it is about; 0 of an idle host.
    pub(crate) connections: u64,
    /// Since the panel began.
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
    /// In the order of the panel.
    pub(crate) probes: Vec<ProbeAccount>,
    /// Counters of the kernel that moved meanwhile and tell of something that went wrong.
    pub(crate) counters: BTreeMap<String, u64>,
    /// Part of the time in which somebody waited, in per cent, by /proc/pressure.
    pub(crate) pressure: BTreeMap<&'static str, f64>,
}

/// One bystander in one stretch.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ProbeAccount {
    pub(crate) name: String,
    pub(crate) sent: u64,
    /// Not answered: `timed_out` and `failed` together.
    pub(crate) lost: u64,
    pub(crate) timed_out: u64,
    pub(crate) failed: u64,
    pub(crate) reordered: u64,
    pub(crate) latency_us: Option<Latency>,
    /// Fraction lost, with Wilson's interval of 95 %.
    pub(crate) loss: Option<Interval>,
    /// `None` of the baseline itself, and where there is none.
    pub(crate) against_baseline: Option<Comparison>,
    pub(crate) finding: Finding,
    /// So many more would be needed before anything can be claimed.
    pub(crate) more_samples: Option<u64>,
    /// The finding in words.
    pub(crate) sentence: String,
}

/// Exact, of the samples themselves; in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

/// An estimate and the interval around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Interval {
    pub(crate) estimate: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// A phase held against the baseline; each interval is so wide that over all comparisons of a run one
/// in twenty runs has a false alarm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Comparison {
    /// By how much the latency has moved, in microseconds: Hodges and Lehmann's estimate.
    pub(crate) shift_us: Option<Interval>,
    /// The part of answers that are slower than the slowest twentieth of the baseline.
    pub(crate) tail: Option<Tail>,
    /// By how much the lost fraction has risen: Newcombe's interval.
    pub(crate) loss: Option<Interval>,
}

/// Answers beyond a high bound of the baseline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Tail {
    /// The bound: in the baseline so many microseconds were exceeded by `expected`.
    pub(crate) above_us: u64,
    pub(crate) expected: f64,
    pub(crate) fraction: f64,
    /// Whether it is more than chance would have it.
    pub(crate) is_more: bool,
}

/// What can be claimed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Finding {
    /// This is what others are held against.
    #[default]
    Baseline,
    /// Enough was seen, and no effect.
    None,
    /// Its median is the same or better, its tail is longer.
    SlowerTail,
    Slower,
    Faster,
    /// It loses more than before, whatever its latency.
    Losing,
    /// Too few samples for any claim.
    TooFew,
}

/// How bad an effect is: first which, then how much of it, in a unit of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Severity {
    rank: u8,
    size: f64,
}

impl Severity {
    /// Of what was found; `None` of no effect.
    pub(crate) fn of(account: &ProbeAccount) -> Option<Severity> {
        let comparison = account.against_baseline;
        let shift = comparison.and_then(|of| of.shift_us).map_or(0.0, |shift| shift.estimate.abs());
        let tail = comparison.and_then(|of| of.tail).map_or(0.0, |tail| tail.fraction);
        let (rank, size) = match account.finding {
            Finding::Losing => (3, account.loss.map_or(0.0, |loss| loss.estimate)),
            Finding::Slower => (2, shift),
            Finding::SlowerTail => (1, tail),
            Finding::Faster => (0, shift),
            Finding::Baseline | Finding::None | Finding::TooFew => return None,
        };
        Some(Severity { rank, size })
    }

    /// What is only faster suffers nothing.
    pub(crate) fn is_harm(self) -> bool {
        self.rank > 0
    }

    /// The worse one is the greater one.
    pub(crate) fn compare(&self, other: &Severity) -> Ordering {
        self.rank.cmp(&other.rank).then(self.size.total_cmp(&other.size))
    }
}

/// `safe_capacity` in `result.json`: the most connections with which bystanders were kept.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct SafeCapacity {
    /// What was to be kept.
    pub(crate) expression: String,
    /// `None` when not even the first step held.
    pub(crate) connections: Option<u64>,
    /// The fewest with which they were not.
    pub(crate) broke_at: Option<u64>,
    /// What broke there.
    pub(crate) why: Option<String>,
    /// In the order in which they were tried.
    pub(crate) steps: Vec<Step>,
}

/// One number of connections, and whether bystanders were kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) connections: u64,
    pub(crate) held: bool,
    /// Clause by clause, with figures.
    pub(crate) figures: Vec<String>,
}
