//! Sockets and time of a seeded world, as [`Driver`] has them.
//!
//! What an endpoint asks for is checked against the invariants and queued here; what becomes of it is
//! in `world`, how connections come about in `connect`.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use crate::base::errno::Errno;
use crate::engine::driver::{Completion, Dial, Driver, Listen, ShutdownMode};
use crate::engine::slot::BufferId;
use crate::engine::token::{Operation, SlotId, Token};
use crate::engine::worker::{Turn, Wakeup};

use super::behavior::PeerBehavior;
use super::choices::Choices;
use super::event::{Answer, Ask, Attempt, Event, Move};
use super::faults::{Faults, Mutation};
use super::invariants::{Invariants, Pool};
use super::peer::{Parting, Peer, PeerProfile, Reading};

/// What a simulated world is made of.
#[derive(Clone, Copy, Debug)]
pub struct SimConfig {
    /// Source of all decisions.
    pub seed: u64,
    /// Listening sockets.
    pub listeners: usize,
    /// Buffers of the pool. Few, so that it runs empty.
    pub buffers: u16,
    /// Bytes of one buffer. Few, so that streams pass in many pieces.
    pub buffer_bytes: u16,
    /// Length of the messages that peers which were connected to expect.
    pub message_bytes: usize,
    /// What fails, and how often.
    pub faults: Faults,
    /// A rule that the world itself breaks, to prove that the checks can fail.
    pub mutation: Option<Mutation>,
}

/// What has happened in a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounts {
    /// Descriptors that came into a slot.
    pub opened: u64,
    /// Descriptors closed.
    pub closed: u64,
    /// Connections reset by `refuse`.
    pub refused: u64,
    /// Completions of earlier lives that were delivered.
    pub stale: u64,
    /// Segments that could not be opened.
    pub segments_failed: u64,
    /// Connects that failed at once because a connection has their tuple.
    pub tuples_taken: u64,
}

/// Sockets and time of a seeded world, for one endpoint.
#[derive(Debug)]
pub struct SimDriver {
    pub(super) config: SimConfig,
    pub(super) random: Choices,
    pub(super) now: Duration,
    pub(super) invariants: Invariants,
    pub(super) pool: Pool,
    pub(super) peers: Vec<Peer>,
    /// What peers that are connected to do.
    pub(super) behavior: PeerBehavior,
    pub(super) connects: Vec<Attempt>,
    pub(super) listeners: Vec<Listener>,
    /// Asked for, not submitted.
    pub(super) queued: Vec<(Token, Ask)>,
    /// What will happen, in the order of time.
    pub(super) events: BTreeMap<(Duration, u64), Event>,
    pub(super) events_planned: u64,
    pub(super) done: Vec<Answer>,
    pub(super) counts: SimCounts,
    /// Its peers are another driver's connections: a wire moves them, and they do nothing
    /// themselves.
    pub(super) is_wired: bool,
    /// Peers to which the endpoint has done something since the wire last looked.
    pub(super) touched: Vec<usize>,
    /// Bytes that the endpoint was told of, since they were last asked for; on a wire only.
    pub(super) moves: Vec<Move>,
}

#[derive(Debug, Default)]
pub(super) struct Listener {
    pub(super) waiting: VecDeque<usize>,
    pub(super) accepts: VecDeque<Token>,
    pub(super) polls: VecDeque<Token>,
    pub(super) is_closed: bool,
    /// It is another process's, in another world; what comes here waits to be moved there.
    pub(super) is_left: bool,
}

impl SimDriver {
    /// A world without peers, at time zero.
    #[must_use]
    pub fn new(config: SimConfig) -> SimDriver {
        SimDriver::scripted(config, Vec::new())
    }

    /// The same, but its first decisions are in `script`, one byte each; then comes the seed.
    #[must_use]
    pub fn scripted(config: SimConfig, script: Vec<u8>) -> SimDriver {
        SimDriver {
            config,
            random: Choices::scripted(script, config.seed),
            now: Duration::ZERO,
            invariants: Invariants::default(),
            pool: Pool::new(config.buffers, config.buffer_bytes),
            peers: Vec::new(),
            behavior: PeerBehavior::default(),
            connects: Vec::new(),
            listeners: (0..config.listeners).map(|_| Listener::default()).collect(),
            queued: Vec::new(),
            events: BTreeMap::new(),
            events_planned: 0,
            done: Vec::new(),
            counts: SimCounts::default(),
            is_wired: false,
            touched: Vec::new(),
            moves: Vec::new(),
        }
    }

    /// A peer that connects to `listener` after `delay`; its number among the peers.
    pub fn arrive(&mut self, listener: usize, profile: PeerProfile, delay: Duration) -> usize {
        self.peers.push(Peer::new(profile));
        let peer = self.peers.len() - 1;
        self.plan(self.now + delay, Event::Arrival { peer, listener });
        peer
    }

