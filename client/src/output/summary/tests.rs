//! Whole screens, as a terminal without colours shows them.

use insta::assert_snapshot;
use megaconn::results::bystanders::{
    BystanderSpan, Finding, Interval, Latency, Probe, Probed, SafeCapacity, SpanPhase,
};
use megaconn::results::lenient::{List, Map, Part};
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{Churn, Connect, Counts, Messages, Plateau, Sweep};
use megaconn::results::result::Close;
use megaconn::results::verdict::NextWall;

use super::*;
use crate::output::result;

fn percentiles(p50: u64) -> Maybe<Percentiles> {
    Maybe(Some(Percentiles { p50, p90: 2 * p50, p99: 3 * p50, p999: 9 * p50, max: 31 * p50 }))
}

fn plateau(connections: u64) -> Plateau {
    let seconds = (connections as f64 / 196_500.0).into();
    let connections = connections.into();
    Plateau {
        connections,
        established: connections,
        connect: Part(Connect {
            seconds,
            rate_per_s: 196_500.0.into(),
            latency_us: percentiles(559),
            opening_latency_us: Maybe(None),
            handshakes: Maybe(None),
        }),
        messages: Part(Messages {
            sent: connections,
            received: connections,
            latency_us: percentiles(9_215),
            ..Messages::default()
        }),
        hold_seconds: 60.0.into(),
        ..Plateau::default()
    }
}

/// A run as most are: all went well.
fn run(plateaus: Vec<Plateau>) -> RunResult {
    let connections = plateaus.last().map_or(Maybe(Some(0)), |plateau| plateau.connections);
    RunResult {
        target_connections: connections,
        established: connections,
        expect: "echo".into(),
        plateaus: plateaus.into(),
        close: Maybe(Some(Close {
            seconds: 8.9.into(),
            rate_per_s: 111_900.0.into(),
            server_seconds: 9.2.into(),
            timeouts: Maybe(Some(0)),
        })),
        cost_per_connection: Part(Cost {
            kernel_bytes: 8_301.6.into(),
            server_user_bytes: 42.1.into(),
            client_user_bytes: 41.6.into(),
            sockets_counted: Maybe(Some(2)),
            ..Cost::default()
        }),
        verdict: Part(Verdict {
            met: true.into(),
            next_wall: Maybe(Some(NextWall {
                limits: Maybe(None),
                id: "memory".into(),
                at_connections: Maybe(Some(2_679_801)),
            })),
            ..Verdict::default()
        }),
        ..RunResult::default()
    }
}

/// The screen, which has room on a terminal.
fn screen(result: &RunResult) -> String {
    console::set_colors_enabled(false);
    let screen = summary(result);
    assert!(screen.lines().count() <= 24, "more than a screen: {screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= COLUMNS, "wider than a screen: {line}");
        assert_eq!(line.trim_end(), line, "it ends in spaces");
    }
    screen
}

