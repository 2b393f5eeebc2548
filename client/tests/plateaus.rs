//! Plateaus that fall, runs that end when a gate is missed, and rates below one a second, with both
//! programs over real sockets.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::{World, number, sum};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn run(world: &World, flags: &[&str], status: i32) -> Value {
    let finished = world.client(flags).finish();
    assert_eq!(finished.code, Some(status), "{finished:#?}");
    world.result()
}

#[test]
fn plateaus_fall_and_show_what_memory_came_back() {
    let world = World::on_loopback();
    let plateaus = ["--connections", "200,8k,500,900", "--hold", "300ms", "--sweep"];
    let result = run(&world, &plateaus, 0);
    let plateaus = result["plateaus"].as_array().unwrap();
    for (plateau, wanted) in plateaus.iter().zip([200, 8_000, 500, 900]) {
        assert_eq!(number(plateau, "established"), wanted, "{plateau:#}");
        assert_eq!(number(&plateau["sweep"], "answered"), wanted, "{plateau:#}");
        assert_eq!((sum(&plateau["failed"]), sum(&plateau["lost"])), (0, 0));
    }
    assert!([0, 1, 3].iter().all(|&rising| plateaus[rising]["closed"].is_null()), "{result:#}");
    let down = &plateaus[2]["closed"];
    assert_eq!(number(down, "connections"), 7_500, "{down:#}");
    assert!(down["seconds"].as_f64().unwrap() > 0.0 && down["rate_per_s"].as_f64() > Some(0.0));
    let memory = |plateau: &Value| plateau["memory"]["kernel_bytes"].as_i64();
    if let (Some(high), Some(low)) = (memory(&plateaus[1]), memory(&plateaus[2])) {
        // How much it is depends on what else the host does.
        assert_eq!(down["kernel_bytes_back"].as_i64(), Some(high - low), "{down:#}");
    }
    assert_eq!(
        (number(&result, "established"), number(&result, "target_connections")),
        (8_000, 8_000)
    );
    assert_eq!(result["verdict"]["met"], true, "{result:#}");
    // Every connection is closed once, on the way down or at the end.
    assert_eq!(number(&result, "untried"), 0);
    let fit = &result["cost_per_connection"]["fit"]["connections"];
    assert!(fit.is_null() || *fit == serde_json::json!([0, 200, 8_000]), "{fit}");
}

#[test]
fn a_broken_gate_ends_the_run_with_a_whole_report() {
    let world = World::with(HOST, 1, "100ms", &["--idle-timeout", "1s"]);
    let began = Instant::now();
    let flags = ["--connections", "300,600", "--hold", "40s", "--stop-on-miss=500ms"];
    let result = run(&world, &flags, 1);
    assert!(began.elapsed() < Duration::from_secs(20), "{result:#}");
    let why = result["ended_early"].as_str().unwrap();
    assert!(why.starts_with("--stop-on-miss: ") && why.contains(" lost, 0 allowed"), "{why}");
    assert_eq!(result["plateaus"].as_array().unwrap().len(), 1, "{result:#}");
    assert_eq!(result["verdict"]["wall"]["id"], "idle-timeout", "{result:#}");
    assert_eq!(result["verdict"]["more_walls"], serde_json::json!([]), "{result:#}");
    assert!(!result["close"].is_null(), "it closed in order: {result:#}");
}

#[test]
fn a_gate_may_be_broken_for_less_than_its_grace() {
    let world = World::on_loopback();
    let flags = ["--connections", "50", "--hold", "3s", "--max-p99", "1s", "--stop-on-miss"];
    let result = run(&world, &[&flags[..], &["--message-every", "200ms"]].concat(), 0);
    assert!(result["ended_early"].is_null(), "{result:#}");
    let gate = ["--connections", "50", "--hold", "40s", "--max-p99", "1ms", "--stop-on-miss=0s"];
    // Each core begins hundreds at once: the last of them waits for more than a millisecond.
    let result = run(&world, &[&gate[..], &["--message-rate", "200k/s"]].concat(), 1);
    assert!(result["ended_early"].as_str().unwrap().contains("p99 of messages"), "{result:#}");
}

#[test]
fn a_rate_below_one_a_second_is_kept_over_all_cores() {
    let world = World::on_loopback();
    let flags =
        ["--connections", "5", "--message-rate", "30/m", "--churn", "0.5/s", "--hold", "5s"];
    let result = run(&world, &flags, 0);
    let plateau = &result["plateaus"][0];
    // At 0, 2 and 4 s.
    assert_eq!(number(&plateau["messages"], "sent"), 3, "{plateau:#}");
    assert_eq!(number(&plateau["churn"], "started"), 3, "{plateau:#}");
    assert_eq!(plateau["churn"]["asked_per_s"].as_f64(), Some(0.5));
}

#[test]
fn a_core_without_connections_has_no_part_of_the_messages() {
    let world = World::on_loopback();
    let flags = ["--connections", "500,1", "--message-rate", "100/s", "--hold", "1s"];
    let result = run(&world, &flags, 0);
    let sent = number(&result["plateaus"][1]["messages"], "sent");
    assert!((90..=120).contains(&sent), "{result:#}");
}
