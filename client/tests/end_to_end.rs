//! Whole runs of the client against the server, over real sockets: what they report is what was
//! asked for, and adds up when a signal or a dead server comes between.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::time::{Duration, Instant};

use common::{Finished, Program, World, connect, echo, last, number, sum, ticks, until};
use megaconn::host::sockets::established_at;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Open files of either program, while it may hold three times as many connections.
const NOFILE: u64 = 20_000;

#[test]
fn sixty_thousand_connections_pass_the_limit_on_open_files() {
    const CONNECTIONS: u64 = 60_000;
    limit_open_files();
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "60k", "--hold", "2s"]);
    assert!(client.says("holding 60,000"), "{:#?}", client.finish());
    let (of_server, of_client) = (open_files(&world.server.program), open_files(&client));
    until("the server shows them", || last(&world.stats(), "connections") == CONNECTIONS);
    met(&client.finish());
    assert!(of_server < 1000, "the server had {of_server} open files");
    assert!(of_client < 1000, "the client had {of_client} open files");

    let result = world.result();
    assert_eq!(number(&result, "established"), CONNECTIONS);
    assert_eq!((sum(&result["failed"]), sum(&result["lost"])), (0, 0));
    let plateau = &result["plateaus"][0];
    let messages = &plateau["messages"];
    assert_eq!(number(messages, "sent"), CONNECTIONS);
    assert_eq!(number(messages, "received"), CONNECTIONS);
    assert_eq!(number(messages, "mismatched"), 0);
    assert_eq!(result["verdict"]["met"], true);
    assert!(number(&result["file_descriptors"], "client") < 1000);
    assert!(plateau["hold_seconds"].as_f64() >= Some(2.0), "{}", plateau["hold_seconds"]);
    assert_eq!(number(&result["close"], "timeouts"), 0);
    for cost in ["kernel_bytes", "server_user_bytes", "client_user_bytes"] {
        let bytes = result["cost_per_connection"][cost].as_f64();
        assert!(bytes.is_some_and(|bytes| bytes > 0.0), "{cost} is {bytes:?}");
    }
    every_core_took_part(&result, &world.cores, CONNECTIONS);
    counters_only_rise(&ticks(&world.stats()));
    assert_eq!(last(&world.stats(), "connections"), 0);
    assert!(last(&world.stats(), "accepted_total") >= CONNECTIONS);
    assert_eq!(last(&world.stats(), "accepted_total"), last(&world.stats(), "closed_total"));
    // The client's own lines add up as well.
    assert_eq!(last(&world.directory.path().join("client.ndjson"), "connected_total"), CONNECTIONS);
}

/// Takes the limit from this process and whatever it starts; a lower one stays.
fn limit_open_files() {
    let now = getrlimit(Resource::Nofile);
    let most = Some(now.maximum.map_or(NOFILE, |most| most.min(NOFILE)));
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
}

fn open_files(program: &Program) -> usize {
    fs::read_dir(format!("/proc/{}/fd", program.id())).expect("the program lives").count()
}

fn met(finished: &Finished) {
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("verdict  met"), "{}", finished.stdout);
}

/// Both sides are there core by core, and their figures are those of all connections.
fn every_core_took_part(result: &Value, cores: &str, connections: u64) {
    let cpus: Vec<u64> = cores.split(',').map(|cpu| cpu.parse().unwrap()).collect();
    for side in ["client", "server"] {
        let per_core = result["per_core"].as_array().unwrap().iter();
        let ours: Vec<&Value> = per_core.filter(|core| core["side"] == side).collect();
        let on: Vec<u64> = ours.iter().map(|core| number(core, "cpu")).collect();
        assert_eq!(on, cpus, "the CPUs of the {side}");
        let total = |key| ours.iter().map(|core| number(core, key)).sum::<u64>();
        assert_eq!(total("messages_total"), connections, "messages of the {side}");
        assert!(total("connections_peak") >= connections, "{ours:?}");
        let idle = ours.iter().find(|core| number(core, "messages_total") == 0);
        assert!(side == "server" || idle.is_none(), "a core of the client did nothing: {idle:?}");
    }
}

