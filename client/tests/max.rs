//! `--connections max` meets each wall on purpose, at a small size, with the real programs: it stops at
//! it in order, holds and verifies what there is, names the wall with its fix, and exits with 0.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use common::{Program, World, cores, result_in, sum};
use lab::foreign::{ECHO, Foreign, Manner};
use lab::host::{Cage, ControlGroup, HostWide, Scene, skipped, unchanged};
use lab::netns::{Build, Lab, Namespace, Run, Sight};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

const MAX: [&str; 4] = ["--connections", "max", "--hold", "300ms"];

/// Few tuples, where a run must end at them. The ports are none that the kernel gives to others.
fn few_tuples(ports: &str) -> [&str; 4] {
    ["--source", "127.0.0.9", "--source-ports", ports]
}

fn max<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&MAX[..], &["--close", "reset"], more].concat()
}

/// The run met its target, which is what `wall` at `side` left it, and that is lifted by a fix that begins
/// so; how many connections that were.
fn met(run: &Run, wall: &str, side: &str, fix: &str) -> u64 {
    let Run { finished, result } = run;
    let verdict = &result["verdict"];
    assert_eq!(finished.code, Some(0), "{verdict:#} {finished:#?}");
    assert_eq!((&verdict["met"], &verdict["missed"]), (&true.into(), &Value::Array(vec![])));
    assert_eq!(run.named(), Some((wall, side)), "{verdict:#}");
    assert!(!run.fix(wall, fix).is_empty());
    assert_eq!(result["max"]["stopped_by"], wall);
    // All that was established was held, and nothing of it was lost.
    let held = result["max"]["connections"].as_u64().expect("it came to an end");
    let counts = [&result["established"], &result["target_connections"]];
    assert!(held > 0 && counts.iter().all(|n| **n == held), "{result:#}");
    assert_eq!((sum(&result["failed"]), sum(&result["lost"])), (0, 0));
    assert_eq!(result["untried"], 0);
    let last = result["plateaus"].as_array().and_then(|plateaus| plateaus.last()).expect("one");
    assert_eq!(last["connections"], held);
    assert!(last["messages"]["received"] == held || last["pushes"]["missing"] == 0, "{last:#}");
    assert!(last["hold_seconds"].as_f64().is_some_and(|seconds| seconds > 0.2), "{last:#}");
    held
}

/// A server that the client sees.
fn beside(cage: &Cage, flags: &[&str]) -> Scene {
    Scene::new(Sight::With, cage, flags).expect("it is beside the client")
}

/// How many connects and connections came to nothing at the wall.
fn at_wall(run: &Run) -> u64 {
    sum(&run.result["max"]["failed"]) + sum(&run.result["max"]["lost"])
}

// ---- of the host and the process ----------------------------------------------------------

#[test]
fn source_ports() {
    let _quiet = unchanged();
    let scene = beside(&Cage::open(), &[]);
    let run = scene.run(&Cage::open(), &max(&few_tuples("20000-20499")));
    assert_eq!(met(&run, "source-ports", "client", "--source with more"), 500);
    assert_eq!(at_wall(&run), 0);
    assert_eq!(run.result["max"]["expected_connections"], 500);
    let next = &run.result["verdict"]["next_wall"];
    assert!(next["at_connections"].as_u64().is_some_and(|at| at > 500), "{next}");
}

#[test]
fn source_ports_of_which_another_program_has_some() {
    let _quiet = unchanged();
    let world = World::on_loopback();
    let taken: Vec<_> = (21_100..21_150)
        .map(|port| TcpListener::bind((Ipv4Addr::new(127, 0, 0, 9), port)).expect("it is free"))
        .collect();
    let finished = world.client(&max(&few_tuples("21000-21499"))).finish();
    let run = Run { finished, result: world.result() };
    assert_eq!(met(&run, "source-ports", "client", "--source with more"), 450);
    drop(taken);
}

