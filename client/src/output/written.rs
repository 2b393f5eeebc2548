//! `result.json` byte for byte: a made-up result with every part is written as it was stored.

use std::collections::BTreeMap;

use histogram::Histogram;
use megaconn::base::errno::Errno;
use megaconn::host::sockets::Sockstat;
use megaconn::observe::stats::LOST_CAUSES;
use megaconn::walls::diagnosis::{Attribution, Diagnosis};
use megaconn::walls::evidence::Confidence;
use megaconn::walls::side::Side;

use crate::bystanders::account::{
    Account, Comparison, Described, Finding, Interval, Latency, ProbeAccount, SafeCapacity,
    SpanAccount, Step, Tail,
};
use crate::bystanders::sample::SpanPhase;
use crate::measure::aftermath::TargetNow;
use crate::measure::cost::{Cost, Fit, Memory};
use crate::measure::fit::Line;
use crate::measure::monitor::{LossTimes, ReserveMet};
use crate::output::result::{
    Churn, Close, Connect, Descriptors, Messages, NextWall, PerCore, Percentiles, Plateau, Pushes,
    RunResult, Sweep, Verdict, by_cause, by_errno,
};

/// Written by the code that had the format twice.
const STORED: &str = include_str!("../../../tests/run_directory/result.json");

fn percentiles(us: u64) -> Option<Percentiles> {
    let mut all = Histogram::new(5, 32).expect("the form of all dumps");
    (1..=1_000).for_each(|n| all.increment(us * n).expect("it is in range"));
    Percentiles::of(&all)
}

fn failed() -> BTreeMap<String, u64> {
    let mut counts = vec![0; Errno::LIMIT];
    counts[Errno::ECONNREFUSED.index()] = 12;
    counts[Errno::EADDRNOTAVAIL.index()] = 3;
    counts[133] = 1;
    by_errno(&counts)
}

fn memory(bytes: i64) -> Memory {
    Memory {
        kernel_bytes: Some(8 * bytes),
        server_user_bytes: None,
        client_user_bytes: Some(-bytes),
        by_layer: BTreeMap::from([("tcp", 5 * bytes), ("outside_slabs", -4_096)]),
        by_slab: Some(BTreeMap::from([("TCP".into(), 5 * bytes), ("kmalloc-8".into(), 3)])),
        sockstat: Sockstat {
            tcp_in_use: Some(7),
            tcp_allocated: Some(184_467_440_737),
            ..Sockstat::default()
        },
    }
}

fn plateau() -> Plateau {
    Plateau {
        connections: 100_000,
        established: 99_985,
        failed: failed(),
        lost: by_cause(&[0, 5, 0, 1, 0, 0]),
        connect: Connect {
            seconds: Some(0.5),
            rate_per_s: Some(200_000.25),
            latency_us: percentiles(3),
        },
        messages: Messages {
            seconds: Some(2.0),
            sent: 100,
            received: 99,
            mismatched: 1,
            late: 2,
            unsent: 3,
            latency_us: percentiles(7),
        },
        pushes: Some(Pushes {
            received: 10,
            late: Some(1),
            missing: None,
            gap_us: percentiles(1_000),
        }),
        churn: Some(Churn {
            asked_per_s: 200,
            seconds: 3.0,
            started: 602,
            completed: 600,
            rate_per_s: Some(200.3),
            failed: failed(),
            lost: BTreeMap::new(),
            unfinished: 1,
            unstarted: 1,
            connect_latency_us: percentiles(30),
            latency_us: None,
        }),
        sweep: Some(Sweep {
            asked: 99_985,
            answered: 99_984,
            seconds: 0.125,
            lost: by_cause(&[1; LOST_CAUSES.len()]),
        }),
        schedule_lag_us: percentiles(1),
        hold_seconds: Some(30.0),
        memory: memory(1_000),
        bystanders: None,
    }
}

fn attribution(id: &'static str, side: Side, confidence: Confidence) -> Attribution {
    Attribution {
        id,
        side,
        lost: 1_321,
        evidence: vec!["server: refused_total 0 -> 2,000".into()],
        ruled_out: vec!["accept-queue: not so: \"quoted\"".into()],
        fix: vec!["serve --max-connections 5000".into()],
        confidence,
    }
}

fn verdict() -> Verdict {
    let mut verdict = Verdict { missed: vec!["1,321 lost".into()], ..Verdict::default() };
    let diagnosis = Diagnosis {
        walls: vec![
            attribution("server-full", Side::Server, Confidence::Certain),
            attribution("client-lag", Side::Client, Confidence::Likely),
        ],
        met_without_loss: vec![attribution("tw-buckets", Side::Between, Confidence::Possible)],
    };
    verdict.judged(diagnosis, &[]);
    verdict.next_wall = Some(NextWall { id: "memory", at_connections: 2_679_801 });
    verdict
}

fn cost() -> Cost {
    let line = |slope_bytes| Line {
        slope_bytes,
        stderr_bytes: 8.5,
        fixed_bytes: 4_500_000.0,
        r2: (slope_bytes > 0.0).then_some(0.99),
    };
    Cost {
        kernel_bytes: Some(8_341.7),
        server_user_bytes: None,
        client_user_bytes: Some(43.0),
        stderr_bytes: Some(8.5),
        by_slab: Some(BTreeMap::from([("TCP".into(), 5_040.9)])),
        sockets_counted: 2,
        other_sockets: Some(-45_761),
        time_wait: Some(7),
        fit: Some(Fit {
            connections: vec![0, 1_000, 100_000],
            by_layer: BTreeMap::from([("kernel", line(8_341.7)), ("tcp", line(-0.5))]),
        }),
    }
}

