//! The client's shard against the server's shard in simulated worlds, with faults between them.
//!
//! One seed makes one world. The checks after each turn and at the end compare the books of both
//! ends with each other and with what the wire has carried. `MEGACONN_SIM_SEED=n` runs one world
//! alone. `MEGACONN_SIM_STEPS=n` runs further worlds until `n` turns were taken. A failure names
//! its seed.

mod broadcast;
mod checks;
mod ends;
mod fill;
mod frames;
mod rest;
mod scene;
mod speech;
#[expect(dead_code, reason = "frames are only read here")]
#[path = "../websocket/wire.rs"]
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use megaconn::drivers::sim::WireMutation;

use crate::broadcast::live_to_broadcast;
use crate::world::{live, live_to_fill};

/// Worlds of one run of the test.
const SEEDS: u64 = 1_250;

/// Worlds of one run of the test of a client that fills.
const FILLED: u64 = 200;

/// Worlds of one run of the test of texts to all.
const BROADCASTING: u64 = 1_000;

/// Worlds between two looks at how many turns were taken.
const SEEDS_TOGETHER: u64 = 1_000;

/// What happened in a world, by name.
pub(crate) type Figures = Vec<(String, u64)>;

#[test]
fn the_books_of_both_ends_agree_in_every_world() {
    if let Some(seed) = number("MEGACONN_SIM_SEED") {
        run(seed);
        return;
    }
    let worlds = run_all(0..SEEDS, run);
    // Worlds in which nothing goes wrong would prove little.
    for name in MUST_HAPPEN {
        let sum = sum(&worlds, name);
        println!("{name} {sum}");
        assert!(sum >= 20, "{name} is {sum} in {SEEDS} worlds: they are too friendly");
    }
    let (mut steps, mut seed) = (turns(&worlds), SEEDS);
    while number("MEGACONN_SIM_STEPS").is_some_and(|wanted| steps < wanted) {
        steps += turns(&run_all(seed..seed + SEEDS_TOGETHER, run));
        seed += SEEDS_TOGETHER;
    }
    println!("steps={steps} worlds={seed}");
}

/// A client that opens until it meets a wall stops there, and both ends hold the same connections.
#[test]
fn a_client_that_fills_a_server_stops_and_holds_what_it_holds() {
    if let Some(seed) = number("MEGACONN_SIM_SEED") {
        fill(seed);
        return;
    }
    let worlds = run_all(0..FILLED, fill);
    for name in ["Full", "Drain", "Memory", "Stopped", "Tuples"].map(|wall| format!("wall.{wall}"))
    {
        let sum = sum(&worlds, &name);
        println!("{name} {sum}");
        assert!(sum >= 15, "{name} ended {sum} of {FILLED} worlds");
    }
    for name in ["client.wall_met", "server.refused_total", "server.refused_memory_total"] {
        assert!(sum(&worlds, name) >= 20, "{name} is {}", sum(&worlds, name));
    }
}

/// Nobody has a text twice, nobody never, every text is whole, and all are in order.
#[test]
fn a_text_to_all_reaches_each_member_once_and_in_order() {
    if let Some(seed) = number("MEGACONN_SIM_SEED") {
        live_to_broadcast(seed);
        return;
    }
    let worlds = run_all(0..BROADCASTING, live_to_broadcast);
    for name in [
        "server.broadcasts_total",
        "server.broadcast_sent_total",
        "server.broadcast_skipped_total",
        "server.broadcast_closed_total",
        "broadcasts.gone",
        "broadcasts.topical",
        "client.broadcasts_received_total",
        "client.broadcasts_missed_total",
        "server.send_stalled_total",
        "server.pings_total",
        "server.pushes_total",
        "server.backlog_total",
        "server.drained_total",
        "client.returned_total",
        "records.broadcasts",
    ] {
        let sum = sum(&worlds, name);
        println!("{name} {sum}");
        assert!(sum >= 20, "{name} is {sum} in {BROADCASTING} worlds: they are too friendly");
    }
}

fn run(seed: u64) -> Figures {
    live(seed, None)
}

fn fill(seed: u64) -> Figures {
    live_to_fill(seed)
}