#[test]
fn the_memory_reserve() {
    let _quiet = unchanged();
    // Other programs take and give back memory meanwhile.
    for _ in 0..5 {
        let available = meminfo("MemAvailable").expect("the kernel says");
        let reserve = (available - (256 << 20)).to_string();
        let scene = beside(&Cage::open(), &["--memory-reserve", "0"]);
        let plateaus = ["--connections", "500,max", "--hold", "300ms", "--close", "reset"];
        let flags = [&plateaus[..], &["--memory-reserve", &reserve]].concat();
        let mut client = scene.client(&Cage::open(), &flags);
        let finished = client.finish();
        if finished.code == Some(2) {
            continue;
        }
        let run = Run { finished, result: result_in(scene.directory.path()) };
        let held = met(&run, "memory", "client", "more memory");
        let first = &run.result["plateaus"][0];
        assert_eq!((&first["connections"], &first["established"]), (&500.into(), &500.into()));
        // Neither nothing nor all that would fit without the reserve.
        assert!((1_000..400_000).contains(&held), "{held}");
        assert!(run.result["cost_per_connection"]["kernel_bytes"].as_f64().is_some());
        return;
    }
    panic!("five times other programs took the memory before the run");
}

fn meminfo(field: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? << 10)
}

#[test]
fn the_memory_of_a_cgroup() {
    let _quiet = unchanged();
    let Some(group) = ControlGroup::memory(96 << 20) else { return };
    let scene = beside(&Cage::open(), &[]);
    let run = scene.run(&Cage::open().group(&group), &max(&[]));
    let fix = "systemctl set-property UNIT MemoryMax=";
    let held = met(&run, "cgroup-memory", "client", fix);
    assert!((1_000..30_000).contains(&held), "{held}");
}

#[test]
fn file_max() {
    let mut host = HostWide::claim();
    let scene = beside(&Cage::open(), &[]);
    let used: u64 = fs::read_to_string("/proc/sys/fs/file-nr")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .expect("it is a number");
    if !host.set("fs.file-max", &(used + 8_000).to_string()) {
        return skipped("file-max, because fs.file-max cannot be set");
    }
    let run = scene.run(&Cage::open().without("sys_admin"), &max(&[]));
    let held = met(&run, "file-max", "client", "sysctl -w fs.file-max=");
    // Some are left to others, so that no connect fails for want of one.
    assert!((1_000..20_000).contains(&held), "{held}");
    assert_eq!(at_wall(&run), 0);
}

#[test]
fn file_max_that_others_have_used_up() {
    let mut host = HostWide::claim();
    let scene = beside(&Cage::open(), &[]);
    let cage = Cage::open().without("sys_admin");
    let mut client = scene.client(&cage, &max(&["--rate", "2k/s", "--memory-reserve", "0"]));
    assert!(client.says("metrics="), "{:#?}", client.finish());
    sleep(Duration::from_millis(500));
    if !host.set("fs.file-max", "64") {
        return skipped("file-max, because fs.file-max cannot be set");
    }
    assert!(client.says("no more can be opened"), "{:#?}", client.finish());
    // It writes its report to files.
    drop(host);
    let run = scene.end(client);
    met(&run, "file-max", "client", "sysctl -w fs.file-max=");
}

/// All processes of the user share it: first the client's rings are short of it, then the server's.
#[test]
fn memlock() {
    let _alone = HostWide::claim();
    // The kernel gives the rings of programs that have ended back a moment later.
    sleep(Duration::from_secs(1));
    let scene = beside(&Cage::open(), &[]);
    let cage = Cage::open().limit('n', 256).limit('l', 2_000).without("ipc_lock");
    let run = scene.run(&cage, &max(&[]));
    let held = met(&run, "memlock", "client", "ulimit -l ");
    assert!((256..50_000).contains(&held), "{held}");
    assert!(at_wall(&run) <= 1_024, "{:#}", run.result["max"]);
    drop(scene);
    sleep(Duration::from_secs(1));
    let cage = Cage::open().limit('n', 256).limit('l', 800).without("ipc_lock");
    let scene = beside(&cage, &[]);
    let run = scene.run(&Cage::open(), &max(&[]));
    met(&run, "memlock", "server", "ulimit -l ");
}

