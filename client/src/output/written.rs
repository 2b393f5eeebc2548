//! `result.json` byte for byte: a made-up result with every part is written as it was stored.

use std::time::Duration;

use megaconn::base::errno::Errno;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::host::sockets::Sockstat;
use megaconn::observe::stats::{self, LOST_CAUSES, LostCause};
use megaconn::results;
use megaconn::results::broadcasts::{Broadcast, Broadcasts, TWO_CLOCKS};
use megaconn::results::bystanders::{
    BystanderSpan, Bystanders, CapacityStep, Comparison, Finding, Interval, Latency, Probe, Probed,
    SafeCapacity, SpanPhase, Tail,
};
use megaconn::results::cost::{Cost, Fit, Line, Memory};
use megaconn::results::lenient::{List, Map, Maybe, Part};
use megaconn::results::max::Max;
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{
    BackAfter, Churn, Connect, Counts, Handshakes, Keepalives, Lifetimes, Messages, Plateau,
    Pushes, Reconnects, SlowReaders, Storm, StormPoint, Sweep,
};
use megaconn::results::result::{
    Close, Descriptors, LossPattern, LossTimes, PerCore, ReserveMet, RunResult, TargetChange,
    TargetCounts, TargetNow,
};
use megaconn::results::verdict::{NextWall, Verdict};
use megaconn::walls::diagnosis::{Attribution, Diagnosis};
use megaconn::walls::evidence::Confidence;
use megaconn::walls::place::Place;
use megaconn::walls::symptom::Symptom;

use crate::bystanders::account::{Described, ProbeAccount};
use crate::output::result::{begun, plateau, take_bystanders, take_walls, verdict};

/// Written by the code that had the format twice.
const STORED: &str = include_str!("../../../tests/run_directory/result.json");

fn percentiles(us: u64) -> Maybe<Percentiles> {
    let all = stats::Latency::new();
    (1..=1_000).for_each(|n| all.record(Duration::from_micros(us * n)));
    Percentiles::of(&all.durations()).into()
}

fn failed() -> Counts {
    let mut counts = vec![0; Errno::LIMIT];
    counts[Errno::ECONNREFUSED.index()] = 12;
    counts[Errno::EADDRNOTAVAIL.index()] = 3;
    counts[133] = 1;
    Counts::by_errno(&counts)
}

fn memory(bytes: i64) -> Memory {
    Memory {
        kernel_bytes: (8 * bytes).into(),
        server_user_bytes: Maybe(None),
        client_user_bytes: (-bytes).into(),
        by_layer: Map::from_iter([("tcp", 5 * bytes), ("outside_slabs", -4_096)]),
        by_slab: Map::from_iter([("TCP", 5 * bytes), ("kmalloc-8", 3)]).into(),
        sockstat: Part(Sockstat {
            tcp_in_use: Some(7),
            tcp_allocated: Some(184_467_440_737),
            ..Sockstat::default()
        }),
    }
}

fn handshakes(full: u64, resumed: u64, rate_per_s: f64) -> Maybe<Handshakes> {
    let (full, resumed) = (full.into(), resumed.into());
    Maybe(Some(Handshakes { full, resumed, rate_per_s: rate_per_s.into() }))
}

