//! The client's shard in simulated worlds: one seed, one world, all four phases.
//!
//! The peers answer, and some of them err; what the client counts must be what they did.
//! `MEGACONN_SIM_SEED=n` runs one world alone. A failure names its seed; the same seed fails again.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::conn::Life;
use megaconn::core::{Core, Turn};
use megaconn::driver::Driver;
use megaconn::plan::tuples::{AddressRange, TuplePlan};
use megaconn::sim::{EchoFault, Faults, SimConfig, SimDriver};
use megaconn::stats::{CoreStats, LOST_CAUSES, LostCause};

use super::{Arena, Cut, Expect, Order, Phase, Shard, ShardConfig, Supply};
use crate::config::Schedule;

/// Worlds of one run of the test.
const SEEDS: u64 = 1_000;

/// Turns after which a world is given up: far more than any needs.
const TURNS_MAX: u32 = 60_000;

/// Simulated time that a phase may take: some timeouts of ten seconds, one after the other.
const PHASE_MAX: Duration = Duration::from_secs(90);

#[test]
fn what_the_client_counts_is_what_the_peers_did() {
    if let Ok(seed) = std::env::var("MEGACONN_SIM_SEED") {
        World::new(seed.parse().expect("MEGACONN_SIM_SEED is a number")).run();
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
    "connected_total",
    "connect_failed_total",
    "tuples_skipped_total",
    "messages_total",
    "messages_mismatched_total",
    "recv_starved_total",
    "send_stalled_total",
    "close_timeout_total",
    "grow_failed_total",
    "stale_total",
];

/// The figures of a world, or its seed when a check failed in it.
fn outcome(seed: u64) -> Result<Figures, u64> {
    catch_unwind(|| World::new(seed).run()).map_err(|_| seed)
}

struct World {
    shard: Shard<SimDriver>,
    config: ShardConfig,
    wanted: u64,
    orders: u64,
    buffers: usize,
    stats: Arc<CoreStats>,
    random: Rng,
    turns: u32,
    closes_slowly: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let message_bytes = random.u16(40..=80);
        let connections = random.u64(1..=24);
        let faults = faults(&mut random);
        // A silent peer keeps a buffer for ten seconds, and who is starved polls meanwhile: the
        // pool must hold one for each message in flight, as limits.rs asserts.
        let few = if faults.echo > 0 { u16::try_from(connections).expect("few") } else { 1 };
        let buffers = few + random.u16(..6);
        let sim = SimConfig {
            seed,
            listeners: 0,
            buffers,
            buffer_bytes: random.u16(message_bytes..=2 * message_bytes),
            message_bytes: usize::from(message_bytes),
            faults,
            breach: None,
        };
        let config = ShardConfig {
            slots_per_segment: [4, 16, 64][random.usize(..3)],
            connects_in_flight: random.u32(1..=32),
            connects_per_s: random.bool().then(|| 20.0 + 2_000.0 * random.f64()),
            message_bytes,
            message_count: random.u16(1..=3),
            schedule: Schedule::None,
            expect: Expect::Echo,
            churn_per_s: 0.0,
            close: Cut::Sending,
            run: seed,
        };
        let plan = Arc::new(plan(&mut random, connections));
        let supply = Supply::new(plan, 0, connections, 0);
        let stats = Arc::new(CoreStats::new());
        let shard = Shard::new(SimDriver::new(sim), config.clone(), supply, Arc::clone(&stats));
        let buffers = usize::from(buffers);
        let closes_slowly = sim.faults.slow_close > 0;
        World {
            shard,
            config,
            wanted: connections,
            orders: 0,
            buffers,
            stats,
            random,
            turns: 0,
            closes_slowly,
        }
    }

    fn run(mut self) -> Figures {
        if self.random.u8(..6) == 0 {
            self.cut_short();
        } else {
            self.phase(Phase::Connect { connections: self.wanted });
            let census = self.shard.census();
            assert_eq!(
                (census.to_start, census.connecting),
                (0, 0),
                "not every connect is answered"
            );
            self.phase(Phase::Messages);
            assert_eq!(self.shard.census().waiting, 0, "an echo is out");
            self.hold(Duration::from_millis(500));
            self.check_verdicts();
        }
        self.phase(Phase::Close);
        self.check_rest();
        self.stats.figures().collect()
    }

    /// Somebody wants it to end in the middle of something.
    fn cut_short(&mut self) {
        for phase in [Phase::Connect { connections: self.wanted }, Phase::Messages] {
            self.order(phase);
            let span = Duration::from_micros(self.random.u64(..40_000));
            self.live_for(span);
        }
    }

    fn hold(&mut self, span: Duration) {
        self.order(Phase::Hold);
        self.live_for(span);
    }

    fn live_for(&mut self, span: Duration) {
        let until = self.shard.driver().now() + span;
        while self.shard.driver().now() < until {
            let turn = self.turn();
            if !self.shard.driver().pass(turn) {
                return;
            }
        }
    }

    fn order(&mut self, phase: Phase) -> u64 {
        self.orders += 1;
        self.shard.obey(Order { number: self.orders, phase });
        self.orders
    }

    /// Turns until the phase is finished, as `run` waits for it.
    fn phase(&mut self, phase: Phase) {
        let number = self.order(phase);
        let until = self.shard.driver().now() + PHASE_MAX;
        loop {
            let turn = self.turn();
            if self.stats.order_finished.get() == number {
                return;
            }
            let census = self.shard.census();
            let goes_on = self.shard.driver().pass(turn);
            assert!(goes_on, "{phase:?} sleeps for ever, unfinished: {census:?}");
            let is_late = self.shard.driver().now() > until;
            assert!(!is_late, "{phase:?} takes longer than {PHASE_MAX:?}: {census:?}");
        }
    }

    fn turn(&mut self) -> Turn {
        let turn = self.shard.turn();
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the shard turns without end");
        self.check_books();
        turn
    }

    fn check_books(&mut self) {
        let census = self.shard.census();
        let arena = self.shard.arena();
        let (used, free) = (u64::from(arena.used()), arena.count_free());
        assert_eq!(used + free, arena.capacity(), "used and free slots are not all slots");
        let count = |life| arena.iter_used().filter(|(_, slot)| slot.life() == life).count() as u64;
        let (connecting, ending) = (u64::from(census.connecting), u64::from(census.ending));
        assert_eq!(count(Life::Connecting), connecting, "{census:?}");
        assert_eq!(count(Life::Closing), ending, "{census:?}");
        assert_eq!(count(Life::Open), census.connections, "{census:?}");
        let queued = u64::from(census.resting + census.waiting);
        assert_eq!(
            queued, census.connections,
            "an open connection stands in one queue: {census:?}"
        );
        assert_eq!(used, connecting + ending + census.connections, "{census:?}");

        let stats = &self.stats;
        let (connected, failed) = (stats.connected_total.get(), stats.connect_failed_total.get());
        let answered = connected + failed + census.to_start + connecting;
        let answered = if self.orders == 0 { self.wanted } else { answered };
        assert_eq!(answered, self.wanted, "a connect got lost: {census:?}");
        let lost: u64 = stats.lost.iter().map(|figure| figure.get()).sum();
        assert!(connected >= census.connections + lost, "a connection is lost twice: {census:?}");
        let mismatches = stats.lost[LostCause::Mismatch as usize].get();
        assert_eq!(
            mismatches,
            stats.messages_mismatched_total.get(),
            "a mismatch ends its connection"
        );

        let driver = self.shard.driver();
        assert_eq!(
            driver.counts().stale,
            stats.stale_total.get(),
            "an earlier life of a slot acted"
        );
        assert!(driver.counts().closed >= stats.closed_total.get(), "closed before the world did");
        assert!(driver.buffers_used() <= self.buffers, "more buffers are in use than there are");
    }

    /// Before we close anything, each loss has its cause, and each cause its loss.
    fn check_verdicts(&mut self) {
        let peers = self.shard.driver().peers();
        let erred = |fault: EchoFault| {
            let did = |echo: megaconn::sim::Echo| echo.fault == Some(fault);
            peers.iter().filter(|p| p.has_erred && p.conduct.echo.is_some_and(did)).count() as u64
        };
        let mut expected = [0; LOST_CAUSES.len()];
        let other_bytes = [
            EchoFault::Corruption,
            EchoFault::Repetition,
            EchoFault::Replay,
            EchoFault::CrossedWires,
        ];
        expected[LostCause::Mismatch as usize] = other_bytes.map(erred).iter().sum();
        expected[LostCause::Silent as usize] = erred(EchoFault::Silence);
        expected[LostCause::Reset as usize] = erred(EchoFault::Reset);
        expected[LostCause::Fin as usize] = erred(EchoFault::End);
        let lost: Vec<u64> = self.stats.lost.iter().map(|figure| figure.get()).collect();
        assert_eq!(lost, expected, "the causes of losses, as {LOST_CAUSES:?}");
        let ending = self.shard.census().ending;
        assert!(ending == 0 || self.closes_slowly, "{ending} lost connections keep their slots");
        let (connected, connections) =
            (self.stats.connected_total.get(), self.shard.census().connections);
        let lost: u64 = lost.iter().sum();
        assert_eq!(connected, connections + lost, "established and lost do not add up");
        let (sent, verified) =
            (self.stats.messages_sent_total.get(), self.stats.messages_total.get());
        assert!(verified <= sent, "{verified} echoes of {sent} messages");
        let all = connections * u64::from(self.config.message_count);
        assert!(verified >= all, "{verified} echoes, but the connections held had {all}");
    }

    fn check_rest(&mut self) {
        self.live_for(Duration::from_secs(15));
        assert_eq!(self.shard.arena().used(), 0, "slots are in use after the close");
        let driver = self.shard.driver();
        assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
        assert_eq!(driver.in_flight(), 0, "something is with the kernel still");
        let counts = driver.counts();
        assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
        assert_eq!(counts.closed, self.stats.closed_total.get(), "closes are miscounted");
        let is_stubborn = |fault| fault == Some(EchoFault::Stubbornness);
        let stubborn = driver.peers().iter().filter(|peer| {
            peer.has_erred && peer.conduct.echo.is_some_and(|echo| is_stubborn(echo.fault))
        });
        let stubborn = stubborn.count() as u64;
        let timeouts = self.stats.close_timeout_total.get();
        assert_eq!(timeouts, stubborn, "close timeouts, and peers that never ended");
    }
}