/// Connections without data take none of it, so that data must wait: the client stands still while it
/// opens and texts are pushed to it.
#[test]
fn tcp_mem() {
    let mut host = HostWide::claim();
    let text = "x".repeat(2_000);
    let push = ["--mode", "push", "--push-every", "200ms", "--push-text", &text];
    let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", &push);
    if !host.set("net.ipv4.tcp_mem", "1 1 1") {
        return skipped("tcp-mem, because net.ipv4.tcp_mem cannot be set");
    }
    let expect = ["--expect", "push", "--push-every", "200ms", "--push-text", &text];
    let few = few_tuples("22000-22499");
    let flags = [&few[..], &expect, &["--rate", "250/s"]].concat();
    let mut client = world.client(&max(&flags));
    assert!(client.says("metrics="), "{:#?}", client.finish());
    sleep(Duration::from_millis(1_000));
    client.signal(Signal::STOP);
    sleep(Duration::from_millis(2_000));
    client.signal(Signal::CONT);
    let finished = client.finish();
    let run = Run { finished, result: world.result() };
    met(&run, "tcp-mem", "server", "sysctl -w net.ipv4.tcp_mem=");
}

// ---- of the server ------------------------------------------------------------------------

#[test]
fn a_full_server() {
    let _quiet = unchanged();
    let scene = beside(&Cage::open(), &["--max-connections", "500"]);
    let run = scene.run(&Cage::open(), &max(&[]));
    assert_eq!(met(&run, "server-full", "server", "serve --max-connections 10"), 500);
    // Some are turned away before it is known, and no more than some.
    assert!((1..=2_048).contains(&at_wall(&run)), "{:#}", run.result["max"]);
}

/// A run to the limit of a server that is none of ours, whose accept queue is short, on its host; and how
/// many it has accepted.
fn against_foreign(manner: Manner) -> Option<(Run, u64)> {
    let place = Namespace::new().map_err(|error| skipped(&error)).ok()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7000));
    let server = Foreign::start(&place, address, Manner { backlog: 16, ..manner });
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let (target, cores) = (address.to_string(), cores(2));
    let always = ["run", "--target", &target, "--out", out, "--cores", &cores];
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let flags = [&always[..], &max(&[])].concat();
    let finished = Program::start(&mut place.command(client, &flags)).finish();
    let result = result_in(directory.path());
    Some((Run { finished, result }, server.accepted()))
}

#[test]
fn a_foreign_server_that_accepts_no_more() {
    let _quiet = unchanged();
    let Some((run, accepted)) = against_foreign(Manner { accepts: 200, ..ECHO }) else { return };
    // One of the 200 was the look before the run.
    let held = met(&run, "accept-queue", "server", "in a server of another kind: a longer backlog");
    let more = &run.result["verdict"]["more_walls"];
    assert_eq!(more[0]["id"], "accept-stalled", "{more:#}");
    assert_eq!((held, accepted), (199, 200));
}

#[test]
fn the_accept_queue_of_a_foreign_server() {
    let _quiet = unchanged();
    let Some((run, _)) = against_foreign(Manner { rest: 50, ..ECHO }) else { return };
    met(&run, "accept-queue", "server", "in a server of another kind: a longer");
}

// ---- of the network -----------------------------------------------------------------------

#[test]
fn conntrack() {
    let Some(mut lab) = Lab::new(Build::HostWide) else { return };
    let rules = "chain kept { type filter hook input priority 0; ct state established accept; }
        chain arriving { type filter hook prerouting priority -300; iifname figures0 notrack; }
        chain leaving { type filter hook output priority -300; oifname figures0 notrack; }";
    if !lab.has_nft() {
        return;
    }
    lab.server.nft(rules);
    if !lab.host_wide("net.netfilter.nf_conntrack_max", "200") {
        return;
    }
    lab.serve(&[]);
    let run = lab.run(&max(&[]));
    let held = met(&run, "conntrack", "server", "sysctl -w net.netfilter.nf_conntrack_max=");
    assert!((100..=400).contains(&held), "{held}");
}

// ---- how it ends --------------------------------------------------------------------------

#[test]
fn a_signal_while_it_opens_leaves_a_whole_partial_report() {
    let _quiet = unchanged();
    let scene = beside(&Cage::open(), &[]);
    let mut client = scene.client(&Cage::open(), &max(&["--rate", "1k/s"]));
    assert!(client.says("opening"), "{:#?}", client.finish());
    client.signal(Signal::INT);
    let finished = client.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    let result = result_in(scene.directory.path());
    let established = result["established"].as_u64().expect("it is a count");
    assert!(established > 100, "{established}");
    let max = &result["max"];
    assert_eq!((&max["connections"], &max["stopped_by"]), (&Value::Null, &Value::Null));
    assert_eq!(result["target_connections"], established);
    assert!(scene.directory.path().join("report.html").exists());
}
