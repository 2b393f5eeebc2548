//! `result.json`: the summary of a run, `megaconn.result/1`. A figure that could not be measured is
//! `null`, and `notes` says why.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use histogram::Histogram;
use megaconn::base::errno::Errno;
use megaconn::observe::stats::{ClientTotals, LOST_CAUSES};
use megaconn::walls::diagnosis::{Attribution, Diagnosis};
use megaconn::walls::reading::{self, Row};
use serde::Serialize;

use crate::bystanders::account::{Account, Latency, SafeCapacity};
use crate::bystanders::sample::SpanPhase;
use crate::measure::aftermath::TargetNow;
use crate::measure::cost::{Cost, Memory};
use crate::measure::monitor::{LossTimes, ReserveMet};
use megaconn::engine::protocol::expect::Expect;

/// The summary.
#[derive(Default, Serialize)]
pub(crate) struct RunResult {
    pub(crate) schema: &'static str,
    pub(crate) version: &'static str,
    pub(crate) commit: Option<&'static str>,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    pub(crate) seconds: f64,
    pub(crate) topology: &'static str,
    pub(crate) target_connections: u64,
    /// What the server was to do: `echo`, `push` or `nothing`.
    pub(crate) expect: &'static str,
    /// Connections that were established and not lost before we closed them.
    pub(crate) established: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// Connections that were asked for and not tried, or not answered when the run was stopped: with
    /// `established`, `failed` and `lost` they are all that were asked for.
    pub(crate) untried: u64,
    pub(crate) losses: Option<LossTimes>,
    /// What the first target says when the run is over; asked after losses alone.
    pub(crate) target_afterwards: Option<TargetNow>,
    pub(crate) memory_reserve_met: Option<ReserveMet>,
    pub(crate) tuples_skipped: u64,
    /// Before the first connection, in full; `plateaus` have the growth over it.
    pub(crate) memory_before: Memory,
    pub(crate) plateaus: Vec<Plateau>,
    pub(crate) close: Option<Close>,
    /// With --keep-bystanders: the most connections with which they were kept.
    pub(crate) safe_capacity: Option<SafeCapacity>,
    /// With --bystanders: what became of others meanwhile.
    pub(crate) bystanders: Option<Account>,
    pub(crate) cost_per_connection: Cost,
    pub(crate) file_descriptors: Descriptors,
    pub(crate) per_core: Vec<PerCore>,
    pub(crate) verdict: Verdict,
    /// Figure by figure, why it is missing or what it includes.
    pub(crate) notes: BTreeMap<&'static str, String>,
}

/// One number of connections: opened, settled, measured, held. Counts are of this plateau alone,
/// but `connections` and `established` of all that are held by then.
#[derive(Default, Serialize)]
pub(crate) struct Plateau {
    pub(crate) connections: u64,
    pub(crate) established: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    pub(crate) connect: Connect,
    pub(crate) messages: Messages,
    /// With `--expect push`.
    pub(crate) pushes: Option<Pushes>,
    /// With `--churn`.
    pub(crate) churn: Option<Churn>,
    /// With `--sweep`.
    pub(crate) sweep: Option<Sweep>,
    /// How late the client itself was: from when something was due to when it began.
    pub(crate) schedule_lag_us: Option<Percentiles>,
    pub(crate) hold_seconds: Option<f64>,
    pub(crate) memory: Memory,
    /// With --bystanders: of this plateau's phases.
    pub(crate) bystanders: Option<Vec<PlateauBystander>>,
}

#[derive(Default, Serialize)]
pub(crate) struct Connect {
    pub(crate) seconds: Option<f64>,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) latency_us: Option<Percentiles>,
}

#[derive(Default, Serialize)]
pub(crate) struct Messages {
    pub(crate) seconds: Option<f64>,
    pub(crate) sent: u64,
    /// Echoes received and verified.
    pub(crate) received: u64,
    pub(crate) mismatched: u64,
    /// Echoes verified more than a second after their message was due.
    pub(crate) late: u64,
    /// Messages of the schedule that were due and had not begun when it ended.
    pub(crate) unsent: u64,
    /// From when a message was due, which without a schedule is when it was sent; without those of
    /// a sweep.
    pub(crate) latency_us: Option<Percentiles>,
}

/// One bystander in one phase of a plateau; `bystanders` of the whole result has more of it.
#[derive(Serialize)]
pub(crate) struct PlateauBystander {
    pub(crate) name: String,
    pub(crate) phase: SpanPhase,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) latency_us: Option<Latency>,
}

/// Texts that the server sent unasked.
#[derive(Serialize)]
pub(crate) struct Pushes {
    pub(crate) received: u64,
    /// Came, but not in time.
    pub(crate) late: Option<u64>,
    /// Were due and have not come.
    pub(crate) missing: Option<u64>,
    /// Time between two pushes on one connection.
    pub(crate) gap_us: Option<Percentiles>,
}