#[test]
fn a_plain_run() {
    assert_snapshot!(screen(&run(vec![plateau(1_000_000)])), @r"
           verdict  met
         next wall  memory at 2,679,801 connections
       established  1,000,000 of 1,000,000
     failed / lost  0 / 0
         opened in  5.1 s (196.5k/s)  p50 560 us  p99 1.68 ms  max 17.3 ms
          messages  1,000,000 of 1,000,000 verified, 0 mismatched, 0 late
                    p50 9.2 ms  p99 28 ms  max 290 ms
          held for  60 s
         closed in  8.9 s (111.9k/s), server empty after 9.2 s
    per connection  kernel 8,302 B (2 sockets), server 42 B, client 42 B
    ");
}

#[test]
fn a_run_that_left_few_files_to_others_says_so() {
    let mut result = run(vec![plateau(1_000_000)]);
    assert!(!screen(&result).contains("files"), "{}", screen(&result));
    let few = "0 files left of fs.file-max 100,000".to_owned();
    result.notes.insert(crate::output::notes::FILES_PASSED.to_owned(), few);
    let screen = screen(&result);
    assert!(
        screen.contains("\n           files  0 files left of fs.file-max 100,000\n"),
        "{screen}"
    );
}

fn swept(connections: u64) -> Sweep {
    let all = connections.into();
    Sweep { asked: all, answered: all, seconds: 0.1.into(), lost: Counts::none() }
}

#[test]
fn several_plateaus_stand_side_by_side() {
    let mut plateaus = vec![plateau(1_000), plateau(10_000), plateau(1_000_000)];
    for (plateau, asked) in plateaus.iter_mut().zip([1_000, 10_000, 1_000_000]) {
        plateau.schedule_lag_us = percentiles(9);
        plateau.sweep = Maybe(Some(swept(asked)));
        plateau.churn = Maybe(Some(Churn {
            started: Maybe(Some(602)),
            completed: Maybe(Some(602)),
            rate_per_s: 200.4.into(),
            latency_us: percentiles(60),
            ..Churn::default()
        }));
    }
    plateaus[2].churn.as_mut().expect("it was just set").completed = Maybe(Some(601));
    let mut result = run(plateaus);
    result.cost_per_connection.stderr_bytes = 8.4.into();
    result.cost_per_connection.other_sockets = Maybe(Some(45_761));
    result.notes.insert(OTHERS_ARE_SEEN.into(), "they are many".into());
    result.cost_per_connection.time_wait = Maybe(Some(-15_000));
    result.notes.insert(TIME_WAIT_IS_SEEN.into(), "they are many".into());
    assert_snapshot!(screen(&result), @r"
           verdict  met
         next wall  memory at 2,679,801 connections
       established  1,000,000 of 1,000,000
     failed / lost  0 / 0
           plateau            1,000         10,000      1,000,000
         opened in             5 ms          51 ms          5.1 s
          connects         196.5k/s       196.5k/s       196.5k/s
       connect p50           560 us         560 us         560 us
       connect p99          1.68 ms        1.68 ms        1.68 ms
          verified            1,000         10,000      1,000,000
       message p50           9.2 ms         9.2 ms         9.2 ms
       message p99            28 ms          28 ms          28 ms
       message max           290 ms         290 ms         290 ms
           churned              602            602     601 of 602
         churn p99           180 us         180 us         180 us
    client lag p99            27 us          27 us          27 us
     live at sweep            1,000         10,000      1,000,000
          held for             60 s           60 s           60 s
         closed in  8.9 s (111.9k/s), server empty after 9.2 s
    per connection  kernel 8,302 B ± 9 (2 sockets), server 42 B, client 42 B
                    with 45,761 sockets that others opened meanwhile
                    without 15,000 sockets in TIME_WAIT that ended meanwhile
    ");
}

fn attribution(id: &str, lost: u64) -> Attribution {
    Attribution {
        id: id.into(),
        limits: Maybe(None),
        side: "server".into(),
        lost: lost.into(),
        became: Map::default(),
        evidence: List(vec!["server: refused_total 0 -> 2,000".into()]),
        ruled_out: List::default(),
        fix: List(vec!["serve --max-connections 5000".into()]),
        confidence: "certain".into(),
    }
}

#[test]
fn a_run_that_missed_its_target_says_why_before_all() {
    let established = Maybe(Some(3_000));
    let mut result = run(vec![Plateau { established, ..plateau(5_000) }]);
    result.established = established;
    result.failed = Counts::named([("ECONNRESET", 679)]);
    result.lost = Counts::named([("reset", 1_321)]);
    *result.verdict = Verdict {
        met: false.into(),
        missed: List(vec![
            "3,000 established of 5,000 wanted: 679 connects failed, 1,321 connections lost, 0 not \
             tried"
                .into(),
            "1,321 connections lost, 0 allowed".into(),
        ]),
        wall: attribution("server-full", 2_000).into(),
        more_walls: List(vec![attribution("client-lag", 7)]),
        met_without_loss: ["tw-buckets", "accept-queue", "neighbours", "netdev-backlog"]
            .map(|id| attribution(id, 0))
            .into_iter()
            .collect(),
        next_wall: Maybe(None),
    };
    assert_snapshot!(screen(&result), @r"
           verdict  missed: 3,000 established of 5,000 wanted: 679 connects
                    failed, 1,321 connections lost, 0 not tried
                    1,321 connections lost, 0 allowed
              wall  server-full at the server (certain): 2,000 lost to it
          evidence  server: refused_total 0 -> 2,000
               fix  serve --max-connections 5000
        more walls  client-lag at the server (certain): 7 lost to it
      met, no loss  tw-buckets: server: refused_total 0 -> 2,000
                    accept-queue: server: refused_total 0 -> 2,000
                    and 2 more, see result.json
       established  3,000 of 5,000
     failed / lost  ECONNRESET 679 / reset 1,321
         opened in  25 ms (196.5k/s)  p50 560 us  p99 1.68 ms  max 17.3 ms
          messages  5,000 of 5,000 verified, 0 mismatched, 0 late
                    p50 9.2 ms  p99 28 ms  max 290 ms
          held for  60 s
         closed in  8.9 s (111.9k/s), server empty after 9.2 s
    per connection  kernel 8,302 B (2 sockets), server 42 B, client 42 B
    ");
}

#[test]
fn a_run_in_which_nothing_happened() {
    assert_snapshot!(screen(&RunResult::default()), @r"
          verdict  missed
      established  0 of 0
    failed / lost  0 / 0
    ");
    let stopped = result::verdict(vec!["stopped by SIGINT, the report is partial".into()]);
    let result = RunResult {
        target_connections: Maybe(Some(5)),
        plateaus: List(vec![result::plateau(5)]),
        verdict: Part(stopped),
        ..RunResult::default()
    };
    assert_snapshot!(screen(&result), @r"
           verdict  missed: stopped by SIGINT, the report is partial
       established  0 of 5
     failed / lost  0 / 0
         opened in  unknown (no rate)  no latency measured
          held for  unknown
    per connection  kernel unknown, server unknown, client unknown
    ");
}

#[test]
fn more_plateaus_than_have_room_are_the_last_ones() {
    let result = run((1..=9).map(|n| plateau(n * 100_000)).collect());
    let screen = screen(&result);
    assert!(screen.contains("5 plateaus before these: see result.json"), "{screen}");
    assert!(screen.contains("900,000") && !screen.contains("500,000"), "{screen}");
}

/// A bystander of this finding, with the median `p50`.
fn probe(name: &str, finding: Finding, p50: u64) -> Probed {
    let lost: u64 = if finding == Finding::Losing { 31 } else { 0 };
    Probed {
        name: name.into(),
        sent: Maybe(Some(1_000)),
        lost: lost.into(),
        latency_us: Latency { p50, p90: 2 * p50, p99: 4 * p50, max: 9 * p50 }.into(),
        loss: Interval { estimate: lost as f64 / 1e3, low: 0.0, high: 0.1 }.into(),
        finding: finding.into(),
        more_samples: (finding == Finding::TooFew).then_some(44).into(),
        ..Probed::default()
    }
}

fn span(phase: SpanPhase, connections: u64, found: [(Finding, u64); 5]) -> BystanderSpan {
    let names = ["ping", "connect", "udp", "disk", "schedule"];
    BystanderSpan {
        phase: phase.into(),
        connections: connections.into(),
        from_ms: Maybe(Some(0)),
        to_ms: Maybe(Some(5_000)),
        probes: names.iter().zip(found).map(|(name, (f, p50))| probe(name, f, p50)).collect(),
        counters: Map::default(),
        pressure: Map::default(),
    }
}

/// Two of five suffer, one of them twice; of one nothing can be said.
fn account() -> Bystanders {
    use Finding::{Baseline, Losing, None, Slower, SlowerTail, TooFew};
    let named = |name: &str| Probe { name: name.into(), ..Probe::default() };
    Bystanders {
        probes: ["ping", "connect", "udp", "disk", "schedule"].map(named).into_iter().collect(),
        spans: List(vec![
            span(SpanPhase::Baseline, 0, [40, 90, 45, 1_800, 70].map(|us| (Baseline, us))),
            span(
                SpanPhase::Connecting,
                1_000_000,
                [(None, 41), (Slower, 1_107), (Losing, 99), (TooFew, 1_900), (TooFew, 70)],
            ),
            span(
                SpanPhase::Settled,
                1_000_000,
                [(None, 40), (SlowerTail, 2_000), (None, 45), (TooFew, 1_800), (None, 70)],
            ),
        ]),
        ..Bystanders::default()
    }
}

fn safe_capacity() -> SafeCapacity {
    SafeCapacity {
        expression: "connect p99 < 5ms".into(),
        connections: Maybe(Some(250_000)),
        broke_at: Maybe(Some(281_250)),
        why: "connect p99 7.1 ms, < 5 ms wanted".into(),
        steps: List::default(),
    }
}

#[test]
fn bystanders_have_a_line_each() {
    let mut result = run(vec![plateau(1_000_000)]);
    result.bystanders = account().into();
    result.safe_capacity = safe_capacity().into();
    assert_snapshot!(screen(&result), @r"
           verdict  met
         next wall  memory at 2,679,801 connections
     safe capacity  250,000 connections (connect p99 < 5ms); at 281,250: connect
                    p99 7.1 ms, < 5 ms wanted
       established  1,000,000 of 1,000,000
     failed / lost  0 / 0
         opened in  5.1 s (196.5k/s)  p50 560 us  p99 1.68 ms  max 17.3 ms
          messages  1,000,000 of 1,000,000 verified, 0 mismatched, 0 late
                    p50 9.2 ms  p99 28 ms  max 290 ms
          held for  60 s
         closed in  8.9 s (111.9k/s), server empty after 9.2 s
    per connection  kernel 8,302 B (2 sockets), server 42 B, client 42 B
        bystanders  ping      no effect found, p99 164 us
                    connect   p50 90 us -> 1.11 ms opening 1,000,000
                    udp       loses 3.1 % opening 1,000,000, p99 180 us -> 400 us
                    disk      too few samples, 44 more are needed
                    schedule  no effect found, p99 280 us (1 of 2 phases short)
    ");
}

#[test]
fn bystanders_of_a_full_screen_share_a_line_unless_they_suffer() {
    let mut result = run(vec![plateau(1_000), plateau(10_000), plateau(1_000_000)]);
    for plateau in result.plateaus.iter_mut() {
        plateau.schedule_lag_us = percentiles(9);
        plateau.sweep = Maybe(Some(swept(9)));
    }
    result.bystanders = account().into();
    result.safe_capacity = safe_capacity().into();
    assert_snapshot!(screen(&result), @r"
           verdict  met
         next wall  memory at 2,679,801 connections
     safe capacity  250,000 connections (connect p99 < 5ms); at 281,250: connect
                    p99 7.1 ms, < 5 ms wanted
       established  1,000,000 of 1,000,000
     failed / lost  0 / 0
           plateau            1,000         10,000      1,000,000
         opened in             5 ms          51 ms          5.1 s
          connects         196.5k/s       196.5k/s       196.5k/s
       connect p50           560 us         560 us         560 us
       connect p99          1.68 ms        1.68 ms        1.68 ms
          verified            1,000         10,000      1,000,000
       message p50           9.2 ms         9.2 ms         9.2 ms
       message p99            28 ms          28 ms          28 ms
       message max           290 ms         290 ms         290 ms
    client lag p99            27 us          27 us          27 us
     live at sweep                9              9              9
          held for             60 s           60 s           60 s
         closed in  8.9 s (111.9k/s), server empty after 9.2 s
    per connection  kernel 8,302 B (2 sockets), server 42 B, client 42 B
        bystanders  udp      loses 3.1 % opening 1,000,000, p99 180 us -> 400 us
                    connect  p50 90 us -> 1.11 ms opening 1,000,000
                    no effect found: ping, schedule; too few samples: disk
    ");
}

#[test]
fn a_safe_capacity_of_none_says_why() {
    let mut result = run(vec![plateau(1_000)]);
    let (connections, broke_at) = (Maybe(None), Maybe(Some(1_000)));
    result.safe_capacity = Maybe(Some(SafeCapacity { connections, broke_at, ..safe_capacity() }));
    let screen = screen(&result);
    let said = "none (connect p99 < 5ms); at 1,000: connect p99 7.1 ms, < 5 ms";
    assert!(screen.contains(said), "{screen}");
    // Nothing was compared: that is no finding.
    result.bystanders = Maybe(Some(Bystanders { spans: List::default(), ..account() }));
    let screen = summary(&result);
    assert!(screen.contains("bystanders  ping      too few samples\n"), "{screen}");
}
