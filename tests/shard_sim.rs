//! The server's shard in simulated worlds: one seed, one world, every invariant after every turn.
//!
//! `MEGACONN_SIM_SEED=n` runs one world alone. A failure names its seed; the same seed fails again.
//! `MEGACONN_SIM_STEPS=n` runs further worlds until `n` turns were taken, and says how many.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{
    Faults, Mutation, Parting, PeerProfile, Reading, SimConfig, SimDriver,
};
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::echo::Echo;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::{Listed, ServerStats};

use world::World;

mod world;

/// Worlds of one run of the test.
const SEEDS: u64 = 1_000;

#[test]
fn every_invariant_holds_in_every_world() {
    if let Ok(seed) = std::env::var("MEGACONN_SIM_SEED") {
        World::new(seed.parse().expect("MEGACONN_SIM_SEED is a number"), None).run();
        return;
    }
    let next = AtomicU64::new(0);
    let worlds = on_two_threads(|| {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        (seed < SEEDS).then(|| outcome(seed))
    });
    let worlds = all_passed(worlds);
    // Worlds in which nothing goes wrong would prove little.
    for name in MUST_HAPPEN {
        let of_world = |figures: &Figures| figures.iter().find(|(n, _)| n == name).map(|f| f.1);
        let sum: u64 = worlds.iter().filter_map(|(figures, _)| of_world(figures)).sum();
        assert!(sum >= 20, "{name} is {sum} in {SEEDS} worlds: they are too friendly");
    }
}

/// For a script: as many steps as it likes, in worlds that the test above has not seen.
#[test]
fn every_invariant_holds_for_as_many_steps_as_are_asked_for() {
    let Ok(asked) = std::env::var("MEGACONN_SIM_STEPS") else { return };
    let asked: u64 = asked.parse().expect("MEGACONN_SIM_STEPS is a number");
    let (next, steps) = (AtomicU64::new(SEEDS), AtomicU64::new(0));
    let worlds = on_two_threads(|| {
        (steps.load(Ordering::Relaxed) < asked).then(|| {
            let world = outcome(next.fetch_add(1, Ordering::Relaxed));
            let turns = world.as_ref().map_or(0, |(_, turns)| u64::from(*turns));
            steps.fetch_add(turns, Ordering::Relaxed);
            world
        })
    });
    let worlds = all_passed(worlds);
    println!("steps={}, worlds={}", steps.into_inner(), worlds.len());
}

