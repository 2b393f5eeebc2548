//! A run directory with everything in it that a report shows, as a test wants it.

use std::fs;
use std::path::{Path, PathBuf};

use histogram::{Histogram, SparseHistogram};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Milliseconds since 1970 at which it began.
pub(crate) const BEGAN_MS: u64 = 1_795_000_000_000;

/// A directory of a run, with a name of its own in one that is removed when dropped.
pub(crate) struct FakeRun {
    _parent: TempDir,
    path: PathBuf,
}

impl FakeRun {
    /// With nothing in it.
    pub(crate) fn empty(name: &str) -> FakeRun {
        let parent = tempfile::tempdir().expect("a directory for a test can be made");
        let path = parent.path().join(name);
        fs::create_dir(&path).expect("our own directory can be written");
        FakeRun { _parent: parent, path }
    }

    /// With every file.
    pub(crate) fn whole(name: &str) -> FakeRun {
        let run = FakeRun::empty(name);
        run.write("result.json", &result().to_string());
        run.write("environment.json", &environment().to_string());
        run.write("doctor.json", &doctor().to_string());
        run.write("client.ndjson", &lines("client", 2));
        run.write("server.ndjson", &lines("server", 2));
        run.write("bystanders.ndjson", &seconds());
        run
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).expect("our own directory can be written");
    }

    pub(crate) fn remove(&self, file: &str) {
        fs::remove_file(self.path.join(file)).expect("it was there");
    }
}

fn percentiles(p50: u64) -> Value {
    json!({ "p50": p50, "p90": 2 * p50, "p99": 5 * p50, "p999": 20 * p50, "max": 100 * p50 })
}

fn plateau(connections: u64) -> Value {
    let bytes = |each: u64| each * connections;
    json!({
        "connections": connections, "established": connections, "failed": {}, "lost": { "fin": 3 },
        "connect": { "seconds": 0.5, "rate_per_s": 200_000.5, "latency_us": percentiles(559) },
        "messages": {
            "seconds": null, "sent": 77_001, "received": 76_543, "mismatched": 0, "late": 12,
            "unsent": 0, "latency_us": percentiles(43)
        },
        "pushes": { "received": 31, "late": 1, "missing": null, "gap_us": percentiles(1_000_000) },
        "churn": {
            "asked_per_s": 200, "seconds": 3.0, "started": 602, "completed": 601,
            "rate_per_s": 200.3, "failed": { "EADDRNOTAVAIL": 1 }, "lost": {}, "unfinished": 0,
            "unstarted": 0, "connect_latency_us": percentiles(30), "latency_us": percentiles(60)
        },
        "sweep": { "asked": connections, "answered": connections, "seconds": 0.1, "lost": {} },
        "schedule_lag_us": percentiles(9), "hold_seconds": 30.0,
        "memory": {
            "kernel_bytes": bytes(8_342), "server_user_bytes": bytes(42),
            "client_user_bytes": bytes(43), "sockstat": { "tcp_allocated": 2 * connections },
            "by_layer": {
                "tcp": bytes(5_041), "inode": bytes(1_725), "filp": bytes(390), "dentry": bytes(390),
                "io_uring": bytes(514), "other_slabs": bytes(282), "outside_slabs": -4_096
            },
            "by_slab": { "TCP": bytes(5_041) }
        },
        "bystanders": [{
            "name": "ping", "phase": "settled", "sent": 30, "lost": 1, "latency_us": percentiles(70)
        }]
    })
}

fn line(slope: f64) -> Value {
    json!({ "slope_bytes": slope, "stderr_bytes": 8.5, "fixed_bytes": 4_500_000.0, "r2": 0.99999 })
}

fn charge(id: &str) -> Value {
    json!({
        "id": id, "side": "server", "lost": 1_321, "evidence": ["server: refused_total 0 -> 2,000"],
        "ruled_out": ["accept-queue: not so"], "fix": ["serve --max-connections 5000"],
        "confidence": "certain"
    })
}

