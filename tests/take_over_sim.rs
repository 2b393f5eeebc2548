//! Two servers on one listening queue, in a simulated world: the newer one takes over from the older one while
//! connections come. No connection is served twice, and none never.
//!
//! The queue is one queue of each server's driver: before the older one lets go a connection arrives at either, as the
//! kernel may wake an accept of either; what waits at the older one afterwards is moved to the newer one.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use megaconn::drivers::sim::{Faults, Parting, PeerProfile, Reading, SimConfig, SimDriver};
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::Protocol;
use megaconn::engine::protocol::broadcast::{Moment, Numbers, Order, Receipt};
use megaconn::engine::protocol::echo::Echo;
use megaconn::engine::protocol::sink::Sink;
use megaconn::engine::server::drain::{Accepting, Command, MemoryLeft};
use megaconn::engine::server::sources::Sources;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::ServerStats;

const LISTENERS: usize = 2;
const PEERS: usize = 60;

struct Core<P: Protocol = Echo> {
    server: Server<SimDriver, P>,
    stats: Arc<ServerStats>,
    accepting: Accepting,
}

/// What a world does, by its seed.
struct Scene {
    random: Rng,
    faults: Faults,
    accept_rate: Option<f64>,
    slots: u32,
    buffer_bytes: u16,
    seed: u64,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let mut random = Rng::with_seed(seed);
        let mut rate = |most: u32| if random.bool() { random.u32(..most) } else { 0 };
        let faults = Faults {
            would_block: rate(300),
            stale: rate(1_000),
            slow_close: rate(50),
            ..Faults::default()
        };
        let accept_rate = (random.u8(..3) == 0).then_some(500.0);
        let slots = [4, 8, 64][random.usize(..3)];
        Scene { random, faults, accept_rate, slots, buffer_bytes: 64, seed }
    }

    fn core(&self, number: u64, sources: &Sources) -> Core {
        self.core_with(Echo, number, sources)
    }

    fn core_with<P: Protocol>(&self, protocol: P, number: u64, sources: &Sources) -> Core<P> {
        let sim = SimConfig {
            seed: self.seed * 2 + number,
            listeners: LISTENERS,
            buffers: 8,
            buffer_bytes: self.buffer_bytes,
            message_bytes: 0,
            faults: self.faults,
            mutation: None,
        };
        let accepting = Accepting::of(1);
        let config = ServerConfig {
            accepting: accepting.clone(),
            accept_rate: self.accept_rate,
            sources: sources.clone(),
            ..ServerConfig::new(LISTENERS, self.slots)
        };
        let stats = Arc::new(ServerStats::new());
        let server = Server::new(SimDriver::new(sim), config, protocol, Arc::clone(&stats));
        Core { server: server.expect("no segment fails in this world"), stats, accepting }
    }

    fn profile(&mut self) -> PeerProfile {
        let parting = if self.random.bool() { Parting::Stay } else { Parting::HalfClose };
        let bytes = self.random.usize(..150);
        PeerProfile { bytes, window: 64, reading: Reading::Promptly, parting, echo: None }
    }
}

impl<P: Protocol> Core<P> {
    fn arrive(&mut self, scene: &mut Scene, profile: PeerProfile, within: Duration) {
        let listener = scene.random.usize(..LISTENERS);
        let delay = Duration::from_micros(scene.random.u64(..=as_us(within)));
        self.server.end.driver.arrive(listener, profile, delay);
    }

    fn run_until(&mut self, time: Duration) {
        while self.server.end.driver.now() < time {
            let turn = self.server.turn();
            let turn = match self.server.end.driver.prepare_to_sleep(turn) {
                Turn::Idle(None) => Turn::Idle(Some(Duration::from_micros(200))),
                turn => turn,
            };
            self.server.end.driver.pass(turn);
        }
    }

    fn accepted(&self) -> usize {
        usize::try_from(self.stats.accepted_total.get()).unwrap()
    }

    /// Whoever was served has all that it was owed, and was neither refused nor cut.
    fn check(&self, seed: u64, is_drained: bool) {
        for (number, peer) in self.server.end.driver.peers().iter().enumerate() {
            assert!(!peer.was_refused, "seed {seed}: {number} was refused: {peer:?}");
            assert!(!peer.was_reset, "seed {seed}: {number} was reset: {peer:?}");
            let is_whole = peer.received.len() == peer.read;
            assert!(is_whole, "seed {seed}: {number} lacks bytes: {peer:?}");
            // A drain may overtake what it has sent.
            let was_heard = is_drained || !peer.was_closed || peer.read == peer.sent.len();
            assert!(was_heard, "seed {seed}: {number} was not heard: {peer:?}");
        }
    }
}

fn as_us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

