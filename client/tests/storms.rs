//! Storms on purpose: either end drops a part of the connections, and the result says when so many were back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use common::{
    Finished, Program, Server, client, last, number, result_in, server_binary, sum, until,
};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Connections of each run.
const CONNECTIONS: u64 = 300;

/// What both ends speak: the scheme, flags of the server, flags of the client.
type Spoken<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

const SPOKEN: [Spoken; 3] = [
    ("tcp://", &[], &[]),
    ("ws://", &["--websocket"], &[]),
    ("wss://", &["--tls-self-signed", "--websocket"], &["--tls-insecure"]),
];

fn run_towards(scheme: &str, address: SocketAddr, out: &Path, flags: &[&str]) -> Finished {
    let target = format!("{scheme}{address}");
    let usual = ["run", "--connections", "300", "--cores", "0", "--message-every", "200ms"];
    let places = ["--target", &target, "--out", out.to_str().expect("a path of ours")];
    Program::start(&mut client(&[&usual[..], &places, flags].concat())).finish()
}

fn only_storm(result: &Value) -> &Value {
    let storms = &result["plateaus"][0]["reconnect"]["storms"];
    assert_eq!(storms.as_array().map(Vec::len), Some(1), "{storms:#}");
    &storms[0]
}

#[test]
fn what_the_client_drops_comes_back_and_is_not_lost() {
    for (scheme, serve, more) in SPOKEN {
        for by in ["by fin", "by reset"] {
            let server = Server::start(&server_binary(), LOOPBACK, 1, serve);
            let out = tempfile::tempdir().expect("a directory");
            let storm = format!("drop 50% at 1s {by}");
            let flags = ["--storm", &storm, "--reconnect", "backoff 200ms-1s", "--hold", "4s"];
            let done = run_towards(scheme, server.address, out.path(), &[&flags, more].concat());
            let result = result_in(out.path());
            assert_eq!(done.code, Some(0), "{scheme} {by} {done:#?} {result:#}");
            assert_eq!((number(&result, "dropped"), sum(&result["lost"])), (150, 0), "{result:#}");
            assert_eq!(number(&result, "established"), CONNECTIONS);
            assert_eq!(number(&result["plateaus"][0], "established"), CONNECTIONS);
            assert!(result["verdict"]["wall"].is_null(), "{result:#}");
            let storm = only_storm(&result);
            let counts = ["connections", "lost", "dropped", "returned"].map(|n| number(storm, n));
            assert_eq!(counts, [CONNECTIONS, 150, 150, 150], "{storm:#}");
            assert!(number(storm, "fewest") < CONNECTIONS, "{storm:#}");
            assert!(number(storm, "tries") >= 150, "{storm:#}");
            let back = |part: &str| storm["back"][part].as_f64().expect("all are back");
            assert!(back("p50") <= back("p99") && back("p99") <= back("all"), "{storm:#}");
            assert!(
                back("all") < 2.5,
                "within the hold, though a try may take long on a busy host: {storm:#}"
            );
            let at = storm["at_seconds"].as_f64().expect("it has its time");
            assert!((0.9..1.5).contains(&at), "{storm:#}");
            assert!(number(&storm["calm_latency_us"], "p99") > 0, "{storm:#}");
            assert!(done.stdout.contains("storm  150 of 300 gone at"), "{done:#?}");
            let page = std::fs::read_to_string(out.path().join("report.html")).expect("a report");
            assert!(page.contains("Back after a storm") && page.contains("<h2>Storms</h2>"));
        }
    }
}

#[test]
fn what_the_server_drops_is_lost_and_comes_back() {
    for (scheme, serve, more) in SPOKEN {
        for by in ["by fin", "by reset"] {
            let stats = tempfile::tempdir().expect("a directory");
            let lines = stats.path().join("server.ndjson");
            let storm = format!("drop 50% at 3s {by}");
            let usual = ["--storm", &storm, "--stats-every", "50ms"];
            let to = ["--stats", lines.to_str().expect("a path of ours")];
            let serve = [&usual[..], &to, serve].concat();
            let server = Server::start(&server_binary(), LOOPBACK, 1, &serve);
            let out = tempfile::tempdir().expect("a directory");
            let flags = ["--reconnect", "backoff 200ms-1s", "--hold", "6s"];
            let done = run_towards(scheme, server.address, out.path(), &[&flags, more].concat());
            let result = result_in(out.path());
            assert_eq!(done.code, Some(0), "{scheme} {by} {done:#?} {result:#}");
            assert_eq!(sum(&result["lost"]), 150, "{scheme} {by} {result:#}");
            assert!(result["dropped"].is_null(), "it was not asked to: {result:#}");
            let storm = only_storm(&result);
            let counts = ["lost", "dropped", "returned"].map(|n| number(storm, n));
            assert_eq!(counts, [150, 0, 150], "{storm:#}");
            until("it has said so", || last(&lines, "dropped_total") == 150);
            let cause = if by == "by reset" { "reset" } else { "fin" };
            // Those that were busy are reset.
            assert!(number(&result["lost"], cause) > 75, "{scheme} {by} {result:#}");
        }
    }
}

