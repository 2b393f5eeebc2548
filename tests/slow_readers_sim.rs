//! Peers that read slowly, and peers that read nothing, in simulated time: who lives, and who is cut when.
//!
//! All is a thousandth of what it is on a host: 64 bytes a second stand for 64 KiB, and a send buffer of
//! 150 seconds' worth, of which the kernel calls a third room, for the megabytes of a real one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use megaconn::base::units::Text;
use megaconn::drivers::sim::{Faults, Parting, PeerProfile, Reading, SimConfig, SimDriver};
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::Protocol;
use megaconn::engine::protocol::echo::Echo;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::ServerStats;

const SECOND: Duration = Duration::from_secs(1);

/// Time in which a peer that takes nothing is closed, besides its own.
const WITHIN: Duration = SECOND;

/// A server with its peers.
struct Scene<P: Protocol> {
    server: Server<SimDriver, P>,
    stats: Arc<ServerStats>,
    /// Bytes that came to a peer, by its number, and when the last of them came.
    last: BTreeMap<usize, (usize, Duration)>,
    /// When a peer was cut.
    cut: BTreeMap<usize, Duration>,
}

impl<P: Protocol> Scene<P> {
    fn new(seed: u64, unacked: u32, protocol: P, send_timeout: Duration) -> Scene<P> {
        let sim = SimConfig {
            seed,
            listeners: 1,
            buffers: 64,
            buffer_bytes: 64,
            message_bytes: 0,
            faults: Faults { unacked, ..Faults::default() },
            mutation: None,
        };
        let config = ServerConfig { send_timeout, ..ServerConfig::new(1, 64) };
        let stats = Arc::new(ServerStats::new());
        let server = Server::new(SimDriver::new(sim), config, protocol, Arc::clone(&stats));
        let server = server.expect("no segment fails in this world");
        Scene { server, stats, last: BTreeMap::new(), cut: BTreeMap::new() }
    }

    fn arrive(&mut self, reading: Reading, window: usize, bytes: usize) -> usize {
        let profile = PeerProfile { bytes, window, reading, parting: Parting::Stay, echo: None };
        self.server.end.driver.arrive(0, profile, Duration::from_millis(1))
    }

    fn run_until(&mut self, time: Duration) {
        while self.server.end.driver.now() < time {
            let turn = self.server.turn();
            let turn = match self.server.end.driver.prepare_to_sleep(turn) {
                Turn::Idle(None) => Turn::Idle(Some(Duration::from_millis(10))),
                turn => turn,
            };
            self.server.end.driver.pass(turn);
            let driver = &self.server.end.driver;
            for (number, peer) in driver.peers().iter().enumerate() {
                let last = self.last.entry(number).or_default();
                if peer.received.len() > last.0 {
                    *last = (peer.received.len(), driver.now());
                }
                if peer.was_reset {
                    self.cut.entry(number).or_insert(driver.now());
                }
            }
        }
    }
}

/// What takes so many bytes a second, one by one.
fn slowly(per_second: u32) -> Reading {
    Reading::Slowly { bytes: 1, every: SECOND / per_second }
}

#[test]
fn a_slow_reader_lives_and_one_that_takes_nothing_is_cut_in_time() {
    // The kernel tells what is acknowledged; it does not, as before Linux 6.7; it does now and then.
    for unacked in [0, 1_000, 500] {
        for seed in 0..5 {
            let timeout = Duration::from_secs(30);
            let mut scene = Scene::new(seed, unacked, Echo, timeout);
            let slow = [1, 8, 32, 64].map(|rate| {
                let window = 150 * usize::try_from(rate).expect("small");
                scene.arrive(slowly(rate), window, 1_000_000)
            });
            let dead = [100, 200].map(|window| scene.arrive(Reading::Never, window, 1_000_000));
            scene.run_until(Duration::from_secs(150));
            for peer in slow {
                assert!(!scene.cut.contains_key(&peer), "seed {seed}: {peer} reads, and was cut");
            }
            for peer in dead {
                let took = scene.cut[&peer].checked_sub(scene.last[&peer].1);
                let is_in_time = took.is_some_and(|t| (timeout..timeout + WITHIN).contains(&t));
                assert!(is_in_time, "seed {seed}: {peer} took nothing, and was cut after {took:?}");
            }
            assert!(scene.stats.send_stalled_total.get() > 0);
            assert_eq!(scene.stats.send_timeout_total.get(), 2);
        }
    }
}

