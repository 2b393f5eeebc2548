//! The seam of protocols, tried with one that lives in this file alone: frames with a length in front,
//! which arrive cut anywhere, several at once or one in pieces.
//!
//! A frame is a byte, of which the low four bits are a length, and so many bytes. The answer is a frame
//! with the bytes in reverse, each changed by the number of the frame, so that an answer needs the whole
//! frame and what the connection remembers. After a byte of 255 the server answers and closes. Bytes from
//! 64 to 239 are frames by themselves and are not answered. A timer says between the answers that the
//! server is there, or nothing, or closes.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::drivers::sim::{Faults, Parting, PeerProfile, Reading, SimConfig, SimDriver};
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::{Action, Protocol};
use megaconn::engine::server::drain::Command;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::{Counter, ServerStats};

/// The protocol.
struct Framed {
    every: Option<Duration>,
    on_timer: OnTimer,
}

/// What the timer of all connections of a world does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnTimer {
    Says,
    SaysEveryOther,
    SaysNothing,
    ClosesAtTheThird,
}

const ON_TIMER: [OnTimer; 4] =
    [OnTimer::Says, OnTimer::SaysEveryOther, OnTimer::SaysNothing, OnTimer::ClosesAtTheThird];

/// Random peers do not send this.
const HERE: &[u8] = b"\xa9here\x1f\xe3\x07";

/// Frames answered, and times that the timer has run out.
#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    answered: u8,
    timers: u8,
}

impl Protocol for Framed {
    type State = Remembered;

    fn timer_every(&self) -> Option<Duration> {
        self.every
    }

    fn on_timer(&self, state: &mut Remembered, out: &mut [u8]) -> Action {
        state.timers = state.timers.wrapping_add(1);
        let says = match self.on_timer {
            OnTimer::Says => true,
            OnTimer::SaysEveryOther => state.timers.is_multiple_of(2),
            OnTimer::SaysNothing => false,
            OnTimer::ClosesAtTheThird if state.timers == 3 => {
                return Action::close(CloseReason::Finished);
            }
            OnTimer::ClosesAtTheThird => false,
        };
        if !says {
            return Action::NOTHING;
        }
        out[..HERE.len()].copy_from_slice(HERE);
        Action::send(0..u16::try_from(HERE.len()).expect("it is short"))
    }

    fn on_bytes(&self, state: &mut Remembered, buffer: &mut [u8], filled: u16) -> Action {
        let bytes = &mut buffer[..usize::from(filled)];
        let (mut at, mut end) = (0, 0);
        let mut is_last = false;
        while let Some(frame) = whole_frame(&mut bytes[at..]).filter(|_| !is_last) {
            is_last = frame[0] == LAST;
            let length = frame.len();
            if is_answered(frame) {
                answer(frame, &mut state.answered);
                bytes.copy_within(at..at + length, end);
                end += length;
            }
            at += length;
        }
        let [at, end] = [at, end].map(|place| u16::try_from(place).expect("it is in a buffer"));
        let sent = if end > 0 { Action::send(0..end) } else { Action::NOTHING };
        if is_last {
            return Action { close: Some(CloseReason::Finished), ..sent };
        }
        sent.keeping(at..filled)
    }
}

const LAST: u8 = 255;

const SILENT: std::ops::RangeInclusive<u8> = 64..=239;

fn whole_frame(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let first = *bytes.first()?;
    let length = if SILENT.contains(&first) { 1 } else { 1 + usize::from(first & 15) };
    bytes.get_mut(..length)
}

fn is_answered(frame: &[u8]) -> bool {
    !SILENT.contains(&frame[0])
}

fn answer(frame: &mut [u8], answered: &mut u8) {
    frame[1..].reverse();
    frame[1..].iter_mut().for_each(|byte| *byte ^= *answered);
    *answered = answered.wrapping_add(1);
}

/// What is to come back for a stream.
#[derive(Default)]
struct Answers {
    bytes: Vec<u8>,
    /// Where each frame of them ends.
    ends: Vec<usize>,
    /// A last frame is among them.
    has_last: bool,
    /// Bytes behind the frames that are whole, none of which is the last.
    rest: usize,
}

fn answers(stream: &[u8]) -> Answers {
    let (mut rest, mut answered, mut all) = (stream.to_vec(), 0, Answers::default());
    while let Some(frame) = whole_frame(&mut rest).filter(|_| !all.has_last) {
        all.has_last = frame[0] == LAST;
        if is_answered(frame) {
            answer(frame, &mut answered);
            all.bytes.extend_from_slice(frame);
            all.ends.push(all.bytes.len());
        }
        let length = frame.len();
        rest.drain(..length);
    }
    all.rest = if all.has_last { 0 } else { rest.len() };
    all
}

