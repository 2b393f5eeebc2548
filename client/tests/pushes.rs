//! The client against a server that pushes, or only takes: gaps, late and missing pushes, other
//! texts than were to come; and what it says when the server drains.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use common::{Finished, World, last, number, sum, until};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const BANNER: &str = r"Welcome\r\n";
const CONNECTIONS: u64 = 200;

fn server(flags: &[&str]) -> World {
    World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", flags)
}

fn pushing(every: &str) -> World {
    server(&["--mode", "push", "--banner", BANNER, "--push-every", every])
}

/// A client that expects what `pushing` does, holds for so long, and may do otherwise.
fn expecting(every: &str, hold: &str, others: &[&str]) -> Vec<String> {
    let flags = ["--connections", "200", "--expect", "push", "--push-every", every];
    let flags = [&flags[..], &["--banner", BANNER, "--hold", hold], others].concat();
    flags.into_iter().map(str::to_owned).collect()
}

fn finish(world: &World, flags: &[String], status: i32) -> (Finished, Value) {
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let finished = world.client(&flags).finish();
    assert_eq!(finished.code, Some(status), "{finished:#?}");
    (finished, world.result())
}

#[test]
fn pushes_come_in_time_and_are_all_counted() {
    let world = pushing("300ms");
    let (_, result) = finish(&world, &expecting("300ms", "2500ms", &[]), 0);
    let pushes = &result["plateaus"][0]["pushes"];
    let received = number(pushes, "received");
    // In 2.5 s and some are eight pushes each; the spread of the first ones takes one at most.
    assert!((7 * CONNECTIONS..=10 * CONNECTIONS).contains(&received), "{pushes}");
    assert_eq!(number(pushes, "missing"), 0, "{pushes}");
    let gap = &pushes["gap_us"];
    assert!((290_000..=315_000).contains(&number(gap, "p50")), "{gap}");
    assert_eq!(number(&result, "established"), CONNECTIONS);
    assert_eq!(number(&result["plateaus"][0]["messages"], "sent"), 0);
    until("the server is empty", || last(&world.stats(), "connections") == 0);
    assert!(last(&world.stats(), "pushes_total") >= received);
}

#[test]
fn other_texts_than_were_to_come_are_a_mismatch() {
    let world = pushing("200ms");
    let (_, result) = finish(&world, &expecting("200ms", "1s", &["--push-text", r"no\n"]), 1);
    assert_eq!(number(&result["lost"], "mismatch"), CONNECTIONS, "{result:#}");
    assert_eq!(number(&result, "established"), 0);
}

#[test]
fn a_server_that_stands_still_is_late_and_one_that_never_goes_on_is_missing_pushes() {
    let world = pushing("200ms");
    let flags = expecting("200ms", "3s", &[]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut client = world.client(&flags);
    assert!(client.says("holding 200"), "{:#?}", client.finish());
    thread::sleep(Duration::from_millis(700));
    let stopped = Instant::now();
    world.server.program.signal(Signal::STOP);
    thread::sleep(Duration::from_millis(900));
    world.server.program.signal(Signal::CONT);
    let intervals = u64::try_from(stopped.elapsed().as_millis() / 200).expect("some");
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "it catches up: {finished:#?}");
    let pushes = &world.result()["plateaus"][0]["pushes"];
    // In 900 ms each connection misses four pushes, of which three or four are overdue by then.
    let late = number(pushes, "late");
    assert!((2 * CONNECTIONS..=(intervals + 1) * CONNECTIONS).contains(&late), "{pushes}");
    assert_eq!(number(pushes, "missing"), 0, "{pushes}");
    assert!(number(&pushes["gap_us"], "max") >= 900_000, "{pushes}");

    let world = pushing("200ms");
    let mut client = world.client(&flags);
    assert!(client.says("holding 200"), "{:#?}", client.finish());
    world.server.program.signal(Signal::STOP);
    // By then the hold is over; the ends of the connections are to be answered.
    assert!(client.says("closing"), "{:#?}", client.finish());
    world.server.program.signal(Signal::CONT);
    let finished = client.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let pushes = &world.result()["plateaus"][0]["pushes"];
    assert!(number(pushes, "missing") >= 8 * CONNECTIONS, "{pushes}");
    assert!(finished.stdout.contains("pushes missing"), "{}", finished.stdout);
}

#[test]
fn a_sink_takes_all_and_gives_nothing() {
    let world = server(&["--mode", "sink"]);
    let flags = ["--connections", "200", "--expect", "nothing", "--message-rate", "1k/s"];
    let flags: Vec<String> = flags.iter().chain(&["--hold", "1s"]).map(|f| (*f).into()).collect();
    let (finished, result) = finish(&world, &flags, 0);
    let sent = number(&result["plateaus"][0]["messages"], "sent");
    assert!((900..2000).contains(&sent), "{sent} messages in a second");
    assert!(finished.stdout.contains("no answer expected"), "{}", finished.stdout);
    until("the server has taken all", || last(&world.stats(), "recv_bytes_total") == 64 * sent);
    assert_eq!(last(&world.stats(), "send_bytes_total"), 0);
}

#[test]
fn a_drain_ends_every_connection_in_order() {
    let mut world = server(&["--drain", "2s"]);
    let flags = ["--connections", "500", "--hold", "30s", "--max-lost", "500"];
    let flags = [&flags[..], &["--min-established", "0", "--message-rate", "500/s"]].concat();
    let mut client = world.client(&flags);
    assert!(client.says("holding 500"), "{:#?}", client.finish());
    until("messages go to and fro", || last(&world.stats(), "messages_total") >= 100);
    world.server.program.signal(Signal::TERM);
    let server = world.server.program.finish();
    assert_eq!(server.code, Some(143), "{server:#?}");
    let said = server.stderr.iter().any(|line| line.contains("drained 500 connections"));
    assert!(said, "{server:#?}");
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    assert_eq!(sum(&result["lost"]), 500);
    // A message that met its end on the way makes a reset of it; few do.
    assert!(number(&result["lost"], "fin") >= 450, "{result:#}");
    let messages = &result["plateaus"][0]["messages"];
    let unanswered = number(messages, "sent") - number(messages, "received");
    assert!(unanswered <= 50, "{unanswered} messages were not answered: {messages}");
}
