//! Modes, timeouts and the drain over real sockets: what a peer of the real server sees, and when.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, connect, cores, echo, last, until};
use rustix::process::Signal;
use socket2::{Domain, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Time by which a busy host may delay anything.
const SLACK: Duration = Duration::from_secs(2);

struct World {
    server: Server,
    stats: PathBuf,
    _directory: tempfile::TempDir,
}

impl World {
    /// A server on one core, so that its connections keep their order.
    fn new(flags: &[&str]) -> World {
        let directory = tempfile::tempdir().unwrap();
        let stats = directory.path().join("server.ndjson");
        let cores = cores(1);
        let always = ["--cores", &cores, "--stats", stats.to_str().unwrap()];
        let flags = [&always, ["--stats-every", "50ms"].as_slice(), flags].concat();
        let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
        let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
        World { server, stats, _directory: directory }
    }

    fn connect(&self) -> TcpStream {
        connect(self.server.address)
    }

    fn last(&self, figure: &str) -> u64 {
        last(&self.stats, figure)
    }

    fn until(&self, figure: &str, n: u64) {
        until(figure, || self.last(figure) == n);
    }
}

/// The next bytes, exactly as many as `expected` has.
fn reads(mut stream: &TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, expected);
}

/// Waits for the end of the stream, before which nothing comes.
fn ends(mut stream: &TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "a byte came instead of the end");
}

#[test]
fn a_banner_goes_first_in_every_mode() {
    for mode in ["echo", "push", "sink"] {
        let world = World::new(&["--mode", mode, "--banner", r"220 hi\r\n"]);
        let stream = world.connect();
        reads(&stream, b"220 hi\r\n");
        if mode == "echo" {
            assert_eq!(echo(&stream, b"and then").unwrap(), b"and then");
        }
        stream.shutdown(Shutdown::Write).unwrap();
        ends(&stream);
        world.until("closed_total", 1);
        assert_eq!(world.last("pushes_total"), 0, "a banner is no push");
    }
}

#[test]
fn pushes_come_every_interval_and_none_is_early() {
    const EVERY: Duration = Duration::from_millis(300);
    let mut world = World::new(&["--mode", "push", "--push-every", "300ms", "--push-text", "tick"]);
    let began = Instant::now();
    let stream = world.connect();
    (&stream).write_all(b"nobody answers this").unwrap();
    for number in 1..=5 {
        reads(&stream, b"tick");
        let (elapsed, due) = (began.elapsed(), number * EVERY);
        assert!(elapsed >= due, "push {number} came after {elapsed:?}");
        assert!(elapsed < due + SLACK, "push {number} came after {elapsed:?}");
    }
    until("the pushes are counted", || world.last("pushes_total") >= 5);
    assert_eq!((world.last("recv_bytes_total"), world.last("buffers_used")), (19, 0));
    stream.shutdown(Shutdown::Write).unwrap();
    world.until("closed_total", 1);
    world.server.program.signal(Signal::TERM);
    let finished = world.server.program.finish();
    assert_eq!(finished.code, Some(143));
    for line in ["mode=push", "push_every=300ms", "push_text=tick", "banner=none", "drain=none"] {
        assert!(finished.stderr.iter().any(|said| said == line), "no {line}: {finished:#?}");
    }
}

#[test]
fn a_sink_takes_everything_and_says_nothing() {
    const BYTES: usize = 3 << 20;
    let world = World::new(&["--mode", "sink"]);
    let stream = world.connect();
    (&stream).write_all(&vec![7; BYTES]).unwrap();
    world.until("recv_bytes_total", BYTES as u64);
    stream.shutdown(Shutdown::Write).unwrap();
    ends(&stream);
    world.until("closed_total", 1);
    assert_eq!((world.last("send_bytes_total"), world.last("buffers_used")), (0, 0));
}

