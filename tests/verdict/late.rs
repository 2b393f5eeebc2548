//! What was late, and what had too little time: the client, the server, one of its cores, or none
//! of them.

use megaconn::base::errno::Errno;
use megaconn::host::cpu::CpuTime;
use megaconn::walls::diagnosis::UNKNOWN;
use megaconn::walls::place::Place;
use megaconn::walls::symptom::Symptom;
use megaconn::walls::symptom::Symptom::Late;

use super::{lost, named, run_facts, server};
use crate::run_facts::core;

/// A second in which messages were late: lag and latency of the client, its rest while a message
/// was due, the CPU time that server and client wanted, and the messages of the server's cores.
fn late(
    lag_ms: u64,
    held_up_ms: u64,
    wanted_ms: [u64; 2],
    messages: [u64; 2],
) -> Vec<(&'static str, Place, u64)> {
    let mut run = run_facts();
    lost(&mut run, &[(Late, 100)]);
    run.facts.lag_p99_us = Some(lag_ms * 1000);
    run.facts.latency_p99_us = Some(400_000);
    let time = |ms| Some(CpuTime { ran_ms: ms / 2, waited_ms: ms / 2, lived_ms: 1000 });
    run.client.cpu_time = time(wanted_ms[1]);
    run.client.figures = [("held_up_us_total".to_owned(), held_up_ms * 1000)].into();
    let core = |(cpu, messages)| core(cpu, 500, messages);
    run.client.cores = vec![core((0, 100))];
    server(&mut run).cpu_time = time(wanted_ms[0]);
    server(&mut run).cores = (0..).zip(messages).map(core).collect();
    named(&run)
}

#[test]
fn late_is_what_had_no_time() {
    let (idle, half, full) = ([100, 100], [100, 500], [1900, 100]);
    let even = [1000, 1000];
    assert_eq!(late(300, 0, half, even), [("client-lag", Place::Client, 100)]);
    assert_eq!(
        late(300, 290, idle, even),
        [(UNKNOWN, Place::Between, 100)],
        "it waited for echoes"
    );
    assert_eq!(
        late(300, 500, [100, 900], even),
        [("client-lag", Place::Client, 100)],
        "it could not run"
    );
    assert_eq!(late(5, 0, idle, even), [(UNKNOWN, Place::Between, 100)], "a scheduler's lag");
    assert_eq!(late(300, 0, full, even), [("cpu", Place::Server, 100)]);
    assert_eq!(late(5, 0, [1000, 100], [1900, 10]), [("core-imbalance", Place::Server, 100)]);
    assert_eq!(late(5, 0, [400, 100], [1900, 10]), [(UNKNOWN, Place::Between, 100)], "it had time");
    assert_eq!(late(5, 0, [1000, 100], even), [(UNKNOWN, Place::Between, 100)], "two halves");
}

/// Handshakes that waited for their turn at an end: seconds of its only core; short connections of the hold.
fn shaking(side: Place, waited_s: u64, short: u64, symptom: Symptom) -> Vec<&'static str> {
    let mut run = run_facts();
    lost(&mut run, &[(symptom, 100)]);
    server(&mut run);
    let time = Some(CpuTime { ran_ms: 9_000, waited_ms: 900, lived_ms: 10_000 });
    (run.client.cpu_time, server(&mut run).cpu_time) = (time, time);
    run.client.cores = vec![core(0, 500, 100)];
    let counted = [("connected_total", 1_000), ("churn_started_total", short)];
    run.client.figures.extend(counted.map(|(name, n)| (name.to_owned(), n)));
    let end = if side == Place::Client { &mut run.client } else { server(&mut run) };
    end.figures.insert("handshakes_waited_us_total".to_owned(), waited_s * 1_000_000);
    named(&run).into_iter().filter(|wall| wall.1 == side).map(|wall| wall.0).collect()
}

#[test]
fn handshakes_that_wait_for_cpu_are_named() {
    for side in [Place::Client, Place::Server] {
        let timed_out = Symptom::Failed(Errno::ETIMEDOUT);
        assert_eq!(shaking(side, 10, 0, timed_out), ["handshake-cpu"]);
        assert!(!shaking(side, 9, 0, timed_out).contains(&"handshake-cpu"), "{side:?}");
        // The opening had them wait, and the hold has none.
        assert!(!shaking(side, 100, 0, Late).contains(&"handshake-cpu"), "{side:?}");
        assert_eq!(shaking(side, 6, 9_000, Late), ["handshake-cpu"]);
        assert!(!shaking(side, 6, 1_000, Late).contains(&"handshake-cpu"), "{side:?}");
    }
}
