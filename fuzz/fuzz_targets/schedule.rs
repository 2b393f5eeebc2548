//! Any bytes as a simulated world around the server's shard: what it is made of, who comes and how
//! they behave, and then, one byte a decision, in which order everything happens and what fails.
//!
//! The simulator asserts every rule that a shard could break; here stand the books, which are
//! compared after every turn, and the end: everybody leaves, and nothing may be left.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use megaconn::conn::Life;
use megaconn::core::{Core, Turn};
use megaconn::driver::Driver;
use megaconn::shard::{Shard, ShardConfig};
use megaconn::sim::{Conduct, Faults, Parting, Peer, Reading, SimConfig, SimDriver};
use megaconn::stats::CoreStats;

/// Turns for which peers come and go; then they are told to leave.
const TURNS_MAX: u32 = 5_000;

/// Turns after which a world that should rest is given up.
const REST_TURNS_MAX: u32 = 50_000;

/// Simulated time in which everything must have come to rest after the last peer left: a send
/// timeout and a slow close, and some.
const REST_WITHIN: Duration = Duration::from_secs(60);

fuzz_target!(|bytes: &[u8]| {
    let mut input = Unstructured::new(bytes);
    let Ok(plan) = Plan::of(&mut input) else { return };
    let script = input.take_rest().to_vec();
    if let Some(world) = World::new(plan, script) {
        world.run();
    }
});

/// What an input says of its world before anything happens.
struct Plan {
    sim: SimConfig,
    shard: ShardConfig,
    /// Who comes: to which listener, how it behaves, and when.
    peers: Vec<(usize, Conduct, Duration)>,
    /// When everybody leaves.
    lasts: Duration,
}

impl Plan {
    fn of(input: &mut Unstructured<'_>) -> Result<Plan> {
        let listeners = input.int_in_range(1..=3)?;
        let sim = SimConfig {
            seed: u64::from(input.arbitrary::<u8>()?),
            listeners,
            buffers: input.int_in_range(1..=6)?,
            buffer_bytes: input.int_in_range(8..=64)?,
            message_bytes: 0,
            faults: faults(input)?,
            breach: None,
        };
        let shard = ShardConfig {
            listeners,
            slots_per_segment: *input.choose(&[4, 8, 24])?,
            connections_max: input.int_in_range(4..=40)?,
        };
        let is_long = input.ratio(1_u8, 16)?;
        let lasts_ms = if is_long { 33_000 } else { 2 * u64::from(input.arbitrary::<u8>()?) };
        let mut peers = Vec::new();
        for _ in 0..input.int_in_range(1_u8..=20)? {
            let delay = Duration::from_millis(input.arbitrary::<u8>()?.into());
            peers.push((input.int_in_range(0..=listeners - 1)?, conduct(input)?, delay));
        }
        Ok(Plan { sim, shard, peers, lasts: Duration::from_millis(lasts_ms) })
    }
}

fn faults(input: &mut Unstructured<'_>) -> Result<Faults> {
    let mut rate = |most: u32| Ok(most * u32::from(input.arbitrary::<u8>()?) / 255);
    Ok(Faults {
        accept: rate(200)?,
        connect_at_once: 0,
        connect: 0,
        open_segment: rate(500)?,
        would_block: rate(300)?,
        stale: rate(1_000)?,
        slow_close: rate(50)?,
        echo: 0,
    })
}

fn conduct(input: &mut Unstructured<'_>) -> Result<Conduct> {
    let is_rude = input.arbitrary()?;
    let readings = [Reading::Promptly, Reading::WithPauses, Reading::Never];
    let partings = [Parting::HalfClose, Parting::Reset, Parting::Stay];
    Ok(Conduct {
        bytes: input.int_in_range(0..=300)?,
        window: input.int_in_range(8..=200)?,
        reading: if is_rude { *input.choose(&readings)? } else { Reading::Promptly },
        parting: if is_rude { *input.choose(&partings)? } else { Parting::HalfClose },
        echo: None,
    })
}

