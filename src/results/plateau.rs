//! A plateau of `result.json`: one number of connections, opened, settled, measured and held.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

use crate::base::errno::Errno;
use crate::base::format;
use crate::base::units::grouped;
use crate::observe::stats::LOST_CAUSES;
use crate::results::bystanders::{Latency, SpanPhase};
use crate::results::cost::Memory;
use crate::results::lenient::{List, Map, Maybe, Part, Word};
use crate::results::percentiles::Percentiles;

/// One plateau. Counts are of this plateau alone, but `connections` and `established` of all that
/// are held by then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plateau {
    /// Held connections that were asked for.
    pub connections: Maybe<u64>,
    /// Held connections that were there.
    pub established: Maybe<u64>,
    /// Connects that failed, by the name of the error.
    pub failed: Counts,
    /// Connections that were lost, by cause.
    pub lost: Counts,
    /// With --storm: connections that the client has dropped on purpose.
    pub dropped: Maybe<u64>,
    /// How those beyond them were closed, when there were more before.
    pub closed: Maybe<ClosedDown>,
    /// How they were opened.
    pub connect: Part<Connect>,
    /// What was sent on them.
    pub messages: Part<Messages>,
    /// With --keepalive-message, once one was sent.
    pub keepalives: Maybe<Keepalives>,
    /// With `--expect push`.
    pub pushes: Maybe<Pushes>,
    /// With `--churn`.
    pub churn: Maybe<Churn>,
    /// With `--slow-readers` or `--silent-readers`.
    pub readers: Maybe<SlowReaders>,
    /// With `--lifetime`.
    pub lifetimes: Maybe<Lifetimes>,
    /// With `--reconnect`.
    pub reconnect: Maybe<Reconnects>,
    /// With `--sweep`.
    pub sweep: Maybe<Sweep>,
    /// How late the client itself was: from when something was due to when it began.
    pub schedule_lag_us: Maybe<Percentiles>,
    /// When the hold began, in milliseconds since 1970.
    pub hold_began_at_ms: Maybe<u64>,
    /// With --start-at: by how much that was after its time.
    pub late_seconds: Maybe<f64>,
    /// How long they were held.
    pub hold_seconds: Maybe<f64>,
    /// For how long the run was paused by `--control` in it, of which nothing is in rates.
    pub paused_seconds: Maybe<f64>,
    /// Whether it ended before its hold: another number was asked for by `--control`, or the run ended.
    pub cut_short: Maybe<bool>,
    /// Growth over the empty state.
    pub memory: Part<Memory>,
    /// With --bystanders: of this plateau's phases.
    pub bystanders: Maybe<List<PlateauBystander>>,
}

/// Connections closed down to a plateau, and the memory that came back until its hold was over. What did
/// not come back the kernel keeps for the next ones, or for a minute of TIME_WAIT.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClosedDown {
    /// How many.
    pub connections: Maybe<u64>,
    /// Until the slowest core had closed its share.
    pub seconds: Maybe<f64>,
    /// Connections closed in that time.
    pub rate_per_s: Maybe<f64>,
    /// Of the kernel, since the plateau before.
    pub kernel_bytes_back: Maybe<i64>,
    /// Of the server's resident memory.
    pub server_bytes_back: Maybe<i64>,
    /// Of the client's resident memory.
    pub client_bytes_back: Maybe<i64>,
}

/// Memory that came back, in words: none where more was taken.
#[must_use]
pub fn memory_back(bytes: Maybe<i64>) -> Option<String> {
    bytes.map(|bytes| format::bytes(bytes.max(0) as f64))
}

/// Connections opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Connect {
    /// Until the slowest core had opened its share.
    pub seconds: Maybe<f64>,
    /// Connections opened in that time.
    pub rate_per_s: Maybe<f64>,
    /// From the connect to its answer.
    pub latency_us: Maybe<Percentiles>,
    /// From there to when the server had agreed to what is said first, such as an upgrade; `null` where nothing
    /// is.
    pub opening_latency_us: Maybe<Percentiles>,
    /// Handshakes of TLS; `null` where there was none.
    pub handshakes: Maybe<Handshakes>,
}

/// Handshakes of TLS that were done, whatever became of their connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Handshakes {
    /// With a certificate.
    pub full: Maybe<u64>,
    /// By a session or a ticket of an earlier one.
    pub resumed: Maybe<u64>,
    /// Both, in the time that connections were opened, or short ones went on.
    pub rate_per_s: Maybe<f64>,
}

impl Handshakes {
    /// `20 full, 80 resumed (50/s)`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let count = |n: Maybe<u64>| n.map_or("unknown".into(), grouped);
        let pace = self.rate_per_s.map_or("no rate".into(), format::per_second);
        format!("{} full, {} resumed ({pace})", count(self.full), count(self.resumed))
    }
}