#[test]
fn the_silent_are_closed_and_the_active_spared() {
    const TIMEOUT: Duration = Duration::from_millis(800);
    let world = World::new(&["--idle-timeout", "800ms"]);
    let began = Instant::now();
    let (silent, active) = (world.connect(), world.connect());
    silent.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let ended_after = loop {
        assert_eq!(echo(&active, b"here").unwrap(), b"here");
        match (&silent).read(&mut [0; 1]) {
            Ok(bytes) => break (bytes == 0).then(|| began.elapsed()).unwrap(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "the silent one is never closed");
        std::thread::sleep(Duration::from_millis(10));
    };
    let is_in_time = (TIMEOUT..TIMEOUT + SLACK).contains(&ended_after);
    assert!(is_in_time, "the silent one was closed after {ended_after:?}");
    world.until("idle_timeout_total", 1);
    world.until("connections", 1);
    // Now it is silent, too.
    ends(&active);
    world.until("idle_timeout_total", 2);
    assert_eq!((world.last("reset_total"), world.last("connections")), (0, 0));
}

#[test]
fn a_peer_that_takes_no_pushes_is_closed_by_its_backlog() {
    let text = "x".repeat(4096);
    let flags = ["--mode", "push", "--push-every", "2ms", "--push-text", &text];
    let world = World::new(&flags);
    // A small window, so that the kernel's own buffers are soon full.
    let lazy = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    lazy.set_recv_buffer_size(4096).unwrap();
    lazy.connect(&world.server.address.into()).unwrap();
    let eager = world.connect();
    until("the backlog is counted", || {
        (0..64).for_each(|_| reads(&eager, text.as_bytes()));
        world.last("backlog_total") == 1
    });
    assert_eq!((world.last("send_timeout_total"), world.last("connections")), (0, 1));
    reads(&eager, text.as_bytes());
}

#[test]
fn a_peer_that_takes_no_echo_is_closed_after_the_send_timeout() {
    let world = World::new(&["--send-timeout", "300ms"]);
    let greedy = world.connect();
    let polite = world.connect();
    greedy.set_nonblocking(true).unwrap();
    until("the timeout is counted", || {
        while (&greedy).write(&[9; 64 << 10]).is_ok() {}
        assert_eq!(echo(&polite, b"served meanwhile").unwrap(), b"served meanwhile");
        world.last("send_timeout_total") == 1
    });
    assert_eq!(world.last("backlog_total"), 0);
    until("the polite one holds no buffer any more", || world.last("buffers_used") == 0);
}

/// The timer of the server's end of `stream`, as /proc/net/tcp has it: kind and rest in 1/100 s.
fn timer(stream: &TcpStream) -> Option<(u32, u32)> {
    let hex = |address: std::net::SocketAddr| match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from(ip).swap_bytes(), address.port()),
        IpAddr::V6(_) => unreachable!("the tests use IPv4"),
    };
    let (ours, peers) = (hex(stream.local_addr().unwrap()), hex(stream.peer_addr().unwrap()));
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = lines.find(|line| line[1] == peers && line[2] == ours)?;
    let (kind, rest) = line[5].split_once(':')?;
    Some((u32::from_str_radix(kind, 16).ok()?, u32::from_str_radix(rest, 16).ok()?))
}

#[test]
#[cfg(target_endian = "little")]
fn keepalive_is_on_when_it_is_asked_for_and_else_off() {
    const KEEPALIVE_TIMER: u32 = 2;
    for (flags, expected) in [(["--keepalive", "30s"].as_slice(), true), (&[], false)] {
        let world = World::new(flags);
        let stream = world.connect();
        assert_eq!(echo(&stream, b"accepted").unwrap(), b"accepted");
        let is_on = || timer(&stream).is_some_and(|(kind, _)| kind == KEEPALIVE_TIMER);
        if expected {
            // Until the echo is acknowledged another timer runs.
            until("the keepalive timer runs", is_on);
            let (_, rest) = timer(&stream).unwrap();
            assert!(rest <= 3_000, "the next probe comes in {rest}/100 s");
        } else {
            // Until the echo is acknowledged another timer runs, and would hide it.
            until("no other timer runs", || timer(&stream).is_some_and(|(kind, _)| kind != 1));
            assert!(!is_on(), "a keepalive that nobody asked for");
        }
    }
}

