//! Parts of a run in `result.json`: what one host had of it, and in a merged result a row for each.

use serde::{Deserialize, Serialize};

use crate::results::lenient::{List, Map, Maybe, Part};
use crate::results::percentiles::Percentiles;

/// `part`: which part of a run this was, of what plan, from where and by which clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartOf {
    /// From 1.
    pub number: Maybe<u64>,
    /// How many there are.
    pub of: Maybe<u64>,
    /// The name of the host.
    pub host: Maybe<String>,
    /// What tells its network namespace from others: the kernel's boot, and the number of the namespace.
    pub namespace: Maybe<String>,
    /// What the whole run is asked to do. All parts have the same.
    pub plan: Map<String>,
    /// Held connections of the whole run at each plateau.
    pub plateaus: List<u64>,
    /// The gates of the whole run.
    pub gates: Part<WholeGates>,
    /// Where its connections come from.
    pub tuples: Part<PartTuples>,
    /// With --start-at: when it was to begin, in milliseconds since 1970.
    pub start_at_ms: Maybe<u64>,
    /// The server's clock before the run.
    pub clock: Maybe<ClockOffset>,
    /// The same after it.
    pub clock_afterwards: Maybe<ClockOffset>,
}

/// What all parts together must reach. A part by itself has missed them when the whole is sure to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WholeGates {
    /// The fewest that are to be established.
    pub min_established: Maybe<u64>,
    /// The most that may be lost.
    pub max_lost: Maybe<u64>,
    /// The highest p99 of messages and short connections.
    pub max_p99_us: Maybe<u64>,
}

/// Sources and ports of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartTuples {
    /// Whether parts have the same sources, so that each has its own ports.
    pub shared: Maybe<bool>,
    /// Source addresses, as `10.0.0.5` or `10.0.0.5-10.0.0.9`.
    pub sources: List<String>,
    /// Source ports, as `32768-46883`.
    pub ports: List<String>,
}

/// How far the clock of the server is ahead of this host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// In microseconds; below 0 it is behind.
    pub offset_us: i64,
    /// By how much that may be wrong, either way: half of the shortest round trip.
    pub error_us: u64,
}

impl std::fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [offset, error] = [self.offset_us as f64, self.error_us as f64].map(|us| us / 1e3);
        write!(f, "{offset:+.3} ms ± {error:.3} ms")
    }
}

/// `parts` of a merged result: what became of one part. Figures of a plateau are of the highest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartRow {
    /// From 1.
    pub number: Maybe<u64>,
    /// The name of the host.
    pub host: Maybe<String>,
    /// The directory that was merged.
    pub directory: Maybe<String>,
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: Maybe<u64>,
    /// Held connections that were asked of it.
    pub connections: Maybe<u64>,
    /// Those that were there.
    pub established: Maybe<u64>,
    /// Connects that failed.
    pub failed: Maybe<u64>,
    /// Connections that were lost.
    pub lost: Maybe<u64>,
    /// Connects per second, while it opened them.
    pub connects_per_s: Maybe<f64>,
    /// From the connect to its answer.
    pub connect_latency_us: Maybe<Percentiles>,
    /// Messages that were verified, over all plateaus.
    pub messages: Maybe<u64>,
    /// Of messages.
    pub message_latency_us: Maybe<Percentiles>,
    /// How late the client itself was.
    pub schedule_lag_us: Maybe<Percentiles>,
    /// By how much its latest hold began after its time.
    pub late_seconds: Maybe<f64>,
    /// How far the server's clock is ahead of this host's.
    pub clock: Maybe<ClockOffset>,
    /// Of the kernel, for each of its connections.
    pub kernel_bytes: Maybe<f64>,
    /// Of the client's process, for each of its connections.
    pub client_user_bytes: Maybe<f64>,
    /// Whether it met its gates.
    pub met: Maybe<bool>,
    /// The walls that it met, the one that cost most first.
    pub walls: List<String>,
    /// What became of its bystanders, a sentence each.
    pub bystanders: List<String>,
}