/// Messages on held connections.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Messages {
    /// Time of those that were sent before the hold.
    pub seconds: Maybe<f64>,
    /// All that were sent.
    pub sent: Maybe<u64>,
    /// Echoes received and verified.
    pub received: Maybe<u64>,
    /// Echoes that were not what was sent.
    pub mismatched: Maybe<u64>,
    /// Echoes verified more than a second after their message was due.
    pub late: Maybe<u64>,
    /// Messages of the schedule that were due and had not begun when it ended.
    pub unsent: Maybe<u64>,
    /// From when a message was due, which without a schedule is when it was sent; without those of
    /// a sweep.
    pub latency_us: Maybe<Percentiles>,
}

/// Connections that were lost or dropped in a hold, and what became of them: each is back, given up, or was not back when
/// the hold was over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconnects {
    /// Those that came back.
    pub returned: Maybe<u64>,
    /// Those of which as many tries have failed as may.
    pub given_up: Maybe<u64>,
    /// Those that were not back when it was over.
    pub waiting: Maybe<u64>,
    /// Connects that were made for them.
    pub tries: Maybe<u64>,
    /// Connects that failed, by the name of the error.
    pub failed: Counts,
    /// From when a connection was lost to when it was back.
    pub back_us: Maybe<Percentiles>,
    /// Each time in which some were not back, the first 64 of them.
    pub storms: List<Storm>,
}

/// Connections that were lost or dropped together, from the first one until all were back, given up, or the hold was over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storm {
    /// When it began, since the hold began. As of all times of a storm, the time of pauses does not count.
    pub at_seconds: Maybe<f64>,
    /// How long it lasted.
    pub seconds: Maybe<f64>,
    /// Connections that were open before it.
    pub connections: Maybe<u64>,
    /// The fewest that were open in it.
    pub fewest: Maybe<u64>,
    /// Connections that were lost or dropped in it.
    pub lost: Maybe<u64>,
    /// Of these, those that the client has dropped on purpose.
    pub dropped: Maybe<u64>,
    /// Those that came back.
    pub returned: Maybe<u64>,
    /// From its beginning until so many of those lost were back.
    pub back: Part<BackAfter>,
    /// Connects that were made in it to come back.
    pub tries: Maybe<u64>,
    /// The most connects in one second of it.
    pub tries_in_a_second: Maybe<u64>,
    /// The most that came back in one second of it.
    pub returned_in_a_second: Maybe<u64>,
    /// Connects that failed in it, by the name of the error.
    pub failed: Counts,
    /// Of messages in the hold before it.
    pub calm_latency_us: Maybe<Percentiles>,
    /// Of messages in it, on connections that were not lost.
    pub stayed_latency_us: Maybe<Percentiles>,
    /// Its course.
    pub course: List<StormPoint>,
}

/// Seconds until a part was back; `null` where so many did not come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackAfter {
    /// Half of them.
    pub p50: Maybe<f64>,
    /// 90 %.
    pub p90: Maybe<f64>,
    /// 99 %.
    pub p99: Maybe<f64>,
    /// Each one.
    pub all: Maybe<f64>,
}

/// A moment of a storm. Counts are since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StormPoint {
    /// Since its beginning.
    pub seconds: Maybe<f64>,
    /// Connections that were open.
    pub connections: Maybe<u64>,
    /// Connects that were made to come back.
    pub tries: Maybe<u64>,
    /// Connections that came back.
    pub returned: Maybe<u64>,
}

/// Held connections that read slowly, or not at all, at the end of the plateau. They are in no other figure, but for
/// the number of those that are established.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlowReaders {
    /// Those that read slowly.
    pub slow: Maybe<u64>,
    /// Those that the server has ended.
    pub slow_ended: Maybe<u64>,
    /// Bytes that they have read, each second.
    pub bytes_per_s: Maybe<f64>,
    /// Those that do not read.
    pub silent: Maybe<u64>,
    /// Those that the server has ended.
    pub silent_ended: Maybe<u64>,
    /// Messages sent on all of them.
    pub sent: Maybe<u64>,
}

/// Held connections whose lifetime was over in a hold, and those that took their places. Connections over the time of
/// the hold, divided by those that left, are the mean lifetime, whatever of it lies outside of the hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifetimes {
    /// How long they were to live, in the words of the flag.
    pub asked: Maybe<String>,
    /// Those that were closed because their lifetime was over.
    pub departures: Maybe<u64>,
    /// Those that were made in their places.
    pub arrivals: Maybe<u64>,
    /// Places that were not filled when the hold was over.
    pub waiting: Maybe<u64>,
    /// Connects that were made for places.
    pub tries: Maybe<u64>,
    /// Connects that failed, by the name of the error.
    pub failed: Counts,
    /// Fewest connections at one moment of the hold: of each core its own, together.
    pub connections_min: Maybe<u64>,
    /// Connections on the average over the time of the hold.
    pub connections_mean: Maybe<f64>,
    /// The mean lifetime: the time of all connections in the hold, for each departure.
    pub mean_seconds: Maybe<f64>,
    /// How long those that left had lived; more than 71 minutes count as 71 minutes.
    pub lived_us: Maybe<Percentiles>,
    /// From when a place was left to when it was filled.
    pub arrival_us: Maybe<Percentiles>,
}

