//! What a server does about many connects at once: it accepts at the pace of `--accept-rate`, and holds no more of
//! one source address than `--max-connections-per-source`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use common::{PATIENCE, Server, cores, echo, last, until};
use socket2::{Domain, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn server(stats: &Path, flags: &[&str]) -> Server {
    let (stats, cores) = (stats.to_str().unwrap(), cores(2));
    let always = ["--stats", stats, "--stats-every", "50ms", "--cores", &cores];
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    Server::start(binary, Ipv4Addr::LOCALHOST.into(), 1, &[&always[..], flags].concat())
}

fn connect_from(source: [u8; 4], target: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&target.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// Whether the server serves it, or has reset it.
fn is_served(mut stream: &TcpStream) -> bool {
    let mut served = || -> io::Result<bool> {
        let mut back = [0];
        stream.write_all(b"x")?;
        Ok(stream.read(&mut back)? == 1)
    };
    served().unwrap_or(false)
}

#[test]
fn one_source_has_no_more_than_it_may_over_all_cores() {
    let directory = tempfile::tempdir().unwrap();
    let stats = directory.path().join("server.ndjson");
    let server = server(&stats, &["--max-connections-per-source", "5", "--steer", "hash"]);
    let connect = |source| (0..20).map(|_| connect_from(source, server.address)).collect();
    let [a, b]: [Vec<TcpStream>; 2] = [[127, 0, 0, 21], [127, 0, 0, 22]].map(connect);
    let served = |all: &[TcpStream]| all.iter().filter(|one| is_served(one)).count();
    assert_eq!((served(&a), served(&b)), (5, 5));
    until("the refusals are counted", || last(&stats, "refused_per_source_total") == 30);
    assert_eq!(last(&stats, "refused_total"), 0);
    until("the others are held", || last(&stats, "connections") == 10);
    // Those that go make room for others of the same address.
    drop(a);
    until("they have gone", || last(&stats, "connections") == 5);
    let again: Vec<TcpStream> = connect([127, 0, 0, 21]);
    assert_eq!((served(&again), served(&b)), (5, 5));
}

#[test]
fn a_storm_is_let_in_at_the_pace_that_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let stats = directory.path().join("server.ndjson");
    let server = server(&stats, &["--accept-rate", "200/s"]);
    let before = TcpStream::connect(server.address).unwrap();
    assert_eq!(echo(&before, b"calm").unwrap(), b"calm");
    let began = Instant::now();
    let storm: Vec<TcpStream> =
        (0..400).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    // All are connected by the kernel at once; one that is up already is served meanwhile.
    let mut slowest = Duration::ZERO;
    for _ in 0..50 {
        let asked = Instant::now();
        assert_eq!(echo(&before, b"storm").unwrap(), b"storm");
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    for stream in &storm {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(echo(stream, b"in").unwrap(), b"in");
    }
    // One core may have them all: it lets in its half of the rate.
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_700) && took < Duration::from_secs(20), "{took:?}");
    until("all are counted", || last(&stats, "accepted_total") == 401);
    assert!(last(&stats, "accept_paced_us_total") > 500_000);
    assert_eq!(last(&stats, "refused_total"), 0);
    // When it is calm again one that connects is served at once.
    drop(storm);
    std::thread::sleep(Duration::from_millis(100));
    let asked = Instant::now();
    assert_eq!(echo(&TcpStream::connect(server.address).unwrap(), b"calm").unwrap(), b"calm");
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
}