type Figures = Vec<(&'static str, u64)>;

/// Figures and turns of a world, or its seed when a check failed in it.
type Outcome = Result<(Figures, u32), u64>;

/// What the worlds must have caused many times together.
const MUST_HAPPEN: &[&str] = &[
    "accepted_total",
    "accept_failed_total",
    "refused_total",
    "refused_memory_total",
    "refused_cgroup_total",
    "reset_total",
    "send_timeout_total",
    "backlog_total",
    "evicted_total",
    "idle_timeout_total",
    "drained_total",
    "drain_cut_total",
    "pushes_total",
    "recv_starved_total",
    "push_starved_total",
    "send_stalled_total",
    "stale_total",
    "grow_failed_total",
    // Counted by the worlds themselves.
    "accepted_again",
];

fn outcome(seed: u64) -> Outcome {
    let run = || {
        let world = World::new(seed, None).run();
        let own = [("accepted_again", world.memory.accepted_again)];
        (world.stats.numbers().chain(own).collect(), world.turns)
    };
    catch_unwind(run).map_err(|_| seed)
}

/// What `next` gives, until it gives nothing more.
fn on_two_threads(next: impl Fn() -> Option<Outcome> + Sync) -> Vec<Outcome> {
    std::thread::scope(|scope| {
        let half = || scope.spawn(|| std::iter::from_fn(&next).collect::<Vec<_>>());
        let halves = [half(), half()];
        halves.map(|half| half.join().expect("a failing world is caught")).concat()
    })
}

fn all_passed(worlds: Vec<Outcome>) -> Vec<(Figures, u32)> {
    let failed: Vec<u64> =
        worlds.iter().filter_map(|world| world.as_ref().err().copied()).collect();
    assert!(failed.is_empty(), "{} failed; MEGACONN_SIM_SEED= one of {failed:?}", failed.len());
    worlds.into_iter().flatten().collect()
}

/// A check that cannot fail proves nothing: a world that breaks a rule is found out.
#[test]
fn a_world_that_breaks_a_rule_is_found_out() {
    let mutations = [
        Mutation::DamagedByte,
        Mutation::RepeatedCompletion,
        Mutation::LostCompletion,
        Mutation::WrongGeneration,
    ];
    for mutation in mutations {
        let fails = |seed| {
            let world = AssertUnwindSafe(|| World::new(seed, Some(mutation)).run());
            catch_unwind(world).is_err()
        };
        let found = (0..20).filter(|&seed| fails(seed)).count();
        assert!(found >= 10, "{mutation:?} was found out in {found} of 20 worlds only");
    }
}

/// The same seed must give the same world, else a seed in a failure message is worth nothing.
#[test]
fn the_same_seed_gives_the_same_world() {
    let story = |seed| {
        let mut world = World::new(seed, None);
        world.live();
        let figures: Vec<_> = world.stats.numbers().collect();
        (figures, world.shard.end.driver.now())
    };
    for seed in 0..10 {
        assert_eq!(story(seed), story(seed), "seed {seed} gave two worlds");
    }
}

/// By any error of an accept, the core backs off, counts it, and accepts on when it is over.
#[test]
fn accepting_goes_on_after_the_host_was_short_of_something() {
    const PEERS: usize = 12;
    let exhaustion = [Errno::ENFILE, Errno::EMFILE, Errno::ENOMEM, Errno::ENOBUFS];
    let mut failed = exhaustion.map(|errno| (errno, 0));
    for seed in 0..50 {
        let faults = Faults { accept: 1_000, ..Faults::default() };
        let sim = SimConfig {
            seed,
            listeners: 2,
            buffers: 4,
            buffer_bytes: 64,
            message_bytes: 0,
            faults,
            mutation: None,
        };
        let config = ServerConfig { connections_max: 64, ..ServerConfig::new(2, 64) };
        let stats = Arc::new(ServerStats::new());
        let shard = Server::new(SimDriver::new(sim), config, Echo, Arc::clone(&stats));
        let mut shard = shard.expect("no segment fails in this world");
        let stays = PeerProfile {
            bytes: 10,
            window: 64,
            reading: Reading::Promptly,
            parting: Parting::Stay,
            echo: None,
        };
        for number in 0..PEERS {
            shard.end.driver.arrive(number % 2, stays, Duration::from_millis(10));
        }
        turn_until(&mut shard, Duration::from_secs(2));
        let failures = stats.accept_failed_total.get();
        assert_eq!(stats.accepted_total.get(), 0, "every accept fails in this world");
        // Each listener's accepts once, then again ten times a second.
        assert!((1..=64 * 21).contains(&failures), "{failures} failures: no back-off");
        for (errno, count) in &mut failed {
            *count += stats.failed[errno.index()].get();
        }
        shard.end.driver.set_faults(Faults::default());
        turn_until(&mut shard, Duration::from_millis(2_500));
        let aborted = stats.failed[Errno::ECONNABORTED.index()].get();
        let accepted = stats.accepted_total.get();
        assert_eq!(accepted + aborted, PEERS as u64, "seed {seed}: accepting did not go on");
        assert_eq!(stats.refused_total.get(), 0, "the core was not full");
    }
    assert!(failed.iter().all(|(_, count)| *count > 0), "not every error was met: {failed:?}");
}

fn turn_until(shard: &mut Server<SimDriver, Echo>, time: Duration) {
    while shard.end.driver.now() < time {
        // A core that sleeps for ever here would be found by what follows.
        let turn = shard.turn();
        let turn = match shard.end.driver.prepare_to_sleep(turn) {
            Turn::Idle(None) => Turn::Idle(Some(Duration::from_millis(10))),
            turn => turn,
        };
        shard.end.driver.pass(turn);
    }
}
