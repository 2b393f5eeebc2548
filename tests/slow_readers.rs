//! Real peers on a full echo path, that read slowly or not at all: only the last are cut.
//!
//! A peer's kernel tells what its program read in steps of up to its receive buffer. Some of these peers
//! have a small one, and one reads a usual one in just the time of a send, which is the limit of what can
//! be known. `bench-scripts/paced-readers.py` has them for some minutes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, cores};
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Time that a send has.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Five send timeouts.
const LIVES_FOR: Duration = Duration::from_secs(10);

/// Bytes of a receive buffer that are asked for; the kernel gives twice as many.
const RECEIVE_BUFFER: usize = 8192;

/// What a peer has seen.
#[derive(Debug)]
struct Seen {
    /// When it was cut, if it was, after the last byte that its kernel took.
    cut_after: Option<Duration>,
    bytes_read: usize,
}

/// How fast a peer reads.
#[derive(Clone, Copy)]
enum Pace {
    BytesPerS(u64),
    /// All that its receive buffer may hold, as large as that is by now, in this time.
    BufferIn(Duration),
}

impl Pace {
    fn bytes_per_s(self, stream: &TcpStream) -> f64 {
        match self {
            Pace::BytesPerS(bytes) => bytes as f64,
            Pace::BufferIn(time) => {
                let bytes = SockRef::from(stream).recv_buffer_size().expect("an open socket");
                bytes as f64 / time.as_secs_f64()
            }
        }
    }
}

/// Sends all that goes and reads at a pace.
fn live(mut stream: TcpStream, pace: Pace, lives_for: Duration) -> Seen {
    let (began, mut taken) = (Instant::now(), (0, Instant::now()));
    let (bytes, mut space) = ([b'x'; 65_536], [0; 65_536]);
    let (mut bytes_read, mut due, mut looked) = (0, 0.0, began);
    let cut = loop {
        let now = Instant::now();
        if now - began > lives_for {
            break false;
        }
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break true,
        }
        due += pace.bytes_per_s(&stream) * (now - looked).as_secs_f64();
        looked = now;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some megabytes"
        )]
        let wanted = (due as usize).saturating_sub(bytes_read).min(space.len());
        match stream.read(&mut space[..wanted]) {
            Ok(read) => bytes_read += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break true,
        }
        let waiting = rustix::io::ioctl_fionread(&stream).expect("a socket tells");
        if waiting != taken.0 {
            taken = (waiting, Instant::now());
        }
        thread::sleep(Duration::from_millis(10));
    };
    Seen { cut_after: cut.then(|| taken.1.elapsed()), bytes_read }
}

#[test]
fn a_slow_reader_is_never_cut_and_one_that_takes_nothing_is_in_time() {
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let flags = ["--cores", &cores(2), "--send-timeout", "2s"];
    let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
    let address = SockAddr::from(server.address);
    let peers = [0, 16, 32, 64].map(|kib_per_s: u64| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
        socket.connect(&address).expect("the server listens");
        socket.set_nonblocking(true).expect("an open socket");
        let pace = Pace::BytesPerS(kib_per_s * 1024);
        (kib_per_s, thread::spawn(move || live(socket.into(), pace, LIVES_FOR)))
    });
    for (kib_per_s, peer) in peers {
        let seen = peer.join().expect("a peer does not panic");
        let is_right = match (kib_per_s, seen.cut_after) {
            (0, Some(after)) => {
                {
                    // The server finds no room a moment before the last byte goes, or after.
                    let least = SEND_TIMEOUT - Duration::from_millis(100);
                    (least..SEND_TIMEOUT + Duration::from_secs(1)).contains(&after)
                }
            }
            (0, None) => false,
            (_, after) => after.is_none() && seen.bytes_read > 0,
        };
        assert!(is_right, "at {kib_per_s} KiB/s: {seen:?}");
    }
}

/// The limit of what can be known: a peer with a usual receive buffer that reads just this buffer in the
/// time of a send. One of half the pace may be told from a peer that takes nothing, or not.
#[test]
fn a_peer_that_reads_a_usual_receive_buffer_in_the_time_of_a_send_lives() {
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let send_timeout = Duration::from_secs(5);
    let flags = ["--cores", &cores(2), "--send-timeout", "5s"];
    let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
    let lives_for = 5 * send_timeout;
    let peers = [0, 1, 2].map(|_| {
        let stream = TcpStream::connect(server.address).expect("the server listens");
        stream.set_nonblocking(true).expect("an open socket");
        thread::spawn(move || live(stream, Pace::BufferIn(send_timeout), lives_for))
    });
    for peer in peers {
        let seen = peer.join().expect("a peer does not panic");
        assert!(seen.cut_after.is_none() && seen.bytes_read > 0, "{seen:?}");
    }
}