/// One bystander in one phase of a plateau; `bystanders` of the whole result has more of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlateauBystander {
    /// Its name in the panel.
    pub name: Maybe<String>,
    /// The phase.
    pub phase: Maybe<Word<SpanPhase>>,
    /// Tries.
    pub sent: Maybe<u64>,
    /// Tries without an answer.
    pub lost: Maybe<u64>,
    /// Of the answers.
    pub latency_us: Maybe<Latency>,
}

/// What kept connections alive on which nothing else was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keepalives {
    /// All that were sent.
    pub sent: Maybe<u64>,
    /// Answers that came; 0 where none is awaited.
    pub answered: Maybe<u64>,
}

/// Texts that the server sent unasked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pushes {
    /// All that came.
    pub received: Maybe<u64>,
    /// Came, but not in time.
    pub late: Maybe<u64>,
    /// Were due and have not come.
    pub missing: Maybe<u64>,
    /// Time between two pushes on one connection.
    pub gap_us: Maybe<Percentiles>,
}

/// Short connections: connect, one message, its echo, close. `started` is `completed`, `failed`,
/// `lost` and `unfinished` together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Churn {
    /// By `--churn`; most are whole numbers, and are written as such.
    pub asked_per_s: Maybe<Number>,
    /// How long they went on.
    pub seconds: Maybe<f64>,
    /// Begun.
    pub started: Maybe<u64>,
    /// Closed after a verified echo.
    pub completed: Maybe<u64>,
    /// Completed in that time.
    pub rate_per_s: Maybe<f64>,
    /// Connects that failed, by the name of the error.
    pub failed: Counts,
    /// Connections that were lost, by cause.
    pub lost: Counts,
    /// Were under way when the run was stopped.
    pub unfinished: Maybe<u64>,
    /// Were due and had not begun when the schedule ended.
    pub unstarted: Maybe<u64>,
    /// From when a connection was due to when it was there.
    pub connect_latency_us: Maybe<Percentiles>,
    /// From when a connection was due to when its echo was verified.
    pub latency_us: Maybe<Percentiles>,
    /// Handshakes of TLS; `null` where there was none.
    pub handshakes: Maybe<Handshakes>,
}

/// Every connection asked once for proof that it lives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sweep {
    /// Connections that were asked.
    pub asked: Maybe<u64>,
    /// Connections that answered.
    pub answered: Maybe<u64>,
    /// How long it took.
    pub seconds: Maybe<f64>,
    /// Connections that were lost meanwhile, by cause.
    pub lost: Counts,
}

/// How many of each, by name. Those of which there is none are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(Maybe<Map<u64>>);

impl Counts {
    /// None of any.
    #[must_use]
    pub fn none() -> Counts {
        Counts::named::<&str>([])
    }

    /// Counts by error number, each under the name of the error.
    #[must_use]
    pub fn by_errno(counts: &[u64]) -> Counts {
        let numbered = (0_i32..).zip(counts);
        Counts::named(numbered.map(|(number, n)| (Errno(number).to_string(), *n)))
    }

    /// Counts in the order of [`LOST_CAUSES`].
    #[must_use]
    pub fn by_cause(counts: &[u64]) -> Counts {
        Counts::named(LOST_CAUSES.into_iter().zip(counts.iter().copied()))
    }

    /// Counts by name.
    #[must_use]
    pub fn named<K: Into<String>>(counts: impl IntoIterator<Item = (K, u64)>) -> Counts {
        Counts(Maybe(Some(counts.into_iter().filter(|(_, n)| *n > 0).collect())))
    }

    /// These but for those of `others`.
    #[must_use]
    pub fn without(&self, others: &Counts) -> Counts {
        let Some(counts) = self.by_name() else { return self.clone() };
        let other = |name: &String| {
            others.by_name().and_then(|others| others.get(name)).copied().unwrap_or(0)
        };
        Counts::named(counts.iter().map(|(name, n)| (name, n.saturating_sub(other(name)))))
    }

    /// By name; `None` when they are missing.
    #[must_use]
    pub fn by_name(&self) -> Option<&BTreeMap<String, u64>> {
        self.0.as_deref()
    }

    /// All of them together. Missing ones are none.
    #[must_use]
    pub fn sum(&self) -> u64 {
        let add = |sum: u64, n: &u64| sum.saturating_add(*n);
        self.by_name().map_or(0, |counts| counts.values().fold(0, add))
    }
}