/// Short connections: connect, one message, its echo, close. `started` is `completed`, `failed`,
/// `lost` and `unfinished` together.
#[derive(Serialize)]
pub(crate) struct Churn {
    pub(crate) asked_per_s: u64,
    pub(crate) seconds: f64,
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    /// Were on their way when the run was stopped.
    pub(crate) unfinished: u64,
    /// Were due and had not begun when the schedule ended.
    pub(crate) unstarted: u64,
    /// From when a connection was due to when it was there.
    pub(crate) connect_latency_us: Option<Percentiles>,
    /// From when a connection was due to when its echo was verified.
    pub(crate) latency_us: Option<Percentiles>,
}

/// Every connection asked once for proof that it lives.
#[derive(Serialize)]
pub(crate) struct Sweep {
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) seconds: f64,
    pub(crate) lost: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
pub(crate) struct Close {
    /// Until the client's last slot was free.
    pub(crate) seconds: f64,
    pub(crate) rate_per_s: Option<f64>,
    /// Until a dump of the server showed no connection.
    pub(crate) server_seconds: Option<f64>,
    /// Connections the server did not end in time.
    pub(crate) timeouts: u64,
}

/// Open files of each process while the connections are held.
#[derive(Default, Serialize)]
pub(crate) struct Descriptors {
    pub(crate) client: Option<u64>,
    pub(crate) server: Option<u64>,
}

#[derive(Serialize)]
pub(crate) struct PerCore {
    pub(crate) side: &'static str,
    pub(crate) core: u64,
    pub(crate) cpu: u16,
    pub(crate) connections_peak: u64,
    pub(crate) messages_total: u64,
}

#[derive(Default, Serialize)]
pub(crate) struct Verdict {
    pub(crate) met: bool,
    /// Why not, in one line each; empty when met.
    pub(crate) missed: Vec<String>,
    /// The wall that cost most; what no wall explains is `unknown`.
    pub(crate) wall: Option<Attribution>,
    /// The others that cost something, the dearest first.
    pub(crate) more_walls: Vec<Attribution>,
    /// Walls that were met and cost nothing that was asked for.
    pub(crate) met_without_loss: Vec<Attribution>,
    /// When nothing was lost: the wall that comes next, by arithmetic.
    pub(crate) next_wall: Option<NextWall>,
}

impl Verdict {
    /// With the walls that were met; `rows` are those of before the run.
    pub(crate) fn judged(&mut self, diagnosis: Diagnosis, rows: &[Row]) {
        let mut walls = diagnosis.walls.into_iter();
        self.wall = walls.next();
        self.more_walls = walls.collect();
        self.met_without_loss = diagnosis.met_without_loss;
        let next = reading::next_wall(rows).filter(|_| self.wall.is_none());
        self.next_wall = next.map(|(id, at_connections)| NextWall { id, at_connections });
    }
}

#[derive(Serialize)]
pub(crate) struct NextWall {
    pub(crate) id: &'static str,
    pub(crate) at_connections: u64,
}

/// Upper edges of histogram buckets, in microseconds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    /// `None` when nothing was recorded. Resolution 3 %.
    pub(crate) fn of(all: &Histogram) -> Option<Percentiles> {
        let at = |quantile: f64| Some(all.quantile_bucket(quantile).ok()??.end());
        Some(Percentiles {
            p50: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: at(1.0)?,
        })
    }
}

/// What a run asks of each plateau, as far as its figures depend on it.
pub(crate) struct Asked<'a> {
    pub(crate) expect: &'a Expect,
    pub(crate) churn_per_s: Option<u64>,
    /// Cores of the client.
    pub(crate) cores: usize,
}

impl Plateau {
    /// Nothing measured yet of so many connections.
    pub(crate) fn new(connections: u64) -> Plateau {
        Plateau { connections, ..Plateau::default() }
    }