/// A run of three plateaus that met a wall.
pub(crate) fn result() -> Value {
    json!({
        "schema": "megaconn.result/1", "version": "0.1.0", "commit": "0123456789ab",
        "started_at": BEGAN_MS / 1_000, "seconds": 113.4, "topology": "loopback",
        "target_connections": 100_000, "expect": "echo", "established": 98_679,
        "failed": { "ECONNRESET": 679 }, "lost": { "reset": 1_321 }, "untried": 0,
        "plateaus": [plateau(1_000), plateau(10_000), plateau(100_000)],
        "close": { "seconds": 9.4, "rate_per_s": 106_005.2, "server_seconds": 10.2, "timeouts": 0 },
        "cost_per_connection": {
            "kernel_bytes": 8_341.7, "server_user_bytes": 43.4, "client_user_bytes": 43.1,
            "stderr_bytes": 8.5, "by_slab": { "TCP": 5_040.9, "dentry": 389.9 },
            "sockets_counted": 2, "other_sockets": 45_761,
            "fit": {
                "connections": [0, 1_000, 10_000, 100_000],
                "by_layer": {
                    "kernel": line(8_341.7), "tcp": line(5_040.9), "inode": line(1_724.7),
                    "filp": line(390.0), "dentry": line(389.9), "io_uring": line(512.5),
                    "other_slabs": line(282.0), "outside_slabs": line(-0.5),
                    "server_user": line(43.4), "client_user": line(43.1)
                }
            }
        },
        "file_descriptors": { "client": 76, "server": 108 },
        "per_core": [
            { "side": "client", "core": 0, "cpu": 0, "connections_peak": 50_000, "messages_total": 9 },
            { "side": "client", "core": 1, "cpu": 1, "connections_peak": 50_000, "messages_total": 9 },
            { "side": "server", "core": 0, "cpu": 0, "connections_peak": 70_000, "messages_total": 9 },
            { "side": "server", "core": 1, "cpu": 1, "connections_peak": 30_000, "messages_total": 9 }
        ],
        "verdict": {
            "met": false, "missed": ["1,321 connections lost, 0 allowed"],
            "wall": charge("server-full"), "more_walls": [charge("client-lag")],
            "met_without_loss": [charge("tw-buckets")],
            "next_wall": { "id": "memory", "at_connections": 2_679_801 }
        },
        "bystanders": account(),
        "safe_capacity": {
            "expression": "connect p99 < 5ms", "connections": 10_000, "broke_at": 100_000,
            "why": "connect p99 7.1 ms, < 5 ms wanted", "steps": [
                { "connections": 10_000, "held": true, "figures": ["connect p99 1.2 ms < 5 ms"] },
                { "connections": 100_000, "held": false, "figures": ["connect p99 7.1 ms"] }
            ]
        },
        "notes": { "plateaus.pushes.missing": "without --push-every nothing tells" }
    })
}

pub(crate) fn environment() -> Value {
    json!({
        "schema": "megaconn.environment/1", "version": "0.1.0", "commit": "0123456789ab",
        "kernel": "6.18.44", "machine": "x86_64", "cpu_model": "AMD EPYC", "cpus": 2,
        "memory_bytes": 25_276_514_304_u64, "memory_available_bytes": 24_542_486_528_u64,
        "limits": { "Max open files": "20000 20000" },
        "sysctls": { "net/ipv4/tcp_mem": "287901 383869 575802", "fs/nr_open": null },
        "command_line": ["megaconn-client", "run", "--target", "127.0.0.1:7000", "it's"],
        "user_id": 0, "topology": "loopback"
    })
}

pub(crate) fn doctor() -> Value {
    let row = |id: &str, verdict: &str, have: Value| {
        json!({
            "id": id, "limits": "what it limits", "sides": ["client"], "unit": "sockets",
            "have": have, "need": 500_000, "allows_connections": null, "verdict": verdict,
            "fix": ["sysctl -w net.ipv4.tcp_max_tw_buckets=500000"], "lasts": [false], "remark": "-"
        })
    };
    json!({
        "schema": "megaconn.doctor/1", "connections": 100_000, "side": "both",
        "rows": [
            row("tw-buckets", "warn", json!(131_072)), row("file-max", "ok", Value::Null),
            row("middlebox-idle", "n/a", Value::Null), row("memlock", "fail", json!(8))
        ]
    })
}

/// Ten ticks of so many cores: 1,000 connections more each second from the third on, until the eighth.
pub(crate) fn lines(side: &str, cores: u64) -> String {
    let mut text = String::new();
    for tick in 0..10 {
        for core in 0..cores {
            let connected = 1_000 * u64::clamp(tick, 2, 7) - 2_000;
            text += &(line_of(side, core, tick, connected).to_string() + "\n");
        }
    }
    text
}

