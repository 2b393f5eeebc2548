//! `result.json`: the summary of a run, `megaconn.result/1`. A figure that could not be measured is
//! `null`, and `notes` says why.

use serde::{Deserialize, Serialize};

use crate::base::units::grouped;
use crate::host::headroom;
use crate::results::broadcasts::Broadcasts;
use crate::results::bystanders::{Bystanders, SafeCapacity};
use crate::results::cost::{Cost, Memory};
use crate::results::lenient::{List, Map, Maybe, Part};
use crate::results::max::Max;
use crate::results::parts::{PartOf, PartRow};
use crate::results::plateau::{Counts, Plateau};
use crate::results::verdict::Verdict;

impl RunResult {
    /// The plateau of the most connections.
    #[must_use]
    pub fn highest(&self) -> Option<&Plateau> {
        self.plateaus.iter().max_by_key(|plateau| *plateau.connections)
    }
}

/// A change by `--control`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changed {
    /// What was asked for, as `connections 20,000`.
    pub what: Maybe<String>,
    /// When it took effect, since the start; `null` when the run ended before.
    pub at_seconds: Maybe<f64>,
}

/// The summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunResult {
    /// [`crate::results::RESULT`]'s.
    pub schema: Maybe<String>,
    /// Of the client.
    pub version: Maybe<String>,
    /// The commit the client was built from.
    pub commit: Maybe<String>,
    /// Seconds since 1970.
    pub started_at: Maybe<u64>,
    /// From the first phase to the last.
    pub seconds: Maybe<f64>,
    /// `loopback`, `netns` or `remote`.
    pub topology: Maybe<String>,
    /// Held connections that were asked for.
    pub target_connections: Maybe<u64>,
    /// What the server was to do: `echo`, `push`, `broadcast` or `nothing`.
    pub expect: Maybe<String>,
    /// What random choices came from, see `--seed`.
    pub seed: Maybe<u64>,
    /// What all parts of a run, and what belongs to it, have in common, see `--run-id`.
    pub run_id: Maybe<String>,
    /// With --part: which part of a run this is.
    pub part: Maybe<PartOf>,
    /// Of a result that was merged: its parts, in order.
    pub parts: List<PartRow>,
    /// Connections that were established and not lost before the client closed them; when the number was
    /// lowered on the way, at the plateau that had most of them.
    pub established: Maybe<u64>,
    /// What was changed by `--control` while the run went on, in order.
    pub changes: List<Changed>,
    /// Why the run ended before all that was asked for was done, where that was no signal.
    pub ended_early: Maybe<String>,
    /// Connects that failed, by the name of the error.
    pub failed: Counts,
    /// Connections that were lost, by cause.
    pub lost: Counts,
    /// With --storm: connections that the client has dropped on purpose. Those that did not come back, though they were to,
    /// are none of `established`.
    pub dropped: Maybe<u64>,
    /// Connections that were asked for and not tried, or not answered when the run was stopped: with
    /// `established`, `failed` and `lost` they are all that were asked for.
    pub untried: Maybe<u64>,
    /// When connections were lost, if any were.
    pub losses: Maybe<LossTimes>,
    /// What lost and failed connections have in common; empty when nothing was found.
    pub loss_patterns: List<LossPattern>,
    /// The beginning of the first bytes that were not what was expected, as text.
    pub unexpected_bytes: Maybe<String>,
    /// Why the first opening failed that the client gave up, such as a handshake of TLS.
    pub opening_failure: Maybe<String>,
    /// What became of the connections to each target; of more than 1,024 targets only those at which
    /// something was lost or failed.
    pub targets: List<TargetCounts>,
    /// With --resolve-every: names whose addresses have changed while connections were held.
    pub target_changes: List<TargetChange>,
    /// What the first target says when the run is over. It is asked after losses alone.
    pub target_afterwards: Maybe<TargetNow>,
    /// When the memory reserve was met, if it was.
    pub memory_reserve_met: Maybe<ReserveMet>,
    /// Tuples of address and port that were passed over.
    pub tuples_skipped: Maybe<u64>,
    /// Before the first connection, in full; `plateaus` have the growth over it.
    pub memory_before: Part<Memory>,
    /// In the order in which they were held.
    pub plateaus: List<Plateau>,
    /// With --connections max: what ended the opening.
    pub max: Maybe<Max>,
    /// `null` when the run ended before the close.
    pub close: Maybe<Close>,
    /// With `--expect broadcast`.
    pub broadcasts: Maybe<Broadcasts>,
    /// With --keep-bystanders: the most connections with which they were kept.
    pub safe_capacity: Maybe<SafeCapacity>,
    /// With --bystanders: what became of them meanwhile.
    pub bystanders: Maybe<Bystanders>,
    /// What a held connection costs.
    pub cost_per_connection: Part<Cost>,
    /// While the connections are held.
    pub file_descriptors: Part<Descriptors>,
    /// Every core of both sides.
    pub per_core: List<PerCore>,
    /// Whether the run reached what was asked for, and what stopped it.
    pub verdict: Part<Verdict>,
    /// Figure by figure, why it is missing or what it includes.
    pub notes: Map<String>,
}

