//! Real peers on a full echo path, that read slowly or not at all: only the last are cut.
//!
//! A peer's kernel acknowledges what its program reads in steps of half its receive buffer or so, so that
//! these peers have small ones. `bench-scripts/paced-readers.py` has those of a usual size, and two
//! minutes.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, cores};
use socket2::{Domain, SockAddr, Socket, Type};

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

/// Sends all that goes and reads so much each second.
fn live(mut stream: TcpStream, bytes_per_s: u32) -> Seen {
    let (began, mut taken) = (Instant::now(), (0, Instant::now()));
    let (bytes, mut space) = ([b'x'; 65_536], [0; 65_536]);
    let mut bytes_read = 0;
    let cut = loop {
        let lived = began.elapsed();
        if lived > LIVES_FOR {
            break false;
        }
        match stream.write(&bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break true,
        }
        let due = usize::try_from(lived.as_millis() * u128::from(bytes_per_s) / 1_000);
        let wanted = due.expect("some megabytes").saturating_sub(bytes_read).min(space.len());
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
    let peers = [0, 16, 32, 64].map(|kib_per_s: u32| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
        socket.connect(&address).expect("the server listens");
        socket.set_nonblocking(true).expect("an open socket");
        (kib_per_s, thread::spawn(move || live(socket.into(), kib_per_s * 1024)))
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
