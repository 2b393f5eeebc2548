//! A client whose every buffer is in a send that does not go: what is readable meanwhile waits for a
//! buffer, and the core sleeps. In simulated time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use megaconn::base::constants::{ECHO_TIMEOUT, TICK_MS};
use megaconn::drivers::sim::{Faults, Parting, PeerBehavior, Reading, SimConfig, SimDriver};
use megaconn::engine::client::Client;
use megaconn::engine::client::config::{ClientConfig, Pace, Schedule};
use megaconn::engine::client::phase::{Command, Phase, PhaseCommand};
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::driver::{Driver, ShutdownMode};
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::{ClientStats, LossLog, LostCause};
use megaconn::plan::tuples::{AddressRange, TuplePlan};

const CONNECTIONS: u64 = 6;

/// More than any peer's window, so that a send to a peer that reads nothing stalls.
const MESSAGE_BYTES: u16 = 300;

struct Scene {
    client: Client<SimDriver, Expect>,
    stats: Arc<ClientStats>,
    orders: u64,
    turns: u32,
}

impl Scene {
    /// A client with one buffer, whose connections are open and whose one message is stuck.
    fn new(seed: u64) -> Scene {
        let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7000);
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
        let range = AddressRange::new(source, source).expect("one address is a range");
        let plan = TuplePlan::new(vec![target], &[range], (20_000..20_100).collect(), 1);
        let plan = Arc::new(plan.expect("the plan is sound"));
        let mut driver = SimDriver::new(SimConfig {
            seed,
            listeners: 0,
            buffers: 1,
            buffer_bytes: MESSAGE_BYTES,
            message_bytes: usize::from(MESSAGE_BYTES),
            faults: Faults::default(),
            mutation: None,
        });
        driver.set_behavior(PeerBehavior::Sink);
        let config = ClientConfig {
            reconnect: None,
            lifetime: None,
            readers: None,
            seed: 1,
            slots_per_segment: 8,
            connects_in_flight: 8,
            pace: Pace {
                connects_per_s: None,
                schedule: Schedule::None,
                churn_per_s: 0.0,
                is_paused: false,
            },
            turn: 0.0,
            message_bytes: MESSAGE_BYTES,
            message_count: 1,
            close: ShutdownMode::Reset,
            run: 1,
        };
        let stats = Arc::new(ClientStats::new());
        let tuples = TupleAllocator::new(plan, 0, CONNECTIONS, 0, 1);
        let (figures, losses) = (Arc::clone(&stats), Arc::new(LossLog::default()));
        let client = Client::new(driver, config, Expect::Nothing, tuples, figures, losses);
        let mut scene = Scene { client, stats, orders: 0, turns: 0 };
        scene.order(Phase::Connect { connections: CONNECTIONS });
        scene.live_for(Duration::from_secs(1));
        assert_eq!(scene.stats.connected_total.get(), CONNECTIONS);
        for number in 0..scene.client.end.driver.peers().len() {
            scene.client.end.driver.change_reading(number, Reading::Never);
        }
        scene.order(Phase::Messages);
        scene.live_for(Duration::from_secs(1));
        assert_eq!(scene.client.census().waiting, 1, "one message is out");
        assert_eq!(scene.stats.buffers_used.get(), 1, "it has the buffer");
        scene
    }

    fn order(&mut self, phase: Phase) {
        self.orders += 1;
        let command = PhaseCommand { number: self.orders, phase };
        self.client.handle_command(Command::Do(command));
    }

    fn live_for(&mut self, span: Duration) {
        let until = self.client.end.driver.now() + span;
        while self.client.end.driver.now() < until {
            let left = until - self.client.end.driver.now();
            let turn = self.client.turn();
            let turn = self.client.end.driver.prepare_to_sleep(turn);
            self.turns += 1;
            let turn = match turn {
                Turn::Busy => Turn::Busy,
                Turn::Idle(limit) => Turn::Idle(Some(limit.map_or(left, |limit| limit.min(left)))),
            };
            self.client.end.driver.pass(turn);
        }
    }

    /// Resets connections on which nothing is out, from outside.
    fn reset(&mut self, most: usize) -> usize {
        let peers = self.client.end.driver.peers().iter().enumerate();
        let idle = peers.filter(|(_, peer)| peer.received.is_empty() && !peer.has_reset);
        let idle: Vec<usize> = idle.map(|(number, _)| number).take(most).collect();
        for &number in &idle {
            self.client.end.driver.hang_up(number, Parting::Reset);
        }
        idle.len()
    }

    fn lost(&self, cause: LostCause) -> u64 {
        self.stats.lost[cause as usize].get()
    }
}

#[test]
fn a_core_sleeps_while_what_is_readable_waits_for_a_buffer() {
    for seed in 0..50 {
        let mut scene = Scene::new(seed);
        assert_eq!(scene.reset(3), 3);
        let (span, before) = (Duration::from_secs(5), scene.turns);
        scene.live_for(span);
        let turns = u128::from(scene.turns - before);
        let ticks = span.as_millis() / u128::from(TICK_MS);
        assert!(turns < 2 * ticks, "seed {seed}: {turns} turns in {ticks} ticks");
        assert_eq!(scene.stats.recv_starved_total.get(), 3, "each waits, and is counted once");
        // The message is given up, and its buffer tells all of them what came.
        scene.live_for(ECHO_TIMEOUT);
        assert_eq!(scene.lost(LostCause::Reset), 3, "seed {seed}");
        assert!(scene.lost(LostCause::Silent) > 0, "seed {seed}");
    }
}

#[test]
fn a_connection_that_waits_for_a_buffer_may_be_closed() {
    for seed in 0..50 {
        let mut scene = Scene::new(seed);
        let resets = scene.reset(usize::try_from(seed % 4).expect("small"));
        scene.live_for(Duration::from_secs(1));
        scene.order(Phase::Close { keep: 0 });
        scene.live_for(Duration::from_secs(30));
        let census = scene.client.census();
        assert_eq!(scene.client.end.arena.used(), 0, "seed {seed}, {resets} resets: {census:?}");
        assert_eq!(scene.stats.order_finished.get(), scene.orders, "the close is carried out");
        let driver = &mut scene.client.end.driver;
        assert_eq!((driver.buffers_used(), driver.in_flight()), (0, 0), "seed {seed}");
    }
}