fn whole_plateau() -> Plateau {
    Plateau {
        connections: Maybe(Some(100_000)),
        established: Maybe(Some(99_985)),
        failed: failed(),
        lost: Counts::by_cause(&[0, 5, 0, 1, 0, 0]),
        dropped: Maybe(Some(2)),
        closed: Maybe(None),
        connect: Part(Connect {
            seconds: Maybe(Some(0.5)),
            rate_per_s: Maybe(Some(200_000.25)),
            latency_us: percentiles(3),
            opening_latency_us: percentiles(4),
            handshakes: handshakes(90_000, 10_000, 200_000.25),
        }),
        messages: Part(Messages {
            seconds: Maybe(Some(2.0)),
            sent: Maybe(Some(100)),
            received: Maybe(Some(99)),
            mismatched: Maybe(Some(1)),
            late: Maybe(Some(2)),
            unsent: Maybe(Some(3)),
            latency_us: percentiles(7),
        }),
        keepalives: Maybe(Some(Keepalives { sent: Maybe(Some(70)), answered: Maybe(Some(69)) })),
        pushes: Maybe(Some(Pushes {
            received: Maybe(Some(10)),
            late: Maybe(Some(1)),
            missing: Maybe(None),
            gap_us: percentiles(1_000),
        })),
        churn: Maybe(Some(Churn {
            asked_per_s: Maybe(Some(200.into())),
            seconds: Maybe(Some(3.0)),
            started: Maybe(Some(602)),
            completed: Maybe(Some(600)),
            rate_per_s: Maybe(Some(200.3)),
            failed: failed(),
            lost: Counts::none(),
            unfinished: Maybe(Some(1)),
            unstarted: Maybe(Some(1)),
            connect_latency_us: percentiles(30),
            latency_us: Maybe(None),
            handshakes: handshakes(2, 598, 200.0),
        })),
        readers: Maybe(Some(SlowReaders {
            slow: Maybe(Some(20)),
            slow_ended: Maybe(Some(1)),
            bytes_per_s: Maybe(Some(204_800.5)),
            silent: Maybe(Some(10)),
            silent_ended: Maybe(Some(2)),
            sent: Maybe(Some(330)),
        })),
        lifetimes: Maybe(Some(Lifetimes {
            asked: "exp 60s".into(),
            departures: Maybe(Some(70)),
            arrivals: Maybe(Some(69)),
            waiting: Maybe(Some(1)),
            tries: Maybe(Some(85)),
            failed: failed(),
            connections_min: Maybe(Some(99_984)),
            connections_mean: Maybe(Some(99_984.5)),
            mean_seconds: Maybe(Some(60.5)),
            lived_us: percentiles(1_000),
            arrival_us: Maybe(None),
        })),
        reconnect: Maybe(Some(Reconnects {
            returned: Maybe(Some(4)),
            given_up: Maybe(Some(1)),
            waiting: Maybe(Some(1)),
            tries: Maybe(Some(9)),
            failed: failed(),
            back_us: percentiles(1_000),
            storms: vec![storm()].into(),
        })),
        sweep: Maybe(Some(Sweep {
            asked: Maybe(Some(99_985)),
            answered: Maybe(Some(99_984)),
            seconds: Maybe(Some(0.125)),
            lost: Counts::by_cause(&[1; LOST_CAUSES.len()]),
        })),
        schedule_lag_us: percentiles(1),
        hold_seconds: Maybe(Some(30.0)),
        paused_seconds: Maybe(Some(0.0)),
        cut_short: Maybe(Some(false)),
        memory: Part(memory(1_000)),
        ..Plateau::default()
    }
}

fn storm() -> Storm {
    Storm {
        at_seconds: Maybe(Some(10.5)),
        seconds: Maybe(Some(4.25)),
        connections: Maybe(Some(99_991)),
        fewest: Maybe(Some(99_985)),
        lost: Maybe(Some(6)),
        dropped: Maybe(Some(2)),
        returned: Maybe(Some(4)),
        back: Part(BackAfter {
            p50: Maybe(Some(1.5)),
            p90: Maybe(None),
            p99: Maybe(None),
            all: Maybe(None),
        }),
        tries: Maybe(Some(9)),
        tries_in_a_second: Maybe(Some(7)),
        returned_in_a_second: Maybe(Some(4)),
        failed: failed(),
        calm_latency_us: percentiles(3),
        stayed_latency_us: percentiles(4),
        course: vec![StormPoint {
            seconds: Maybe(Some(4.25)),
            connections: Maybe(Some(99_989)),
            tries: Maybe(Some(9)),
            returned: Maybe(Some(4)),
        }]
        .into(),
    }
}

fn attribution(id: &'static str, side: Place, confidence: Confidence) -> Attribution {
    Attribution {
        id,
        side,
        lost: 1_321,
        became: vec![(Symptom::Lost(LostCause::Reset), 1_321)],
        evidence: vec!["server: refused_total 0 -> 2,000".into()],
        ruled_out: vec!["accept-queue: not so: \"quoted\"".into()],
        fix: vec!["serve --max-connections 5000".into()],
        confidence,
    }
}

