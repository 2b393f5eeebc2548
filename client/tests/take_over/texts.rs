//! Texts to all while servers follow each other: the place of the orders goes from one to the next, and an order reaches
//! the connections that drain as well, or says how many it does not reach.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use megaconn::observe::control::ask;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{
    PATIENCE, Program, client, connect, free_ports, number, result_in, server_binary, until,
};
use crate::{Place, gave};

impl Place {
    fn orders(&self) -> PathBuf {
        self.directory.path().join("all.sock")
    }

    /// A server that takes orders.
    fn takes_orders(&self, more: &[&str]) -> Program {
        let orders = self.orders();
        let orders = orders.to_str().expect("temporary names are plain");
        let flags = ["--mode", "push", "--broadcast-on", orders, "--drain", "100s"];
        self.server(&[&flags, more].concat())
    }
}

/// `megaconn broadcast` at this place: its exit status, and what it tells.
fn order(place: &str, text: &str, within: &str) -> (Option<i32>, Value) {
    let mut command = Command::new(server_binary());
    command.args(["broadcast", place, text, "--format", "json", "--within", within]);
    let output = command.output().expect("the program starts");
    let told = serde_json::from_slice(&output.stdout);
    (output.status.code(), told.unwrap_or_else(|_| panic!("{output:?}")))
}

fn ordered(place: &Place, text: &str) -> (Option<i32>, Value) {
    order(place.orders().to_str().expect("temporary names are plain"), text, "20s")
}

/// Whether the next that comes is this text; not, where the connection has ended.
fn has_had(stream: &mut TcpStream, text: &str) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).expect("it may have one");
    let mut all = vec![0; 93 + text.len()];
    match stream.read_exact(&mut all) {
        Ok(()) => {
            assert!(all.starts_with(b"MCB1 ") && all.ends_with(text.as_bytes()), "{all:?}");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
            false
        }
    }
}

/// Connections that are accepted.
fn held(place: &Place, count: usize) -> Vec<TcpStream> {
    let streams: Vec<TcpStream> = (0..count).map(|_| connect(place.address)).collect();
    // Of the queue of the kernel, they are accepted in a moment.
    thread::sleep(Duration::from_millis(500));
    streams
}

/// Connections of three servers, of which two drain.
#[test]
fn an_order_reaches_those_that_drain_and_those_that_come() {
    let place = Place::new();
    let mut servers = vec![place.takes_orders(&[])];
    let out = place.directory.path().join("run");
    let out = out.to_str().expect("temporary names are plain");
    let target = place.address.to_string();
    let run = ["run", "--target", &target, "--connections", "200", "--expect", "broadcast"];
    let run = [&run[..], &["--hold", "600s", "--out", out, "--server-metrics", "none"]].concat();
    let mut run = Program::start(&mut client(&run));
    assert!(run.says("holding"), "{:#?}", run.finish());
    let mut streams = Vec::new();
    for round in 1..=3_u64 {
        streams.extend(held(&place, 50));
        let text = format!("text {round}");
        let (status, told) = ordered(&place, &text);
        assert_eq!((status, number(&told, "number")), (Some(0), round), "{told}");
        assert_eq!((&told["done"], number(&told, "unreached")), (&true.into(), 0), "{told}");
        let reached = streams.iter_mut().filter_map(|stream| has_had(stream, &text).then_some(()));
        let reached = reached.count() as u64;
        let sent = number(&told, "sent");
        assert!(sent >= reached && sent <= reached + 200, "{reached} plain ones: {told}");
        // A drain of 100 s takes few meanwhile.
        assert!(reached >= 50 * round * 4 / 5 && sent >= (200 + 50 * round) * 4 / 5, "{told}");
        streams.retain(|stream| !is_closed(stream));
        if round < 3 {
            servers.push(place.takes_orders(&[]));
        }
    }
    run.signal(Signal::INT);
    run.finish();
    let result = result_in(std::path::Path::new(out));
    let all = &result["broadcasts"];
    assert_eq!(number(all, "missed"), 0, "{all:#}");
    assert!(result["lost"].get("mismatch").is_none_or(|lost| *lost == 0), "{}", result["lost"]);
    let texts = all["texts"].as_array().expect("they are a list");
    let numbers: Vec<u64> = texts.iter().map(|text| number(text, "number")).collect();
    assert_eq!(numbers, [1, 2, 3], "{all:#}");
    // What the older ones did is known to the newest.
    drop(streams);
    let last = servers.pop().expect("there are three");
    servers.into_iter().for_each(|older| drop(gave(older)));
    let (status, told) = ordered(&place, "to nobody");
    assert_eq!((status, number(&told, "number"), number(&told, "members")), (Some(0), 4, 0));
    assert!(place.orders().exists());
    ends(last);
    assert!(!place.orders().exists(), "the file of the socket goes with the last server");
}

fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).expect("it may be");
    let is_closed = matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).expect("as before");
    is_closed
}

fn ends(mut server: Program) {
    server.signal(Signal::TERM);
    assert_eq!(server.finish().code, Some(143));
}

/// An older server whose connections take no texts, before and behind others.
#[test]
fn what_cannot_be_reached_is_counted() {
    let place = Place::new();
    let mute = place.server(&[
        "--mode",
        "push",
        "--push-every",
        "1h",
        "--drain",
        "100s",
        "--banner",
        "up",
    ]);
    let streams = held(&place, 40);
    let first = place.takes_orders(&[]);
    let mut heard = held(&place, 3);
    let mut check = |most: u64| {
        let (status, told) = ordered(&place, "text");
        let unreached = number(&told, "unreached");
        assert!(status == Some(1) && (30..=most).contains(&unreached), "{told}");
        let reached = heard.iter_mut().filter_map(|stream| has_had(stream, "text").then_some(()));
        assert_eq!(number(&told, "sent"), reached.count() as u64, "{told}");
    };
    check(40);
    // One that takes none itself stands between: it passes them on.
    let between = place.server(&["--drain", "100s", "--banner", "up"]);
    let of_between = held(&place, 2);
    let last = place.takes_orders(&[]);
    check(42);
    let mut command = Command::new(server_binary());
    command.arg("broadcast").arg(place.orders()).arg("text");
    let said = command.output().expect("the program starts").stdout;
    let said = String::from_utf8(said).expect("it speaks UTF-8");
    assert!(said.contains(" of a server that was taken over were not reached"), "{said}");
    drop((streams, of_between, mute, first, between, last));
}

/// An older server that says nothing: the order is not done, and when it is killed it says how many it had.
#[test]
fn an_older_server_that_is_killed_has_not_answered() {
    let place = Place::new();
    let mut older = place.takes_orders(&[]);
    let streams = held(&place, 30);
    let (status, told) = ordered(&place, "to the older one");
    assert_eq!((status, number(&told, "sent")), (Some(0), 30), "{told}");
    let newer = place.takes_orders(&[]);
    let mut new = held(&place, 1).remove(0);
    older.signal(Signal::STOP);
    let path = place.orders();
    let path = path.to_str().expect("temporary names are plain");
    let (status, told) = order(path, "to both", "1s");
    assert_eq!((status, &told["done"], number(&told, "sent")), (Some(1), &false.into(), 1));
    assert!(has_had(&mut new, "to both"));
    older.signal(Signal::KILL);
    older.finish();
    let at = path.parse().expect("it is a place");
    let orders = || ask::broadcasts(&at).expect("it answers").orders;
    until("it is given up", || orders()[1].done);
    let orders = orders();
    assert!((20..=30).contains(&orders[1].unreached), "{orders:?}");
    assert_eq!(orders[0].sent, 30, "what was told is known: {orders:?}");
    // Those connections are gone, and an order from now on reaches all.
    let (status, told) = ordered(&place, "last");
    assert_eq!((status, number(&told, "members"), number(&told, "unreached")), (Some(0), 1, 0));
    drop((streams, newer));
}

#[test]
fn the_place_may_be_an_address_and_may_be_another_one() {
    let place = Place::new();
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 2).to_string();
    let push = ["--mode", "push", "--drain", "1s", "--broadcast-on"];
    let first = place.server(&[&push[..], &[&address]].concat());
    let second = place.server(&[&push[..], &[&address]].concat());
    let (status, told) = order(&address, "text", "20s");
    assert_eq!((status, number(&told, "number")), (Some(0), 1), "{told}");
    gave(first);
    let third = place.takes_orders(&[]);
    gave(second);
    let (status, told) = ordered(&place, "text");
    assert_eq!((status, number(&told, "number")), (Some(0), 2), "{told}");
    let mut command = Command::new(server_binary());
    let output = command.args(["broadcast", &address, "text"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "nothing answers there any more: {output:?}");
    // A file that no server has any more goes.
    let other = place.directory.path().join("other.sock");
    let path = other.to_str().expect("temporary names are plain");
    let fourth = place.server(&[&push[..], &[path]].concat());
    gave(third);
    assert!(other.exists() && !place.orders().exists());
    let fifth = place.server(&[]);
    gave(fourth);
    assert!(!other.exists());
    ends(fifth);
}
