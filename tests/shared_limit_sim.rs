//! Two cores that hold no more connections together than they may, and as many on one core alone.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::drivers::sim::{Faults, Parting, PeerProfile, Reading, SimConfig, SimDriver};
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::echo::Echo;
use megaconn::engine::server::allowance::Allowance;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::ServerStats;

/// Connections that both may have together.
const MOST: u32 = 20;

struct Core {
    server: Server<SimDriver, Echo>,
    stats: Arc<ServerStats>,
}

impl Core {
    fn new(seed: u64, allowance: &Allowance) -> Core {
        let sim = SimConfig {
            seed,
            listeners: 1,
            buffers: 8,
            buffer_bytes: 64,
            message_bytes: 0,
            faults: Faults::default(),
            mutation: None,
        };
        let allowance = allowance.clone();
        let config = ServerConfig { connections_max: MOST, allowance, ..ServerConfig::new(1, 64) };
        let stats = Arc::new(ServerStats::new());
        let server = Server::new(SimDriver::new(sim), config, Echo, Arc::clone(&stats));
        Core { server: server.expect("no segment fails in this world"), stats }
    }

    fn arrive(&mut self, within_ms: u64, parting: Parting, random: &mut Rng) {
        let (bytes, reading) = (random.usize(..50), Reading::Promptly);
        let profile = PeerProfile { bytes, window: 64, reading, parting, echo: None };
        let delay = Duration::from_millis(random.u64(..within_ms));
        self.server.end.driver.arrive(0, profile, delay);
    }

    /// Turns until its own time is `time`; what it holds is looked at after each turn.
    fn run_until(&mut self, time: Duration, others: u64) {
        while self.server.end.driver.now() < time {
            let turn = self.server.turn();
            let turn = match self.server.end.driver.prepare_to_sleep(turn) {
                Turn::Idle(None) => Turn::Idle(Some(Duration::from_millis(1))),
                turn => turn,
            };
            self.server.end.driver.pass(turn);
            let all = self.held() + others;
            assert!(all <= u64::from(MOST), "{all} connections are held, {MOST} may be");
        }
    }

    fn held(&self) -> u64 {
        self.stats.connections.get()
    }
}

#[test]
fn two_cores_hold_as_many_together_as_they_may_wherever_these_are() {
    for seed in 0..100 {
        let mut random = Rng::with_seed(seed);
        let allowance = Allowance::of(MOST.into());
        let mut cores = [Core::new(seed, &allowance), Core::new(seed + 1_000, &allowance)];
        // All come to one core, or they come to both.
        let is_steered = seed % 2 == 0;
        for number in 0..60 {
            let stays = if random.u8(..3) > 0 { Parting::Stay } else { Parting::HalfClose };
            let core = if is_steered { 0 } else { number % 2 };
            cores[core].arrive(400, stays, &mut random);
        }
        for step in 1..=300 {
            let time = Duration::from_millis(step * 2);
            for core in 0..2 {
                let others = cores[1 - core].held();
                cores[core].run_until(time, others);
            }
        }
        // Some have gone; there are more than enough to take their places.
        for _ in 0..MOST {
            cores[0].arrive(50, Parting::Stay, &mut random);
        }
        let others = cores[1].held();
        cores[0].run_until(Duration::from_millis(900), others);
        let held: Vec<u64> = cores.iter().map(Core::held).collect();
        let refused: u64 = cores.iter().map(|core| core.stats.refused_total.get()).sum();
        assert_eq!(held.iter().sum::<u64>(), u64::from(MOST), "seed {seed}: {held:?}");
        assert!(refused > 0, "seed {seed}: more came than were held");
        // Each goes, and all that is given back can be had again by the other core.
        cores.iter_mut().for_each(|core| core.server.end.driver.leave_all());
        for core in &mut cores {
            core.run_until(Duration::from_secs(3), 0);
        }
        for _ in 0..MOST {
            cores[1].arrive(10, Parting::Stay, &mut random);
        }
        cores[1].run_until(Duration::from_secs(5), 0);
        assert_eq!(cores[1].held(), u64::from(MOST), "seed {seed}: some were not given back");
    }
}