/// Line by line of a core, no figure that is named a total falls.
fn counters_only_rise(lines: &[Value]) {
    let mut highest: BTreeMap<(u64, &str), u64> = BTreeMap::new();
    for line in lines {
        assert_eq!(line["schema"], "megaconn.core/1");
        let core = number(line, "core");
        let totals = line.as_object().unwrap().iter().filter(|(key, _)| key.ends_with("_total"));
        for (key, value) in totals {
            let now = value.as_u64().unwrap();
            let before = highest.insert((core, key), now).unwrap_or(0);
            assert!(before <= now, "{key} of core {core} fell from {before} to {now}");
        }
    }
    assert!(highest.len() > 10, "the lines have hardly any counters: {highest:?}");
}

#[test]
fn ipv6_through_several_target_ports() {
    if let Err(error) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) {
        return eprintln!("SKIPPED: this host has no [::1]: {error}");
    }
    let world = World::new(Ipv6Addr::LOCALHOST.into(), 4, "100ms");
    let first = world.server.address;
    let target = format!("{first}-{}", first.port() + 3);
    let mut client = world.client_to(&target, &["--connections", "2k", "--hold", "1s"]);
    assert!(client.says("holding 2,000"), "{:#?}", client.finish());
    for port in first.port()..=first.port() + 3 {
        let held = established_at(Some(port)).expect("the kernel lists its sockets");
        assert!(held >= 400, "port {port} has {held} of 2,000 connections");
    }
    met(&client.finish());
    let result = world.result();
    assert_eq!(number(&result, "established"), 2000);
    assert_eq!(number(&result["plateaus"][0]["messages"], "received"), 2000);
    assert_eq!(last(&world.stats(), "accepted_total"), 2000 + 4, "and one look at each target");
}

#[test]
fn the_run_directory_has_what_the_doctor_said() {
    let world = World::on_loopback();
    met(&world.client(&["--connections", "100", "--hold", "0s"]).finish());
    let doctor = fs::read_to_string(world.directory.path().join("doctor.json")).unwrap();
    let doctor: Value = serde_json::from_str(&doctor).unwrap();
    assert_eq!((&doctor["schema"], &doctor["side"]), (&"megaconn.doctor/1".into(), &"both".into()));
    assert_eq!((number(&doctor, "connections"), &doctor["fits"]), (100, &true.into()));
    assert!(doctor["rows"].as_array().unwrap().iter().any(|row| row["id"] == "source-ports"));
}

#[test]
fn a_rate_is_not_exceeded() {
    let world = World::on_loopback();
    let began = Instant::now();
    let mut client = world.client(&["--connections", "2k", "--rate", "2k/s", "--hold", "0s"]);
    assert!(client.says("opening"), "{:#?}", client.finish());
    let took = began.elapsed();
    met(&client.finish());
    let result = world.result();
    let connect = &result["plateaus"][0]["connect"];
    // Each core may begin with one connect; the last of its 1,000 is due 999 ms later.
    assert!(connect["seconds"].as_f64() >= Some(0.99), "{connect}");
    assert!(connect["rate_per_s"].as_f64() <= Some(2020.0), "{connect}");
    assert!(took >= Duration::from_millis(990), "by our own clock it took {took:?}");
    assert_eq!(number(&result, "established"), 2000);
}

#[test]
fn several_large_messages_on_each_connection_are_all_verified() {
    const MESSAGES: u64 = 500 * 5;
    let world = World::on_loopback();
    let flags = ["--message-count", "5", "--message-bytes", "4096"];
    let mut client =
        world.client(&[&["--connections", "500", "--hold", "0s"], &flags[..]].concat());
    met(&client.finish());
    let result = world.result();
    let messages = &result["plateaus"][0]["messages"];
    for key in ["sent", "received"] {
        assert_eq!(number(messages, key), MESSAGES, "{key}");
    }
    assert_eq!(number(messages, "mismatched"), 0);
    for key in ["p50", "p90", "p99", "p999", "max"] {
        assert!(number(&messages["latency_us"], key) > 0, "no {key} in {messages}");
    }
    for key in ["recv_bytes_total", "send_bytes_total"] {
        assert_eq!(last(&world.stats(), key), MESSAGES * 4096, "{key} of the server");
    }
}

#[test]
fn sigint_while_holding_leaves_a_complete_partial_report() {
    stopped_while_holding(Signal::INT, 130);
}

