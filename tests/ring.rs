//! The ring against plain system calls: the same script of a peer, played to a connection that the
//! driver accepted and to one that `accept` did, must give the same bytes and the same errors.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use megaconn::base::errno::Errno;
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::driver::{Completion, Dial, Driver, Listen, Readiness, ShutdownMode};
use megaconn::engine::token::{Generation, Operation, SlotId, Token};
use megaconn::engine::worker::Wakeup;
use megaconn::host::ports;
use megaconn::host::procfs::ProcFs;
use megaconn::sys::doorbell::Doorbell;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use socket2::{Domain, SockRef, Socket, Type};

const SLOTS: u32 = 64;
const BUFFER_BYTES: u16 = 1024;

/// A driver with one segment and one listener, on an executor of its own.
fn with_driver<T: 'static>(test: impl FnOnce(&mut UringDriver, SocketAddr) -> T + 'static) -> T {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).make().unwrap();
    executor.run(async move {
        let bell = Doorbell::new().unwrap();
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        listener.listen(64).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let config = UringConfig {
            listeners: vec![listener],
            targets: vec![address],
            ephemeral_ports: ports::ephemeral(&ProcFs::host()),
            buffers: (4, BUFFER_BYTES),
            keepalive: None,
            sends_at_once: false,
            keeps_peers: false,
        };
        let mut driver = UringDriver::new(config, &bell).unwrap();
        driver.open_segment(0, SLOTS).unwrap();
        let result = test(&mut driver, address);
        drop(driver);
        bell.close().await;
        result
    })
}

fn token(operation: Operation, index: u16) -> Token {
    Token::new(operation, Generation::new(7), SlotId::new(0, index))
}

