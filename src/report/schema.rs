//! What a report reads of the files of a run directory. Each key may be missing; a file of another
//! schema is not read at all.

use serde::Deserialize;

use crate::report::lenient::{List, Map, Maybe, Number, Part};

/// The schemas that are read.
pub(crate) const RESULT: &str = "megaconn.result/1";
pub(crate) const ENVIRONMENT: &str = "megaconn.environment/1";
pub(crate) const DOCTOR: &str = "megaconn.doctor/1";
pub(crate) const BYSTANDER: &str = "megaconn.bystander/1";

/// `result.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct RunResult {
    pub(crate) started_at: Number,
    pub(crate) seconds: Number,
    pub(crate) target_connections: Number,
    pub(crate) established: Number,
    pub(crate) failed: Maybe<Map<Number>>,
    pub(crate) lost: Maybe<Map<Number>>,
    pub(crate) untried: Number,
    pub(crate) plateaus: List<Plateau>,
    pub(crate) close: Part<Close>,
    pub(crate) cost_per_connection: Part<Cost>,
    pub(crate) file_descriptors: Map<Number>,
    pub(crate) per_core: List<PerCore>,
    pub(crate) verdict: Part<Verdict>,
    pub(crate) bystanders: Part<Bystanders>,
    pub(crate) safe_capacity: Part<SafeCapacity>,
    pub(crate) notes: Map<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plateau {
    pub(crate) connections: Number,
    pub(crate) established: Number,
    pub(crate) failed: Maybe<Map<Number>>,
    pub(crate) lost: Maybe<Map<Number>>,
    pub(crate) connect: Part<Connect>,
    pub(crate) messages: Part<Messages>,
    pub(crate) pushes: Part<Pushes>,
    pub(crate) churn: Part<Churn>,
    pub(crate) sweep: Part<Sweep>,
    pub(crate) schedule_lag_us: Part<Percentiles>,
    pub(crate) hold_seconds: Number,
    pub(crate) memory: Part<Memory>,
}

