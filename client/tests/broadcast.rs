//! One text to all over real sockets: who gets it, what it costs those that read slowly, topics, and what is refused.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{
    Program, World, connect, free_ports, number, refusal, server_binary, sum as sum_of, until,
};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The longest text.
const TEXT_MAX: usize = 3_747;

/// A server that takes orders at a socket in the run's directory.
fn world(flags: &[&str]) -> (World, PathBuf, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let socket = place.path().join("all.sock");
    let path = socket.to_str().expect("temporary names are plain");
    let always = ["--mode", "push", "--broadcast-on", path];
    (World::with(LOOPBACK, 1, "100ms", &[&always, flags].concat()), socket, place)
}

/// `megaconn broadcast` with these flags: its exit status, and what it prints.
fn broadcast(socket: &Path, flags: &[&str], stdin: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(server_binary());
    command.arg("broadcast").arg(socket).args(flags);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("the program starts");
    // One that has its text already does not read it.
    let _ = child.stdin.take().expect("stdin is piped").write_all(stdin);
    let output = child.wait_with_output().expect("our own child can be waited for");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).expect("it speaks UTF-8"))
}

fn exchange(socket: &Path, request: &[u8]) -> (String, Value) {
    let mut stream = UnixStream::connect(socket).expect("it listens");
    stream.write_all(request).expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).expect("a head has a status");
    (status.to_owned(), serde_json::from_str(body).unwrap_or(Value::Null))
}

fn post(socket: &Path, path: &str, text: &[u8]) -> (String, Value) {
    let length = text.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    exchange(socket, &[head.as_bytes(), text].concat())
}