/// Takes what the timer said out of what a peer received, and says where it stood in the rest.
fn without_timers(received: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut places, mut at) = (Vec::new(), Vec::new(), 0);
    while at < received.len() {
        if received[at..].starts_with(HERE) {
            places.push(bytes.len());
            at += HERE.len();
        } else {
            bytes.push(received[at]);
            at += 1;
        }
    }
    (bytes, places)
}

/// What was seen in one world, or in many.
#[derive(Default)]
struct Seen {
    /// Connections that the server closed after a last frame.
    last: usize,
    /// Peers that were read in full and went in the middle of a frame.
    cut: usize,
    /// Worlds in which every answer had to come, and did.
    whole_worlds: usize,
    /// Texts of the timer that came.
    said: usize,
    /// Texts of the timer that came between answers.
    said_between: usize,
    /// Times that a timer closed.
    closed_by_timer: u64,
}

type Shard = Server<SimDriver, Banner<Framed>>;

const PEERS: usize = 12;

/// One world.
fn live(seed: u64, seen: &mut Seen) {
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
        connections_max: 64,
        idle_timeout: (random.u8(..8) == 0).then(|| Duration::from_millis(random.u64(50..300))),
        ..ServerConfig::new(1, 8)
    };
    let text = random.bool().then(|| "hi".parse().expect("a text"));
    let greeting = if text.is_some() { &b"hi"[..] } else { b"" };
    let every = (random.u8(..3) > 0).then(|| Duration::from_millis(random.u64(1..120)));
    let on_timer = ON_TIMER[random.usize(..ON_TIMER.len())];
    let protocol = Banner { text, then: Framed { every, on_timer } };
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
    if random.u8(..8) == 0 {
        shard.handle_command(Command::Drain(Duration::from_millis(random.u64(1..500))));
    }
    shard.end.driver.leave_all();
    run_until(&mut shard, Duration::from_secs(30));
    assert_eq!(shard.connections(), 0, "seed {seed}: connections are left");
    assert_eq!(shard.end.driver.buffers_used(), 0, "seed {seed}: buffers are left");
    let closes = every.is_some() && on_timer == OnTimer::ClosesAtTheThird;
    let mut wrong = 0;
    for (number, peer) in shard.end.driver.peers().iter().enumerate() {
        let answers = answers(&peer.sent);
        let expected = [greeting, &answers.bytes].concat();
        let (received, said_at) = without_timers(&peer.received);
        let is_whole = received == expected;
        wrong += u64::from(!is_whole);
        // A peer may have gone while the text of a timer was on its way.
        let mut cuts = (0..HERE.len()).filter(|&cut| received.ends_with(&HERE[..cut]));
        let is_part = cuts.any(|cut| expected.starts_with(&received[..received.len() - cut]));
        assert!(is_part, "seed {seed}: peer {number} was answered {:?}", peer.received);
        let ends = answers.ends.iter().map(|end| greeting.len() + end);
        let ends: Vec<usize> = std::iter::once(greeting.len()).chain(ends).collect();
        let is_between = |at: &usize| ends.contains(at);
        assert!(said_at.iter().all(is_between), "seed {seed}: peer {number}, a frame was cut");
        seen.said += said_at.len();
        let inner = |at: &&usize| **at > greeting.len() && **at < expected.len();
        seen.said_between += said_at.iter().filter(inner).count();
        seen.last += usize::from(is_whole && answers.has_last && peer.saw_end);
        seen.cut += usize::from(is_whole && answers.rest > 0 && peer.read == peer.sent.len());
    }
    // A peer that stopped in the middle of a frame may have had to give its buffer to others, one that
    // resets when it is told to leave may miss an answer, and so may one that was closed.
    let ended = [&stats.evicted_total, &stats.reset_total, &stats.idle_timeout_total];
    let drained = [&stats.drained_total, &stats.drain_cut_total];
    let excused: u64 = ended.into_iter().chain(drained).map(Counter::get).sum();
    if closes {
        seen.closed_by_timer += wrong;
    } else {
        assert!(wrong <= excused, "seed {seed}: {wrong} answers are missing, {excused} excused");
        seen.whole_worlds += usize::from(excused == 0);
    }
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
    let mut seen = Seen::default();
    (0..1_000).for_each(|seed| live(seed, &mut seen));
    let Seen { last, cut, whole_worlds, said, said_between, closed_by_timer } = seen;
    let figures = [last, cut, whole_worlds, said, said_between];
    assert!(figures.iter().all(|figure| *figure >= 60), "{figures:?}: too friendly");
    assert!(closed_by_timer >= 50, "timers closed {closed_by_timer}: too friendly");
}
