//! The server's shard in simulated worlds: one seed, one world, every invariant after every turn.
//!
//! `MEGACONN_SIM_SEED=n` runs one world alone. A failure names its seed; the same seed fails again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::conn::Life;
use megaconn::core::{Core, Turn};
use megaconn::driver::Driver;
use megaconn::errno::Errno;
use megaconn::limits::SEND_TIMEOUT;
use megaconn::shard::{Shard, ShardConfig};
use megaconn::sim::{Breach, Conduct, Faults, Parting, Peer, Reading, SimConfig, SimDriver};
use megaconn::stats::CoreStats;
use megaconn::token::SlotId;
use megaconn::traffic::Mode;

/// Worlds of one run of the test.
const SEEDS: u64 = 1_000;

/// Turns after which a world is given up: far more than any needs.
const TURNS_MAX: u32 = 60_000;

/// Simulated time in which everything must have come to rest after the last peer left: a send
/// timeout and a slow close, and some.
const REST_WITHIN: Duration = Duration::from_secs(60);

/// Simulated time in which an end must be complete, whatever the peer does: some operations of
/// milliseconds, one after the other. A slow close takes its twelve seconds besides.
const END_WITHIN: Duration = Duration::from_millis(200);

#[test]
fn every_invariant_holds_in_every_world() {
    if let Ok(seed) = std::env::var("MEGACONN_SIM_SEED") {
        World::new(seed.parse().expect("MEGACONN_SIM_SEED is a number"), None).run();
        return;
    }
    let worlds = std::thread::scope(|scope| {
        let half = |first| move || (first..SEEDS).step_by(2).map(outcome).collect::<Vec<_>>();
        let halves = [scope.spawn(half(0)), scope.spawn(half(1))];
        halves.map(|half| half.join().expect("a failing world is caught")).concat()
    });
    let failed: Vec<u64> =
        worlds.iter().filter_map(|world| world.as_ref().err().copied()).collect();
    assert!(failed.is_empty(), "{} failed; MEGACONN_SIM_SEED= one of {failed:?}", failed.len());
    // Worlds in which nothing goes wrong would prove little.
    for name in MUST_HAPPEN {
        let of_world = |figures: &Figures| figures.iter().find(|(n, _)| n == name).map(|f| f.1);
        let sum: u64 = worlds.iter().flatten().filter_map(of_world).sum();
        assert!(sum >= 20, "{name} is {sum} in {SEEDS} worlds: they are too friendly");
    }
}

