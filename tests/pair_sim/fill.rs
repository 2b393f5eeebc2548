//! Worlds in which the client opens until it meets a wall: the server is full, or accepts no more.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::GROWTH_WINDOW;
use megaconn::base::errno::Errno;
use megaconn::drivers::sim::End;
use megaconn::engine::client::phase::Phase;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::{Expectation, Protocol};
use megaconn::engine::server::drain::{Command, MemoryLeft};
use megaconn::engine::worker::Worker;

use crate::Figures;
use crate::scene::{LISTENERS, Layer, MANY_BUFFERS, Scene, one_in, tuples};
use crate::world::World;

/// Connections that a server has room for, or has when it accepts no more, at most: fewer than half of the
/// window in which a client looks whether it grows, and of the next one.
const HELD_MOST: u64 = GROWTH_WINDOW / 2 - 1;

/// Connections that the client may open: more than any of these walls lets it try.
const MOST: u64 = 5 * GROWTH_WINDOW;

/// Time in which both ends hear of each connection that has ended: a stall, a pause, a slow close.
const AGREE_WITHIN: Duration = Duration::from_secs(20);

/// What ends the opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    /// The server holds as many as it may.
    Full,
    /// It closes its listeners, and then its connections.
    Drain,
    /// It has no memory for more.
    Memory,
    /// It does not run, until the client has met the wall.
    Stopped,
    /// There are no more tuples.
    Tuples,
}

const WALLS: [Wall; 5] = [Wall::Full, Wall::Drain, Wall::Memory, Wall::Stopped, Wall::Tuples];

/// A wall, and how many connections are held when it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filling {
    pub(crate) wall: Wall,
    pub(crate) at: u64,
    /// Most connections of each step.
    pub(crate) steps: [u64; 2],
}

impl Scene {
    /// The same traffic and faults in a world that is filled.
    pub(crate) fn filled(seed: u64, random: &mut Rng) -> Scene {
        let mut scene = Scene::new(seed, None, Layer::None, random);
        while matches!(scene.expect, Expect::Push(_)) {
            // So many pushes take too many turns.
            scene = Scene::new(seed, None, Layer::None, random);
        }
        let wall = WALLS[random.usize(..WALLS.len())];
        let at = random.u64(2..=HELD_MOST);
        let capacity = if wall == Wall::Tuples { at } else { MOST };
        // One port is more than were asked for.
        let ports = capacity.div_ceil(LISTENERS as u64) - 1;
        scene.tuples = tuples(ports, capacity, 0, seed);
        scene.server.connections_max = match wall {
            Wall::Full => u32::try_from(at).expect("few"),
            _ => 2 * u32::try_from(MOST).expect("few"),
        };
        scene.server.idle_timeout = None;
        // As many as there can be leave no place.
        scene.client.lifetime = None;
        // With few buffers it hears late of connections that have ended, and takes them for growth.
        scene.sims[1].buffers = MANY_BUFFERS;
        // A connect to a server that does not run takes ten seconds.
        scene.client.connects_in_flight = random.u32(64..=128);
        scene.client.pace.connects_per_s = one_in(random, 2).then(|| 50.0 + 2_000.0 * random.f64());
        (scene.wire.faults.lost_syn, scene.wire.faults.long_stall) = (0, 0);
        scene.wire.backlog = random.usize(1..=32);
        // Echoes, and ends, wait for a server that does not run.
        scene.storms.clear();
        scene.is_slow = wall == Wall::Stopped;
        (scene.drain, scene.memory, scene.opens_no_more) = (None, Vec::new(), None);
        scene.filling = Some(Filling { wall, at, steps: [random.u64(1..=MOST), MOST] });
        scene
    }
}

impl<P: Protocol, E: Expectation> World<P, E> {
    /// Fills, looks at what came of it, and comes to rest.
    pub(crate) fn run_filling(mut self) -> Figures {
        let filling = self.scene.filling.expect("the world is one that is filled");
        for most in filling.steps {
            self.run_phase(Phase::Fill { most });
        }
        self.check_stopped(filling);
        self.wire.hold_up(End::Server, Duration::ZERO);
        self.check_agreement(filling);
        self.run_phase(Phase::Close { keep: 0 });
        self.come_to_rest();
        self.check_rest();
        let mut figures = self.figures();
        figures.push((format!("wall.{:?}", filling.wall), self.has_wall.into()));
        figures
    }