/// Submits and reaps until `token` has completed; anything else that completes is a failure.
fn complete(driver: &mut UringDriver, token: Token) -> Result<u32, Errno> {
    let mut batch = Vec::with_capacity(16);
    for _ in 0..2_000 {
        driver.submit();
        driver.reap(&mut batch);
        if let Some(Completion { token: completed, result }) = batch.pop() {
            assert_eq!(completed, token, "another operation completed");
            return result;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{token:?} did not complete within two seconds");
}

fn accept(driver: &mut UringDriver, index: u16) -> Result<u32, Errno> {
    driver.accept(token(Operation::Accept, index), 0);
    complete(driver, token(Operation::Accept, index))
}

#[test]
fn a_connection_lives_and_ends_in_its_slot() {
    with_driver(|driver, address| {
        let peer = TcpStream::connect(address).unwrap();
        accept(driver, 3).unwrap();

        (&peer).write_all(b"hello").unwrap();
        driver.poll(token(Operation::PollReadable, 3));
        let events = complete(driver, token(Operation::PollReadable, 3)).unwrap();
        assert!(!Readiness::from_events(events).is_gone());
        let buffer = driver.take_buffer().unwrap();
        driver.recv(token(Operation::Recv, 3), buffer, 2);
        assert_eq!(complete(driver, token(Operation::Recv, 3)), Ok(5));
        assert_eq!(&driver.buffer(buffer)[2..7], b"hello");
        driver.send(token(Operation::Send, 3), buffer, 3..7);
        assert_eq!(complete(driver, token(Operation::Send, 3)), Ok(4));
        let mut echo = [0; 4];
        (&peer).read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"ello");

        driver.close(token(Operation::Close, 3));
        assert_eq!(complete(driver, token(Operation::Close, 3)), Ok(0));
        assert_eq!((&peer).read(&mut echo).unwrap(), 0, "the close did not reach the peer");
        driver.close(token(Operation::Close, 3));
        assert_eq!(complete(driver, token(Operation::Close, 3)), Err(Errno::EBADF));
    });
}

#[test]
fn a_receive_waits_for_bytes_and_may_be_taken_back() {
    with_driver(|driver, address| {
        let mut batch = Vec::with_capacity(16);
        let mut peer = TcpStream::connect(address).unwrap();
        accept(driver, 3).unwrap();
        let (buffer, recv) = (driver.take_buffer().unwrap(), token(Operation::Recv, 3));

        driver.await_bytes(recv, buffer);
        driver.submit();
        driver.reap(&mut batch);
        assert_eq!(batch, [], "there were no bytes");
        peer.write_all(b"late").unwrap();
        assert_eq!(complete(driver, recv), Ok(4));
        assert_eq!(&driver.buffer(buffer)[0..4], b"late");

        driver.await_bytes(recv, buffer);
        driver.submit();
        driver.cancel(recv);
        let until = Instant::now() + Duration::from_secs(2);
        while batch.len() < 2 {
            assert!(Instant::now() < until, "a cancelled receive waits still: {batch:?}");
            driver.submit();
            driver.reap(&mut batch);
        }
        assert!(batch.contains(&Completion { token: recv, result: Err(Errno::ECANCELED) }));

        // A shutdown ends the wait as well, in order or by a reset.
        driver.await_bytes(recv, buffer);
        driver.submit();
        driver.shutdown(token(Operation::Shutdown, 3), ShutdownMode::Both);
        batch.clear();
        while batch.len() < 2 {
            assert!(Instant::now() < until, "a receive outlasts the connection: {batch:?}");
            driver.submit();
            driver.reap(&mut batch);
        }
        assert!(batch.contains(&Completion { token: recv, result: Ok(0) }), "{batch:?}");
    });
}

#[test]
fn connect_uses_the_planned_source_inside_and_outside_of_the_ephemeral_range() {
    with_driver(|driver, _| {
        let inside = *ports::ephemeral(&ProcFs::host()).end() - 3;
        let outside = ports::ephemeral(&ProcFs::host()).start().checked_sub(317).unwrap();
        for (index, port) in (0..).zip([inside, outside]) {
            let source = SocketAddr::from(([127, 9, 8, 7], port));
            let connect = token(Operation::Connect, index);
            driver.connect(connect, source, 0).unwrap();
            assert_eq!(complete(driver, connect), Ok(0));
            accept(driver, 10 + index).unwrap();
            // The same tuple once more is taken, by bind or by connect.
            let again = token(Operation::Connect, 20 + index);
            let refused = match driver.connect(again, source, 0) {
                Ok(()) => complete(driver, again),
                Err(errno) => Err(errno),
            };
            assert!(
                matches!(refused, Err(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE)),
                "a tuple in use gave {refused:?}"
            );
        }
    });
}

#[test]
fn a_cancelled_accept_says_so_and_a_listener_can_be_refused() {
    with_driver(|driver, address| {
        driver.accept(token(Operation::Accept, 0), 0);
        driver.submit();
        driver.cancel(token(Operation::Accept, 0));
        let mut batch = Vec::with_capacity(16);
        let mut seen = Vec::new();
        while seen.len() < 2 {
            driver.submit();
            driver.reap(&mut batch);
            seen.append(&mut batch);
        }
        let of = |operation| seen.iter().find(|c| c.token.operation() == operation).unwrap().result;
        assert_eq!(of(Operation::Accept), Err(Errno::ECANCELED));
        assert_eq!(of(Operation::Cancel), Ok(0));

        let watch = token(Operation::PollListener, 0);
        driver.poll_listener(watch, 0);
        let peers: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        complete(driver, watch).unwrap();
        assert_eq!(driver.refuse(0, 2), 2);
        assert_eq!(driver.refuse(0, 64), 1);
        assert_eq!(driver.refuse(0, 64), 0);
        for mut peer in peers {
            let error = peer.read(&mut [0; 1]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        }
    });
}

#[test]
fn more_operations_than_the_rings_hold_all_complete() {
    with_driver(|driver, _| {
        // Twenty times the completion queue, before anything is reaped.
        let asked: u64 = 20 * u64::from(megaconn::base::constants::CQ_ENTRIES);
        for generation in 0..u32::try_from(asked).unwrap() {
            let slot = SlotId::new(0, 5);
            driver.close(Token::new(Operation::Close, Generation::new(generation), slot));
        }
        let mut batch = Vec::with_capacity(100);
        let mut answered = std::collections::BTreeSet::new();
        for _ in 0..10_000 {
            driver.submit();
            driver.reap(&mut batch);
            for completion in batch.drain(..) {
                assert_eq!(completion.result, Err(Errno::EBADF));
                let generation = completion.token.generation().get();
                assert!(answered.insert(generation), "an operation completed twice");
            }
        }
        assert_eq!(answered.len() as u64, asked);
        // The kernel may have had something else for this thread first.
        let may_sleep = |driver: &mut UringDriver| {
            driver.arm(true);
            !driver.has_work()
        };
        assert!((0..3).any(|_| may_sleep(driver)), "an idle driver may sleep");
    });
}

#[test]
fn a_cut_resets_the_peer_and_completes_what_waits() {
    with_driver(|driver, address| {
        let mut peer = TcpStream::connect(address).unwrap();
        accept(driver, 3).unwrap();
        let poll = token(Operation::PollReadable, 3);
        driver.poll(poll);
        driver.submit();
        driver.shutdown(token(Operation::Shutdown, 3), ShutdownMode::Reset);
        let mut batch = Vec::with_capacity(16);
        let mut seen = Vec::new();
        for _ in 0..2_000 {
            driver.submit();
            driver.reap(&mut batch);
            seen.append(&mut batch);
            if seen.len() == 2 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let of = |token| seen.iter().find(|c| c.token == token).map(|c| c.result);
        assert_eq!(of(token(Operation::Shutdown, 3)), Some(Ok(0)), "{seen:?}");
        let events = of(poll).expect("the armed poll completes").unwrap();
        assert!(
            Readiness::from_events(events).is_gone(),
            "the poll does not say that the connection is gone"
        );
        let error = peer.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        driver.close(token(Operation::Close, 3));
        assert_eq!(complete(driver, token(Operation::Close, 3)), Ok(0));
    });
}

#[test]
fn a_listener_that_ends_gets_its_accepts_back_and_turns_all_away() {
    with_driver(|driver, address| {
        let mut served = TcpStream::connect(address).unwrap();
        accept(driver, 0).unwrap();
        driver.accept(token(Operation::Accept, 1), 0);
        driver.submit();
        driver.stop_listening();
        let outstanding = complete(driver, token(Operation::Accept, 1));
        assert!(outstanding.is_err(), "an accept of a closed listener gave {outstanding:?}");
        let later = accept(driver, 2);
        assert!(later.is_err(), "an accept of a closed listener gave {later:?}");
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::ECONNREFUSED));
        // Twice is no harm, and who was served is served on.
        driver.stop_listening();
        driver.shutdown(token(Operation::Shutdown, 0), ShutdownMode::Both);
        complete(driver, token(Operation::Shutdown, 0)).unwrap();
        assert_eq!(served.read(&mut [0; 1]).unwrap(), 0, "the end was not in order");
    });
}

#[test]
fn a_connection_that_waits_at_a_listener_that_ends_is_reset() {
    with_driver(|driver, address| {
        let watch = token(Operation::PollListener, 0);
        driver.poll_listener(watch, 0);
        driver.submit();
        let mut waiting = TcpStream::connect(address).unwrap();
        driver.stop_listening();
        complete(driver, watch).unwrap();
        assert_eq!(driver.refuse(0, 64), 0, "a listener that has ended has nobody to refuse");
        let error = waiting.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
    });
}

/// One thing a peer does, or the server does to it.
#[derive(Clone, Debug)]
enum Step {
    PeerWrites(u16),
    PeerReads,
    PeerEnds,
    PeerResets,
    Recv,
    Send(u16),
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..3000_u16).prop_map(Step::PeerWrites),
        2 => Just(Step::PeerReads),
        1 => Just(Step::PeerEnds),
        1 => Just(Step::PeerResets),
        5 => Just(Step::Recv),
        3 => (1..BUFFER_BYTES).prop_map(Step::Send),
        1 => Just(Step::End),
    ]
}

