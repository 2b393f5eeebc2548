//! Patterns of traffic, with both programs over real sockets: plateaus, messages and short
//! connections by schedule, sweeps, gates; what is reported adds up, and lateness counts from when
//! a thing was due.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::{Ipv4Addr, TcpListener};
use std::thread;
use std::time::Duration;

use common::{Finished, World, free_ports, last, number, sum, until};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn ends_with(finished: &Finished, status: i32) {
    assert_eq!(finished.code, Some(status), "{finished:#?}");
}

/// A run of the client from start to end, and its result.
fn run(world: &World, flags: &[&str], status: i32) -> Value {
    ends_with(&world.client(flags).finish(), status);
    world.result()
}

/// A percentile in milliseconds.
fn ms(latency: &Value, percentile: &str) -> u64 {
    number(latency, percentile) / 1000
}

fn missed(result: &Value, word: &str) -> bool {
    let lines = result["verdict"]["missed"].as_array().unwrap();
    lines.iter().any(|line| line.as_str().is_some_and(|line| line.contains(word)))
}

#[test]
fn plateaus_stand_on_one_another_and_each_adds_up() {
    let world = World::on_loopback();
    let flags = ["--connections", "1k,2500,3k", "--hold", "200ms", "--sweep"];
    let result = run(&world, &flags, 0);
    let plateaus = result["plateaus"].as_array().unwrap();
    let mut before = 0;
    for (plateau, wanted) in plateaus.iter().zip([1000, 2500, 3000]) {
        assert_eq!(number(plateau, "connections"), wanted);
        assert_eq!(number(plateau, "established"), wanted);
        assert_eq!((sum(&plateau["failed"]), sum(&plateau["lost"])), (0, 0));
        // All are verified once and swept once, those of the plateaus before as well.
        assert_eq!(number(&plateau["messages"], "sent"), 2 * wanted);
        assert_eq!(number(&plateau["messages"], "received"), 2 * wanted);
        assert_eq!(number(&plateau["sweep"], "asked"), wanted);
        assert_eq!(number(&plateau["sweep"], "answered"), wanted);
        let rate = plateau["connect"]["rate_per_s"].as_f64().unwrap();
        let seconds = plateau["connect"]["seconds"].as_f64().unwrap();
        let opened = wanted - std::mem::replace(&mut before, wanted);
        assert!((rate * seconds - opened as f64).abs() < 1.0, "{rate}/s in {seconds} s");
    }
    assert_eq!((plateaus.len(), number(&result, "established")), (3, 3000));
    assert_eq!(last(&world.stats(), "messages_total"), 2 * (1000 + 2500 + 3000));
}

#[test]
fn messages_keep_their_schedule() {
    let world = World::on_loopback();
    let by_rate = ["--connections", "300", "--message-rate", "1k/s", "--hold", "2s"];
    let messages = run(&world, &by_rate, 0)["plateaus"][0]["messages"].clone();
    // Every one of them in its time: two seconds, and what the end of the phase takes.
    assert!((1900..2500).contains(&number(&messages, "sent")), "{messages}");
    assert_eq!(number(&messages, "sent"), number(&messages, "received"));
    assert_eq!(number(&messages, "unsent"), 0);

    let world = World::on_loopback();
    let by_interval = ["--connections", "300", "--message-every", "500ms", "--hold", "2s"];
    let result = run(&world, &by_interval, 0);
    let sent = number(&result["plateaus"][0]["messages"], "sent");
    assert!((1150..1500).contains(&sent), "300 connections, four intervals, {sent} messages");
    assert!(result["plateaus"][0]["schedule_lag_us"]["p50"].is_number());
}

/// One connection on two cores: the core that holds it has the whole schedule.
#[test]
fn a_rate_is_that_of_all_connections_however_few() {
    let world = World::on_loopback();
    let flags = ["--connections", "1", "--message-rate", "100/s", "--hold", "1s"];
    let messages = run(&world, &flags, 0)["plateaus"][0]["messages"].clone();
    assert!((95..200).contains(&number(&messages, "sent")), "{messages}");
}