/// What there is of `result.json` where bystanders alone were watched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watched {
    /// [`crate::results::RESULT`]'s.
    pub schema: Maybe<String>,
    /// What became of them.
    pub bystanders: Part<Bystanders>,
}

/// When connections were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossTimes {
    /// Since the run's start, to some 20 ms.
    pub first_ms: u64,
    /// The same of the last one.
    pub last_ms: u64,
    /// Most that were lost within one second.
    pub most_in_one_second: u64,
}

/// What losses have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossPattern {
    /// How they ended: an error of a connect by its name, or the cause of a loss.
    pub ending: Maybe<String>,
    /// Losses that ended so.
    pub losses: Maybe<u64>,
    /// Of those, the ones that have it in common.
    pub count: Maybe<u64>,
    /// `moment`, `at-once`, `age`, `idle`, `target`, `source`, `per-source` or `every-nth`.
    pub shared: Maybe<String>,
    /// All of it in a sentence.
    pub text: Maybe<String>,
}

/// What became of the held connections to one target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetCounts {
    /// Address and port.
    pub address: Maybe<String>,
    /// Established and not lost; `null` when the run was stopped in between.
    pub established: Maybe<u64>,
    /// Connects that failed.
    pub failed: Maybe<u64>,
    /// Connections that were lost.
    pub lost: Maybe<u64>,
}

/// Short connections go to other addresses of a name from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetChange {
    /// Since the run's start.
    pub at_ms: Maybe<u64>,
    /// The name.
    pub target: Maybe<String>,
    /// Where they went.
    pub before: List<String>,
    /// Where they go.
    pub after: List<String>,
    /// What the name stands for besides, and is not used: it takes no connection, or no route leads there.
    pub left_out: List<String>,
}

impl std::fmt::Display for TargetChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let few = |all: &[String]| {
            let more =
                if all.len() > 8 { format!(", {} more", all.len() - 8) } else { String::new() };
            all.iter().take(8).cloned().collect::<Vec<_>>().join(", ") + &more
        };
        let name = self.target.as_deref().unwrap_or_default();
        let (before, after) = (few(&self.before.0), few(&self.after.0));
        write!(f, "--target {name}: short connections went to {before} and go to {after}")?;
        if !self.left_out.0.is_empty() {
            write!(f, "; no connection is taken at {}", few(&self.left_out.0))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for LossTimes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, last] = [self.first_ms, self.last_ms].map(|ms| ms as f64 / 1e3);
        let most = grouped(self.most_in_one_second);
        write!(f, "lost from {first:.1} s to {last:.1} s after the start, at most {most} a second")
    }
}

/// What a target says to a new connection when the run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetNow {
    /// It takes the connection and keeps it.
    Accepts,
    /// It takes the connection and ends it: it refuses by reset, or is going away.
    Ends,
    /// Nothing listens there.
    Refuses,
    /// No answer at all.
    Silent,
    /// This host could not ask.
    Unknown,
}

impl std::fmt::Display for TargetNow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TargetNow::Accepts => "the target takes connections still",
            TargetNow::Ends => "the target ends whoever comes",
            TargetNow::Refuses => "nothing listens at the target any more",
            TargetNow::Silent => "the target does not answer any more",
            TargetNow::Unknown => "this host could not ask the target",
        })
    }
}

/// Less memory than the reserve was left, and from then on nothing was opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReserveMet {
    /// Since the run's start.
    pub at_ms: u64,
    /// What was left.
    pub available_bytes: u64,
    /// What was to be left.
    pub reserve_bytes: u64,
    /// `host`, or the directory of a memory cgroup.
    pub limit: String,
    /// Held connections open at that moment.
    pub connections: u64,
}

impl std::fmt::Display for ReserveMet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [left, reserve] = [self.available_bytes, self.reserve_bytes].map(|b| grouped(b >> 20));
        let (place, connections) = (headroom::place(&self.limit), grouped(self.connections));
        write!(f, "{left} MiB left {place}, {reserve} MiB reserved, at {connections} connections")
    }
}

/// All held connections closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Close {
    /// Until the client's last slot was free.
    pub seconds: Maybe<f64>,
    /// Connections closed in that time.
    pub rate_per_s: Maybe<f64>,
    /// Until a dump of the server showed no connection.
    pub server_seconds: Maybe<f64>,
    /// Connections the server did not end in time.
    pub timeouts: Maybe<u64>,
}

/// Open files of each process while the connections are held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Descriptors {
    /// Of the client.
    pub client: Maybe<u64>,
    /// Of the server; `null` when it could not be seen.
    pub server: Maybe<u64>,
}

/// What one core had of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PerCore {
    /// Of a result that was merged: the part that a client's core is of.
    pub part: Maybe<u64>,
    /// `client` or `server`.
    pub side: Maybe<String>,
    /// Its number in its process.
    pub core: Maybe<u64>,
    /// The CPU it ran on.
    pub cpu: Maybe<u64>,
    /// Most connections at once.
    pub connections_peak: Maybe<u64>,
    /// Messages echoed and verified, or sent.
    pub messages_total: Maybe<u64>,
}
