//! `megaconn serve --ping-every`: peers that answer pings are kept, and those that do not are closed and counted. The
//! peers are our client, Python's `websockets`, and ones that are written here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{World, connect, last, number, refusal, scrape, server_binary, sum, until};
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Time between two pings of a connection.
const EVERY: Duration = Duration::from_millis(400);

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A ping without a text, and a close frame of 1001.
const PING: &[u8] = &[0x89, 0];
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

fn server(flags: &[&str]) -> World {
    let own = ["--websocket", "--ping-every", "400ms", "--metrics", "127.0.0.1:0"];
    World::with(Ipv4Addr::LOCALHOST.into(), 1, "50ms", &[&own[..], flags].concat())
}

/// A figure of a server, over its cores, as its metrics have it.
fn figure(world: &World, name: &str) -> u64 {
    let text = scrape(world.server.program.metrics());
    let of_it = |line: &&str| line.starts_with(&format!("megaconn_{name}{{"));
    let values = text.lines().filter(of_it).filter_map(|line| line.rsplit_once(' '));
    let values: Vec<u64> = values.filter_map(|(_, value)| value.parse().ok()).collect();
    assert!(!values.is_empty(), "no {name} in {text}");
    values.iter().sum()
}

/// A connection that has been upgraded.
fn upgraded(world: &World) -> TcpStream {
    let mut stream = connect(world.server.address);
    stream.write_all(UPGRADE.as_bytes()).expect("a request is taken");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer is whole");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", head.escape_ascii());
    stream
}

/// Reads these bytes, and no others.
fn reads(stream: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).expect("it comes in time");
    assert_eq!(read, bytes);
}

#[test]
fn a_peer_that_answers_nothing_is_closed_and_counted() {
    let world = server(&[]);
    let mut silent = upgraded(&world);
    let began = Instant::now();
    reads(&mut silent, PING);
    let pinged = Instant::now();
    assert!(began.elapsed() < 3 * EVERY, "the first ping came after {:?}", began.elapsed());
    reads(&mut silent, GOING_AWAY);
    let waited = pinged.elapsed();
    assert!((EVERY / 2..3 * EVERY).contains(&waited), "it was closed after {waited:?}");
    assert_eq!(silent.read(&mut [0]).expect("it ends in order"), 0);
    let mut answers = upgraded(&world);
    // A pong, and anything else in its place, keeps a connection; it is read before the ping that comes then.
    for answer in
        [&[0x8a, 0x80, 1, 2, 3, 4][..], &[0x82, 0x81, 0, 0, 0, 0, 7], &[0x8a, 0x80, 0, 0, 0, 0]]
    {
        reads(&mut answers, PING);
        answers.write_all(answer).expect("it is open");
        if answer[0] == 0x82 {
            reads(&mut answers, &[0x82, 1, 7]);
        }
    }
    reads(&mut answers, PING);
    until("one is counted", || last(&world.stats(), "ping_timeout_total") == 1);
    assert_eq!(figure(&world, "ping_timeout_total"), 1);
    assert!(figure(&world, "pings_total") >= 5);
    assert_eq!((figure(&world, "pushes_total"), figure(&world, "malformed_total")), (0, 0));
}

/// Within a frame that is echoed there is no place for a ping. Its rest is awaited as a pong is.
#[test]
fn no_ping_stands_within_a_frame() {
    const BYTES: usize = 20_000;
    let world = server(&[]);
    let mut stream = upgraded(&world);
    let head =
        [&[0x82, 0xfe][..], &u16::try_from(BYTES).unwrap_or_default().to_be_bytes(), &[0; 4]];
    stream.write_all(&head.concat()).expect("it is open");
    for piece in [7_u8; BYTES].chunks(BYTES / 5) {
        stream.write_all(piece).expect("it is kept");
        sleep(EVERY / 2);
    }
    let mut echo = vec![0; 4 + BYTES];
    stream.read_exact(&mut echo).expect("the whole of it comes back");
    assert!(echo[..2] == [0x82, 126] && echo[4..].iter().all(|byte| *byte == 7), "a ping is in it");
    reads(&mut stream, PING);
    // One that does not go on with its frame is closed, without a close frame in it.
    stream
        .write_all(&[&[0x8a, 0x80, 0, 0, 0, 0][..], &head.concat(), &[7; 9]].concat())
        .expect("it is open");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("it ends in order");
    let begin = [&[0x82, 126][..], &[0x4e, 0x20], &[7; 9]].concat();
    assert_eq!(rest, begin);
    assert_eq!(figure(&world, "ping_timeout_total"), 1);
}