/// One take-over, after which the older server drains or serves on.
fn take_over(seed: u64) {
    let mut scene = Scene::new(seed);
    let none = Sources::default();
    let (mut older, mut newer) = (scene.core(0, &none), scene.core(1, &none));
    let ms = Duration::from_millis;
    let at = ms(scene.random.u64(1..200));
    let is_drained = scene.random.bool();
    // The newer one accepts as well from some time before on.
    let mut both_from = ms(scene.random.u64(..=u64::try_from(at.as_millis()).unwrap()));
    // Now and then memory is short, so that it watches its listeners and has no accept outstanding: then what comes
    // to it before is refused, and nobody does.
    let is_short = scene.random.u8(..8) == 0;
    if is_short {
        both_from = Duration::ZERO;
        older.server.handle_command(Command::Memory(MemoryLeft::ShortOnHost));
    }
    for _ in 0..PEERS {
        let profile = scene.profile();
        let after = Duration::from_micros(scene.random.u64(..as_us(at) * 2));
        let to_newer = is_short || after >= at || after >= both_from && scene.random.bool();
        let core = if to_newer { &mut newer } else { &mut older };
        let listener = scene.random.usize(..LISTENERS);
        core.server.end.driver.arrive(listener, profile, after);
    }
    older.run_until(at);
    newer.run_until(at);
    older.server.handle_command(Command::LetGo);
    let (mut moved, mut time, mut has_let_go) = (0, at, false);
    while time < at + ms(3_000) {
        time += ms(5);
        older.run_until(time);
        for profile in older.server.end.driver.take_left() {
            newer.arrive(&mut scene, profile, ms(1));
            moved += 1;
        }
        if !has_let_go && older.accepting.cores() == 0 {
            has_let_go = true;
            newer.server.handle_command(Command::LookAnew);
            if is_drained {
                older.server.handle_command(Command::Drain(ms(60_000)));
            }
        }
        // A core that sleeps is rung in earnest; in this world it turns when it wakes.
        assert!(has_let_go || time < at + ms(500), "seed {seed}: it has not let go");
        newer.run_until(time);
    }
    assert!(older.server.end.driver.take_left().is_empty());
    // Nobody twice, nobody never.
    let come = |core: &Core| core.server.end.driver.peers().len();
    assert_eq!(older.accepted() + moved, come(&older), "seed {seed}: of the older server's");
    assert_eq!(newer.accepted(), come(&newer), "seed {seed}: of the newer server's");
    assert_eq!(older.accepted() + newer.accepted(), PEERS, "seed {seed}: of all");
    older.check(seed, is_drained);
    newer.check(seed, false);
}

#[test]
fn nobody_is_served_twice_and_nobody_never() {
    for seed in 0..1_000 {
        take_over(seed);
    }
}

/// The texts that came to a peer, by number, and how many between them did not.
fn texts(mut received: &[u8]) -> (Vec<u64>, u64) {
    let (mut numbers, mut missed, mut place) = (Vec::new(), 0, 0);
    while !received.is_empty() {
        let (receipt, size) = Receipt::read(&mut place, received).unwrap().unwrap();
        missed += u64::from(receipt.missed);
        numbers.push(receipt.number);
        received = &received[size..];
    }
    (numbers, missed)
}

