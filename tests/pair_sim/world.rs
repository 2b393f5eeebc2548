//! A world with both ends lives through the phases of a run, and then comes to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{End, SimDriver, Wire, WireMutation};
use megaconn::engine::client::Client;
use megaconn::engine::client::phase::{self, Phase, PhaseCommand};
use megaconn::engine::protocol::tls::server::Tls;
use megaconn::engine::protocol::{Expectation, Protocol};
use megaconn::engine::server::{Server, drain};
use megaconn::engine::storm::Way;
use megaconn::engine::token::SlotId;
use megaconn::engine::worker::Worker;
use megaconn::observe::stats::{ClientStats, ServerStats};

use crate::Figures;
use crate::broadcast::Orders;
use crate::ends::Ends;
use crate::scene::{LISTENERS, Layer, Scene};
use crate::speech::{self, Pinging};

/// Turns after which a world is given up: far more than any needs.
const TURNS_MAX: u32 = 200_000;

/// Simulated time that a phase may take: some timeouts of ten seconds, one after the other.
const PHASE_MAX: Duration = Duration::from_secs(120);

/// Simulated time in which everything must have come to rest after the last phase: some long stalls
/// one behind the other, a send timeout, a slow close, a segment that lingers.
const REST_WITHIN: Duration = Duration::from_secs(300);

/// Time between two phases.
const BETWEEN: Duration = Duration::from_millis(50);

/// One world with both shards.
pub(crate) struct World<P: Protocol, E: Expectation> {
    pub(crate) server: Server<SimDriver, P>,
    pub(crate) client: Client<SimDriver, E>,
    pub(crate) wire: Wire,
    pub(crate) scene: Scene,
    pub(crate) served: Arc<ServerStats>,
    pub(crate) called: Arc<ClientStats>,
    pub(crate) ends: Ends,
    pub(crate) phase: Phase,
    pub(crate) drained: bool,
    /// What ends the opening is there.
    pub(crate) has_wall: bool,
    /// Turns after which a reply was under way, or a part of what comes.
    pub(crate) turns_aside: u64,
    /// Turns of the server in which handshakes waited for their turn.
    pub(crate) handshakes_held_up: u64,
    /// Connections that were lost before this turn, and of those the ones that were while all were closed.
    pub(crate) lost: [u64; 2],
    /// Whether the storms of each end reset.
    pub(crate) drops_by_reset: [bool; 2],
    /// When the last text came on each connection that waits for one, as the client has it.
    pub(crate) last_texts: BTreeMap<(SlotId, u32), u32>,
    /// Waits that have begun anew since no reply was out.
    pub(crate) waits_begun: u64,
    /// Texts that had come by then.
    pub(crate) texts: u64,
    pub(crate) orders_given: Orders,
    orders: u64,
    turns: u32,
    random: Rng,
}

/// Lives through the world of a seed, of which one in five speaks WebSocket and one in 25 TLS; what has happened in it.
pub(crate) fn live(seed: u64, mutation: Option<WireMutation>) -> Figures {
    let mut random = random_of(seed);
    let layer = match seed % 25 {
        4 | 9 | 14 | 19 | 24 => Layer::Frames,
        12 => Layer::Records,
        _ => Layer::None,
    };
    let scene = Scene::new(seed, mutation, layer, &mut random);
    let (protocol, expect) = (scene.protocol.clone(), scene.expect.clone());
    match layer {
        Layer::None => World::new(scene, || protocol.clone(), expect, random).run(),
        Layer::Frames => {
            let protocol = Pinging::new(&protocol, &mut random);
            let expect = speech::upgraded(LISTENERS, expect);
            World::new(scene, || protocol.clone(), expect, random).run()
        }
        Layer::Records => {
            let (server, client) = speech::trusted(&mut random);
            let expect = speech::in_records(client, LISTENERS, expect);
            World::new(scene, || Tls::new(server.clone(), protocol.clone()), expect, random).run()
        }
    }
}

/// The same in a world in which the client opens until it meets a wall.
pub(crate) fn live_to_fill(seed: u64) -> Figures {
    let mut random = random_of(seed);
    let scene = Scene::filled(seed, &mut random);
    let (protocol, expect) = (scene.protocol.clone(), scene.expect.clone());
    World::new(scene, || protocol.clone(), expect, random).run_filling()
}