/// Two targets and one source; now and then with fewer tuples than are wanted.
fn plan(random: &mut Rng, connections: u64) -> TuplePlan {
    let targets = [9_000, 9_001].map(|port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let range = AddressRange::new(source, source).expect("one address is a range");
    let most = if random.u8(..8) == 0 { connections / 2 } else { connections * 4 };
    let ports = (0..=most).map(|n| 40_000 + u16::try_from(n).expect("few")).collect();
    TuplePlan::new(targets.into(), &[range], ports, 1).expect("the plan is sound")
}

fn faults(random: &mut Rng) -> Faults {
    let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
    Faults {
        accept: 0,
        connect_at_once: rate(200),
        connect: rate(400),
        open_segment: rate(300),
        would_block: rate(300),
        stale: rate(1_000),
        slow_close: rate(30),
        echo: rate(800),
    }
}

/// Where the slots of a core are, for the tests.
#[derive(Clone, Copy, Debug)]
struct Census {
    to_start: u64,
    connections: u64,
    connecting: u32,
    resting: u32,
    waiting: u32,
    ending: u32,
}

impl<D: Driver> Shard<D> {
    fn census(&self) -> Census {
        Census {
            to_start: self.agenda.to_start,
            connections: self.connections,
            connecting: self.connecting.len(),
            resting: self.resting.len(),
            waiting: self.waiting.len(),
            ending: self.ending.len(),
        }
    }

    fn arena(&self) -> &Arena {
        &self.arena
    }

    fn driver(&mut self) -> &mut D {
        &mut self.driver
    }
}