    /// Sets how peers behave that are connected to from now on.
    pub fn set_behavior(&mut self, behavior: PeerBehavior) {
        self.behavior = behavior;
    }

    /// Every peer goes now, as it likes, and takes what is still to come.
    pub fn leave_all(&mut self) {
        for number in 0..self.peers.len() {
            let peer = &mut self.peers[number];
            peer.was_rude |= !peer.is_well_behaved();
            peer.profile.bytes = peer.sent.len();
            peer.profile.reading = Reading::Promptly;
            if peer.profile.parting == Parting::Stay {
                let parts_well = self.random.bool();
                peer.profile.parting = if parts_well { Parting::HalfClose } else { Parting::Reset };
            }
            self.wake_peer(number);
        }
    }

    /// From now on a peer takes what comes in another way.
    pub fn change_reading(&mut self, peer: usize, reading: Reading) {
        self.peers[peer].profile.reading = reading;
        self.wake_peer(peer);
    }

    /// What a pump makes of `turn`, at its shortest: a core does not sleep while there is work.
    pub fn prepare_to_sleep(&mut self, turn: Turn) -> Turn {
        if self.has_work() { Turn::Busy } else { turn }
    }

    /// Lets the time pass that a core spends between two turns: a moment after a busy one, or the
    /// sleep that it asked for, unless something happens before. `false` when the core sleeps
    /// without end and nothing will ever happen again.
    ///
    /// # Panics
    /// When the core sleeps although there is work, which nothing would wake it for.
    pub fn pass(&mut self, turn: Turn) -> bool {
        assert!(turn == Turn::Busy || !self.has_work(), "the core sleeps while there is work");
        let next = self.events.keys().next().map(|&(time, _)| time);
        let until = match turn {
            Turn::Busy => self.now + Duration::from_micros(self.random.u64(0..TURN_US_MAX)),
            Turn::Idle(None) => match next {
                Some(time) => time,
                None => return false,
            },
            Turn::Idle(Some(limit)) => next.map_or(self.now + limit, |t| t.min(self.now + limit)),
        };
        self.run_until(until);
        true
    }

    /// From now on, other things fail.
    pub fn set_faults(&mut self, faults: Faults) {
        self.config.faults = faults;
    }

    /// The host takes the core away: time passes in which it does not turn.
    pub fn stall(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    /// Every peer that has ever come, or was connected to.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Every connect that was ever asked for.
    #[must_use]
    pub fn connects(&self) -> &[Attempt] {
        &self.connects
    }

    /// The bytes that the endpoint was told of since this was last called, in order; on a wire only.
    pub fn take_moves(&mut self) -> Vec<Move> {
        std::mem::take(&mut self.moves)
    }

    /// The peer behind the descriptor in `slot`.
    pub fn peer_behind(&mut self, slot: SlotId) -> Option<usize> {
        self.invariants.place(slot).peer
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> SimCounts {
        self.counts
    }

    /// Buffers that are not in the pool.
    #[must_use]
    pub fn buffers_used(&self) -> usize {
        self.pool.used()
    }

    /// Operations whose completion the endpoint has not got.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.invariants.in_flight()
    }

    fn ask(&mut self, token: Token, ask: Ask) {
        self.invariants.begin(token);
        if let Ask::Recv(buffer, _) | Ask::Await(buffer) | Ask::Send(buffer, _) = ask {
            self.pool.lend(buffer, token);
            self.invariants.lend(token, buffer);
        }
        self.queued.push((token, ask));
    }

    pub(super) fn happens(&mut self, of_thousand: u32) -> bool {
        self.random.u32(..1000) < of_thousand
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.random.usize(..choices.len())]
    }
}

impl Driver for SimDriver {
    fn open_segment(&mut self, number: u16, slots: u32) -> Result<(), Errno> {
        if self.happens(self.config.faults.open_segment) {
            self.counts.segments_failed += 1;
            return Err(Errno::ENOMEM);
        }
        self.invariants.open_segment(number, slots);
        Ok(())
    }

    fn close_segment(&mut self, number: u16) {
        let queued = self.queued.iter().any(|(token, _)| token.slot().segment() == number);
        assert!(!queued, "segment {number} was closed with unsubmitted operations");
        self.invariants.close_segment(number);
        // What the ring would have delivered went with it.
        self.done.retain(|answer| answer.completion.token.slot().segment() != number);
        self.events.retain(|_, event| event.segment() != Some(number));
    }

    fn poll(&mut self, token: Token) {
        let is_poll =
            matches!(token.operation(), Operation::PollReadable | Operation::PollWritable);
        assert!(is_poll, "{token:?} is no poll");
        self.ask(token, Ask::Poll);
    }

    fn recv(&mut self, token: Token, buffer: BufferId, start: u16) {
        assert!(start < self.config.buffer_bytes, "a receive of nothing looks like an end");
        self.ask(token, Ask::Recv(buffer, start));
    }