fn orders(socket: &Path) -> Vec<Value> {
    let (status, state) = exchange(socket, b"GET /state HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!((&*status, &state["schema"]), ("200", &"megaconn.broadcasts/1".into()));
    state["orders"].as_array().expect("orders are a list").clone()
}

fn expecting(world: &World, scheme: &str, connections: &str, more: &[&str]) -> Program {
    let target = format!("{scheme}{}", world.server.address);
    let flags = ["--connections", connections, "--expect", "broadcast"];
    let mut client = world.client_to(&target, &[&flags, more].concat());
    assert!(client.says("holding"), "{:#?}", client.finish());
    client
}

#[test]
fn every_text_reaches_all_at_once_in_every_layer() {
    let long = [b'x'; TEXT_MAX];
    for (scheme, serve, run) in [
        ("tcp://", &[][..], &[][..]),
        ("ws://", &["--websocket"], &[]),
        ("tls://", &["--tls-self-signed"], &["--tls-insecure"]),
        ("wss://", &["--tls-self-signed", "--websocket"], &["--tls-insecure"]),
    ] {
        let (world, socket, _place) = world(serve);
        let connections = if scheme == "tcp://" { 2_000_u64 } else { 300 };
        let mut client =
            expecting(&world, scheme, &connections.to_string(), &[run, &["--hold", "4s"]].concat());
        let texts: [(&[&str], &[u8]); 4] =
            [(&["hello\\n"], b""), (&["-"], b"\xff of stdin"), (&[], &long), (&["last"], b"")];
        for (flags, stdin) in texts {
            let (status, said) = broadcast(&socket, flags, stdin);
            assert!(status == Some(0) && said.contains("skipped 0, closed 0"), "{scheme}: {said}");
        }
        // A burst: they come in order all the same.
        for n in 0..8 {
            let (status, taken) = post(&socket, "/broadcast", format!("burst {n}").as_bytes());
            assert_eq!((&*status, number(&taken, "number")), ("202", 5 + n), "{scheme}");
        }
        let finished = client.finish();
        assert_eq!(finished.code, Some(0), "{scheme}: {finished:#?}");
        let result = world.result();
        let texts = result["broadcasts"]["texts"].as_array().expect("texts came");
        assert_eq!(texts.len(), 12, "{scheme}: {result:#}");
        for text in texts {
            assert_eq!(number(text, "reached"), connections, "{scheme}: {text}");
            let [first, last] = ["first_us", "last_us"].map(|key| number(text, key));
            let latency = &text["latency_us"];
            assert!(first <= last && number(text, "spread_us") <= last, "{scheme}: {text}");
            assert!(number(latency, "p50") <= number(latency, "p99"), "{scheme}: {text}");
            assert!(last < 3_000_000, "{scheme}: {text}");
        }
        let all = &result["broadcasts"];
        assert_eq!(number(all, "received"), 12 * connections, "{scheme}: {all:#}");
        assert_eq!((number(all, "missed"), &all["clock"]), (0, &"one".into()), "{scheme}");
        let orders = orders(&socket);
        let done = |order: &Value| order["done"] == true && order["sent"] == order["members"];
        assert!(orders.len() == 12 && orders.iter().all(done), "{scheme}: {orders:#?}");
        assert!(finished.stdout.contains("broadcasts  12 texts"), "{}", finished.stdout);
    }
}

#[test]
fn a_topic_costs_its_members_alone() {
    let (world, socket, _place) = world(&["--topics", "4"]);
    let mut client = expecting(&world, "tcp://", "400", &["--hold", "3s"]);
    for (topic, expected) in [("0", 100), ("3", 100), ("1", 100)] {
        let (status, said) = broadcast(&socket, &["--topic", topic, "--format", "json", "x"], b"");
        let told: Value = serde_json::from_str(&said).expect("it is JSON");
        // Cores deal each their own.
        let members = number(&told, "members");
        assert!(status == Some(0) && members.abs_diff(expected) <= 4, "{told}");
    }
    let (status, said) = broadcast(&socket, &["to all"], b"");
    assert!(status == Some(0) && said.contains("400 members, sent 400"), "{said}");
    let (status, said) = broadcast(&socket, &["--topic", "4", "x"], b"");
    assert!(status == Some(2) && said.contains("fix: 0 to 3"), "{said}");
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let all = &world.result()["broadcasts"];
    assert_eq!(
        number(all, "missed"),
        0,
        "a text of another topic is none that is missing: {all:#}"
    );
}

/// A peer that does not read is passed over or closed, and holds nobody up.
#[test]
fn a_slow_reader_is_skipped_or_closed() {
    for (policy, figure) in [("skip", "skipped"), ("close", "closed")] {
        let (world, socket, _place) = world(&["--slow-reader", policy, "--send-timeout", "8m"]);
        let mut client = expecting(&world, "tcp://", "50", &["--hold", "600s"]);
        let deaf = connect(world.server.address);
        socket2::SockRef::from(&deaf).set_recv_buffer_size(2_048).expect("it may be small");
        let sum = || orders(&socket).iter().map(|order| number(order, figure)).sum::<u64>();
        until("the deaf one is full", || {
            for _ in 0..8 {
                let _ = post(&socket, "/broadcast", &[b'x'; TEXT_MAX]);
            }
            sum() > 0
        });
        until("all orders are done", || orders(&socket).iter().all(|order| order["done"] == true));
        let orders = orders(&socket);
        let last = orders.last().expect("there are some");
        let members = if policy == "skip" { 51 } else { 50 };
        assert_eq!(number(last, "members"), members, "{policy}: {last}");
        assert_eq!(number(last, "sent"), 50, "the others have had it: {last}");
        let (status, said) = broadcast(&socket, &["last"], b"");
        assert_eq!(status, Some(i32::from(policy == "skip")), "{policy}: {said}");
        client.signal(rustix::process::Signal::INT);
        client.finish();
        let result = world.result();
        let all = &result["broadcasts"];
        assert_eq!((number(all, "missed"), sum_of(&result["lost"])), (0, 0), "{all:#}");
        drop(deaf);
    }
}

#[test]
fn what_cannot_be_is_refused_with_a_fix() {
    let (_world, socket, place) = world(&[]);
    let long = [b'x'; TEXT_MAX + 1];
    for (flags, stdin, why) in [
        (&[""][..], &b""[..], "fix: "),
        (&["-"], b"", "an empty text; fix: "),
        (&["-"], &long, "a text of more than 3747 bytes"),
        (&["--topic", "x", "t"], b"", "`x` is no topic; fix: "),
        (&["--topic", "1", "t"], b"", "there is no topic 1; fix: 0 to 0"),
        (&[r"\q"], b"", "unknown escape; fix: "),
    ] {
        let (status, said) = broadcast(&socket, flags, stdin);
        assert!(status == Some(2) && said.contains(why) && said.contains("fix: "), "{said}");
    }
    let (status, said) = broadcast(&place.path().join("none.sock"), &["x"], b"");
    assert!(status == Some(2) && said.contains("fix: the place that"), "{said}");
    for (path, text, status) in [
        ("/broadcast", &b""[..], "400"),
        ("/broadcast", &long, "413"),
        ("/broadcast?topic=9", b"x", "404"),
        ("/broadcast?topic=x", b"x", "400"),
        ("/broadcast?subject=1", b"x", "400"),
        ("/elsewhere", b"x", "404"),
    ] {
        let (answered, body) = post(&socket, path, text);
        assert_eq!(answered, status, "{path}: {body}");
    }
    assert!(orders(&socket).is_empty(), "none of them was taken");
    let address = free_ports(LOOPBACK, 1).to_string();
    let path = socket.to_str().expect("temporary names are plain");
    for (flags, why) in [
        (&["--broadcast-on", path][..], "fix: add --mode push"),
        (&["--mode", "push", "--broadcast-on", path], "another process listens there; fix: "),
        (
            &["--mode", "push", "--broadcast-on", "192.0.2.1:9"],
            "other hosts could control it; fix: ",
        ),
        (&["--mode", "push", "--broadcast-on", "run"], "is no place; fix: "),
        (&["--mode", "push", "--topics", "2"], "--broadcast-on"),
        (&["--mode", "push", "--broadcast-on", path, "--topics", "257"], "fix: write 256 or less"),
    ] {
        let mut command = Command::new(server_binary());
        command.args(["serve", "--listen", &address]).args(flags);
        let said = refusal(&mut command);
        assert!(said.contains(why), "{flags:?}: {said}");
    }
}

/// A text that is no text to all is a mismatch, and none is silent.
#[test]
fn a_raw_text_is_for_others_and_a_mismatch_here() {
    let (world, socket, _place) = world(&["--broadcast-raw"]);
    let mut plain = connect(world.server.address);
    let mut client = expecting(&world, "tcp://", "20", &["--hold", "2s"]);
    let (status, said) = broadcast(&socket, &[r"raw\n"], b"");
    assert!(status == Some(0) && said.contains("21 members"), "{said}");
    let mut text = [0; 4];
    plain.read_exact(&mut text).expect("it has come");
    assert_eq!(&text, b"raw\n");
    let finished = client.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(number(&world.result()["lost"], "mismatch"), 20);
}
