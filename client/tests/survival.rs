//! What the server survives, at small size: a client killed in the middle of its hold, connects that
//! come all at once while the server stands still, cycles of opening and closing. The full sizes are
//! `bench-scripts/survive.sh`'s.

use std::thread;
use std::time::Duration;

use common::{World, last, number, sum, until};
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn must_serve(world: &World) {
    until("the server is empty", || last(&world.stats(), "connections") == 0);
    let finished = world.client(&["--connections", "500", "--hold", "0s", "--sweep"]).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    until("the server is empty again", || last(&world.stats(), "connections") == 0);
    let (accepted, closed) = ("accepted_total", "closed_total");
    assert_eq!(last(&world.stats(), accepted), last(&world.stats(), closed));
}

#[test]
fn a_killed_client_leaves_nothing_behind() {
    let world = World::on_loopback();
    let flags = ["--connections", "20k", "--hold", "10m", "--message-every", "1s"];
    let mut client = world.client(&flags);
    assert!(client.says("holding 20,000"), "{:#?}", client.finish());
    until("the server shows them", || last(&world.stats(), "connections") == 20_000);
    client.signal(Signal::KILL);
    assert_eq!(client.finish().code, None, "it was killed");
    must_serve(&world);
}

#[test]
fn a_storm_of_connects_and_resets_passes() {
    let world = World::on_loopback();
    // More than the accept queues of two cores take: the rest comes again a second later.
    let flags = ["--connections", "12k", "--connects-in-flight", "12k", "--close", "reset"];
    world.server.program.signal(Signal::STOP);
    // The look at the target is answered by the kernel.
    let mut client = world.client(&[&flags[..], &["--hold", "0s"]].concat());
    thread::sleep(Duration::from_millis(700));
    world.server.program.signal(Signal::CONT);
    let finished = client.finish();
    let result = world.result();
    let (established, failed) = (number(&result, "established"), sum(&result["failed"]));
    assert_eq!(established + failed + sum(&result["lost"]), 12_000, "{finished:#?}");
    assert!(established >= 11_000, "{result:#}");
    assert_eq!(finished.code, Some(i32::from(established < 12_000)), "{finished:#?}");
    must_serve(&world);
}

#[test]
fn cycles_leave_no_memory_behind() {
    let world = World::on_loopback();
    let mut resident = Vec::new();
    for close in ["fin", "reset", "fin", "reset"] {
        let flags = ["--connections", "30k", "--hold", "0s", "--close", close];
        let finished = world.client(&flags).finish();
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        let cores = world.cores.split(',').count() as u64;
        until("the segments are given back", || {
            last(&world.stats(), "connections") == 0 && last(&world.stats(), "segments") <= cores
        });
        resident.push(resident_beside_pools(world.server.program.id()));
    }
    // A reset does other things than a FIN: from the second cycle on both have been.
    let (both, after) = (resident[0].max(resident[1]), resident[2].max(resident[3]));
    assert!(after <= both + both / 20, "{resident:?}");
}

/// Resident bytes of a process without its pools of buffers, mappings of 32 MiB each, which keep every
/// page that some burst has used.
fn resident_beside_pools(process: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps")).expect("it runs");
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    let (mut is_pool, mut sum) = (false, 0);
    for line in text.lines() {
        if line.starts_with("Size:") {
            is_pool = kib(line) >= Some(32 << 10);
        } else if line.starts_with("Rss:") && !is_pool {
            sum += kib(line).expect("smaps has numbers") << 10;
        }
    }
    assert!(sum > 0, "nothing is resident: {text}");
    sum
}