/// Coordinated omission: while the server stands still, messages come due, and each of them waits.
#[test]
fn latency_counts_from_when_a_message_was_due() {
    let world = World::on_loopback();
    let flags = ["--connections", "100", "--message-rate", "1k/s", "--hold", "4s"];
    let mut client = world.client(&flags);
    assert!(client.says("holding 100"), "{:#?}", client.finish());
    thread::sleep(Duration::from_millis(500));
    world.server.program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(1500));
    world.server.program.signal(Signal::CONT);
    ends_with(&client.finish(), 0);
    let plateau = &world.result()["plateaus"][0];
    let messages = &plateau["messages"];
    // Only 100 could be out at once, but 1,500 were due in the stop: all of them count, those that
    // could not begin with the time that they waited, and a third of them with over a second.
    let late = number(messages, "late");
    assert!((350..1000).contains(&late), "{late} of 1,500 were more than a second late");
    let latency = &messages["latency_us"];
    assert!((1200..3500).contains(&ms(latency, "max")), "{latency}");
    // Of some 4,000 a tenth is later than a second.
    assert!(ms(latency, "p90") >= 500, "{latency}");
    // What the client waited for the server is no lag of its own.
    assert!(ms(&plateau["schedule_lag_us"], "max") < 500, "{}", plateau["schedule_lag_us"]);
    assert_eq!(number(messages, "sent"), number(messages, "received"));
}

/// A client that was stopped for longer than any timeout finds the answers waiting, and loses nobody.
#[test]
fn a_client_that_stood_still_gives_up_no_connection_for_it() {
    let world = World::on_loopback();
    let flags = ["--connections", "2k", "--message-rate", "2k/s", "--hold", "16s"];
    let mut client = world.client(&flags);
    assert!(client.says("holding 2,000"), "{:#?}", client.finish());
    thread::sleep(Duration::from_secs(1));
    client.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(11_500));
    client.signal(Signal::CONT);
    ends_with(&client.finish(), 0);
    let plateau = &world.result()["plateaus"][0];
    assert_eq!(number(plateau, "established"), 2000);
    // The lag is its own, and is told as such.
    assert!(ms(&plateau["schedule_lag_us"], "max") >= 10_000, "{}", plateau["schedule_lag_us"]);
}

#[test]
fn short_connections_are_all_accounted_for() {
    for close in ["fin", "reset"] {
        let world = World::on_loopback();
        let flags = ["--churn", "2k/s", "--hold", "2s", "--close", close];
        let result = run(&world, &flags, 0);
        let churn = &result["plateaus"][0]["churn"];
        let started = number(churn, "started");
        assert!((3800..5000).contains(&started), "{close}: {churn}");
        assert_eq!(number(churn, "completed"), started, "{close}: {churn}");
        assert_eq!((sum(&churn["failed"]), sum(&churn["lost"])), (0, 0));
        assert_eq!(number(churn, "unstarted"), 0);
        assert!(churn["rate_per_s"].as_f64() > Some(1900.0), "{churn}");
        let (whole, connect) = (&churn["latency_us"], &churn["connect_latency_us"]);
        assert!(number(whole, "p50") > 0 && number(whole, "max") >= number(connect, "p50"));
        // And the first look at the target.
        let all_closed = || last(&world.stats(), "closed_total") == started + 1;
        until("the server has closed them", all_closed);
        assert_eq!(last(&world.stats(), "accepted_total"), started + 1);
        let resets = last(&world.stats(), "reset_total");
        let of_all = if close == "reset" { started } else { 0 };
        assert_eq!(resets, of_all, "--close {close}: the first look ends by FIN");
    }
}

/// A port on which somebody listens, at whatever address, cannot be pinned: it is passed over.
#[test]
fn taken_ports_are_passed_over() {
    let first = free_ports(Ipv4Addr::LOCALHOST.into(), 40).port();
    // Two of four, so that each core meets free ones behind taken ones.
    let taken = (0..40).filter(|n| n % 4 < 2).map(|n| TcpListener::bind(("127.0.0.1", first + n)));
    let taken: Vec<_> = taken.collect();
    assert!(taken.iter().all(Result::is_ok), "somebody took a port between our look and the bind");
    let world = World::on_loopback();
    let ports = format!("{first}-{}", first + 39);
    let flags = ["--source", "127.0.0.9", "--source-ports", &ports, "--close", "reset"];
    let flags = [&flags[..], &["--churn", "16/s", "--hold", "1s"]].concat();
    let result = run(&world, &flags, 0);
    let churn = &result["plateaus"][0]["churn"];
    assert_eq!(number(churn, "completed"), number(churn, "started"), "{churn}");
    assert!(number(&result, "tuples_skipped") > 0, "{result:#}");
}

#[test]
fn short_connections_go_on_beside_held_ones() {
    let world = World::on_loopback();
    let flags = ["--connections", "500,1k", "--churn", "1k/s", "--message-every", "1s"];
    let result = run(&world, &[&flags[..], &["--hold", "1s", "--sweep"]].concat(), 0);
    for plateau in result["plateaus"].as_array().unwrap() {
        let (churn, held) = (&plateau["churn"], number(plateau, "connections"));
        assert!((900..2000).contains(&number(churn, "completed")), "{churn}");
        assert_eq!(number(plateau, "established"), held);
        assert_eq!(number(&plateau["sweep"], "answered"), held);
        assert!(number(&plateau["messages"], "received") >= 2 * held - held / 10);
    }
    assert_eq!(number(&result, "established"), 1000);
}

