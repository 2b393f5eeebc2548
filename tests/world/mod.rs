//! One simulated world: a shard, what becomes of it, and what must hold after every turn.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::errno::Errno;
use megaconn::base::units::Text;
use megaconn::drivers::sim::{Faults, Mutation, Peer, Reading, SimConfig, SimDriver};
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::server::drain::Command;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::slot::ConnState;
use megaconn::engine::token::SlotId;
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::ServerStats;

use memory::Memory;
use traits::Traits;

mod gauges;
mod memory;
mod traits;

/// Turns after which a world is given up: far more than any needs.
const TURNS_MAX: u32 = 60_000;

/// Simulated time in which everything must have come to rest after the last peer left: a send
/// timeout and a slow close, and some.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// Simulated time in which an end must be complete, for any conduct of the peer: some operations of
/// milliseconds, one after the other. A slow close takes its twelve seconds besides.
const END_WITHIN: Duration = Duration::from_millis(200);

/// Time that bytes may be on their way to the shard.
const HEARD_WITHIN: Duration = Duration::from_millis(15);

/// Time by which few buffers and rude peers may delay a push.
const KEPT_UP_WITHIN: Duration = Duration::from_secs(2);

/// One world with its shard.
pub(crate) struct World {
    pub(crate) shard: Server<SimDriver, Banner<Mode>>,
    config: ServerConfig,
    traits: Traits,
    drain_until: Option<Duration>,
    pub(crate) memory: Memory,
    buffers: usize,
    pub(crate) stats: Arc<ServerStats>,
    random: Rng,
    pub(crate) turns: u32,
    refused: u64,
    /// Slots after the turn before.
    capacity: u64,
    closed: u64,
    slowest_close: Duration,
    closing: BTreeMap<SlotId, Duration>,
    /// Peers closed because they took nothing, after the turn before.
    cut: u64,
    /// The kernel tells what is acknowledged, or a send tells whether there is room.
    can_see_progress: bool,
    /// Idle ends after the turn before.
    idle: u64,
    /// Bytes that each peer had received then.
    received: Vec<usize>,
}

