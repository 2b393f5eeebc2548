//! The seam of protocols, tried with one that lives in this file alone: frames with a length in front,
//! which arrive cut anywhere, several at once or one in pieces.
//!
//! A frame is a byte, of which the low four bits are a length, and so many bytes. The answer is a frame
//! with the bytes in reverse, each changed by the number of the frame, so that an answer needs the whole
//! frame and what the connection remembers. After a byte of 255 the server answers and closes.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::SEND_TIMEOUT;
use megaconn::drivers::sim::{Faults, Parting, PeerProfile, Reading, SimConfig, SimDriver};
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::{Action, Protocol};
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::ServerStats;

/// The protocol.
struct Framed;

impl Protocol for Framed {
    /// Frames answered so far.
    type State = u8;

    fn on_bytes(&self, answered: &mut u8, buffer: &mut [u8], filled: u16) -> Action {
        let (mut at, bytes) = (0, &mut buffer[..usize::from(filled)]);
        let mut is_last = false;
        while let Some(frame) = whole_frame(&mut bytes[at..]).filter(|_| !is_last) {
            is_last = frame[0] == LAST;
            at += frame.len();
            answer(frame, answered);
        }
        let at = u16::try_from(at).expect("a buffer has 16 bits");
        let sent = if at > 0 { Action::send(0..at) } else { Action::NOTHING };
        if is_last {
            return Action { close: Some(CloseReason::Finished), ..sent };
        }
        sent.keeping(at..filled)
    }
}

const LAST: u8 = 255;

fn whole_frame(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let length = 1 + usize::from(bytes.first()? & 15);
    bytes.get_mut(..length)
}

fn answer(frame: &mut [u8], answered: &mut u8) {
    frame[1..].reverse();
    frame[1..].iter_mut().for_each(|byte| *byte ^= *answered);
    *answered = answered.wrapping_add(1);
}

/// What is to come back for all of a stream.
fn answers(stream: &[u8]) -> Vec<u8> {
    let (mut rest, mut answered, mut all) = (stream.to_vec(), 0, Vec::new());
    while let Some(frame) = whole_frame(&mut rest) {
        answer(frame, &mut answered);
        let (is_last, length) = (frame[0] == LAST, frame.len());
        all.extend_from_slice(frame);
        rest.drain(..length);
        if is_last {
            break;
        }
    }
    all
}

type Shard = Server<SimDriver, Banner<Framed>>;

const PEERS: usize = 12;

/// One world, and how many of its connections were closed by the server after a last frame, and how
/// many peers went in the middle of a frame.
fn live(seed: u64) -> (usize, usize) {
    let mut random = Rng::with_seed(seed);
    let sim = SimConfig {
        seed,
        listeners: 1,
        buffers: random.u16(1..=8),
        buffer_bytes: random.u16(18..=64),
        message_bytes: 0,
        faults: Faults { would_block: random.u32(..300), stale: 500, ..Faults::default() },
        mutation: None,
    };
    let config = ServerConfig {
        listeners: 1,
        slots_per_segment: 8,
        connections_max: 64,
        idle_timeout: None,
        send_timeout: SEND_TIMEOUT,
    };
    let text = random.bool().then(|| "hi".parse().expect("a text"));
    let greeting = if text.is_some() { &b"hi"[..] } else { b"" };
    let protocol = Banner { text, then: Framed };
    let stats = Arc::new(ServerStats::new());
    let shard = Server::new(SimDriver::new(sim), config, protocol, Arc::clone(&stats));
    let mut shard = shard.expect("every segment opens in this world");
    for _ in 0..PEERS {
        let parting = if random.u8(..4) == 0 { Parting::Stay } else { Parting::HalfClose };
        let (bytes, window) = (random.usize(..300), random.usize(8..200));
        let profile =
            PeerProfile { bytes, window, reading: Reading::Promptly, parting, echo: None };
        shard.end.driver.arrive(0, profile, Duration::from_micros(random.u64(..100_000)));
    }
    run_until(&mut shard, Duration::from_millis(400));
    shard.end.driver.leave_all();
    run_until(&mut shard, Duration::from_secs(30));
    assert_eq!(shard.connections(), 0, "seed {seed}: connections are left");
    assert_eq!(shard.end.driver.buffers_used(), 0, "seed {seed}: buffers are left");
    let evicted = stats.evicted_total.get();
    let (mut wrong, mut last, mut cut) = (0, 0, 0);
    for (number, peer) in shard.end.driver.peers().iter().enumerate() {
        let expected = [greeting, &answers(&peer.sent)].concat();
        let is_whole = peer.received == expected;
        wrong += u64::from(!is_whole);
        let is_part = expected.starts_with(&peer.received);
        assert!(is_part, "seed {seed}: peer {number} was answered {:?}", peer.received);
        last += usize::from(is_whole && peer.received.len() < peer.sent.len());
        cut += usize::from(is_whole && peer.read == peer.sent.len());
    }
    // A peer that stopped in the middle of a frame may have had to give its buffer to others, and one
    // that resets when it is told to leave may miss an answer.
    assert!(wrong <= evicted + stats.reset_total.get(), "seed {seed}: {wrong} answers are missing");
    (last, cut)
}

fn run_until(shard: &mut Shard, time: Duration) {
    while shard.end.driver.now() < time {
        let turn = shard.turn();
        let turn = match shard.end.driver.prepare_to_sleep(turn) {
            Turn::Idle(None) => Turn::Idle(Some(Duration::from_millis(10))),
            turn => turn,
        };
        shard.end.driver.pass(turn);
    }
}

#[test]
fn frames_that_are_cut_anywhere_are_answered_whole() {
    let (mut last, mut cut) = (0, 0);
    for seed in 0..300 {
        let world = live(seed);
        last += world.0;
        cut += world.1;
    }
    assert!(last >= 100 && cut >= 100, "{last} ended early and {cut} in full: too friendly");
}