fn probe(finding: Finding) -> ProbeAccount {
    let interval = Interval { estimate: 0.05, low: 0.025, high: 0.125 };
    let tail = Tail { above_us: 312, expected: 0.05, fraction: 0.42, is_more: true };
    let is_baseline = finding == Finding::Baseline;
    ProbeAccount {
        name: "ping 10.0.0.9".into(),
        sent: 60,
        lost: 5,
        timed_out: 3,
        failed: 2,
        reordered: 1,
        latency_us: (!is_baseline).then_some(Latency { p50: 40, p90: 60, p99: 90, max: 9_000 }),
        loss: Some(interval),
        against_baseline: (!is_baseline).then_some(Comparison {
            shift_us: Some(Interval { estimate: -141.0, low: -160.0, high: -120.0 }),
            tail: Some(tail),
            loss: None,
        }),
        finding,
        more_samples: is_baseline.then_some(44),
        sentence: "loses 5.0 % (2.5 to 12.5)".into(),
    }
}

fn account() -> Account {
    let span = |phase, connections, finding| SpanAccount {
        phase,
        connections,
        from_ms: 5,
        to_ms: 3_000,
        probes: vec![probe(finding)],
        counters: BTreeMap::from([("TcpExt.ListenOverflows".into(), 1_212)]),
        pressure: BTreeMap::from([("cpu", 12.5), ("io", 0.0)]),
    };
    let spans = [
        (SpanPhase::Baseline, 0, Finding::Baseline),
        (SpanPhase::Connecting, 100_000, Finding::Losing),
        (SpanPhase::Settled, 100_000, Finding::None),
        (SpanPhase::Messages, 100_000, Finding::SlowerTail),
        (SpanPhase::Closing, 100_000, Finding::Slower),
        (SpanPhase::Recovery, 0, Finding::Faster),
        (SpanPhase::Watched, 0, Finding::TooFew),
    ];
    Account {
        began_at_ms: 1_795_000_000_000,
        rate_per_s: 20.0,
        probes: vec![Described {
            name: "ping 10.0.0.9".into(),
            kind: "ping",
            target: "10.0.0.9".into(),
        }],
        not_probed: BTreeMap::from([("resolve", "no --resolve NAME was given".into())]),
        lag_us: percentiles(2),
        samples_dropped: 17,
        spans: spans.map(|(phase, connections, finding)| span(phase, connections, finding)).into(),
        answer: vec!["ping 10.0.0.9: no effect found".into()],
    }
}

fn result() -> RunResult {
    let mut result = RunResult {
        schema: "megaconn.result/1",
        version: "0.1.0",
        commit: Some("0123456789ab"),
        started_at: 1_795_000_000,
        seconds: 113.4,
        topology: "loopback",
        target_connections: 100_000,
        expect: "echo",
        established: 99_985,
        failed: failed(),
        lost: by_cause(&[0, 5, 0, 1, 0, 0]),
        untried: 2,
        losses: Some(LossTimes { first_ms: 20, last_ms: 2_000, most_in_one_second: 9 }),
        target_afterwards: Some(TargetNow::Refuses),
        memory_reserve_met: Some(ReserveMet {
            at_ms: 7,
            available_bytes: 1 << 30,
            reserve_bytes: 2 << 30,
            limit: "host".into(),
            connections: 99_985,
        }),
        tuples_skipped: 4,
        memory_before: memory(1),
        plateaus: vec![Plateau::new(10), plateau()],
        close: Some(Close {
            seconds: 9.0,
            rate_per_s: Some(111_900.5),
            server_seconds: None,
            timeouts: 1,
        }),
        safe_capacity: Some(SafeCapacity {
            expression: "ping p99 < 5ms".into(),
            connections: Some(10),
            broke_at: None,
            why: Some("ping p99 7100 us".into()),
            steps: vec![Step { connections: 10, held: true, figures: vec!["ping: held".into()] }],
        }),
        bystanders: None,
        cost_per_connection: cost(),
        file_descriptors: Descriptors { client: Some(76), server: None },
        per_core: vec![PerCore {
            side: "client",
            core: 1,
            cpu: 3,
            connections_peak: 50_000,
            messages_total: 9,
        }],
        verdict: verdict(),
        notes: BTreeMap::from([("close.server_seconds", "no dump showed it".into())]),
    };
    result.bystanders(account());
    result
}

#[test]
fn a_full_result_is_written_as_it_was_stored() {
    let text = serde_json::to_string_pretty(&result()).expect("plain data") + "\n";
    assert_eq!(text, STORED);
}

/// What a run leaves that was stopped at once.
#[test]
fn an_empty_result_is_written_as_it_was_stored() {
    let result = RunResult { schema: "megaconn.result/1", ..RunResult::default() };
    let text = serde_json::to_string_pretty(&result).expect("plain data") + "\n";
    assert_eq!(text, include_str!("../../../tests/run_directory/empty.json"));
}
