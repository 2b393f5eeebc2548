//! Parts of a run, each a process: together they do the whole, by the clock, and are merged to one run directory.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{SystemTime, UNIX_EPOCH};

use common::{Program, Server, client, cores, number, refusal, result_in, server_binary};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

/// Seconds since 1970, so long from now.
fn in_seconds(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    (now.as_secs() + seconds).to_string()
}

/// A part in a directory below `out`, with the environment of a scheduler.
fn part(
    out: &Path,
    name: &str,
    target: &str,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> Program {
    let (directory, cores) = (out.join(name), cores(1));
    let usual = ["run", "--target", target, "--cores", &cores, "--out", path(&directory)];
    let mut command = client(&[&usual[..], flags].concat());
    Program::start(command.envs(environment.iter().copied()))
}

fn merge(out: &Path, parts: &[&str], more: &[&str]) -> Output {
    let mut command = Command::new(server_binary());
    command.current_dir(out).arg("merge").args(parts).args(["--out", "all"]).args(more);
    command.output().expect("it is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn sum(results: &[Value], pointer: &str) -> u64 {
    results.iter().filter_map(|result| result.pointer(pointer)?.as_u64()).sum()
}

#[test]
fn three_processes_do_the_run_of_one_and_are_merged() {
    let out = tempfile::tempdir().expect("a directory");
    let server = Server::start(&server_binary(), LOOPBACK, 1, &["--cores", &cores(1)]);
    let target = server.address.to_string();
    let start = in_seconds(4);
    let flags =
        ["--connections", "100,301", "--rate", "200/s", "--open-time", "4s", "--hold", "3s"];
    let flags =
        [&flags[..], &["--message-rate", "90/s", "--run-id", "three", "--start-at", &start]]
            .concat();
    let typed = |which: &'static str| [&flags[..], &["--part", which]].concat();
    let slurm = [("SLURM_PROCID", "0"), ("SLURM_NTASKS", "3")];
    let job = [("JOB_COMPLETION_INDEX", "1")];
    let mut parts = [
        part(out.path(), "a", &target, &slurm, &typed("auto")),
        part(out.path(), "b", &target, &job, &typed("auto/3")),
        part(out.path(), "c", &target, &[], &typed("3/3")),
    ];
    for part in &mut parts {
        let finished = part.finish();
        assert_eq!(finished.code, Some(0), "{}", finished.stderr.join("\n"));
    }
    let results = ["a", "b", "c"].map(|name| result_in(&out.path().join(name)));
    assert_eq!(sum(&results, "/plateaus/0/connections"), 100);
    assert_eq!([sum(&results, "/established"), sum(&results, "/target_connections")], [301, 301]);
    for at in 0..2 {
        let began = |result: &Value| number(&result["plateaus"][at], "hold_began_at_ms");
        let all: Vec<u64> = results.iter().map(began).collect();
        let apart = all.iter().max().unwrap_or(&0) - all.iter().min().unwrap_or(&0);
        assert!(apart < 1_500, "holds began {apart} ms apart: {all:?}");
        assert!(
            all.iter().all(|at_ms| *at_ms / 1_000 >= start.parse::<u64>().unwrap_or(0) + 4),
            "{all:?}"
        );
    }
    for (number, result) in (1_u64..).zip(&results) {
        assert_eq!(
            (&result["run_id"], &result["part"]["number"]),
            (&"three".into(), &number.into())
        );
        assert_eq!(result["part"]["tuples"]["shared"], true, "they are on one host");
        assert!(result["part"]["clock"]["error_us"].is_u64(), "{:#}", result["part"]);
    }

    let merged = merge(out.path(), &["c", "a", "b"], &[]);
    assert_eq!(merged.status.code(), Some(0), "{}", text(&merged.stderr));
    assert!(text(&merged.stdout).contains("established  301 of 301"), "{}", text(&merged.stdout));
    let all = result_in(&out.path().join("all"));
    assert_eq!([number(&all, "established"), number(&all, "target_connections")], [301, 301]);
    let messages = sum(&results, "/plateaus/1/messages/received");
    assert_eq!(number(&all["plateaus"][1]["messages"], "received"), messages);
    assert!(messages > 200, "{messages} of some 270");
    assert_eq!(all["parts"].as_array().map(Vec::len), Some(3));
    let most = |result: &Value| number(&result["plateaus"][1]["messages"]["latency_us"], "max");
    assert_eq!(Some(most(&all)), results.iter().map(most).max());
    let page = std::fs::read_to_string(out.path().join("all/report.html")).expect("it is written");
    assert!(page.contains("<h2>Parts</h2>") && page.contains("Balance of the parts"));

    // What is not of one run is not merged.
    let two = merge(out.path(), &["a", "b"], &[]);
    assert_eq!(two.status.code(), Some(2));
    assert!(text(&two.stderr).contains("missing: 3"), "{}", text(&two.stderr));
    let anyway = merge(out.path(), &["a", "b"], &["--anyway"]);
    assert_eq!(anyway.status.code(), Some(1), "{}", text(&anyway.stderr));
    let twice = merge(out.path(), &["a", "b", "c", "c"], &["--anyway"]);
    assert_eq!(twice.status.code(), Some(2));
    std::fs::rename(out.path().join("all"), out.path().join("whole")).expect("it is ours");
    let whole = merge(out.path(), &["whole"], &[]);
    assert!(text(&whole.stderr).contains("of a whole run"), "{}", text(&whole.stderr));
}

#[test]
fn a_part_that_cannot_be_is_refused_before_it_begins() {
    let target = ["run", "--target", "127.0.0.1:9", "--connections", "100"];
    for (flags, said) in [
        (&["--part", "0/3", "--run-id", "a"][..], "counted from 1"),
        (&["--part", "4/3", "--run-id", "a"], "no such part"),
        (&["--part", "1/3"], "--run-id"),
        (&["--part", "auto", "--run-id", "a"], "no scheduler"),
        (&["--part", "1/101", "--run-id", "a"], "fewer than parts"),
        (&["--start-at", "1000", "--rate", "1k/s"], "s ago"),
        (&["--start-at", "+5s"], "--open-time"),
        (&["--part", "1/2", "--run-id", "a", "--connections", "max"], "--connections max"),
    ] {
        let mut command = client(&[&target[..], flags].concat());
        for name in ["JOB_COMPLETION_INDEX", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"] {
            command.env_remove(name);
        }
        let why = refusal(&mut command);
        assert!(why.contains(said) && why.contains("fix: "), "{flags:?}: {why}");
    }
}
