//! Peers that do what they should not, and plain ones beside them, over real sockets: the server
//! echoes every byte, resets whom it has no room for, and goes on serving whatever a peer does.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, connect, cores, echo, last, until};
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, Trust, Versions, server_name,
};
use megaconn::engine::protocol::tls::handshake::{HANDSHAKE_BYTES, Handshake, Progress};
use socket2::SockRef;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Time after which the statistics' file is up to date.
const STATS_EVERY: &str = "50ms";

struct World {
    server: Server,
    directory: tempfile::TempDir,
}

impl World {
    fn new(cores: &str, flags: &[&str]) -> World {
        let directory = tempfile::tempdir().unwrap();
        let stats = directory.path().join("server.ndjson");
        let stats = stats.to_str().unwrap();
        let always = ["--cores", cores, "--stats", stats, "--stats-every", STATS_EVERY];
        let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
        let flags = [&always, flags].concat();
        let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
        World { server, directory }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    fn connect(&self) -> TcpStream {
        connect(self.address())
    }

    fn last(&self, figure: &str) -> u64 {
        last(&self.directory.path().join("server.ndjson"), figure)
    }

    /// All of the `accepted` connections so far are closed, and a new one is served.
    fn serves_on_after(&self, accepted: u64) {
        until("every connection is closed", || self.last("closed_total") == accepted);
        assert_eq!(self.last("accepted_total"), accepted);
        assert_eq!(self.last("connections"), 0);
        assert_eq!(self.last("buffers_used"), 0, "a connection that is gone holds a buffer");
        assert_eq!(self.last("stale_total"), 0, "a completion reached a slot's next life");
        let stream = self.connect();
        assert_eq!(echo(&stream, b"still there?").unwrap(), b"still there?");
    }

    /// Resident bytes of the server.
    fn resident_kib(&self) -> u64 {
        let status = format!("/proc/{}/status", self.server.program.id());
        let text = fs::read_to_string(status).expect("the server lives");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
    }
}

#[test]
fn a_stream_in_random_pieces_comes_back_byte_for_byte() {
    const BYTES: usize = 20_000_000;
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let sent: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(BYTES).collect();
    let world = World::new(&cores(2), &[]);
    let mut reader = world.connect();
    let mut writer = reader.try_clone().unwrap();
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            let mut rest = sent.as_slice();
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(random.usize(1..=rest.len().min(70_000)));
                writer.write_all(piece).unwrap();
                rest = after;
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::with_capacity(BYTES);
        // Up to the end of the stream: the server ends its own direction after the last byte.
        reader.read_to_end(&mut received).unwrap();
        received
    });
    assert_eq!(received.len(), BYTES, "seed {seed}");
    let differs = sent.iter().zip(&received).position(|(sent, received)| sent != received);
    assert_eq!(differs, None, "the first wrong byte, seed {seed}");
    drop((reader, writer));
    world.serves_on_after(1);
    assert!(world.last("recv_bytes_total") >= BYTES as u64);
}

#[test]
fn a_peer_that_ends_its_direction_at_once_is_answered_with_an_end() {
    let world = World::new(&cores(2), &[]);
    for _ in 0..200 {
        let mut stream = world.connect();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "no byte was sent, so none comes back");
    }
    world.serves_on_after(200);
    assert_eq!(world.last("reset_total"), 0, "an orderly end was taken for a reset");
}