/// Connects of the n-th second took n milliseconds, so that percentiles of a second are known.
fn line_of(side: &str, core: u64, tick: u64, connected: u64) -> Value {
    let mut latency = Histogram::new(5, 32).expect("the form of all dumps");
    for second in 1..=connected / 1_000 {
        latency.add(second * 1_000, 1_000).expect("it is in range");
    }
    json!({
        "schema": "megaconn.core/1", "side": side, "core": core, "cpu": core,
        "at_ms": BEGAN_MS + 1_000 * tick, "connections": connected, "connected_total": connected,
        "histograms": { "connect_latency_us": SparseHistogram::from(&latency) }
    })
}

/// Bystanders of the fake run, and the kind of thing that each is.
const PROBES: [(&str, &str); 3] = [("ping", "ping"), ("connect", "connect"), ("disk", "disk")];

/// Phases of the fake run: connections, and first and last second.
const PHASES: [(&str, u64, u64, u64); 5] = [
    ("baseline", 0, 0, 3),
    ("connecting", 100_000, 3, 6),
    ("settled", 100_000, 6, 9),
    ("closing", 100_000, 9, 11),
    ("recovery", 0, 11, 14),
];

/// What became of bystanders: `connect` is slower and loses while connections are opened.
fn account() -> Value {
    let probes = PROBES.map(|(name, kind)| json!({ "name": name, "kind": kind, "target": "::1" }));
    json!({
        "rate_per_s": 20.0, "began_at_ms": BEGAN_MS - 2_000, "probes": probes,
        "not_probed": { "resolve": "no --resolve NAME" }, "lag_us": percentiles(3),
        "samples_dropped": 17, "spans": PHASES.map(span),
        "answer": ["ping: no effect found", "connect: losing 5.00 % while 100,000 are opened"]
    })
}

fn span((phase, connections, from, to): (&str, u64, u64, u64)) -> Value {
    json!({
        "phase": phase, "connections": connections, "from_ms": 1_000 * from, "to_ms": 1_000 * to,
        "probes": PROBES.map(|(name, _)| probed(name, phase)),
        "counters": if phase == "connecting" { json!({ "TcpExt.ListenOverflows": 1_212 }) } else { json!({}) },
        "pressure": { "cpu": 12.3, "io": 0.1, "memory": 0.0 }
    })
}

fn probed(name: &str, phase: &str) -> Value {
    let is_hurt = (name, phase) == ("connect", "connecting");
    let interval =
        |estimate: f64| json!({ "estimate": estimate, "low": estimate / 2.0, "high": 0.125 });
    let comparison = json!({
        "shift_us": { "estimate": 141.0, "low": 120.0, "high": 160.0 },
        "tail": { "above_us": 312, "expected": 0.05, "fraction": 0.42, "is_more": true },
        "loss": interval(0.05)
    });
    json!({
        "name": name, "sent": 60, "lost": if is_hurt { 3 } else { 0 }, "timed_out": 0, "failed": 0,
        "reordered": 0, "latency_us": percentiles(if is_hurt { 271 } else { 31 }),
        "loss": interval(if is_hurt { 0.05 } else { 0.0 }),
        "against_baseline": if phase == "baseline" { Value::Null } else { comparison },
        "finding": if phase == "baseline" { "baseline" } else if is_hurt { "losing" } else { "too_few" },
        "more_samples": if is_hurt || phase == "baseline" { Value::Null } else { json!(44) },
        "sentence": if is_hurt { "loses 5.0 % (2.5 to 12.5)" } else { "" }
    })
}

/// Fourteen seconds of each bystander; in the fourth `connect` has no answer.
fn seconds() -> String {
    let mut text = String::new();
    for second in 0..14 {
        for (name, _) in PROBES {
            let lost = if (name, second) == ("connect", 4) { 3 } else { 0 };
            let answered: &[u64] = if lost > 0 { &[] } else { &[31, 29, 155] };
            let line = json!({
                "schema": "megaconn.bystander/1", "name": name,
                "at_ms": BEGAN_MS - 2_000 + 1_000 * second, "lost": lost, "reordered": 0,
                "latency_us": answered
            });
            text += &(line.to_string() + "\n");
        }
    }
    text
}