/// In microseconds.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Percentiles {
    pub(crate) p50: Number,
    pub(crate) p90: Number,
    pub(crate) p99: Number,
    pub(crate) p999: Number,
    pub(crate) max: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Connect {
    pub(crate) seconds: Number,
    pub(crate) rate_per_s: Number,
    pub(crate) latency_us: Part<Percentiles>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Messages {
    pub(crate) sent: Number,
    pub(crate) received: Number,
    pub(crate) mismatched: Number,
    pub(crate) late: Number,
    pub(crate) unsent: Number,
    pub(crate) latency_us: Part<Percentiles>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pushes {
    pub(crate) received: Number,
    pub(crate) late: Number,
    pub(crate) missing: Number,
    pub(crate) gap_us: Part<Percentiles>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Churn {
    pub(crate) started: Number,
    pub(crate) completed: Number,
    pub(crate) rate_per_s: Number,
    pub(crate) failed: Maybe<Map<Number>>,
    pub(crate) lost: Maybe<Map<Number>>,
    pub(crate) latency_us: Part<Percentiles>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Sweep {
    pub(crate) asked: Number,
    pub(crate) answered: Number,
}

/// Growth over the empty state.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Memory {
    pub(crate) kernel_bytes: Number,
    pub(crate) server_user_bytes: Number,
    pub(crate) client_user_bytes: Number,
    pub(crate) by_layer: Map<Number>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Close {
    pub(crate) seconds: Number,
    pub(crate) rate_per_s: Number,
    pub(crate) server_seconds: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Cost {
    pub(crate) kernel_bytes: Number,
    pub(crate) server_user_bytes: Number,
    pub(crate) client_user_bytes: Number,
    pub(crate) stderr_bytes: Number,
    pub(crate) by_slab: Map<Number>,
    pub(crate) sockets_counted: Number,
    pub(crate) other_sockets: Number,
    pub(crate) fit: Part<Fit>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fit {
    pub(crate) connections: List<Number>,
    pub(crate) by_layer: Map<Line>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Line {
    pub(crate) slope_bytes: Number,
    pub(crate) stderr_bytes: Number,
    pub(crate) fixed_bytes: Number,
    pub(crate) r2: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct PerCore {
    pub(crate) side: Maybe<String>,
    pub(crate) core: Number,
    pub(crate) cpu: Number,
    pub(crate) connections_peak: Number,
    pub(crate) messages_total: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    pub(crate) met: Maybe<bool>,
    pub(crate) missed: List<String>,
    pub(crate) wall: Maybe<Charge>,
    pub(crate) more_walls: List<Charge>,
    pub(crate) met_without_loss: List<Charge>,
    pub(crate) next_wall: Part<NextWall>,
}

/// A wall, and what was lost to it.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Charge {
    pub(crate) id: Maybe<String>,
    pub(crate) side: Maybe<String>,
    pub(crate) lost: Number,
    pub(crate) evidence: List<String>,
    pub(crate) ruled_out: List<String>,
    pub(crate) fix: List<String>,
    pub(crate) confidence: Maybe<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct NextWall {
    pub(crate) id: Maybe<String>,
    pub(crate) at_connections: Number,
}

/// What became of unrelated operations meanwhile.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bystanders {
    pub(crate) rate_per_s: Number,
    /// Milliseconds since 1970.
    pub(crate) began_at_ms: Number,
    pub(crate) probes: List<Probe>,
    pub(crate) not_probed: Map<String>,
    pub(crate) lag_us: Part<Percentiles>,
    pub(crate) samples_dropped: Number,
    pub(crate) spans: List<BystanderSpan>,
    pub(crate) answer: List<String>,
}

/// A bystander: an operation that is tried again and again.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Probe {
    pub(crate) name: Maybe<String>,
    pub(crate) target: Maybe<String>,
}

/// A phase of the run; times are since the panel began.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct BystanderSpan {
    pub(crate) phase: Maybe<String>,
    pub(crate) connections: Number,
    pub(crate) from_ms: Number,
    pub(crate) to_ms: Number,
    pub(crate) probes: List<Probed>,
    pub(crate) counters: Map<Number>,
    pub(crate) pressure: Map<Number>,
}

impl BystanderSpan {
    /// The bystander of this name.
    pub(crate) fn of(&self, name: &str) -> Option<&Probed> {
        self.probes.iter().find(|probed| probed.name.as_deref() == Some(name))
    }
}

/// A bystander in a phase.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Probed {
    pub(crate) name: Maybe<String>,
    pub(crate) sent: Number,
    pub(crate) lost: Number,
    pub(crate) reordered: Number,
    pub(crate) latency_us: Part<Percentiles>,
    pub(crate) loss: Part<Interval>,
    pub(crate) against_baseline: Part<Comparison>,
    pub(crate) finding: Maybe<String>,
    pub(crate) more_samples: Number,
    pub(crate) sentence: Maybe<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Comparison {
    pub(crate) shift_us: Part<Interval>,
    pub(crate) tail: Part<Tail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Interval {
    pub(crate) estimate: Number,
    pub(crate) low: Number,
    pub(crate) high: Number,
}

/// Answers that took longer than most of the baseline's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Tail {
    pub(crate) above_us: Number,
    pub(crate) fraction: Number,
    pub(crate) is_more: Maybe<bool>,
}

/// The most connections at which bystanders were as they were to be.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct SafeCapacity {
    pub(crate) expression: Maybe<String>,
    pub(crate) connections: Number,
    pub(crate) broke_at: Number,
    pub(crate) why: Maybe<String>,
    pub(crate) steps: List<CapacityStep>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct CapacityStep {
    pub(crate) connections: Number,
    pub(crate) held: Maybe<bool>,
    pub(crate) figures: List<String>,
}

/// `environment.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Environment {
    pub(crate) version: Maybe<String>,
    pub(crate) commit: Maybe<String>,
    pub(crate) topology: Maybe<String>,
    pub(crate) kernel: Maybe<String>,
    pub(crate) machine: Maybe<String>,
    pub(crate) cpu_model: Maybe<String>,
    pub(crate) cpus: Number,
    pub(crate) memory_bytes: Number,
    pub(crate) memory_available_bytes: Number,
    pub(crate) limits: Map<String>,
    pub(crate) sysctls: Map<String>,
    pub(crate) command_line: List<String>,
    pub(crate) user_id: Number,
}

/// `doctor.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Doctor {
    pub(crate) rows: List<Wall>,
}

/// A wall as it stood before the run.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wall {
    pub(crate) id: Maybe<String>,
    pub(crate) limits: Maybe<String>,
    pub(crate) unit: Maybe<String>,
    pub(crate) have: Number,
    pub(crate) need: Number,
    pub(crate) allows_connections: Number,
    pub(crate) verdict: Maybe<String>,
    pub(crate) fix: List<String>,
}