#[test]
fn sigterm_while_holding_leaves_a_complete_partial_report() {
    stopped_while_holding(Signal::TERM, 143);
}

fn stopped_while_holding(signal: Signal, status: i32) {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "3k", "--hold", "10m"]);
    assert!(client.says("holding 3,000"), "{:#?}", client.finish());
    // The report takes the server's figures from its last tick, which may be behind.
    until("the server shows them", || last(&world.stats(), "messages_total") == 3000);
    client.signal(signal);
    let finished = client.finish();
    assert_eq!(finished.code, Some(status), "{finished:#?}");
    let result = world.result();
    assert_eq!(number(&result, "established"), 3000);
    assert_eq!(number(&result["plateaus"][0]["messages"], "received"), 3000);
    assert_eq!(result["verdict"]["met"], false, "a run that was stopped has not met its target");
    assert!(result["verdict"]["missed"][0].as_str().is_some_and(|why| why.contains("stopped")));
    assert!(result["plateaus"][0]["hold_seconds"].as_f64() < Some(600.0));
    assert!(result["cost_per_connection"]["client_user_bytes"].is_number());
    every_core_took_part(&result, &world.cores, 3000);
    until("the server is empty", || last(&world.stats(), "connections") == 0);
}

#[test]
fn sigterm_while_connecting_reports_what_there_was() {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "10k", "--rate", "200/s"]);
    until("some are open", || last(&world.stats(), "connections") >= 20);
    client.signal(Signal::TERM);
    let finished = client.finish();
    assert_eq!(finished.code, Some(143), "{finished:#?}");
    let result = world.result();
    let established = number(&result, "established");
    assert!((20..10_000).contains(&established), "{established} of 10,000 were established");
    assert_eq!((sum(&result["failed"]), sum(&result["lost"])), (0, 0));
    assert_eq!(result["verdict"]["met"], false);
}

#[test]
fn sigusr1_makes_the_server_dump_at_once() {
    let world = World::new(Ipv4Addr::LOCALHOST.into(), 1, "1h");
    let cores = world.cores.split(',').count();
    until("the first tick is written", || ticks(&world.stats()).len() == cores);
    assert_eq!(last(&world.stats(), "accepted_total"), 0);
    assert_eq!(echo(&connect(world.server.address), b"count me").unwrap(), b"count me");
    world.server.program.signal(Signal::USR1);
    until("a tick is written in between", || ticks(&world.stats()).len() == 2 * cores);
    assert_eq!(last(&world.stats(), "accepted_total"), 1);
    assert_eq!(last(&world.stats(), "recv_bytes_total"), 8);
}

#[test]
fn a_server_that_is_stopped_ends_in_order() {
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut world = World::new(Ipv4Addr::LOCALHOST.into(), 1, "1h");
        let held = connect(world.server.address);
        assert_eq!(echo(&held, b"held").unwrap(), b"held");
        world.server.program.signal(signal);
        let finished = world.server.program.finish();
        assert_eq!(finished.code, Some(status), "{finished:#?}");
        assert_eq!(last(&world.stats(), "accepted_total"), 1, "the last tick is not on disk");
    }
}

#[test]
fn a_server_that_is_killed_loses_every_connection_with_a_cause() {
    const CONNECTIONS: u64 = 3000;
    let world = World::on_loopback();
    let began = Instant::now();
    let mut client = world.client(&["--connections", "3k", "--hold", "2s"]);
    assert!(client.says("holding 3,000"), "{:#?}", client.finish());
    world.server.program.signal(Signal::KILL);
    let finished = client.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let result = world.result();
    let (established, lost) = (number(&result, "established"), sum(&result["lost"]));
    assert_eq!(established + sum(&result["failed"]) + lost, CONNECTIONS, "{result:#}");
    assert_eq!(lost, CONNECTIONS, "a dead server holds connections: {result:#}");
    for cause in result["lost"].as_object().unwrap().keys() {
        assert!(["fin", "reset"].contains(&cause.as_str()), "a killed server is no {cause}");
    }
    assert_eq!(result["verdict"]["met"], false);
    // Nothing was left to close, so nothing of the server is waited for.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(30), "the run went on for {took:?} without a server");
}
