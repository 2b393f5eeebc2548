//! What scrapers are told, line by line.

use std::time::Duration;

use super::*;
use crate::observe::stats::{ClientStats, Listed, ServerStats};

#[test]
fn figures_are_there_core_by_core() {
    let cores: [Arc<ServerStats>; 2] = Default::default();
    cores[0].accepted_total.add(7);
    cores[1].set_connections(3);
    cores[1].failed[Errno::ECONNREFUSED.index()].add(5);
    let text = Metrics::new(&[0, 4], &cores, &[]).text();
    for line in [
        "# TYPE megaconn_accepted counter",
        "# HELP megaconn_accepted Connections accepted.",
        "megaconn_accepted_total{side=\"server\",core=\"0\",cpu=\"0\"} 7",
        "megaconn_accepted_total{side=\"server\",core=\"1\",cpu=\"4\"} 0",
        "# TYPE megaconn_connections gauge",
        "megaconn_connections{side=\"server\",core=\"1\",cpu=\"4\"} 3",
        "megaconn_failed_total{side=\"server\",core=\"1\",cpu=\"4\",errno=\"ECONNREFUSED\"} 5",
    ] {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in {text}");
    }
    assert!(text.ends_with("\n# EOF\n"));
    assert!(text.contains("megaconn_build_info{side=\"server\",version="));
    assert!(text.contains("\nmegaconn_process_resident_bytes{side=\"server\"} "));
    assert!(clock::of_text(&text).is_some_and(|us| us > 1_700_000_000_000_000), "{text}");
    let named = Metrics::new(&[0, 4], &cores, &[]).of_run(Some("a"), Some("1/2".into())).text();
    let run = "megaconn_run_info{side=\"server\",run_id=\"a\",part=\"1/2\"} 1\n";
    assert!(named.contains(run) && named.ends_with("\n# EOF\n"), "{named}");
    // Two lines of description for each figure, and one for each core.
    let figures = text.lines().filter(|line| line.contains("megaconn_grow_failed")).count();
    assert_eq!(figures, 4);
    // No error that was not met.
    assert_eq!(samples(&text, "megaconn_failed_total{"), 1);
}

fn samples(text: &str, start: &str) -> usize {
    text.lines().filter(|line| line.starts_with(start)).count()
}

#[test]
fn losses_are_there_by_cause_from_the_start() {
    let cores: [Arc<ClientStats>; 2] = Default::default();
    cores[0].lost[0].add(2);
    cores[1].churn_failed[Errno::ECONNREFUSED.index()].add(3);
    let text = Metrics::new(&[0, 4], &cores, &[]).text();
    for line in [
        "megaconn_lost_total{side=\"client\",core=\"0\",cpu=\"0\",cause=\"fin\"} 2",
        "megaconn_lost_total{side=\"client\",core=\"1\",cpu=\"4\",cause=\"fin\"} 0",
        "megaconn_churn_lost_total{side=\"client\",core=\"1\",cpu=\"4\",cause=\"local\"} 0",
        "megaconn_churn_errors_total{side=\"client\",core=\"1\",cpu=\"4\",errno=\"ECONNREFUSED\"} 3",
    ] {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in {text}");
    }
    assert_eq!(samples(&text, "megaconn_lost_total{"), 2 * LOST_CAUSES.len());
}

#[test]
fn no_side_has_the_figures_of_the_other() {
    let server = Metrics::new(&[0], &[Arc::<ServerStats>::default()], &[]).text();
    let client = Metrics::new(&[0], &[Arc::<ClientStats>::default()], &[]).text();
    for (name, [of_server, of_client]) in [
        ("connections", [true, true]),
        ("accepted", [true, false]),
        ("sends_stalled", [true, false]),
        ("push_lateness_seconds", [true, false]),
        ("connected", [false, true]),
        ("churned", [false, true]),
        ("lost", [false, true]),
        ("churn_errors", [false, true]),
        ("message_latency_seconds", [false, true]),
    ] {
        let help = format!("# HELP megaconn_{name} ");
        assert_eq!([&server, &client].map(|text| text.contains(&help)), [of_server, of_client]);
    }
}

/// Counts of work done, and what is no amount: more of them is more work, and asks for nothing.
const ASK_FOR_NOTHING: [&str; 43] = [
    "accepted_total",
    "arrival_tries_total",
    "arrivals_called_off_total",
    "arrivals_total",
    "broadcast_sent_total",
    "broadcasts_received_total",
    "broadcasts_total",
    "called_off_total",
    "churn_handshakes_resumed_total",
    "churn_started_total",
    "churned_total",
    "closed_total",
    "closed_away_total",
    "completions_total",
    "connect_started_total",
    "connected_total",
    "connection_us_total",
    "connections_peak",
    "departures_total",
    "drained_total",
    "dropped_total",
    "handshakes_resumed_total",
    "handshakes_total",
    "keepalives_sent_total",
    "messages_sent_total",
    "messages_total",
    "order_finished",
    "order_took_us",
    "pings_total",
    "process_lived_ms",
    "process_ran_ms",
    "pushes_total",
    "reconnect_tries_total",
    "recv_bytes_total",
    "reluctant_bytes_total",
    "reluctant_messages_total",
    "returned_total",
    "send_bytes_total",
    "silent_readers",
    "slow_readers",
    "stale_total",
    "traffic_us_total",
    "turns_total",
];

/// `# HELP` has no place for quotes and line ends, and the crate does not escape them.
#[test]
fn every_figure_has_a_help_of_one_line_that_says_what_a_high_value_means() {
    let all = ServerStats::descriptions().chain(ClientStats::descriptions());
    let all = all.map(|figure| (figure.name, figure.help));
    for (name, help) in all.chain(PROCESS_FIGURES).chain(THREAD_FIGURES) {
        assert!(help.ends_with(['.', '?']), "{name}: {help}");
        assert!(!help.contains(['\n', '"', '\\']) && !help.contains("  "), "{name}: {help}");
        assert!(help.contains("? ") != ASK_FOR_NOTHING.contains(&name), "{name}: {help}");
    }
}

#[test]
fn a_histogram_of_microseconds_is_one_of_seconds() {
    let cores: [Arc<ClientStats>; 2] = Default::default();
    let record = |us| cores[0].message_latency_us.record(Duration::from_micros(us));
    [0, 15, 16, 1_000, 1_023, 1_024, 100_000_000].into_iter().for_each(record);
    let all = Seconds::of(&cores[0].message_latency_us.load());
    let of = |bound: f64| all.buckets.iter().find(|(b, _)| *b == bound).expect("a bound").1;
    assert_eq!((of(0.000_016), of(0.000_032)), (2, 1));
    assert_eq!((of(0.001_024), of(0.002_048)), (2, 1));
    assert_eq!((of(f64::INFINITY), all.count), (1, 7));
    let exact = 100.003_078;
    assert!((all.sum - exact).abs() < 0.02 * exact, "{} is not about {exact}", all.sum);
    let text = Metrics::new(&[0, 1], &cores, &[]).text();
    for line in [
        "# TYPE megaconn_message_latency_seconds histogram",
        "# UNIT megaconn_message_latency_seconds seconds",
        "megaconn_message_latency_seconds_count{side=\"client\",core=\"0\",cpu=\"0\"} 7",
        "megaconn_message_latency_seconds_bucket{side=\"client\",le=\"+Inf\",core=\"0\",cpu=\"0\"} 7",
        "megaconn_message_latency_seconds_count{side=\"client\",core=\"1\",cpu=\"1\"} 0",
    ] {
        assert!(text.lines().any(|l| l == line), "no line `{line}` in {text}");
    }
}