pub(crate) fn random_of(seed: u64) -> Rng {
    Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl<P: Protocol, E: Expectation> World<P, E> {
    pub(crate) fn new(
        scene: Scene,
        protocol: impl Fn() -> P,
        expect: E,
        random: Rng,
    ) -> World<P, E> {
        let orders_given = Orders::new(&scene);
        let (served, called) = (Arc::new(ServerStats::new()), Arc::new(ClientStats::new()));
        let mut server = server(&scene, protocol, &served);
        let mut client = Client::new(
            SimDriver::new(scene.sims[1]),
            scene.client.clone(),
            expect,
            scene.tuples.clone(),
            Arc::clone(&called),
            Arc::default(),
        )
        .following(orders_given.followed.clone());
        let wire = Wire::new(scene.wire, [&mut server.end.driver, &mut client.end.driver]);
        World {
            server,
            client,
            wire,
            scene,
            served,
            called,
            ends: Ends::default(),
            phase: Phase::Hold,
            drained: false,
            has_wall: false,
            turns_aside: 0,
            handshakes_held_up: 0,
            lost: [0; 2],
            drops_by_reset: [false; 2],
            last_texts: BTreeMap::new(),
            waits_begun: 0,
            texts: 0,
            orders_given,
            orders: 0,
            turns: 0,
            random,
        }
    }

    /// Runs all phases, comes to rest, and is looked at after every turn; what has happened in it.
    pub(crate) fn run(mut self) -> Figures {
        for connections in self.scene.plateaus.clone() {
            self.run_plateau(connections);
        }
        self.run_phase(Phase::Close { keep: 0 });
        self.come_to_rest();
        self.check_rest();
        if self.scene.orders.is_some() {
            self.check_broadcasts();
        }
        self.figures()
    }

    fn run_plateau(&mut self, connections: u64) {
        self.run_phase(Phase::Connect { connections });
        self.live_for(BETWEEN);
        if self.scene.client.message_count > 0 {
            self.run_phase(Phase::Messages);
        }
        self.order(Phase::Traffic);
        self.live_for(self.scene.hold);
        self.run_phase(Phase::Hold);
        if self.scene.sweeps {
            self.run_phase(Phase::Sweep);
        }
        if self.scene.sheds {
            let keep = self.random.u64(..=connections);
            self.run_phase(Phase::Close { keep });
            self.run_phase(Phase::Connect { connections });
        }
    }

    pub(crate) fn order(&mut self, phase: Phase) {
        self.orders += 1;
        self.phase = phase;
        let command = PhaseCommand { number: self.orders, phase };
        self.client.handle_command(phase::Command::Do(command));
        self.wire.wake(End::Client);
    }

    /// Turns until the client says that the phase is carried out.
    pub(crate) fn run_phase(&mut self, phase: Phase) {
        self.order(phase);
        let until = self.wire.now() + PHASE_MAX;
        while self.called.order_finished.get() != self.orders {
            let census = self.client.census();
            assert!(self.step(until), "{phase:?} takes longer than {PHASE_MAX:?}: {census:?}");
        }
    }

    pub(crate) fn live_for(&mut self, span: Duration) {
        let until = self.wire.now() + span;
        while self.step(until) {}
    }

    /// Turns until nothing will ever happen again.
    pub(crate) fn come_to_rest(&mut self) {
        let until = self.wire.now() + REST_WITHIN;
        while !self.is_quiet() {
            let is_late = !self.step(until) && !self.is_quiet();
            assert!(!is_late, "no rest within {REST_WITHIN:?}: {:?}", self.server.end.arena);
        }
    }

    fn is_quiet(&mut self) -> bool {
        self.wire.is_quiet(&[&mut self.server.end.driver, &mut self.client.end.driver])
    }

    /// One turn of one end; `false` when none comes before `until`.
    fn step(&mut self, until: Duration) -> bool {
        self.tell_what_is_due();
        let next = self.next_command().map_or(until, |at| at.min(until));
        let drivers = [&mut self.server.end.driver, &mut self.client.end.driver];
        match self.wire.advance(drivers, next) {
            Some(end) => {
                self.turn(end);
                true
            }
            None => next < until,
        }
    }

    fn turn(&mut self, end: End) {
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the shards turn without end");
        let turn = match end {
            End::Server => {
                let turn = self.server.turn();
                self.server.end.driver.prepare_to_sleep(turn)
            }
            End::Client => {
                let turn = self.client.turn();
                self.client.end.driver.prepare_to_sleep(turn)
            }
        };
        self.wire.rest(end, turn);
        self.check_turn(end);
        if end == End::Server {
            self.note_done();
        }
    }

    // ---- what the ends are told -----------------------------------------------------------

    /// When something is to be told next.
    fn next_command(&self) -> Option<Duration> {
        let drain = self.scene.drain.map(|(at, _)| at);
        let memory = self.scene.memory.last().map(|(at, _)| *at);
        let storm = self.scene.storms.last().map(|(at, ..)| *at);
        let order = self.scene.orders.as_ref().and_then(|orders| Some(orders.last()?.at));
        [drain, memory, storm, order, self.scene.opens_no_more].into_iter().flatten().min()
    }

    fn tell_what_is_due(&mut self) {
        let now = self.wire.now();
        self.meet_wall();
        if let Some((_, time)) = self.scene.drain.take_if(|(at, _)| *at <= now) {
            self.drained = true;
            self.server.handle_command(drain::Command::Drain(time));
            self.wire.wake(End::Server);
        }
        if let Some((_, left)) = self.scene.memory.pop_if(|(at, _)| *at <= now) {
            self.server.handle_command(drain::Command::Memory(left));
            self.wire.wake(End::Server);
        }
        if let Some((_, end, drop)) = self.scene.storms.pop_if(|(at, ..)| *at <= now) {
            self.drops_by_reset[end as usize] = drop.by == Way::Reset;
            match end {
                End::Server => self.server.handle_command(drain::Command::Drop(drop)),
                End::Client => self.client.handle_command(phase::Command::Storm(drop)),
            }
            self.wire.wake(end);
        }
        self.give_orders();
        if self.scene.opens_no_more.take_if(|at| *at <= now).is_some() {
            self.client.handle_command(phase::Command::OpenNoMore);
            self.wire.wake(End::Client);
        }
    }
}

fn server<P: Protocol>(
    scene: &Scene,
    protocol: impl Fn() -> P,
    stats: &Arc<ServerStats>,
) -> Server<SimDriver, P> {
    let mut sim = scene.sims[0];
    let start =
        |sim| Server::new(SimDriver::new(sim), scene.server.clone(), protocol(), Arc::clone(stats));
    start(sim).unwrap_or_else(|errno| {
        // Then the server would not start; in this world it does.
        assert_eq!(errno, Errno::ENOMEM, "a start fails for want of memory alone");
        sim.faults.open_segment = 0;
        start(sim).expect("this world opens every segment")
    })
}
