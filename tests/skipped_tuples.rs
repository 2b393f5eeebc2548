//! A tuple that is in TIME_WAIT, or another process's, costs no turn of `--rate`: the client's shard in
//! a simulated world in which half of the tuples are taken. Row A16 of the faults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use megaconn::drivers::sim::{Faults, PeerBehavior, SimConfig, SimDriver};
use megaconn::engine::client::Client;
use megaconn::engine::client::config::{ClientConfig, Pace, Schedule};
use megaconn::engine::client::phase::{Command, Phase, PhaseCommand};
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::driver::{Driver, ShutdownMode};
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::worker::Worker;
use megaconn::observe::stats::{ClientStats, LossLog};
use megaconn::plan::tuples::{AddressRange, TuplePlan};

const CONNECTIONS: u64 = 200;
const PER_S: f64 = 100.0;

/// Simulated seconds that it takes to open all, when so many of 1,000 tuples are taken.
fn seconds(faults: Faults, seed: u64) -> (f64, u64) {
    let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7000);
    let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
    let range = AddressRange::new(source, source).expect("one address is a range");
    let plan = TuplePlan::new(vec![target], &[range], (20_000..24_000).collect(), 1);
    let plan = Arc::new(plan.expect("the plan is sound"));
    let mut driver = SimDriver::new(SimConfig {
        seed,
        listeners: 0,
        buffers: 64,
        buffer_bytes: 64,
        message_bytes: 64,
        faults,
        mutation: None,
    });
    driver.set_behavior(PeerBehavior::Sink);
    let config = ClientConfig {
        reconnect: None,
        lifetime: None,
        readers: None,
        seed: 1,
        slots_per_segment: 64,
        connects_in_flight: 64,
        message_bytes: 64,
        message_count: 0,
        pace: Pace {
            connects_per_s: Some(PER_S),
            schedule: Schedule::None,
            churn_per_s: 0.0,
            is_paused: false,
        },
        turn: 0.0,
        close: ShutdownMode::Reset,
        run: 1,
    };
    let stats = Arc::new(ClientStats::new());
    let tuples = TupleAllocator::new(plan, 0, CONNECTIONS, 0, 1);
    let losses = Arc::new(LossLog::default());
    let figures = Arc::clone(&stats);
    let mut client = Client::new(driver, config, Expect::Nothing, tuples, figures, losses);
    let phase = Phase::Connect { connections: CONNECTIONS };
    client.handle_command(Command::Do(PhaseCommand { number: 1, phase }));
    let began = client.end.driver.now();
    while stats.order_finished.get() < 1 {
        let turn = client.turn();
        let turn = client.end.driver.prepare_to_sleep(turn);
        assert!(client.end.driver.pass(turn), "it sleeps for ever");
        assert!(client.end.driver.now() - began < Duration::from_secs(100), "it takes for ever");
    }
    assert_eq!(stats.connected_total.get(), CONNECTIONS);
    ((client.end.driver.now() - began).as_secs_f64(), stats.tuples_skipped_total.get())
}

#[test]
fn a_tuple_that_is_passed_over_costs_no_turn() {
    let by_schedule = (CONNECTIONS - 1) as f64 / PER_S;
    for seed in 0..8 {
        let faults = Faults { connect_taken: 500, ..Faults::default() };
        let (taken, skipped) = seconds(faults, seed);
        assert!(skipped > CONNECTIONS / 2, "{skipped} tuples alone were passed over");
        // The last ones are tried some times, each of which takes 30 ms at most.
        assert!(taken < by_schedule + 0.5, "seed {seed}: {taken} s with {skipped} passed over");
        let (none, skipped) = seconds(Faults::default(), seed);
        assert!(skipped == 0 && none >= by_schedule, "seed {seed}: the schedule is kept: {none} s");
    }
}