/// What the server's side of a script saw.
type Seen = Vec<Result<Vec<u8>, Errno>>;

/// Plays `script`; `server` answers the steps that are the server's.
fn play(
    peer: TcpStream,
    script: &[Step],
    mut server: impl FnMut(&Step) -> Result<Vec<u8>, Errno>,
) -> Seen {
    let mut peer = Some(peer);
    let mut seen = Seen::new();
    for (mark, step) in (0_u8..).zip(script) {
        match (step, &mut peer) {
            (Step::Recv | Step::Send(_) | Step::End, _) => seen.push(server(step)),
            (Step::PeerResets, peer) => {
                if let Some(peer) = peer.take() {
                    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
                }
            }
            (_, None) => {}
            (Step::PeerWrites(bytes), Some(peer)) => {
                // A peer that has ended, or is cut, cannot write: that is its own affair.
                let _ = peer.write_all(&vec![mark; usize::from(*bytes)]);
            }
            (Step::PeerReads, Some(peer)) => {
                peer.set_nonblocking(true).unwrap();
                let _ = peer.read(&mut [0; 4096]);
                peer.set_nonblocking(false).unwrap();
            }
            (Step::PeerEnds, Some(peer)) => drop(peer.shutdown(Shutdown::Write)),
        }
    }
    seen
}