    fn await_bytes(&mut self, token: Token, buffer: BufferId) {
        self.ask(token, Ask::Await(buffer));
    }

    fn send(&mut self, token: Token, buffer: BufferId, range: Range<u16>) {
        assert!(range.start < range.end, "a send of nothing makes no progress");
        assert!(range.end <= self.config.buffer_bytes, "a send goes beyond its buffer");
        self.ask(token, Ask::Send(buffer, range));
    }

    fn shutdown(&mut self, token: Token, mode: ShutdownMode) {
        self.ask(token, Ask::Shutdown(mode));
    }

    fn unacked(&mut self, token: Token) {
        self.ask(token, Ask::Unacked);
    }

    fn cancel(&mut self, token: Token) {
        // The answer to a cancel names its slot only; what is cancelled is kept by the event.
        self.invariants.begin(token.with(Operation::Cancel));
        self.queued.push((token, Ask::Cancel));
    }

    fn close(&mut self, token: Token) {
        self.ask(token, Ask::Close);
    }

    fn submit(&mut self) {
        for (token, ask) in std::mem::take(&mut self.queued) {
            self.start(token, ask);
        }
    }

    fn reap(&mut self, batch: &mut Vec<Completion>) {
        // Now and then a part only, so that a batch ends anywhere.
        let room = batch.capacity() - batch.len();
        let most = if self.happens(200) { self.random.usize(1..=4) } else { room };
        for _ in 0..self.done.len().min(room).min(most) {
            let index = self.random.usize(..self.done.len());
            let Answer { completion, is_extra } = self.done.swap_remove(index);
            if is_extra {
                self.counts.stale += 1;
            } else {
                self.hand_over(completion);
            }
            batch.push(self.after_reaping(completion, is_extra));
        }
    }

    fn buffers(&self) -> usize {
        self.pool.count()
    }

    fn take_buffer(&mut self) -> Option<BufferId> {
        self.pool.take()
    }

    fn give_buffer(&mut self, buffer: BufferId) {
        self.pool.give(buffer);
    }

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        self.pool.of_endpoint(buffer)
    }

    fn now(&self) -> Duration {
        self.now
    }
}

impl Listen for SimDriver {
    fn accept(&mut self, token: Token, listener: usize) {
        self.ask(token, Ask::Accept(listener));
    }

    fn poll_listener(&mut self, token: Token, listener: usize) {
        assert!(self.listeners[listener].polls.is_empty(), "listener {listener} is polled twice");
        self.ask(token, Ask::PollListener(listener));
    }

    /// Peers come from some few addresses.
    fn peer(&mut self, token: Token) -> Option<IpAddr> {
        let peer = self.invariants.place(token.slot()).peer?;
        Some(source_of(peer))
    }

    fn stop_listening(&mut self) {
        for listener in 0..self.listeners.len() {
            self.close_listener(listener);
        }
    }

    fn let_go_of_listeners(&mut self) {
        for listener in &mut self.listeners {
            assert!(listener.accepts.is_empty(), "an accept is outstanding");
            assert!(listener.polls.is_empty(), "a poll is outstanding");
            listener.is_left = true;
        }
    }

    fn refuse(&mut self, listener: usize, limit: usize) -> usize {
        let waiting = &mut self.listeners[listener].waiting;
        let refused: Vec<usize> = waiting.drain(..limit.min(waiting.len())).collect();
        for &peer in &refused {
            self.turn_away(peer);
        }
        self.counts.refused += refused.len() as u64;
        refused.len()
    }
}

impl Dial for SimDriver {
    fn connect(&mut self, token: Token, source: SocketAddr, target: usize) -> Result<(), Errno> {
        assert_ne!(source.port(), 0, "a tuple names its source port");
        let result = self.bind(source, target);
        self.connects.push(Attempt { source, target, failed: result.err() });
        result?;
        self.ask(token, Ask::Connect);
        // The socket is in the table from now on, whatever becomes of its connect.
        self.put_peer_to_connect(token, (source, target));
        Ok(())
    }

    /// A peer is found by the number of its target alone.
    fn learn_targets(&mut self, _: &[SocketAddr]) {}
}

/// Time of this world stands still while a core waits, so it has nothing but its work to tell.
impl Wakeup for SimDriver {
    fn has_work(&mut self) -> bool {
        !self.queued.is_empty() || !self.done.is_empty()
    }

    fn housekeep(&mut self) -> Option<Duration> {
        None
    }

    fn wait(&mut self, _: Duration) -> Result<bool, Errno> {
        Ok(self.has_work())
    }

    fn arm(&mut self, _: bool) {}
}

/// Where a peer comes from, by its number.
fn source_of(peer: usize) -> IpAddr {
    [127, 0, 0, u8::try_from(peer % 3 + 1).expect("it is at most 3")].into()
}

/// A turn takes less than this, in microseconds.
const TURN_US_MAX: u64 = 200;
