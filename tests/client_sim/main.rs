//! The client's shard in simulated worlds: one seed, one world, everything a run can ask for.
//!
//! Peers answer, push or only take, and some of them err; what the client counts must be what they
//! did. `MEGACONN_SIM_SEED=n` runs one world alone, `MEGACONN_SIM_STEPS=n` goes on to further worlds
//! until so many turns were taken. A failure names its seed; the same seed fails again.

mod checks;
mod lives;
mod model;
mod scene;
mod worlds;

use std::panic::catch_unwind;

use crate::worlds::World;

/// Worlds of one run of the test.
const SEEDS: u64 = 1_000;

/// Worlds between two looks at how many turns were taken.
const SEEDS_TOGETHER: u64 = 1_000;

#[test]
fn what_the_client_counts_is_what_the_peers_did() {
    if let Some(seed) = number("MEGACONN_SIM_SEED") {
        World::new(seed).run();
        return;
    }
    let worlds = run_all(0..SEEDS);
    // Worlds in which nothing goes wrong would prove little.
    let sum = |name: &str| -> u64 {
        let of_world = |figures: &Figures| figures.iter().find(|(n, _)| *n == name).map(|f| f.1);
        worlds.iter().filter_map(of_world).sum()
    };
    for name in MUST_HAPPEN {
        assert!(sum(name) >= 20, "{name} is {} in {SEEDS} worlds: too friendly", sum(name));
    }
    let (mut steps, mut seed) = (sum("turns_total"), SEEDS);
    while number("MEGACONN_SIM_STEPS").is_some_and(|wanted| steps < wanted) {
        let turns =
            |figures: &Figures| figures.iter().find(|(n, _)| *n == "turns_total").map(|f| f.1);
        steps += run_all(seed..seed + SEEDS_TOGETHER).iter().filter_map(turns).sum::<u64>();
        seed += SEEDS_TOGETHER;
    }
    println!("steps={steps} worlds={seed}");
}

type Figures = Vec<(&'static str, u64)>;

/// What the worlds must have caused many times together.
const MUST_HAPPEN: &[&str] = &[
    "connected_total",
    "connect_failed_total",
    "connect_untried_total",
    "tuples_skipped_total",
    "messages_total",
    "messages_mismatched_total",
    "messages_late_total",
    "messages_unsent_total",
    "pushes_total",
    "pushes_overdue_total",
    "pushes_late_total",
    "churned_total",
    "churn_failed_total",
    "churn_unstarted_total",
    "recv_starved_total",
    "send_stalled_total",
    "close_timeout_total",
    "grow_failed_total",
    "stale_total",
    // Counted by the worlds themselves.
    "churn_lost",
    "swept_silent",
    "stopped",
    "stopped_churn",
    "tuples_taken",
];

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// The figures of all worlds; fails with the seeds of those in which a check failed.
fn run_all(seeds: std::ops::Range<u64>) -> Vec<Figures> {
    let outcome = |seed| catch_unwind(|| World::new(seed).run()).map_err(|_| seed);
    let worlds = std::thread::scope(|scope| {
        let half = |skip| {
            let seeds = seeds.clone().skip(skip).step_by(2);
            move || seeds.map(outcome).collect::<Vec<_>>()
        };
        let halves = [scope.spawn(half(0)), scope.spawn(half(1))];
        halves.map(|half| half.join().expect("a failing world is caught")).concat()
    });
    let failed: Vec<u64> =
        worlds.iter().filter_map(|world| world.as_ref().err().copied()).collect();
    assert!(failed.is_empty(), "{} failed; MEGACONN_SIM_SEED= one of {failed:?}", failed.len());
    worlds.into_iter().flatten().collect()
}