/// What the worlds must have caused many times together.
const MUST_HAPPEN: &[&str] = &[
    "server.accepted_total",
    "server.accept_failed_total",
    "server.refused_total",
    "server.refused_memory_total",
    "server.refused_cgroup_total",
    "server.reset_total",
    "server.send_timeout_total",
    "server.backlog_total",
    "server.evicted_total",
    "server.idle_timeout_total",
    "server.handshakes_total",
    "server.handshakes_failed_total",
    "server.handshake_timeout_total",
    "handshakes_held_up",
    "records.messages",
    "records.pushes",
    "records.churned",
    "records.handshakes",
    "records.handshakes_failed",
    "records.drained",
    "server.ping_timeout_total",
    "server.pings_total",
    "server.drained_total",
    "server.drain_cut_total",
    "server.pushes_total",
    "server.recv_starved_total",
    "server.push_starved_total",
    "server.send_stalled_total",
    "server.grow_failed_total",
    "server.stale_total",
    "client.connected_total",
    "client.connect_failed_total",
    "client.connect_untried_total",
    "client.tuples_skipped_total",
    "client.messages_total",
    "client.messages_late_total",
    "client.messages_unsent_total",
    "client.pushes_total",
    "client.pushes_overdue_total",
    "client.pushes_late_total",
    "client.churned_total",
    "client.churn_failed_total",
    "client.churn_unstarted_total",
    "client.recv_starved_total",
    "client.send_stalled_total",
    "client.close_timeout_total",
    "client.grow_failed_total",
    "client.stale_total",
    "client.opening_failed_total",
    "client.returned_total",
    "client.dropped_total",
    "server.dropped_total",
    "client.reconnect_tries_total",
    "client.given_up_total",
    "client.called_off_total",
    "client.departures_total",
    "client.arrivals_total",
    "client.arrivals_called_off_total",
    // Counted by the worlds themselves.
    "lost.fin",
    "lost.reset",
    "lost.silent",
    "churn_lost",
    "uncounted",
    "tuples_taken",
    "links.in_order",
    "links.reset",
    "links.refused",
    "links.abandoned",
    "turns_aside",
    "frames.pings",
    "frames.pongs",
    "frames.closes",
    "frames.left",
    "frames.refused",
    "wire.backlog_full",
    "wire.syns_lost",
    "wire.stalls",
    "wire.long_stalls",
    "wire.broken",
    "wire.pauses",
    "wire.bounced",
    "wire.unread_closes",
    "wire.windows_full",
];

/// A check that cannot fail proves nothing: a wire that breaks a rule is found out.
#[test]
fn a_wire_that_breaks_a_rule_is_found_out() {
    let mutations = [
        WireMutation::DamagedByte,
        WireMutation::LostByte,
        WireMutation::DoubledByte,
        WireMutation::LostEnd,
        WireMutation::CrossedBytes,
    ];
    for mutation in mutations {
        let fails = |seed| {
            let world = AssertUnwindSafe(|| live(seed, Some(mutation)));
            catch_unwind(world).is_err()
        };
        let found = (0..20).filter(|&seed| fails(seed)).count();
        assert!(found >= 10, "{mutation:?} was found out in {found} of 20 worlds only");
    }
}

/// The same seed must give the same world, else a seed in a failure message is worth nothing.
#[test]
fn the_same_seed_gives_the_same_world() {
    for seed in 0..15 {
        let story = || live(seed, None);
        assert_eq!(story(), story(), "seed {seed} gave two worlds");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn sum(worlds: &[Figures], name: &str) -> u64 {
    let figures = worlds.iter().flatten().filter(|(other, _)| other == name);
    figures.map(|(_, figure)| figure).sum()
}

fn turns(worlds: &[Figures]) -> u64 {
    sum(worlds, "server.turns_total") + sum(worlds, "client.turns_total")
}

/// The figures of all worlds; fails with the seeds of those in which a check failed.
fn run_all(seeds: std::ops::Range<u64>, run: fn(u64) -> Figures) -> Vec<Figures> {
    let outcome = |seed| catch_unwind(|| run(seed)).map_err(|_| seed);
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