    /// The wall comes when the client holds so many.
    pub(crate) fn meet_wall(&mut self) {
        let Some(Filling { wall, at, .. }) = self.scene.filling else { return };
        if self.has_wall || self.client.census().connections < at {
            return;
        }
        self.has_wall = true;
        match wall {
            Wall::Full | Wall::Tuples => return,
            Wall::Drain => {
                self.drained = true;
                self.server.handle_command(Command::Drain(Duration::from_millis(500)));
            }
            Wall::Memory => self.server.handle_command(Command::Memory(MemoryLeft::ShortOnHost)),
            Wall::Stopped => return self.wire.hold_up(End::Server, Duration::MAX / 4),
        }
        self.wire.wake(End::Server);
    }

    /// The client has stopped, of its own accord and soon, and every connect is accounted for.
    fn check_stopped(&mut self, filling: Filling) {
        let (stats, census) = (Arc::clone(&self.called), self.client.census());
        let started = stats.connect_started_total.get();
        assert_eq!((census.to_start, census.connecting), (0, 0), "{filling:?}");
        assert_eq!(stats.connect_untried_total.get(), 0, "no number was asked for: {filling:?}");
        let is_met = stats.wall_met.get() == 1;
        let at_most =
            filling.at + 3 * GROWTH_WINDOW + u64::from(self.scene.client.connects_in_flight);
        if filling.wall == Wall::Tuples {
            // Each was tried, unless something else came first.
            let all = filling.at.next_multiple_of(LISTENERS as u64);
            assert!(is_met || started == all, "{started} of {all} tried: {filling:?}");
        } else {
            assert!(is_met || !self.has_wall, "{filling:?} was not noticed: {census:?}");
            let tried = started - stats.tuples_skipped_total.get();
            let is_soon = tried <= at_most || !self.has_wall;
            assert!(is_soon, "{tried} were tried, {at_most} are enough: {filling:?}");
        }
        // One failure of each step may stand for those that were not begun.
        let (connected, failed) = (stats.connected_total.get(), stats.connect_failed_total.get());
        let known = connected + failed + stats.tuples_skipped_total.get();
        let stand_in = if is_met || filling.wall == Wall::Tuples { filling.steps.len() } else { 0 };
        let is_right = (started..=started + stand_in as u64).contains(&known);
        assert!(is_right, "{started} begun, {known} accounted for: {filling:?}");

        let before = started;
        self.run_phase(Phase::Fill { most: 2 * MOST });
        let started = self.called.connect_started_total.get();
        assert!(!is_met || started == before, "it has stopped, and opens more: {filling:?}");
    }

    /// What the client holds is what the server holds, connection by connection, soon and for good.
    fn check_agreement(&mut self, filling: Filling) {
        self.order(Phase::Hold);
        self.live_for(AGREE_WITHIN);
        let own = self.client.census().connections;
        let [server, client] = &self.ends;
        assert_eq!(client.open.len() as u64, own, "{filling:?}");
        let at_server = client.open.iter().map(|peer| {
            let link = self.wire.link_of(End::Client, *peer);
            link.and_then(|link| link.peer(End::Server)).expect("an open connection has two ends")
        });
        assert_eq!(
            at_server.collect::<std::collections::BTreeSet<_>>(),
            server.open,
            "{filling:?}"
        );
        let (lost, connected) =
            (crate::ends::sum(&self.called.lost), self.called.connected_total.get());
        assert_eq!(connected, own + lost, "established, held and lost: {filling:?}");
        let refused = self.called.failed[Errno::ECONNREFUSED.index()].get();
        let has_drained = filling.wall == Wall::Drain && self.has_wall;
        assert!(!has_drained || own == 0 && refused + lost > 0, "{filling:?}");
    }
}