impl World {
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>) -> World {
        World::scripted(seed, mutation, &[])
    }

    /// What kind of world it is comes from the seed, what happens in it first from the script.
    pub(crate) fn scripted(seed: u64, mutation: Option<Mutation>, script: &[u8]) -> World {
        let driver = |sim| SimDriver::scripted(sim, script.to_vec());
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let buffers = random.u16(1..=6);
        let mut sim = SimConfig {
            seed,
            listeners: random.usize(1..=3),
            buffers,
            buffer_bytes: random.u16(8..=64),
            message_bytes: 0,
            faults: faults(&mut random),
            mutation,
        };
        let traits = Traits::new(&mut random);
        let memory = Memory::new(seed, traits.lives_for);
        let config = ServerConfig {
            connections_max: random.u32(4..=80),
            idle_timeout: traits.idle_timeout,
            send_timeout: traits.send_timeout,
            accept_rate: traits.accept_rate,
            ..ServerConfig::new(sim.listeners, [4, 8, 24, 64][random.usize(..4)])
        };
        let stats = Arc::new(ServerStats::new());
        let first = Server::new(driver(sim), config.clone(), traits.protocol(), Arc::clone(&stats));
        let shard = first.unwrap_or_else(|errno| {
            // Then the server would not start; in this world it does.
            assert_eq!(errno, Errno::ENOMEM, "a start fails for want of memory alone");
            sim.faults.open_segment = 0;
            let again =
                Server::new(driver(sim), config.clone(), traits.protocol(), Arc::clone(&stats));
            again.expect("this world opens every segment")
        });
        let mut world = World {
            shard,
            config,
            traits,
            drain_until: None,
            memory,
            buffers: usize::from(buffers),
            stats,
            random,
            turns: 0,
            refused: 0,
            capacity: 0,
            closed: 0,
            slowest_close: Duration::from_secs(if sim.faults.slow_close > 0 { 12 } else { 0 }),
            closing: BTreeMap::new(),
            cut: 0,
            can_see_progress: sim.faults.unacked == 0 || sim.faults.would_block == 0,
            idle: 0,
            received: Vec::new(),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for _ in 0..self.random.u8(3..=20) {
            let profile = self.traits.profile(&mut self.random);
            let listener = self.random.usize(..self.config.listeners);
            let delay = Duration::from_micros(self.random.u64(..300_000));
            self.shard.end.driver.arrive(listener, profile, delay);
        }
    }

    /// Lives, leaves, and is looked at after every turn.
    pub(crate) fn run(mut self) -> World {
        self.live();
        self.check_pushes_kept_up();
        self.shard.end.driver.leave_all();
        self.come_to_rest();
        self.check_rest();
        self
    }

    /// Peers come and go, for half a second, or for long enough that sends time out.
    pub(crate) fn live(&mut self) {
        let until = self.traits.lives_for;
        while self.shard.end.driver.now() < until {
            self.drain_if_due();
            self.change_memory_if_due();
            let turn = self.turn();
            if !self.shard.end.driver.pass(turn) {
                break;
            }
        }
    }

    fn drain_if_due(&mut self) {
        let now = self.shard.end.driver.now();
        if let Some((at, time)) = self.traits.drain
            && at <= now
            && self.drain_until.is_none()
        {
            self.drain_until = Some(now + time);
            self.shard.handle_command(Command::Drain(time));
        }
    }

    /// Turns until the core would sleep for ever in a world in which nothing happens any more.
    fn come_to_rest(&mut self) {
        let until = self.shard.end.driver.now() + REST_WITHIN;
        loop {
            let turn = self.turn();
            if !self.shard.end.driver.pass(turn) {
                return;
            }
            let now = self.shard.end.driver.now();
            assert!(now < until, "no rest within {REST_WITHIN:?}: {:?}", self.shard.end.arena);
        }
    }

    fn turn(&mut self) -> Turn {
        let turn = self.shard.turn();
        let turn = self.shard.end.driver.prepare_to_sleep(turn);
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the shard turns without end");
        self.check_books();
        self.check_memory();
        self.check_slots();
        self.check_gauges();
        self.check_streams();
        self.check_ends();
        turn
    }

    /// The arena, the counters and the world's own count of descriptors and buffers agree.
    fn check_books(&mut self) {
        let arena = &self.shard.end.arena;
        let (used, free) = (u64::from(arena.used()), arena.count_free());
        assert_eq!(used + free, arena.capacity(), "used and free slots are not all slots");
        let is_connection = |life| matches!(life, ConnState::Open | ConnState::Closing);
        let live = arena.iter_used().filter(|(_, slot)| is_connection(slot.state())).count() as u64;
        assert_eq!(arena.iter_used().count() as u64, used, "slots are in use that are not counted");
        let connections = self.shard.connections();
        assert_eq!(live, u64::from(connections), "a connection is not counted, or counted twice");
        let most = self.config.connections_max;
        assert!(used <= u64::from(most), "{used} slots are in use, but {most} are allowed");

        let (accepted, closed) = (self.stats.accepted_total.get(), self.stats.closed_total.get());
        assert_eq!(accepted, closed + live, "accepted is not closed and live");

        let capacity = arena.capacity();
        let driver = &mut self.shard.end.driver;
        let (counts, held) = (driver.counts(), driver.buffers_used());
        assert!(counts.opened >= accepted && counts.closed >= closed, "{counts:?}");
        assert_eq!(counts.stale, self.stats.stale_total.get(), "an earlier life of a slot acted");
        let refused = self.stats.refused_total.get();
        let all_refused = refused + self.stats.refused_memory_total.get();
        assert_eq!(counts.refused, all_refused, "refusals are miscounted");
        assert_eq!(held as u64, self.stats.buffers_used.get(), "buffers are miscounted");
        assert!(held <= self.buffers, "more buffers are in use than there are");
        let is_new = refused > std::mem::replace(&mut self.refused, refused);
        // Those that were closed later in the same turn were there when it refused.
        let there = live + closed - std::mem::replace(&mut self.closed, closed);
        // An arena that cannot grow is full with every slot it has, or had before it did grow.
        let had = std::mem::replace(&mut self.capacity, capacity).min(capacity);
        let cannot_grow = self.stats.grow_failed_total.get() > 0;
        let full_at = if cannot_grow { had.min(u64::from(most)) } else { u64::from(most) };
        let was_full = there >= full_at;
        assert!(!is_new || was_full, "refused at {there} connections of {most}");
    }

    /// What has come to a peer is a prefix of what its server sends in its mode, byte by byte, and
    /// no push came before its time.
    fn check_streams(&mut self) {
        let now = self.shard.end.driver.now();
        let banner = self.traits.banner.as_ref().map_or(&[][..], Text::bytes);
        let mut whole = 0;
        for (number, peer) in self.shard.end.driver.peers().iter().enumerate() {
            let (first, rest) = peer.received.split_at(banner.len().min(peer.received.len()));
            if let Mode::Push(Push { text, .. }) = &self.traits.mode {
                whole += rest.len() / text.bytes().len();
            }
            if self.received.len() <= number {
                self.received.push(0);
            }
            let before = std::mem::replace(&mut self.received[number], peer.received.len());
            if before == peer.received.len() {
                continue;
            }
            let is_right = banner.starts_with(first)
                && match &self.traits.mode {
                    Mode::Echo => peer.sent.starts_with(rest),
                    Mode::Sink => rest.is_empty(),
                    Mode::Push(Push { every, text }) => {
                        let begun = rest.len().div_ceil(text.bytes().len());
                        let due = (now - peer.met_at).as_micros() / every.as_micros();
                        assert!(begun as u128 <= due, "{begun} pushes, {due} due: {peer:?}");
                        rest.chunks(text.bytes().len()).all(|chunk| text.bytes().starts_with(chunk))
                    }
                };
            assert!(is_right, "peer {number} got what it should not: {peer:?}");
        }
        // Each connection may have one that is out and whose completion is not seen, or never was.
        let (pushes, accepted) = (self.stats.pushes_total.get(), self.stats.accepted_total.get());
        let are_counted = (pushes..=pushes + accepted).contains(&(whole as u64));
        assert!(are_counted, "{whole} pushes have arrived, {pushes} are counted");
    }

    /// No peer can keep its slot by not answering: an end that has begun is soon complete.
    fn check_ends(&mut self) {
        let now = self.shard.end.driver.now();
        let used = self.shard.end.arena.iter_used();
        let closing = used.filter(|(_, slot)| slot.state() == ConnState::Closing).map(|(id, _)| id);
        let before = std::mem::take(&mut self.closing);
        let closing: Vec<SlotId> = closing.collect();
        let since = |&id: &SlotId| (id, before.get(&id).copied().unwrap_or(now));
        self.closing = closing.iter().map(since).collect();
        let within = END_WITHIN + self.slowest_close;
        let late = self.closing.iter().find(|&(_, &since)| now - since > within);
        assert!(late.is_none(), "an end takes longer than {within:?}: {late:?} at {now:?}");
        let begun: Vec<_> = closing.into_iter().filter(|id| !before.contains_key(id)).collect();
        self.check_slow_readers(&begun);
        self.check_idle_ends(begun, now);
        let is_drained = self.drain_until.is_some_and(|until| now > until + within);
        let left = self.shard.connections();
        assert!(!is_drained || left == 0, "{left} connections outlive a drain at {now:?}");
    }

    /// A peer that takes bytes, however slowly, is not closed because it takes none. Where the kernel can
    /// neither tell nor tries a send in earnest, the server cannot know.
    fn check_slow_readers(&mut self, begun: &[SlotId]) {
        let cut = self.stats.send_timeout_total.get() + self.stats.backlog_total.get();
        let new = cut - std::mem::replace(&mut self.cut, cut);
        let peers = self.shard.end.driver.peers();
        let takes_none = |id: &&SlotId| {
            let peer = peers.iter().find(|peer| peer.slot == Some(**id));
            let peer = peer.expect("a slot that closes has a peer");
            !matches!(peer.profile.reading, Reading::Slowly { .. })
        };
        let others = begun.iter().filter(takes_none).count() as u64;
        assert!(
            new <= others || !self.can_see_progress,
            "{new} slow readers of {begun:?} were cut"
        );
    }

    /// A connection that was ended as idle was silent for the idle timeout, or sent something just
    /// then.
    fn check_idle_ends(&mut self, begun: Vec<SlotId>, now: Duration) {
        let idle = self.stats.idle_timeout_total.get();
        let new = idle - std::mem::replace(&mut self.idle, idle);
        let Some(timeout) = self.config.idle_timeout else { return assert_eq!(new, 0) };
        let peers = self.shard.end.driver.peers();
        let is_silent = |id: &SlotId| {
            let peer = peers.iter().find(|peer| peer.slot == Some(*id));
            let peer = peer.expect("a slot that closes has a peer");
            let silence = now - peer.spoke_at.max(peer.met_at);
            silence >= timeout || silence < HEARD_WITHIN
        };
        let silent = begun.iter().filter(|id| is_silent(id)).count() as u64;
        assert!(new <= silent, "{new} idle ends, but only {silent} of {begun:?} were silent");
    }

    /// Nothing that was due to a peer that reads was skipped, unless the pool is its bottleneck.
    fn check_pushes_kept_up(&mut self) {
        let Mode::Push(Push { every, text }) = &self.traits.mode else { return };
        if !self.traits.is_long() || self.drain_until.is_some() {
            return;
        }
        let now = self.shard.end.driver.now();
        let banner = self.traits.banner.as_ref().map_or(0, |banner| banner.bytes().len());
        for (number, peer) in self.shard.end.driver.peers().iter().enumerate() {
            let reads = peer.profile.reading == Reading::Promptly;
            if peer.slot.is_some() && reads && !peer.has_half_closed && !peer.has_reset {
                let whole = peer.received.len().saturating_sub(banner) / text.bytes().len();
                let pushed = *every * u32::try_from(whole).expect("few");
                let late = (now - peer.met_at).saturating_sub(pushed + 2 * *every);
                assert!(late < KEPT_UP_WITHIN, "peer {number} lags by {late:?}: {peer:?}");
            }
        }
    }

    fn check_rest(&mut self) {
        assert_eq!(self.shard.connections(), 0, "all peers have left, but connections remain");
        let used = self.shard.end.arena.used();
        let segments = self.shard.end.arena.segments() as u64;
        let slots = self.config.slots_per_segment;
        let most = u64::from(used / slots) + 1;
        assert!(segments <= most, "{segments} segments remain for {used} accepts, not {most}");
        let driver = &mut self.shard.end.driver;
        let counts = driver.counts();
        assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
        assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
        let is_cut = self.stats.drain_cut_total.get() > 0;
        for (number, peer) in driver.peers().iter().enumerate() {
            check_farewell(number, peer, &self.traits, self.drain_until.is_some(), is_cut);
        }
        let starved = self.stats.recv_starved_total.get() + self.stats.push_starved_total.get();
        let evicted = self.stats.evicted_total.get();
        assert!(evicted <= starved, "{evicted} connections gave way to {starved} that waited");
        let stats = &self.stats;
        let reasons = [&stats.reset_total, &stats.send_timeout_total, &stats.backlog_total];
        let rude = driver.peers().iter().filter(|peer| !peer.is_well_behaved()).count() as u64;
        let ended: u64 = reasons.iter().map(|figure| figure.get()).sum();
        assert!(ended <= rude, "{ended} connections were broken, but {rude} peers are rude");
    }
}