struct World {
    shard: Shard<SimDriver>,
    plan: Plan,
    stats: Arc<CoreStats>,
}

impl World {
    /// `None` when the first segment fails: then a server does not start.
    fn new(plan: Plan, script: Vec<u8>) -> Option<World> {
        let stats = Arc::new(CoreStats::new());
        let driver = SimDriver::scripted(plan.sim, script);
        let mut shard = Shard::new(driver, plan.shard, Arc::clone(&stats)).ok()?;
        for &(listener, conduct, delay) in &plan.peers {
            shard.driver().arrive(listener, conduct, delay);
        }
        Some(World { shard, plan, stats })
    }

    fn run(mut self) {
        for _ in 0..TURNS_MAX {
            let turn = self.turn();
            let is_over = !self.shard.driver().pass(turn);
            if is_over || self.shard.driver().now() >= self.plan.lasts {
                break;
            }
        }
        self.shard.driver().leave_all();
        self.come_to_rest();
        self.check_rest();
    }

    fn come_to_rest(&mut self) {
        let until = self.shard.driver().now() + REST_WITHIN;
        for _ in 0..REST_TURNS_MAX {
            let turn = self.turn();
            if !self.shard.driver().pass(turn) {
                return;
            }
            let now = self.shard.driver().now();
            assert!(now < until, "no rest within {REST_WITHIN:?}: {:?}", self.shard.arena());
        }
        panic!("the shard turns without end: {:?}", self.shard.arena());
    }

    fn turn(&mut self) -> Turn {
        let turn = self.shard.turn();
        self.check_books();
        for (number, peer) in self.shard.driver().peers().iter().enumerate() {
            let is_prefix = peer.sent.starts_with(&peer.received);
            assert!(is_prefix, "peer {number} got back what it did not send: {peer:?}");
        }
        turn
    }

    /// The arena, the counters and the world's own count of descriptors and buffers agree.
    fn check_books(&mut self) {
        let arena = self.shard.arena();
        let (used, free) = (u64::from(arena.used()), arena.count_free());
        assert_eq!(used + free, arena.capacity(), "used and free slots are not all slots");
        assert_eq!(arena.iter_used().count() as u64, used, "slots are in use that nobody counts");
        let is_connection = |life| matches!(life, Life::Open | Life::Closing);
        let live = arena.iter_used().filter(|(_, slot)| is_connection(slot.life())).count() as u64;
        let connections = self.shard.connections();
        assert_eq!(live, u64::from(connections), "a connection is not counted, or counted twice");
        let most = self.plan.shard.connections_max;
        assert!(used <= u64::from(most), "{used} slots are in use, but {most} are allowed");
        let (accepted, closed) = (self.stats.accepted_total.get(), self.stats.closed_total.get());
        assert_eq!(accepted, closed + live, "accepted is not closed and live");

        let driver = self.shard.driver();
        let (counts, held) = (driver.counts(), driver.buffers_used() as u64);
        assert!(counts.opened >= accepted && counts.closed >= closed, "{counts:?}");
        assert_eq!(counts.stale, self.stats.stale_total.get(), "an earlier life of a slot acted");
        assert_eq!(counts.refused, self.stats.refused_total.get(), "refusals are miscounted");
        assert_eq!(held, self.stats.buffers_used.get(), "buffers are miscounted");
    }

    fn check_rest(&mut self) {
        assert_eq!(self.shard.connections(), 0, "everybody left, but connections remain");
        let driver = self.shard.driver();
        let counts = driver.counts();
        assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
        assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
        for (number, peer) in driver.peers().iter().enumerate() {
            check_farewell(number, peer);
        }
        let rude = driver.peers().iter().filter(|peer| !peer.is_well_behaved()).count() as u64;
        let broken = self.stats.reset_total.get() + self.stats.send_timeout_total.get();
        assert!(broken <= rude, "{broken} connections were broken, but {rude} peers are rude");
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