#[test]
fn without_reconnect_what_is_dropped_stays_away_and_was_there() {
    let server = Server::start(&server_binary(), LOOPBACK, 1, &[]);
    let out = tempfile::tempdir().expect("a directory");
    let flags = ["--storm", "drop 10% every 1s", "--hold", "2500ms"];
    let done = run_towards("", server.address, out.path(), &flags);
    let result = result_in(out.path());
    assert_eq!(done.code, Some(0), "{done:#?} {result:#}");
    // A tenth of 300, and then a tenth of 270.
    assert_eq!(number(&result, "dropped"), 57, "{result:#}");
    assert_eq!((number(&result, "established"), number(&result, "untried")), (CONNECTIONS, 0));
    assert_eq!(number(&result["plateaus"][0], "established"), CONNECTIONS - 57);
}

#[test]
fn a_server_that_drops_is_the_wall_of_those_that_do_not_come_back() {
    let flags = ["--storm", "drop 50% at 3s", "--metrics", "127.0.0.1:0"];
    let server = Server::start(&server_binary(), LOOPBACK, 1, &flags);
    let metrics = server.program.metrics().to_string();
    let out = tempfile::tempdir().expect("a directory");
    let flags = ["--hold", "5s", "--server-metrics", &metrics];
    let done = run_towards("", server.address, out.path(), &flags);
    let result = result_in(out.path());
    assert_eq!(done.code, Some(1), "{done:#?} {result:#}");
    let wall = &result["verdict"]["wall"];
    assert_eq!((&wall["id"], number(wall, "lost")), (&Value::from("storm"), 150), "{result:#}");
}

/// The server has them still, and finds out when it sends.
#[test]
fn what_vanishes_is_half_open_at_the_server() {
    for (scheme, serve, more) in SPOKEN {
        let stats = tempfile::tempdir().expect("a directory");
        let lines = stats.path().join("server.ndjson");
        let to = ["--stats", lines.to_str().expect("a path of ours"), "--stats-every", "50ms"];
        let server = Server::start(&server_binary(), LOOPBACK, 1, &[&to[..], serve].concat());
        let out = tempfile::tempdir().expect("a directory");
        let flags = ["--half-open", "10%", "--hold", "2s"];
        let done = run_towards(scheme, server.address, out.path(), &[&flags, more].concat());
        let result = result_in(out.path());
        assert_eq!(done.code, Some(0), "{scheme} {done:#?} {result:#}");
        assert_eq!((number(&result, "dropped"), sum(&result["lost"])), (30, 0), "{result:#}");
        until("the others are closed", || last(&lines, "connections") == 30);
        assert_eq!(last(&lines, "reset_total"), 0, "{scheme}: no packet has come");
    }
}

#[test]
fn a_server_that_pushes_finds_out_what_has_vanished_and_it_comes_back() {
    let stats = tempfile::tempdir().expect("a directory");
    let lines = stats.path().join("server.ndjson");
    let push = ["--mode", "push", "--push-every", "1s", "--stats-every", "50ms"];
    let to = ["--stats", lines.to_str().expect("a path of ours")];
    let server = Server::start(&server_binary(), LOOPBACK, 1, &[&push[..], &to].concat());
    let out = tempfile::tempdir().expect("a directory");
    let target = server.address.to_string();
    let usual = ["run", "--target", &target, "--connections", "300", "--expect", "push"];
    let storm = ["--storm", "drop 50% at 500ms by vanishing", "--reconnect", "fixed 100ms"];
    let to = ["--hold", "4s", "--out", out.path().to_str().expect("a path of ours")];
    let done = Program::start(&mut client(&[&usual[..], &storm, &to].concat())).finish();
    let result = result_in(out.path());
    assert_eq!(done.code, Some(0), "{done:#?} {result:#}");
    assert_eq!(number(only_storm(&result), "returned"), 150, "{result:#}");
    let back = only_storm(&result)["back"]["all"].as_f64().expect("all are back");
    assert!(back < 1.0, "the server's own half is in nobody's way: {back}");
    until("the server has sent to those that vanished", || last(&lines, "reset_total") == 150);
}

#[test]
fn without_the_capability_nothing_can_vanish() {
    let server = Server::start(&server_binary(), LOOPBACK, 1, &[]);
    let target = server.address.to_string();
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]);
    command.arg(env!("CARGO_BIN_EXE_megaconn-client"));
    command.args(["run", "--target", &target, "--connections", "10", "--half-open", "10%"]);
    let done = Program::start(&mut command).finish();
    assert_eq!(done.code, Some(2), "{done:#?}");
    let said = done.stderr.join("\n");
    assert!(said.contains("--half-open") && said.contains("cap_net_admin"), "{said}");
}