#[test]
fn peers_that_reset_are_counted_and_forgotten() {
    const PEERS: u64 = 200;
    let world = World::new(&cores(2), &[]);
    for number in 0..PEERS {
        let stream = world.connect();
        if number % 2 == 0 {
            // Half of them leave while their echo is on its way.
            (&stream).write_all(&[7; 3000]).unwrap();
        } else {
            echo(&stream, b"first be sure to be accepted").unwrap();
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    world.serves_on_after(PEERS);
    assert_eq!(world.last("reset_total"), PEERS);
}

#[test]
fn peers_that_flood_and_never_read_do_not_slow_the_others() {
    const FLOODERS: usize = 50;
    const ROUND_TRIPS: usize = 200;
    let world = World::new(&cores(2), &[]);
    let flooders: Vec<TcpStream> = (0..FLOODERS).map(|_| world.connect()).collect();
    let stopped = AtomicBool::new(false);
    let (slowest, resident_kib) = thread::scope(|scope| {
        scope.spawn(|| flood(&flooders, &stopped));
        until("the floods are stalled", || world.last("buffers_used") >= FLOODERS as u64);
        let polite = world.connect();
        let round_trip = |n: usize| {
            let began = Instant::now();
            let message = [n.to_le_bytes()[0]; 500];
            let is_same = echo(&polite, &message).is_ok_and(|back| back == message);
            is_same.then(|| began.elapsed())
        };
        let slowest = (0..ROUND_TRIPS).map(round_trip).max_by_key(|took| took.unwrap_or(PATIENCE));
        let resident_kib = world.resident_kib();
        stopped.store(true, Ordering::Relaxed);
        (slowest.flatten(), resident_kib)
    });
    let slowest = slowest.expect("the polite peer lost its connection or a byte");
    assert!(slowest < Duration::from_secs(2), "a round trip beside the floods took {slowest:?}");
    assert!(resident_kib < 200 * 1024, "the floods are kept in {resident_kib} KiB of memory");
    drop(flooders);
    world.serves_on_after(FLOODERS as u64 + 1);
}

/// Writes on all streams whatever they take, and reads nothing.
fn flood(streams: &[TcpStream], stopped: &AtomicBool) {
    let bytes = [42; 16 * 1024];
    streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    let deadline = Instant::now() + 2 * PATIENCE;
    while !stopped.load(Ordering::Relaxed) && Instant::now() < deadline {
        let mut taken = 0;
        for mut stream in streams {
            match stream.write(&bytes) {
                Ok(n) => taken += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The server may cut a peer that takes nothing; the others go on.
                Err(_) => {}
            }
        }
        if taken == 0 {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_peer_that_says_nothing_is_held_and_answered_when_it_speaks() {
    let world = World::new(&cores(2), &[]);
    let silent = world.connect();
    for _ in 0..50 {
        assert_eq!(echo(&world.connect(), b"in between").unwrap(), b"in between");
    }
    until("only the silent one is left", || {
        world.last("accepted_total") == 51 && world.last("connections") == 1
    });
    assert_eq!(world.last("buffers_used"), 0, "a connection that rests holds a buffer");
    assert_eq!(echo(&silent, b"at last").unwrap(), b"at last");
    drop(silent);
    world.serves_on_after(51);
}

#[test]
fn peers_beyond_the_most_are_reset_and_counted_until_others_leave() {
    const MOST: usize = 8;
    const EXTRA: usize = 5;
    let world = World::new(&cores(1), &["--max-connections", "8"]);
    let mut held: Vec<TcpStream> = (0..MOST).map(|_| world.connect()).collect();
    for stream in &held {
        assert_eq!(echo(stream, b"within").unwrap(), b"within");
    }
    for _ in 0..EXTRA {
        assert!(is_turned_away(world.address()), "a connection beyond the most was served");
    }
    until("the refusals are counted", || world.last("refused_total") == EXTRA as u64);
    assert_eq!(world.last("connections"), MOST as u64);
    for stream in &held {
        assert_eq!(echo(stream, b"untouched").unwrap(), b"untouched");
    }

    held.truncate(MOST - 3);
    until("three have left", || world.last("connections") == MOST as u64 - 3);
    held.extend((0..3).map(|_| world.connect()));
    for stream in &held {
        assert_eq!(echo(stream, b"again").unwrap(), b"again");
    }
    assert!(is_turned_away(world.address()), "the most was forgotten after it was reached once");
    assert_eq!(world.last("connections_peak"), MOST as u64);
    drop(held);
    world.serves_on_after(MOST as u64 + 3);
}

/// The most is the server's, not a core's: one that has all of the clients holds it alone.
#[test]
fn one_core_that_has_all_clients_holds_the_most() {
    const MOST: usize = 100;
    let world = World::new(&cores(2), &["--max-connections", "100", "--steer", "cpu"]);
    let first = cores(1).parse().unwrap();
    let mut only = rustix::thread::CpuSet::new();
    only.set(first);
    // This thread alone: what it sends over loopback is received by the core on its CPU.
    rustix::thread::sched_setaffinity(None, &only).unwrap();
    let held: Vec<TcpStream> = (0..MOST).map(|_| world.connect()).collect();
    for stream in &held {
        assert_eq!(echo(stream, b"within").unwrap(), b"within");
    }
    assert!(is_turned_away(world.address()), "a connection beyond the most was served");
    until("all are counted", || world.last("connections") == MOST as u64);
    drop(held);
    until("all have left", || world.last("connections") == 0);
    assert_eq!(echo(&world.connect(), b"again").unwrap(), b"again");
}

/// A connection to a full server is reset or ended, and no byte comes on it.
fn is_turned_away(server: SocketAddr) -> bool {
    let attempt = || {
        // The reset may overtake the connect or the write, which then fails instead of the read.
        let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"beyond")?;
        stream.read(&mut [0; 8])
    };
    match attempt() {
        Ok(bytes) => bytes == 0,
        Err(error) => {
            matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
        }
    }
}

#[test]
fn bytes_that_mean_nothing_are_echoed_too() {
    let world = World::new(&cores(2), &[]);
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 4096],
        &[0xff; 4097],
        &every_byte,
    ];
    let stream = world.connect();
    for bytes in garbage {
        assert_eq!(echo(&stream, bytes).unwrap(), bytes);
    }
    drop(stream);
    world.serves_on_after(1);
}

/// The first bytes of a handshake that is never gone on with, by the flag of its server.
const HALVES: [(&str, &[u8]); 3] = [
    ("--tls-self-signed", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on"),
    ("--websocket", b"GET / HTTP/1.1\r\nHost: a.example\r\nUpgr"),
    ("--proxy-protocol", b"PROXY TCP4 192.0.2.1 "),
];

#[test]
fn a_handshake_that_is_not_done_in_time_is_ended_and_counted() {
    const TIME: Duration = Duration::from_millis(400);
    // A time counts from the beginning of the turn in which the connection was accepted.
    const LONGEST_TURN: Duration = Duration::from_millis(50);
    for (flag, half) in HALVES {
        let world = World::new(&cores(1), &[flag, "--handshake-timeout", "400ms"]);
        let begun = Instant::now();
        let [silent, halved, trickling] = [(); 3].map(|()| world.connect());
        (&halved).write_all(half).unwrap();
        // Each byte that comes is no more time: a peer may not send one now and then.
        let trickled = thread::scope(|scope| {
            let trickle = scope.spawn(|| {
                let mut bytes = half.iter().cycle();
                while begun.elapsed() < 10 * TIME {
                    if (&trickling).write_all(&[*bytes.next().unwrap()]).is_err() {
                        return begun.elapsed();
                    }
                    thread::sleep(TIME / 2 / u32::try_from(half.len()).unwrap());
                }
                panic!("it is served for as long as it sends");
            });
            for mut stream in [&silent, &halved] {
                assert_eq!(stream.read(&mut [0; 100]).unwrap(), 0, "{flag}");
                let after = begun.elapsed();
                assert!(after + LONGEST_TURN >= TIME, "{flag}: {after:?}");
            }
            trickle.join().unwrap()
        });
        // A trickle that is longer than what it begins is malformed, which may come first.
        println!("{flag}: {trickled:?}");
        until("all are closed", || world.last("closed_total") == 3);
        let late = world.last("handshake_timeout_total");
        assert_eq!(late + world.last("malformed_total"), 3, "{flag}");
        assert!(late >= 2, "{flag}: {late} ran out of time");
        assert_eq!(world.last("handshakes_failed_total"), 3, "{flag}");
        assert_eq!(world.last("handshakes_total"), 0, "{flag}");
        assert_eq!(world.last("handshakes_under_way"), 0, "{flag}");
        assert_eq!(world.last("buffers_used"), 0, "{flag}");
    }
}

#[test]
fn half_client_hellos_cost_little_and_hold_nothing_up() {
    const HALVES: u64 = 4_000;
    let world = World::new(&cores(1), &["--tls-self-signed", "--handshake-timeout", "1h"]);
    let before = world.resident_kib();
    let halves: Vec<TcpStream> = (0..HALVES).map(|_| world.connect()).collect();
    for mut half in &halves {
        half.write_all(self::HALVES[0].1).unwrap();
    }
    let bytes = u64::try_from(self::HALVES[0].1.len()).unwrap() * HALVES;
    until("all have come", || world.last("recv_bytes_total") == bytes);
    // What came takes room, and no more.
    let reckoned = u64::try_from(HANDSHAKE_BYTES).unwrap();
    assert_eq!(world.last("handshakes_under_way"), bytes / reckoned, "half a hello is a whole one");
    assert_eq!(world.last("handshakes_waiting"), 0);
    assert_eq!(world.last("buffers_used"), 0);
    let each = (world.resident_kib() - before) * 1024 / HALVES;
    assert!(each < 1_500, "half a hello costs {each} bytes");
    println!("half a hello costs {each} bytes");
    shake_hands(&world.connect());
    until("another one is served", || world.last("handshakes_total") == 1);
    drop(halves);
    until("they are gone", || world.last("handshakes_failed_total") == HALVES);
}

#[test]
fn a_peer_that_stops_within_a_frame_is_closed_as_one_that_answers_no_ping() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let world = World::new(&cores(1), &["--websocket", "--ping-every", "200ms"]);
    for begun in [&b"\x81"[..], b"\x81\x85\0\0\0\0ab"] {
        let mut stream = world.connect();
        stream.write_all(request).unwrap();
        let mut answer = [0; 400];
        assert!(stream.read(&mut answer).unwrap() > 100);
        stream.write_all(begun).unwrap();
        let since = Instant::now();
        while stream.read(&mut answer).unwrap() > 0 {}
        assert!(since.elapsed() < PATIENCE, "{begun:?}");
    }
    until("both are counted", || world.last("ping_timeout_total") == 2);
    until("their buffers are back", || world.last("buffers_used") == 0);
}

/// A whole handshake, with any certificate.
fn shake_hands(mut stream: &TcpStream) {
    let settings = ClientSettings {
        trust: Trust::Anything,
        identity: None,
        protocols: Vec::new(),
        keeps_tickets: false,
        versions: Versions::Both,
    };
    let name = server_name("localhost").unwrap();
    let mut handshake = Handshake::client(&ClientTls::new(settings).unwrap(), &name).unwrap();
    let mut buffer = [0; 1_000];
    loop {
        stream.write_all(handshake.outgoing()).unwrap();
        handshake.sent(handshake.outgoing().len());
        let bytes = stream.read(&mut buffer).unwrap();
        assert!(bytes > 0, "{}", handshake.ended());
        if handshake.feed(&buffer[..bytes]).unwrap() == Progress::Done {
            return stream.write_all(&handshake.finish().unwrap().outgoing).unwrap();
        }
    }
}
