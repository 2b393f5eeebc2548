//! `result.json`: the summary of a run, `megaconn.result/1`. A figure that could not be measured is
//! `null`, and `notes` says why.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use histogram::Histogram;
use megaconn::units::grouped;
use serde::Serialize;

/// The summary.
#[derive(Serialize)]
pub(crate) struct RunResult {
    pub(crate) schema: &'static str,
    pub(crate) version: &'static str,
    pub(crate) commit: Option<&'static str>,
    /// Seconds since 1970.
    pub(crate) started_at: u64,
    pub(crate) seconds: f64,
    pub(crate) topology: &'static str,
    pub(crate) target_connections: u64,
    /// Connections that were established and not lost before we closed them.
    pub(crate) established: u64,
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    pub(crate) tuples_skipped: u64,
    pub(crate) plateaus: Vec<Plateau>,
    pub(crate) close: Option<Close>,
    pub(crate) cost_per_connection: Cost,
    pub(crate) file_descriptors: Descriptors,
    pub(crate) per_core: Vec<PerCore>,
    pub(crate) verdict: Verdict,
    /// Figure by figure, why it is missing or what it includes.
    pub(crate) notes: BTreeMap<&'static str, String>,
}

/// One number of connections: opened, exchanged messages, held.
#[derive(Default, Serialize)]
pub(crate) struct Plateau {
    pub(crate) connections: u64,
    pub(crate) established: u64,
    pub(crate) lost: BTreeMap<&'static str, u64>,
    pub(crate) connect: Connect,
    pub(crate) messages: Messages,
    pub(crate) hold_seconds: Option<f64>,
    pub(crate) memory: Memory,
    /// Not measured yet.
    pub(crate) bystanders: Option<Vec<()>>,
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
    /// Not measured yet: there is no schedule to be late against.
    pub(crate) late: Option<u64>,
    pub(crate) latency_us: Option<Percentiles>,
}

/// Growth over the empty state, in bytes.
#[derive(Clone, Copy, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) kernel_bytes: Option<i64>,
    pub(crate) server_user_bytes: Option<i64>,
    pub(crate) client_user_bytes: Option<i64>,
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

#[derive(Default, Serialize)]
pub(crate) struct Cost {
    pub(crate) kernel_bytes: Option<f64>,
    pub(crate) server_user_bytes: Option<f64>,
    pub(crate) client_user_bytes: Option<f64>,
    pub(crate) stderr_bytes: Option<f64>,
    /// Kernel bytes by slab cache, per connection; caches below one byte are left out.
    pub(crate) by_slab: Option<BTreeMap<String, f64>>,
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
    /// Not judged yet.
    pub(crate) wall: Option<()>,
    /// Not judged yet.
    pub(crate) next_wall: Option<()>,
}

/// Upper edges of histogram buckets, in microseconds.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Percentiles {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Percentiles {
    /// Of the sum of `histograms`; `None` when nothing was recorded. Resolution 3 %.
    pub(crate) fn of(histograms: &[Histogram]) -> Option<Percentiles> {
        let all = Histogram::checked_sum(&histograms.iter().collect::<Vec<_>>()).ok()?;
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

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(microseconds);
        write!(f, "p50 {p50}  p99 {p99}  max {max}")
    }
}

fn microseconds(us: u64) -> String {
    if us < 10_000 { format!("{us} us") } else { format!("{:.1} ms", us as f64 / 1e3) }
}

impl Plateau {
    /// Nothing measured yet of so many connections.
    pub(crate) fn new(connections: u64) -> Plateau {
        Plateau { connections, ..Plateau::default() }
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
    pub(crate) fn new(target_connections: u64, topology: &'static str) -> RunResult {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        RunResult {
            schema: "megaconn.result/1",
            version: megaconn::VERSION,
            commit: megaconn::COMMIT,
            started_at: now.as_secs(),
            seconds: 0.0,
            topology,
            target_connections,
            established: 0,
            failed: BTreeMap::new(),
            lost: BTreeMap::new(),
            tuples_skipped: 0,
            plateaus: Vec::new(),
            close: None,
            cost_per_connection: Cost::default(),
            file_descriptors: Descriptors::default(),
            per_core: Vec::new(),
            verdict: Verdict::default(),
            notes: BTreeMap::new(),
        }
    }

    /// One screen for people, the verdict first.
    pub(crate) fn summary(&self) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        let verdict =
            if self.verdict.met { "met".to_owned() } else { self.verdict.missed.join("; ") };
        rows.push(("verdict", verdict));
        let (established, target) = (grouped(self.established), grouped(self.target_connections));
        let (failed, lost) = (listed(&self.failed), listed(&self.lost));
        rows.push(("established", format!("{established} of {target}")));
        rows.push(("failed / lost", format!("{failed} / {lost}")));
        for plateau in &self.plateaus {
            let connect = &plateau.connect;
            let latency = shown(connect.latency_us);
            let pace = per_second(connect.rate_per_s);
            rows.push(("opened in", format!("{} ({pace})  {latency}", seconds(connect.seconds))));
            let m = &plateau.messages;
            let counts = format!("{} of {} verified", grouped(m.received), grouped(m.sent));
            let mismatched = grouped(m.mismatched);
            let latency = shown(m.latency_us);
            rows.push(("messages", format!("{counts}, {mismatched} mismatched  {latency}")));
            rows.push(("held for", seconds(plateau.hold_seconds)));
        }
        if let Some(close) = &self.close {
            let server = seconds(close.server_seconds);
            let pace = per_second(close.rate_per_s);
            rows.push((
                "closed in",
                format!("{:.1} s ({pace}), server empty after {server}", close.seconds),
            ));
        }
        let cost = &self.cost_per_connection;
        let bytes = |b: Option<f64>| b.map_or("unknown".into(), |b| format!("{b:.0} B"));
        let [kernel, server, client] =
            [cost.kernel_bytes, cost.server_user_bytes, cost.client_user_bytes].map(bytes);
        rows.push(("per connection", format!("kernel {kernel}, server {server}, client {client}")));
        rows.iter().map(|(name, text)| format!("{name:>16}  {text}\n")).collect()
    }
}

fn shown(latency: Option<Percentiles>) -> String {
    latency.map_or("no latency measured".to_owned(), |percentiles| percentiles.to_string())
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or("unknown".into(), |seconds| format!("{seconds:.1} s"))
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or("no rate".into(), |rate| format!("{:.1}k/s", rate / 1e3))
}

fn listed<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    if counts.is_empty() {
        return "0".into();
    }
    let each = counts.iter().map(|(name, n)| format!("{} {}", name.as_ref(), grouped(*n)));
    each.collect::<Vec<_>>().join(", ")
}

/// Items per second; `None` when there was none, or no time.
pub(crate) fn per_s(n: u64, took: Duration) -> Option<f64> {
    let seconds = took.as_secs_f64();
    (n > 0 && seconds > 0.0).then(|| n as f64 / seconds)
}
