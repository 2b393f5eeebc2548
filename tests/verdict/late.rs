//! What was late, and what had too little time: the client, the server, one of its cores, or none
//! of them.

use megaconn::host::cpu::CpuTime;
use megaconn::walls::diagnosis::UNKNOWN;
use megaconn::walls::place::Place;
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