fn whole_verdict() -> Verdict {
    let mut verdict = verdict(vec!["1,321 lost".into()]);
    let judgement = Diagnosis {
        walls: vec![
            attribution("server-full", Place::Server, Confidence::Certain),
            attribution("client-lag", Place::Client, Confidence::Likely),
        ],
        met_without_loss: vec![attribution("tw-buckets", Place::Between, Confidence::Possible)],
    };
    take_walls(&mut verdict, judgement, &[]);
    let at_connections = Maybe(Some(2_679_801));
    verdict.next_wall =
        NextWall { id: "memory".into(), limits: Maybe(None), at_connections }.into();
    verdict
}

fn cost() -> Cost {
    let line = |slope_bytes| Line {
        slope_bytes: Some(slope_bytes),
        stderr_bytes: 8.5,
        fixed_bytes: 4_500_000.0,
        r2: (slope_bytes > 0.0).then_some(0.99),
    };
    Cost {
        kernel_bytes: Maybe(Some(8_341.7)),
        server_user_bytes: Maybe(None),
        client_user_bytes: Maybe(Some(43.0)),
        stderr_bytes: Maybe(Some(8.5)),
        by_slab: Map::from_iter([("TCP", 5_040.9)]).into(),
        sockets_counted: Maybe(Some(2)),
        other_sockets: Maybe(Some(-45_761)),
        time_wait: Maybe(Some(7)),
        fit: Maybe(Some(Fit {
            connections: List(vec![0, 1_000, 100_000]),
            by_layer: Map::from_iter([("kernel", line(8_341.7)), ("tcp", line(-0.5))]),
        })),
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
            shift_us: Interval { estimate: -141.0, low: -160.0, high: -120.0 }.into(),
            tail: tail.into(),
            loss: Maybe(None),
        }),
        finding,
        more_samples: is_baseline.then_some(44),
        sentence: "loses 5.0 % (2.5 to 12.5)".into(),
    }
}