/// A peer that went in order has all its bytes, and then the end, however the others behaved.
fn check_farewell(number: usize, peer: &Peer, traits: &Traits, is_drained: bool, is_cut: bool) {
    assert!(peer.is_over(), "peer {number} still waits: {peer:?}");
    if !peer.is_well_behaved() || is_cut {
        return;
    }
    let banner = traits.banner.as_ref().map_or(0, |banner| banner.bytes().len());
    let after = peer.received.len().checked_sub(banner);
    let has_all = after.is_some_and(|bytes| match &traits.mode {
        Mode::Echo => bytes == peer.read,
        Mode::Sink => bytes == 0,
        Mode::Push(Push { text, .. }) => bytes.is_multiple_of(text.bytes().len()),
    });
    // A drain may overtake what it has sent, and nothing else may.
    let was_heard = is_drained || peer.read == peer.sent.len();
    let is_whole = has_all && was_heard && peer.saw_end;
    assert!(is_whole, "peer {number} behaved well and did not get all: {peer:?}");
}

fn faults(random: &mut Rng) -> Faults {
    let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
    Faults {
        accept: rate(200),
        connect_at_once: 0,
        connect: 0,
        connect_taken: 0,
        open_segment: rate(500),
        would_block: rate(300),
        unacked: rate(1_000),
        stale: rate(1_000),
        slow_close: rate(50),
        echo: 0,
    }
}
