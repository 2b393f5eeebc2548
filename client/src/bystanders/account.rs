//! What became of one bystander in one phase, while it is counted and judged: the figures that
//! `results` has as a file. And how bad an effect is.

use std::cmp::Ordering;

use megaconn::results::bystanders::{Comparison, Finding, Interval, Latency, Probe, Probed};

/// A bystander of the panel.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// Unique in the panel: `ping`, or `ping 10.0.0.9` when there are several.
    pub(crate) name: String,
    /// `ping`, `connect`, `request`, `udp`, `resolve`, `disk` or `schedule`.
    pub(crate) kind: &'static str,
    /// The host, service, name or directory that it asks.
    pub(crate) target: String,
}

impl From<Described> for Probe {
    fn from(described: Described) -> Probe {
        Probe {
            name: described.name.into(),
            kind: described.kind.into(),
            target: described.target.into(),
        }
    }
}

/// One bystander in one stretch, each figure counted.
#[derive(Clone, Debug, Default)]
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
    /// Further samples that a claim would need.
    pub(crate) more_samples: Option<u64>,
    /// The finding in words.
    pub(crate) sentence: String,
}

impl From<ProbeAccount> for Probed {
    fn from(account: ProbeAccount) -> Probed {
        Probed {
            name: account.name.into(),
            sent: account.sent.into(),
            lost: account.lost.into(),
            timed_out: account.timed_out.into(),
            failed: account.failed.into(),
            reordered: account.reordered.into(),
            latency_us: account.latency_us.into(),
            loss: account.loss.into(),
            against_baseline: account.against_baseline.into(),
            finding: account.finding.into(),
            more_samples: account.more_samples.into(),
            sentence: account.sentence.into(),
        }
    }
}

/// How bad an effect is: first which, then how much of it, in a unit of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Severity {
    rank: u8,
    size: f64,
}

impl Severity {
    /// Of a `finding`, by the figures that it rests on; `None` of no effect.
    pub(crate) fn of(
        finding: Finding,
        comparison: Option<Comparison>,
        loss: Option<Interval>,
    ) -> Option<Severity> {
        let shift =
            comparison.and_then(|of| *of.shift_us).map_or(0.0, |shift| shift.estimate.abs());
        let tail = comparison.and_then(|of| *of.tail).map_or(0.0, |tail| tail.fraction);
        let (rank, size) = match finding {
            Finding::Losing => (3, loss.map_or(0.0, |loss| loss.estimate)),
            Finding::Slower => (2, shift),
            Finding::SlowerTail => (1, tail),
            Finding::Faster => (0, shift),
            Finding::Baseline | Finding::None | Finding::TooFew => return None,
        };
        Some(Severity { rank, size })
    }

    /// A bystander that is only faster suffers nothing.
    pub(crate) fn is_harm(self) -> bool {
        self.rank > 0
    }

    /// The worse one is the greater one.
    pub(crate) fn compare(&self, other: &Severity) -> Ordering {
        self.rank.cmp(&other.rank).then(self.size.total_cmp(&other.size))
    }
}