fn account() -> Bystanders {
    let span = |(phase, connections, finding): (SpanPhase, u64, _)| BystanderSpan {
        phase: phase.into(),
        connections: connections.into(),
        from_ms: Maybe(Some(5)),
        to_ms: Maybe(Some(3_000)),
        probes: List(vec![Probed::from(probe(finding))]),
        counters: Map::from_iter([("TcpExt.ListenOverflows", 1_212)]),
        pressure: Map::from_iter([("cpu", 12.5), ("io", 0.0)]),
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
    let described =
        Described { name: "ping 10.0.0.9".into(), kind: "ping", target: "10.0.0.9".into() };
    Bystanders {
        began_at_ms: Maybe(Some(1_795_000_000_000)),
        rate_per_s: 20.0.into(),
        probes: List(vec![Probe::from(described)]),
        not_probed: Map::from_iter([("resolve", "no --resolve NAME was given".to_owned())]),
        lag_us: percentiles(2),
        samples_dropped: Maybe(Some(17)),
        spans: spans.into_iter().map(span).collect(),
        answer: List(vec!["ping 10.0.0.9: no effect found".into()]),
    }
}

fn echo() -> Expect {
    Expect::Echo(Echoed { message_bytes: 64 })
}

fn broadcasts() -> Broadcasts {
    Broadcasts {
        received: Maybe(Some(99_985)),
        missed: Maybe(Some(3)),
        beyond: Maybe(Some(1)),
        clock: TWO_CLOCKS.into(),
        texts: List(vec![Broadcast {
            number: Maybe(Some(1)),
            reached: Maybe(Some(99_984)),
            first_us: Maybe(Some(-40)),
            last_us: Maybe(Some(41_000)),
            spread_us: Maybe(Some(41_040)),
            latency_us: percentiles(2),
        }]),
    }
}

fn safe_capacity() -> SafeCapacity {
    let figures = List(vec!["ping: held".into()]);
    SafeCapacity {
        expression: "ping p99 < 5ms".into(),
        connections: Maybe(Some(10)),
        broke_at: Maybe(None),
        why: "ping p99 7100 us".into(),
        steps: List(vec![CapacityStep {
            connections: Maybe(Some(10)),
            held: true.into(),
            figures,
        }]),
    }
}

fn whole_result() -> RunResult {
    let mut result = RunResult {
        version: "0.1.0".into(),
        commit: "0123456789ab".into(),
        started_at: Maybe(Some(1_795_000_000)),
        seconds: 113.4.into(),
        established: Maybe(Some(99_985)),
        failed: failed(),
        lost: Counts::by_cause(&[0, 5, 0, 1, 0, 0]),
        untried: Maybe(Some(2)),
        losses: LossTimes { first_ms: 20, last_ms: 2_000, most_in_one_second: 9 }.into(),
        loss_patterns: List(vec![LossPattern {
            ending: "fin".into(),
            losses: 9.into(),
            count: 9.into(),
            shared: "idle".into(),
            text:
                "9 of the 9 that were ended by the other side (FIN): 2.0 s after their last byte \
                   (1.9 s to 2.1 s)"
                    .into(),
        }]),
        unexpected_bytes: "ERR\\n".into(),
        opening_failure: Maybe(None),
        targets: List(vec![TargetCounts {
            address: "127.0.0.1:7000".into(),
            established: 99_985.into(),
            failed: 6.into(),
            lost: 9.into(),
        }]),
        target_changes: List(vec![TargetChange {
            at_ms: 3_000.into(),
            target: "b.test".into(),
            before: List(vec!["127.0.0.1:7000".into()]),
            after: List(vec!["127.0.0.2:7000".into()]),
            left_out: List(vec!["192.0.2.9".into()]),
        }]),
        target_afterwards: TargetNow::Refuses.into(),
        memory_reserve_met: Maybe(Some(ReserveMet {
            at_ms: 7,
            available_bytes: 1 << 30,
            reserve_bytes: 2 << 30,
            limit: "host".into(),
            connections: 99_985,
        })),
        tuples_skipped: Maybe(Some(4)),
        memory_before: Part(memory(1)),
        plateaus: List(vec![plateau(10), whole_plateau()]),
        close: Maybe(Some(Close {
            seconds: 9.0.into(),
            rate_per_s: 111_900.5.into(),
            server_seconds: Maybe(None),
            timeouts: Maybe(Some(1)),
        })),
        max: Maybe(Some(Max {
            connections: Maybe(Some(100_000)),
            stopped_by: "memory".into(),
            expected_wall: "memory".into(),
            expected_connections: Maybe(Some(98_000)),
            failed: Counts::named([("ENOMEM", 1)]),
            lost: Counts::none(),
        })),
        broadcasts: Maybe(Some(broadcasts())),
        safe_capacity: Maybe(Some(safe_capacity())),
        cost_per_connection: Part(cost()),
        file_descriptors: Part(Descriptors { client: Maybe(Some(76)), server: Maybe(None) }),
        per_core: List(vec![PerCore {
            side: "client".into(),
            core: Maybe(Some(1)),
            cpu: Maybe(Some(3)),
            connections_peak: Maybe(Some(50_000)),
            messages_total: Maybe(Some(9)),
            part: Maybe(None),
        }]),
        verdict: Part(whole_verdict()),
        notes: Map::from_iter([("close.server_seconds", "no dump showed it".to_owned())]),
        ..begun(100_000, &echo(), "loopback".into(), 7)
    };
    take_bystanders(&mut result, account());
    result
}

/// Byte for byte, with the first line that differs where one does.
fn assert_written(result: &RunResult, stored: &str) {
    let written = results::text(result);
    for (line, stored) in written.lines().zip(stored.lines()) {
        assert_eq!(line, stored);
    }
    assert!(written == stored, "the one has more lines than the other");
}

#[test]
fn a_full_result_is_written_as_it_was_stored() {
    assert_written(&whole_result(), STORED);
}

/// What a run leaves that was stopped at once.
#[test]
fn an_empty_result_is_written_as_it_was_stored() {
    let none = Maybe(Some(0));
    let mut result = RunResult {
        version: "".into(),
        commit: Maybe(None),
        started_at: none,
        expect: "".into(),
        ..begun(0, &Expect::Nothing, "".into(), 0)
    };
    result.verdict.met = false.into();
    result.cost_per_connection.sockets_counted = none;
    assert_written(&result, include_str!("../../../tests/run_directory/empty.json"));
}