#[test]
fn a_drain_ends_all_at_an_even_pace_and_cuts_what_is_stuck() {
    const IDLE: usize = 60;
    let mut world = World::new(&["--drain", "3s"]);
    let idle: Vec<TcpStream> = (0..IDLE).map(|_| world.connect()).collect();
    for stream in &idle {
        assert_eq!(echo(stream, b"whole").unwrap(), b"whole");
    }
    let stuck = world.connect();
    stuck.set_nonblocking(true).unwrap();
    until("its echo is stuck", || {
        while (&stuck).write(&[9; 64 << 10]).is_ok() {}
        world.last("buffers_used") == 1
    });
    let began = Instant::now();
    world.server.program.signal(Signal::TERM);
    assert!(world.server.program.says("draining within 3s"));
    // Whoever comes now is refused, though not in the very moment.
    std::thread::sleep(Duration::from_millis(300));
    let late = TcpStream::connect(world.server.address).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::ConnectionRefused);
    let ended: Vec<Duration> = idle
        .iter()
        .map(|stream| {
            ends(stream);
            began.elapsed()
        })
        .collect();
    // Four fifths of the time for all, evenly: the one in the middle after two fifths.
    let (first, middle, last_one) = (ended[0], ended[IDLE / 2], ended[IDLE - 1]);
    assert!(first < Duration::from_millis(300) + SLACK, "the first ended after {first:?}");
    assert!(middle > Duration::from_millis(600), "half of them ended within {middle:?}");
    assert!(last_one < Duration::from_secs(3) + SLACK, "the last ended after {last_one:?}");
    let finished = world.server.program.finish();
    assert!(began.elapsed() < Duration::from_secs(3) + 2 * SLACK, "it took {:?}", began.elapsed());
    assert_eq!(finished.code, Some(143), "{finished:#?}");
    let is_report = |line: &&String| line.starts_with("drained 60 connections in ");
    let report = finished.stderr.iter().find(is_report).unwrap_or_else(|| panic!("{finished:#?}"));
    assert!(report.ends_with(" s, cut 1"), "{finished:#?}");
    assert_eq!((world.last("drained_total"), world.last("drain_cut_total")), (60, 1));
    assert_eq!((world.last("connections"), world.last("accept_failed_total")), (0, 0));
    stuck.set_nonblocking(false).unwrap();
    let mut rest = Vec::new();
    let error = (&stuck).read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "a cut looks like an end");
}

#[test]
fn a_second_signal_and_an_interrupt_end_a_drain_at_once() {
    for (first, second) in [(Signal::TERM, Some(Signal::TERM)), (Signal::INT, None)] {
        let mut world = World::new(&["--drain", "35s"]);
        let stream = world.connect();
        assert_eq!(echo(&stream, b"held").unwrap(), b"held");
        let began = Instant::now();
        world.server.program.signal(first);
        if let Some(second) = second {
            assert!(world.server.program.says("draining within"));
            world.server.program.signal(second);
        }
        let finished = world.server.program.finish();
        assert_eq!(finished.code, Some(if first == Signal::TERM { 143 } else { 130 }));
        assert!(began.elapsed() < Duration::from_secs(15), "it took {:?}", began.elapsed());
    }
}

#[test]
fn a_drain_of_no_connection_ends_at_once() {
    let mut world = World::new(&["--drain", "35s", "--mode", "push"]);
    world.server.program.signal(Signal::TERM);
    let finished = world.server.program.finish();
    assert_eq!(finished.code, Some(143), "{finished:#?}");
    let is_report = |line: &&String| line.starts_with("drained ");
    let report = finished.stderr.iter().find(is_report).unwrap_or_else(|| panic!("{finished:#?}"));
    assert!(report.starts_with("drained 0 connections in 0."), "{finished:#?}");
}