/// The limit of what can be known: a peer's kernel tells in one step what the peer read in many. Where
/// the steps come within the time of a send the peer lives, and where they do not it looks like one that
/// reads nothing.
#[test]
fn a_peer_whose_kernel_tells_just_in_time_lives() {
    for unacked in [0, 1_000] {
        for seed in 0..5 {
            let timeout = Duration::from_secs(30);
            let mut scene = Scene::new(seed, unacked, Echo, timeout);
            let peers = [29, 32].map(|every| (every, scene.arrive(slowly(8), 1_200, 1_000_000)));
            scene.run_until(Duration::from_secs(70));
            for (every, peer) in peers {
                let reading = Reading::Slowly { bytes: 105, every: every * SECOND };
                scene.server.end.driver.change_reading(peer, reading);
            }
            scene.run_until(Duration::from_secs(270));
            let [just, late] = peers.map(|(_, peer)| peer);
            assert!(!scene.cut.contains_key(&just), "seed {seed}: it reads, and was cut");
            assert!(scene.cut.contains_key(&late), "seed {seed}: nothing was told in time");
            assert_eq!(scene.stats.send_timeout_total.get(), 1);
        }
    }
}

/// A peer that stops reading is cut a send timeout after its last byte, and not after another one.
#[test]
fn a_peer_that_stops_reading_is_cut_in_time() {
    for unacked in [0, 1_000] {
        let timeout = Duration::from_secs(30);
        let mut scene = Scene::new(7, unacked, Echo, timeout);
        let peer = scene.arrive(slowly(8), 1_200, 1_000_000);
        scene.run_until(Duration::from_secs(70));
        scene.server.end.driver.change_reading(peer, Reading::Never);
        let stopped = scene.server.end.driver.now();
        scene.run_until(stopped + Duration::from_secs(40));
        let took = scene.cut[&peer] - stopped;
        // Its last byte was taken an eighth of a second before, at most.
        let is_in_time = took + SECOND / 8 >= timeout && took < timeout + WITHIN;
        assert!(is_in_time, "it was cut {took:?} after it had stopped");
    }
}

/// A text that is stuck has the time of four; an answer that is stuck has the send timeout.
#[test]
fn only_a_text_that_is_stuck_counts_the_texts_behind_it() {
    let text: Text = "abc\n".parse().expect("a text");
    let push = Push { every: SECOND, text };
    let mut scene = Scene::new(3, 0, push, Duration::from_secs(30));
    let deaf = scene.arrive(Reading::Never, 10, 0);
    scene.run_until(Duration::from_secs(20));
    let took = scene.cut[&deaf] - scene.last[&deaf].1;
    let is_in_time = (4 * SECOND..4 * SECOND + WITHIN).contains(&took);
    assert!(is_in_time && scene.stats.backlog_total.get() == 1, "cut after {took:?}");

    let mut scene = Scene::new(3, 0, EchoWithTimer, Duration::from_secs(30));
    let deaf = scene.arrive(Reading::Never, 10, 1_000);
    scene.run_until(Duration::from_secs(40));
    let took = scene.cut[&deaf] - scene.last[&deaf].1;
    let timeout = Duration::from_secs(30);
    assert!((timeout..timeout + WITHIN).contains(&took), "cut after {took:?}");
    assert_eq!(scene.stats.send_timeout_total.get(), 1);
}

/// Answers what comes, and has a timer that says nothing.
struct EchoWithTimer;

impl Protocol for EchoWithTimer {
    type State = ();

    fn timer_every(&self) -> Option<Duration> {
        Some(SECOND)
    }

    fn on_bytes(
        &self,
        _: &mut (),
        buffer: &mut [u8],
        filled: u16,
    ) -> megaconn::engine::protocol::Action {
        Echo.on_bytes(&mut (), buffer, filled)
    }
}