/// The newer server passes each order on, under its number, to the older one, which drains: those of both have it once.
#[test]
fn a_text_reaches_the_connections_of_both_servers_once() {
    let ms = Duration::from_millis;
    let mut drained = 0;
    for seed in 0..300 {
        let mut scene = Scene::new(seed);
        (scene.accept_rate, scene.buffer_bytes) = (None, 256);
        let none = Sources::default();
        let [mut older, mut newer] = [0, 1].map(|number| scene.core_with(Sink, number, &none));
        let mut numbers = [(); 2].map(|()| Numbers::new(1, false));
        let stays = |scene: &mut Scene| PeerProfile { parting: Parting::Stay, ..scene.profile() };
        for number in 0..PEERS {
            let profile = PeerProfile { window: 4_096, ..stays(&mut scene) };
            let core = if number % 2 == 0 { &mut older } else { &mut newer };
            core.arrive(&mut scene, profile, ms(100));
        }
        let mut time = ms(300);
        [&mut older, &mut newer].into_iter().for_each(|core| core.run_until(time));
        let mut given: Vec<[Arc<Order>; 2]> = Vec::new();
        let give = |to: &mut Core<Sink>, numbers: &mut Numbers| {
            let order = Arc::new(numbers.order(None, b"to all", Moment::default()));
            to.server.handle_command(Command::Broadcast(Arc::clone(&order)));
            order
        };
        let before = give(&mut older, &mut numbers[0]);
        older.run_until(time);
        older.server.handle_command(Command::LetGo);
        older.server.handle_command(Command::Drain(ms(4_000)));
        numbers[1].pass(numbers[0].last());
        let open = |core: &Core<Sink>| {
            let peers = core.server.end.driver.peers().iter().enumerate();
            let open = peers.filter(|(_, peer)| !peer.was_closed && !peer.was_reset);
            open.map(|(number, _)| number).collect::<Vec<_>>()
        };
        for _ in 0..5 {
            time += ms(scene.random.u64(1..700));
            [&mut older, &mut newer].into_iter().for_each(|core| core.run_until(time));
            let of_newer = give(&mut newer, &mut numbers[1]);
            numbers[0].pass(of_newer.number - 1);
            given.push([give(&mut older, &mut numbers[0]), of_newer]);
        }
        let staying = [&older, &newer].map(open);
        time += ms(600);
        [&mut older, &mut newer].into_iter().for_each(|core| core.run_until(time));
        assert_eq!(before.number, 1, "seed {seed}");
        for [passed, own] in &given {
            assert_eq!(passed.number, own.number, "seed {seed}");
            for order in [passed, own] {
                let tally = &order.tally;
                let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
                assert_eq!(tally.cores_done.load(Ordering::Relaxed), 1, "seed {seed}: done");
                let members = count(&tally.sent) + count(&tally.skipped) + count(&tally.gone);
                assert_eq!(members, tally.members(), "seed {seed}: nobody is closed for it");
            }
            assert_eq!(own.tally.members(), PEERS as u64 / 2, "seed {seed}");
            assert!(passed.tally.members() <= PEERS as u64 / 2, "seed {seed}");
        }
        for (core, staying) in [(&older, &staying[0]), (&newer, &staying[1])] {
            let mut left_out = 0;
            for (number, peer) in core.server.end.driver.peers().iter().enumerate() {
                let (had, missed) = texts(&peer.received);
                let stayed = staying.contains(&number) && !peer.was_closed && !peer.was_reset;
                let last = given.last().map(|[order, _]| order.number);
                left_out += missed + u64::from(stayed && had.last().copied() != last);
            }
            let skipped = core.stats.broadcast_skipped_total.get();
            assert!(left_out <= skipped, "seed {seed}: {left_out} left out, {skipped} counted");
        }
        drained += older.stats.drained_total.get();
    }
    assert!(drained > 1_000, "{drained} have drained: these worlds have too few");
}

/// Peers come from three addresses, in turns.
#[test]
fn two_cores_hold_as_many_of_a_source_as_they_may() {
    const MOST: u64 = 4;
    for seed in 0..100 {
        let mut scene = Scene::new(seed);
        (scene.accept_rate, scene.faults) = (None, Faults::default());
        let sources = Sources::of(MOST);
        let mut cores = [0, 1].map(|number| scene.core(number, &sources));
        let stays = |scene: &mut Scene| PeerProfile { parting: Parting::Stay, ..scene.profile() };
        for round in 1..=2 {
            for number in 0..PEERS {
                let profile = stays(&mut scene);
                cores[number % 2].arrive(&mut scene, profile, Duration::from_millis(100));
            }
            let until = Duration::from_secs(4 * round);
            for step in 0..400 {
                let time = until - Duration::from_millis(4 * (399 - step));
                cores.iter_mut().for_each(|core| core.run_until(time));
                let of_source = |source: usize| {
                    let peers = cores
                        .iter()
                        .flat_map(|core| core.server.end.driver.peers().iter().enumerate());
                    let open = |(number, peer): &(usize, &megaconn::drivers::sim::Peer)| {
                        number % 3 == source && peer.slot.is_some() && !peer.was_reset
                    };
                    peers.filter(open).count()
                };
                // One that is refused is open for a moment.
                let refused: u64 =
                    cores.iter().map(|core| core.stats.refused_per_source_total.get()).sum();
                let most = usize::try_from(MOST + refused).unwrap();
                assert!((0..3).all(|source| of_source(source) <= most), "seed {seed}");
            }
            let held: u64 = cores.iter().map(|core| core.stats.connections.get()).sum();
            let refused: u64 =
                cores.iter().map(|core| core.stats.refused_per_source_total.get()).sum();
            assert_eq!(held, 3 * MOST, "seed {seed}, round {round}");
            assert!(refused >= PEERS as u64 - 3 * MOST, "seed {seed}: more came than were held");
            // All go, and what they had can be had again.
            cores.iter_mut().for_each(|core| core.server.end.driver.leave_all());
            let time = until + Duration::from_secs(1);
            cores.iter_mut().for_each(|core| core.run_until(time));
            let held: u64 = cores.iter().map(|core| core.stats.connections.get()).sum();
            assert_eq!(held, 0, "seed {seed}");
        }
    }
}