type Figures = Vec<(&'static str, u64)>;

/// What the worlds must have caused many times together.
const MUST_HAPPEN: &[&str] = &[
    "accepted_total",
    "accept_failed_total",
    "refused_total",
    "reset_total",
    "send_timeout_total",
    "evicted_total",
    "recv_starved_total",
    "send_stalled_total",
    "stale_total",
    "grow_failed_total",
];

/// The figures of a world, or its seed when a check failed in it.
fn outcome(seed: u64) -> Result<Figures, u64> {
    catch_unwind(|| World::new(seed, None).run()).map_err(|_| seed)
}

/// A check that cannot fail proves nothing: a world that breaks a rule is found out.
#[test]
fn a_world_that_breaks_a_rule_is_found_out() {
    let breaches = [
        Breach::DamagedByte,
        Breach::RepeatedCompletion,
        Breach::LostCompletion,
        Breach::WrongGeneration,
    ];
    for breach in breaches {
        let fails = |seed| {
            let world = AssertUnwindSafe(|| World::new(seed, Some(breach)).run());
            catch_unwind(world).is_err()
        };
        let found = (0..20).filter(|&seed| fails(seed)).count();
        assert!(found >= 10, "{breach:?} was found out in {found} of 20 worlds only");
    }
}

/// The same seed must give the same world, else a seed in a failure message is worth nothing.
#[test]
fn the_same_seed_gives_the_same_world() {
    let story = |seed| {
        let mut world = World::new(seed, None);
        world.live();
        let figures: Vec<_> = world.stats.figures().collect();
        (figures, world.shard.driver().now())
    };
    for seed in 0..10 {
        assert_eq!(story(seed), story(seed), "seed {seed} gave two worlds");
    }
}

struct World {
    shard: Shard<SimDriver>,
    config: ShardConfig,
    buffers: usize,
    stats: Arc<CoreStats>,
    random: Rng,
    turns: u32,
    refused: u64,
    /// Slots after the turn before.
    capacity: u64,
    closed: u64,
    slowest_close: Duration,
    closing: BTreeMap<SlotId, Duration>,
}

impl World {
    fn new(seed: u64, breach: Option<Breach>) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let buffers = random.u16(1..=6);
        let mut sim = SimConfig {
            seed,
            listeners: random.usize(1..=3),
            buffers,
            buffer_bytes: random.u16(8..=64),
            message_bytes: 0,
            faults: faults(&mut random),
            breach,
        };
        let config = ShardConfig {
            listeners: sim.listeners,
            slots_per_segment: [4, 8, 24, 64][random.usize(..4)],
            connections_max: random.u32(4..=80),
            mode: Mode::Echo,
            banner: None,
            idle_timeout: None,
            send_timeout: SEND_TIMEOUT,
        };
        let stats = Arc::new(CoreStats::new());
        let first = Shard::new(SimDriver::new(sim), config.clone(), Arc::clone(&stats));
        let shard = first.unwrap_or_else(|errno| {
            // Then the server would not start; in this world it does.
            assert_eq!(errno, Errno::ENOMEM, "a start fails for want of memory alone");
            sim.faults.open_segment = 0;
            let again = Shard::new(SimDriver::new(sim), config.clone(), Arc::clone(&stats));
            again.expect("this world opens every segment")
        });
        let mut world = World {
            shard,
            config,
            buffers: usize::from(buffers),
            stats,
            random,
            turns: 0,
            refused: 0,
            capacity: 0,
            closed: 0,
            slowest_close: Duration::from_secs(if sim.faults.slow_close > 0 { 12 } else { 0 }),
            closing: BTreeMap::new(),
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for _ in 0..self.random.u8(3..=20) {
            let conduct = conduct(&mut self.random);
            let listener = self.random.usize(..self.config.listeners);
            let delay = Duration::from_micros(self.random.u64(..300_000));
            self.shard.driver().arrive(listener, conduct, delay);
        }
    }

    fn run(mut self) -> Figures {
        self.live();
        self.shard.driver().leave_all();
        self.come_to_rest();
        self.check_rest();
        self.stats.figures().collect()
    }

    /// Peers come and go, for half a second, or for long enough that sends time out.
    fn live(&mut self) {
        let is_long = self.random.u8(..12) == 0;
        let until = Duration::from_millis(if is_long { 33_000 } else { 500 });
        while self.shard.driver().now() < until {
            let turn = self.turn();
            if !self.shard.driver().pass(turn) {
                break;
            }
        }
    }

    /// Turns until the core would sleep for ever in a world in which nothing happens any more.
    fn come_to_rest(&mut self) {
        let until = self.shard.driver().now() + REST_WITHIN;
        loop {
            let turn = self.turn();
            if !self.shard.driver().pass(turn) {
                return;
            }
            let now = self.shard.driver().now();
            assert!(now < until, "no rest within {REST_WITHIN:?}: {:?}", self.shard.arena());
        }
    }

    fn turn(&mut self) -> Turn {
        let turn = self.shard.turn();
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the shard turns without end");
        self.check_books();
        self.check_streams();
        self.check_ends();
        turn
    }

    /// The arena, the counters and the world's own count of descriptors and buffers agree.
    fn check_books(&mut self) {
        let arena = self.shard.arena();
        let (used, free) = (u64::from(arena.used()), arena.count_free());
        assert_eq!(used + free, arena.capacity(), "used and free slots are not all slots");
        let is_connection = |life| matches!(life, Life::Open | Life::Closing);
        let live = arena.iter_used().filter(|(_, slot)| is_connection(slot.life())).count() as u64;
        assert_eq!(arena.iter_used().count() as u64, used, "slots are in use that nobody counts");
        let connections = self.shard.connections();
        assert_eq!(live, u64::from(connections), "a connection is not counted, or counted twice");
        let most = self.config.connections_max;
        assert!(used <= u64::from(most), "{used} slots are in use, but {most} are allowed");

        let (accepted, closed) = (self.stats.accepted_total.get(), self.stats.closed_total.get());
        assert_eq!(accepted, closed + live, "accepted is not closed and live");

        let capacity = arena.capacity();
        let driver = self.shard.driver();
        let (counts, held) = (driver.counts(), driver.buffers_used());
        assert!(counts.opened >= accepted && counts.closed >= closed, "{counts:?}");
        assert_eq!(counts.stale, self.stats.stale_total.get(), "an earlier life of a slot acted");
        assert_eq!(counts.refused, self.stats.refused_total.get(), "refusals are miscounted");
        assert_eq!(held as u64, self.stats.buffers_used.get(), "buffers are miscounted");
        assert!(held <= self.buffers, "more buffers are in use than there are");
        let is_new = counts.refused > std::mem::replace(&mut self.refused, counts.refused);
        // Those that were closed later in the same turn were there when it refused.
        let there = live + closed - std::mem::replace(&mut self.closed, closed);
        // An arena that cannot grow is full with every slot it has, or had before it did grow.
        let had = std::mem::replace(&mut self.capacity, capacity).min(capacity);
        let cannot_grow = self.stats.grow_failed_total.get() > 0;
        let full_at = if cannot_grow { had.min(u64::from(most)) } else { u64::from(most) };
        let was_full = there >= full_at;
        assert!(!is_new || was_full, "refused at {there} connections of {most}");
    }

    /// What has come back to a peer is a prefix of what it sent, byte by byte.
    fn check_streams(&mut self) {
        for (number, peer) in self.shard.driver().peers().iter().enumerate() {
            let is_prefix = peer.sent.starts_with(&peer.received);
            assert!(is_prefix, "peer {number} got back what it did not send: {peer:?}");
        }
    }

    /// No peer can keep its slot by not answering: an end that has begun is soon complete.
    fn check_ends(&mut self) {
        let now = self.shard.driver().now();
        let used = self.shard.arena().iter_used();
        let closing = used.filter(|(_, slot)| slot.life() == Life::Closing).map(|(id, _)| id);
        let since = |id| (id, self.closing.get(&id).copied().unwrap_or(now));
        self.closing = closing.map(since).collect();
        let within = END_WITHIN + self.slowest_close;
        let late = self.closing.iter().find(|&(_, &since)| now - since > within);
        assert!(late.is_none(), "an end takes longer than {within:?}: {late:?} at {now:?}");
    }

    fn check_rest(&mut self) {
        assert_eq!(self.shard.connections(), 0, "everybody left, but connections remain");
        let used = self.shard.arena().used();
        let segments = self.shard.arena().segments() as u64;
        let slots = self.config.slots_per_segment;
        let most = u64::from(used / slots) + 1;
        assert!(segments <= most, "{segments} segments remain for {used} accepts, not {most}");
        let driver = self.shard.driver();
        let counts = driver.counts();
        assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
        assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
        for (number, peer) in driver.peers().iter().enumerate() {
            check_farewell(number, peer);
        }
        let (evicted, starved) = (&self.stats.evicted_total, &self.stats.recv_starved_total);
        let (evicted, starved) = (evicted.get(), starved.get());
        assert!(evicted <= starved, "{evicted} connections gave way to {starved} that waited");
        let reasons = [&self.stats.reset_total, &self.stats.send_timeout_total];
        let rude = driver.peers().iter().filter(|peer| !peer.is_well_behaved()).count() as u64;
        let ended: u64 = reasons.iter().map(|figure| figure.get()).sum();
        assert!(ended <= rude, "{ended} connections were broken, but {rude} peers are rude");
    }
}

/// A peer that went in order has all its bytes, and then the end, whatever the others did.
fn check_farewell(number: usize, peer: &Peer) {
    assert!(peer.is_over(), "peer {number} still waits: {peer:?}");
    if peer.is_well_behaved() {
        let is_whole = peer.received == peer.sent && peer.saw_end;
        assert!(is_whole, "peer {number} behaved well and did not get all: {peer:?}");
    }
}

fn faults(random: &mut Rng) -> Faults {
    let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
    Faults {
        accept: rate(200),
        connect_at_once: 0,
        connect: 0,
        open_segment: rate(500),
        would_block: rate(300),
        stale: rate(1_000),
        slow_close: rate(50),
        echo: 0,
    }
}

fn conduct(random: &mut Rng) -> Conduct {
    let is_rude = random.bool();
    let readings = [Reading::Promptly, Reading::WithPauses, Reading::Never];
    let partings = [Parting::HalfClose, Parting::Reset, Parting::Stay];
    Conduct {
        bytes: random.usize(..400),
        window: random.usize(8..=200),
        reading: if is_rude { readings[random.usize(..3)] } else { Reading::Promptly },
        parting: if is_rude { partings[random.usize(..3)] } else { Parting::HalfClose },
        echo: None,
    }
}