/// Our client answers pings in all layers, with messages of its own and without, and a server that drops them.
#[test]
fn connections_that_answer_are_kept_in_every_layer() {
    for (serve, scheme, run) in [
        (&[][..], "ws://", &[][..]),
        (&["--tls-self-signed"], "wss://", &["--tls-insecure", "--message-every", "300ms"]),
        (
            &["--proxy-protocol", "--mode", "sink"],
            "ws://",
            &["--proxy-protocol", "v2", "--expect", "nothing"],
        ),
        (
            &["--proxy-protocol", "--tls-self-signed", "--mode", "sink"],
            "wss://",
            &["--proxy-protocol", "v1", "--tls-insecure", "--expect", "nothing"],
        ),
    ] {
        let world = server(serve);
        let target = format!("{scheme}{}/", world.server.address);
        let flags = [&["--connections", "100", "--hold", "2500ms"][..], run].concat();
        let finished = world.client_to(&target, &flags).finish();
        assert_eq!(finished.code, Some(0), "{serve:?}: {finished:#?}");
        let result = world.result();
        assert_eq!((number(&result, "established"), sum(&result["lost"])), (100, 0), "{serve:?}");
        assert_eq!(figure(&world, "ping_timeout_total"), 0, "{serve:?}");
        let pings = figure(&world, "pings_total");
        assert!((400..=900).contains(&pings), "{serve:?}: {pings} pings");
    }
}

/// Python's `ssl` with frames of its own, which it does not answer: it is told so within TLS.
#[test]
fn a_peer_that_answers_nothing_is_closed_in_tls_and_behind_a_proxy() {
    let world = server(&["--tls-self-signed", "--proxy-protocol"]);
    let program = format!(
        "import socket, ssl\n\
         raw = socket.create_connection(('127.0.0.1', {}))\n\
         raw.sendall(b'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\\r\\n')\n\
         link = ssl._create_unverified_context().wrap_socket(raw, suppress_ragged_eofs=False)\n\
         link.sendall({UPGRADE:?}.encode())\n\
         came = b''\n\
         while piece := link.recv(4096):\n\
         \x20   came += piece\n\
         head, frames = came.split(b'\\r\\n\\r\\n', 1)\n\
         assert head.startswith(b'HTTP/1.1 101'), head\n\
         assert frames == bytes([0x89, 0, 0x88, 2, 3, 0xe9]), frames\n",
        world.server.address.port()
    );
    let python = Command::new("timeout").args(["30", "python3", "-c", &program]).output();
    let output = python.expect("python3 is there; fix: apt-get install python3");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(figure(&world, "ping_timeout_total"), 1);
}

/// A library that answers pings by itself. One that reads nothing does not answer them.
#[test]
fn pythons_websockets_is_kept() {
    let world = server(&[]);
    let program = format!(
        "import asyncio, sys\n\
         try:\n\
         \x20   import websockets\n\
         except ImportError:\n\
         \x20   sys.exit(7)\n\
         async def main():\n\
         \x20   async with websockets.connect('ws://127.0.0.1:{}', ping_interval=None) as link:\n\
         \x20       for text in 'one', 'two', 'three':\n\
         \x20           await asyncio.sleep(1)\n\
         \x20           await link.send(text)\n\
         \x20           assert await link.recv() == text\n\
         asyncio.run(main())\n",
        world.server.address.port()
    );
    let python = Command::new("timeout").args(["30", "python3", "-c", &program]).output();
    let output = python.expect("python3 is there; fix: apt-get install python3");
    if output.status.code() == Some(7) {
        return eprintln!("SKIPPED: Python's websockets is not there; fix: pip install websockets");
    }
    assert!(output.status.success(), "{output:?}");
    assert!(figure(&world, "pings_total") >= 4);
    assert_eq!(figure(&world, "ping_timeout_total"), 0);
}

/// A server that was stopped has not heard the pongs that have come meanwhile: it closes none for that.
#[test]
fn a_server_that_was_stopped_closes_no_peer_that_has_answered() {
    let world = server(&[]);
    let mut streams: Vec<_> = (0..50).map(|_| upgraded(&world)).collect();
    for stream in &mut streams {
        reads(stream, PING);
    }
    world.server.program.signal(Signal::STOP);
    for stream in &mut streams {
        stream.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).expect("the kernel takes it");
    }
    sleep(5 * EVERY);
    world.server.program.signal(Signal::CONT);
    let until = Instant::now() + EVERY / 2;
    for stream in &mut streams {
        // They are pinged anew, and have the whole time to answer it.
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).expect("a timeout");
        let mut came = [0; 16];
        match stream.read(&mut came) {
            Ok(bytes) => assert!(came[..bytes].chunks(2).all(|frame| frame == PING), "{came:x?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(figure(&world, "ping_timeout_total"), 0);
}

#[test]
fn flags_that_do_not_go_together_are_named() {
    for (flags, told) in [
        (
            &["--ping-every", "1s"][..],
            "--ping-every sends frames of WebSocket; fix: add --websocket",
        ),
        (
            &["--websocket", "--ping-every", "1s", "--mode", "push"],
            "--ping-every and --mode push: a connection has one timer",
        ),
        (
            &["--websocket", "--ping-every", "40m", "--idle-timeout", "30m"],
            "--idle-timeout and --ping-every are more than 1h together",
        ),
    ] {
        let said = refusal(Command::new(server_binary()).arg("serve").args(flags));
        assert!(said.contains(told), "{said}");
    }
}