/// A rate that nothing can reach is said not to have been reached, and nothing is lost for it.
#[test]
fn a_rate_beyond_reach_is_missed_and_said() {
    let world = World::on_loopback();
    let result = run(&world, &["--churn", "900k/s", "--hold", "500ms"], 1);
    let churn = &result["plateaus"][0]["churn"];
    let ended = number(churn, "completed") + sum(&churn["failed"]) + sum(&churn["lost"]);
    assert_eq!(number(churn, "started"), ended);
    assert!(number(churn, "unstarted") > 0 && missed(&result, "not begun in time"), "{result:#}");
    assert!(churn["rate_per_s"].as_f64() < Some(900_000.0));
}

#[test]
fn held_connections_can_be_ended_by_a_reset() {
    let world = World::on_loopback();
    let result = run(&world, &["--connections", "2k", "--hold", "0s", "--close", "reset"], 0);
    assert_eq!(number(&result["close"], "timeouts"), 0);
    until("the server is empty", || last(&world.stats(), "connections") == 0);
    assert_eq!(
        last(&world.stats(), "reset_total"),
        2000,
        "the first look at the target ends by FIN"
    );
}

#[test]
fn gates_decide_the_exit_status() {
    let world = World::on_loopback();
    let good = ["--hold", "0s"];
    let with = |flags: &[&str], status| run(&world, &[&good, flags].concat(), status);
    let two_hundred = ["--connections", "200"];
    let with_200 = |flags: &[&str], status| with(&[&two_hundred, flags].concat(), status);
    with_200(&["--max-p99", "30s", "--max-lost", "0", "--min-established", "200"], 0);
    // With a thousand messages out at a time, one of them waits for longer.
    let slow = with(&["--connections", "2k", "--max-p99", "1ms", "--message-count", "20"], 1);
    assert!(missed(&slow, "p99 of messages"), "{slow:#}");
    let unknown = with_200(&["--max-p99", "30s", "--message-count", "0", "--sweep"], 1);
    assert!(missed(&unknown, "p99 of messages unknown"), "{unknown:#}");
}

/// A lost connection is allowed when the gates say so; it is counted all the same.
#[test]
fn losses_within_the_gates_are_no_miss() {
    let world = World::on_loopback();
    let flags = ["--connections", "300", "--hold", "1s"];
    let gates = ["--max-lost", "300", "--min-established", "0"];
    let mut client = world.client(&[&flags[..], &gates].concat());
    assert!(client.says("holding 300"), "{:#?}", client.finish());
    world.server.program.signal(Signal::KILL);
    ends_with(&client.finish(), 0);
    let result = world.result();
    assert_eq!((number(&result, "established"), sum(&result["lost"])), (0, 300));
}

#[test]
fn a_sweep_finds_those_that_do_not_answer() {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "50", "--hold", "1s", "--sweep"]);
    assert!(client.says("holding 50"), "{:#?}", client.finish());
    world.server.program.signal(Signal::STOP);
    let finished = client.finish();
    world.server.program.signal(Signal::CONT);
    ends_with(&finished, 1);
    let result = world.result();
    let sweep = &result["plateaus"][0]["sweep"];
    assert_eq!((number(sweep, "asked"), number(sweep, "answered")), (50, 0));
    assert_eq!(number(&sweep["lost"], "silent"), 50);
    assert_eq!(number(&result["lost"], "silent"), 50);
    assert_eq!(number(&result, "established"), 0);
}

#[test]
fn a_signal_in_the_middle_of_traffic_leaves_a_whole_report() {
    let world = World::on_loopback();
    let flags = ["--connections", "500,1k", "--churn", "1k/s", "--message-rate", "1k/s"];
    let mut client = world.client(&[&flags[..], &["--hold", "10m"]].concat());
    assert!(client.says("holding 500"), "{:#?}", client.finish());
    thread::sleep(Duration::from_secs(1));
    client.signal(Signal::INT);
    ends_with(&client.finish(), 130);
    let result = world.result();
    let plateaus = result["plateaus"].as_array().unwrap();
    assert_eq!((plateaus.len(), number(&plateaus[0], "established")), (1, 500));
    assert!(number(&plateaus[0]["churn"], "completed") >= 500, "{result:#}");
    assert!(number(&plateaus[0]["messages"], "received") >= 500, "{result:#}");
    assert!(missed(&result, "stopped by SIGINT") && missed(&result, "500 established of 1,000"));
}