fn play_to_ring(script: Vec<Step>) -> Seen {
    with_driver(move |driver, address| {
        let peer = TcpStream::connect(address).unwrap();
        accept(driver, 0).unwrap();
        let buffer = driver.take_buffer().unwrap();
        play(peer, &script, |step| match step {
            Step::Recv => {
                driver.recv(token(Operation::Recv, 0), buffer, 0);
                let bytes = complete(driver, token(Operation::Recv, 0))?;
                Ok(driver.buffer(buffer)[..bytes as usize].to_vec())
            }
            Step::Send(bytes) => {
                driver.buffer(buffer)[..usize::from(*bytes)].fill(1);
                driver.send(token(Operation::Send, 0), buffer, 0..*bytes);
                let sent = complete(driver, token(Operation::Send, 0))?;
                Ok(vec![1; sent as usize])
            }
            _ => {
                driver.shutdown(token(Operation::Shutdown, 0), ShutdownMode::Sending);
                complete(driver, token(Operation::Shutdown, 0)).map(|_| Vec::new())
            }
        })
    })
}

fn play_to_plain_socket(script: &[Step]) -> Seen {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let errno = |error: std::io::Error| Errno::from(&error);
    play(peer, script, |step| match step {
        Step::Recv => {
            let mut bytes = vec![0; usize::from(BUFFER_BYTES)];
            let read = socket.read(&mut bytes).map_err(errno)?;
            bytes.truncate(read);
            Ok(bytes)
        }
        Step::Send(bytes) => {
            let sent = socket.write(&vec![1; usize::from(*bytes)]).map_err(errno)?;
            Ok(vec![1; sent])
        }
        _ => socket.shutdown(Shutdown::Write).map(|()| Vec::new()).map_err(errno),
    })
}

#[test]
fn the_ring_sees_what_plain_calls_see() {
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(150) });
    let scripts = prop::collection::vec(step(), 1..24);
    let result = runner.run(&scripts, |script| {
        prop_assert_eq!(play_to_ring(script.clone()), play_to_plain_socket(&script));
        Ok(())
    });
    result.unwrap();
}

#[test]
fn what_a_peer_has_not_acknowledged_is_told() {
    with_driver(|driver, address| {
        let peer = TcpStream::connect(address).unwrap();
        accept(driver, 3).unwrap();
        let (buffer, ask) = (driver.take_buffer().unwrap(), token(Operation::Unacked, 3));
        let send = token(Operation::Send, 3);
        let mut sent = 0;
        while let Ok(bytes) = {
            driver.send(send, buffer, 0..BUFFER_BYTES);
            complete(driver, send)
        } {
            sent += u64::from(bytes);
        }
        driver.unacked(ask);
        // Kernels before 6.7 cannot tell.
        let Ok(unacked) = complete(driver, ask) else { return };
        assert!(unacked > 0 && u64::from(unacked) <= sent, "{unacked} of {sent}");
        std::io::copy(&mut (&peer).take(sent), &mut std::io::sink()).unwrap();
        driver.unacked(ask);
        assert_eq!(complete(driver, ask), Ok(0), "all of it was read");
    });
}