    /// What was counted while the plateau lasted, or has lasted so far.
    pub(crate) fn count(&mut self, counted: &ClientTotals, asked: &Asked<'_>) {
        self.failed = by_errno(&counted.failed);
        self.lost = by_cause(&counted.lost);
        self.connect.latency_us = Percentiles::of(&counted.connect_latency_us);
        let messages = &mut self.messages;
        messages.sent = counted.messages_sent_total;
        messages.received = counted.messages_total;
        messages.mismatched = counted.messages_mismatched_total;
        messages.late = counted.messages_late_total;
        messages.unsent = counted.messages_unsent_total;
        messages.latency_us = Percentiles::of(&counted.message_latency_us);
        self.schedule_lag_us = Percentiles::of(&counted.schedule_lag_us);
        if let Expect::Push(pushes) = asked.expect {
            let (late, overdue) = (counted.pushes_late_total, counted.pushes_overdue_total);
            self.pushes = Some(Pushes {
                received: counted.pushes_total,
                late: pushes.every.map(|_| late),
                // One that was missing on the plateau before may have come on this one.
                missing: pushes.every.map(|_| overdue.saturating_sub(late)),
                gap_us: Percentiles::of(&counted.push_gap_us),
            });
        }
        // Cores end the schedule each in its own time; one that is cut short has not ended it.
        let traffic_us = counted.traffic_us_total / asked.cores as u64;
        let seconds = match Duration::from_micros(traffic_us).as_secs_f64() {
            0.0 => self.hold_seconds.unwrap_or(0.0),
            seconds => seconds,
        };
        self.churn = asked.churn_per_s.map(|asked_per_s| Churn {
            asked_per_s,
            seconds,
            started: counted.churn_started_total,
            completed: counted.churned_total,
            rate_per_s: per_s(counted.churned_total, Duration::from_secs_f64(seconds)),
            failed: by_errno(&counted.churn_failed),
            lost: by_cause(&counted.churn_lost),
            // Of a core that runs on, the figures are not of one moment.
            unfinished: counted
                .churn_started_total
                .saturating_sub(counted.churned_total)
                .saturating_sub(counted.churn_failed_total)
                .saturating_sub(counted.churn_lost.iter().sum()),
            unstarted: counted.churn_unstarted_total,
            connect_latency_us: Percentiles::of(&counted.churn_connect_latency_us),
            latency_us: Percentiles::of(&counted.churn_latency_us),
        });
    }
}

impl Connect {
    /// `n` connections in `time`.
    pub(crate) fn took(&mut self, n: u64, time: Duration) {
        self.seconds = Some(time.as_secs_f64());
        self.rate_per_s = per_s(n, time);
    }
}

impl RunResult {
    /// A result in which nothing has happened yet.
    pub(crate) fn new(
        target_connections: u64,
        expect: &Expect,
        topology: &'static str,
    ) -> RunResult {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        RunResult {
            schema: "megaconn.result/1",
            version: megaconn::VERSION,
            commit: megaconn::COMMIT,
            started_at: now.as_secs(),
            seconds: 0.0,
            topology,
            target_connections,
            expect: match expect {
                Expect::Echo(_) => "echo",
                Expect::Push(_) => "push",
                Expect::Nothing => "nothing",
            },
            established: 0,
            failed: BTreeMap::new(),
            lost: BTreeMap::new(),
            untried: 0,
            losses: None,
            target_afterwards: None,
            memory_reserve_met: None,
            tuples_skipped: 0,
            memory_before: Memory::default(),
            plateaus: Vec::new(),
            close: None,
            safe_capacity: None,
            bystanders: None,
            cost_per_connection: Cost::default(),
            file_descriptors: Descriptors::default(),
            per_core: Vec::new(),
            verdict: Verdict::default(),
            notes: BTreeMap::new(),
        }
    }
}

impl RunResult {
    /// Takes what became of bystanders, and gives each plateau its own.
    pub(crate) fn bystanders(&mut self, account: Account) {
        for plateau in &mut self.plateaus {
            let is_of_plateau = |phase| {
                matches!(phase, SpanPhase::Connecting | SpanPhase::Settled | SpanPhase::Messages)
            };
            let spans = account.spans.iter().filter(|span| {
                span.connections == plateau.connections && is_of_plateau(span.phase)
            });
            let probes = spans.flat_map(|span| {
                span.probes.iter().map(|probe| PlateauBystander {
                    name: probe.name.clone(),
                    phase: span.phase,
                    sent: probe.sent,
                    lost: probe.lost,
                    latency_us: probe.latency_us,
                })
            });
            plateau.bystanders = Some(probes.collect());
        }
        self.bystanders = Some(account);
    }
}

/// Counts by error name; those that are 0 are left out.
pub(crate) fn by_errno(counts: &[u64]) -> BTreeMap<String, u64> {
    let numbered = (0_i32..).zip(counts).filter(|(_, n)| **n > 0);
    numbered.map(|(number, n)| (Errno(number).to_string(), *n)).collect()
}

/// Counts by cause of loss; those that are 0 are left out.
pub(crate) fn by_cause(counts: &[u64]) -> BTreeMap<&'static str, u64> {
    let named = LOST_CAUSES.iter().zip(counts).filter(|(_, n)| **n > 0);
    named.map(|(name, n)| (*name, *n)).collect()
}

/// Items per second; `None` when there was none, or no time.
pub(crate) fn per_s(n: u64, took: Duration) -> Option<f64> {
    let seconds = took.as_secs_f64();
    (n > 0 && seconds > 0.0).then(|| n as f64 / seconds)
}
