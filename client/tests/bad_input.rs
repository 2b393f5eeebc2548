//! What `megaconn-client` says to input that cannot be: exit status 2 and one line with the fix,
//! before any connection is made; and what it says to questions: help, completions, man page.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;

use common::{
    Finished, Program, World, client, cores, free_ports, last, number, refusal, server_binary,
    until,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Refuses a run with `flags`, in one line that contains each of `words`.
fn refuses(flags: &[&str], words: &[&str]) {
    let line = refusal(&mut client(&[&["run"], flags].concat()));
    for word in words {
        assert!(line.contains(word), "{flags:?} is refused without a word of `{word}`: {line}");
    }
}

/// As [`refuses`], for flags beside a target and a number of connections that are good.
fn refuses_beside_good(flags: &[&str], words: &[&str]) {
    // It is there, so that it cannot be the reason; nobody accepts, so that nothing could run.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    refuses(&[&["--target", &target, "--connections", "10"], flags].concat(), words);
}

fn run(flags: &[&str]) -> Finished {
    Program::start(&mut client(flags)).finish()
}

#[test]
fn values_that_are_none_are_refused_with_an_example() {
    for (flags, words) in [
        (["--memory-reserve", "5%"], ["--memory-reserve", "512MiB"]),
        (["--memory-reserve", "1GB"], ["--memory-reserve", "2GiB"]),
        (["--source", "here"], ["--source here", "ip link"]),
        (["--source", "10.0.0.256"], ["--source", "10.0.0.0/28"]),
        (["--source", "127.0.0.9-127.0.0.2"], ["--source", "lower address first"]),
        (["--source", "127.0.0.0/33"], ["--source", "10.0.0.0/28"]),
        (["--source-ports", "40000-30000"], ["--source-ports", "lowest first"]),
        (["--source-ports", "0-100"], ["--source-ports", "7000-7009"]),
        (["--cores", "first"], ["--cores", "0,2-5"]),
        (["--rate", "0/s"], ["--rate", "20k/s"]),
        (["--rate", "fast"], ["--rate", "500/s"]),
        (["--hold", "5"], ["--hold", "500ms"]),
        (["--hold", "-5s"], ["--hold", "never negative"]),
        (["--message-bytes", "39"], ["--message-bytes", "40"]),
        (["--message-bytes", "4097"], ["--message-bytes", "4096"]),
        (["--message-count", "70000"], ["--message-count", "65535"]),
        (["--message-every", "0s"], ["--message-every", "above 0"]),
        (["--message-rate", "0/s"], ["--message-rate", "20k/s"]),
        (["--half-open", "1"], ["--half-open", "1%"]),
        (["--storm", "drop half"], ["--storm", "drop 50% at 30s"]),
        (["--storm", "drop 5% at 1h"], ["--storm", "--hold"]),
        (["--churn", "lots"], ["--churn", "500/s"]),
        (["--close", "rudely"], ["--close", "fin"]),
        (["--expect", "much"], ["--expect", "push"]),
        (["--push-text", r"\q"], ["--push-text", r"\xHH"]),
        (["--keepalive", "1500ms"], ["--keepalive", "whole seconds"]),
        (["--connects-in-flight", "0"], ["--connects-in-flight", "1"]),
        (["--resolve-every", "999ms"], ["--resolve-every", "write 1s or more"]),
        (["--min-established", "most"], ["--min-established", "10k"]),
        (["--max-lost", "-1"], ["--max-lost", "never negative"]),
        (["--metrics", "here"], ["--metrics", "127.0.0.1:9100"]),
        (["--server-metrics", "there:9100"], ["--server-metrics", "127.0.0.1:9100"]),
        (["--server-metrics", "127.0.0.1:0"], ["--server-metrics", "no port"]),
        (["--max-p99", "5"], ["--max-p99", "500ms"]),
        (["--stats", "/proc/no/such"], ["--stats /proc/no/such", "may write"]),
        (["--stats-every", "0s"], ["--stats-every", "above 0"]),
        (["--message-cuont", "1"], ["--message-cuont", "'--message-count'"]),
    ] {
        refuses_beside_good(&flags, &words);
    }
    for (connections, word) in
        [("0", "1 or more"), ("many", "10k"), ("-1", "never negative"), ("1e-6", "2.4M")]
    {
        refuses(&["--target", "127.0.0.1:7000", "--connections", connections], &[word]);
    }
    for (target, word) in [
        ("nothing.invalid:7000", "getent ahosts nothing.invalid"),
        ("wss://localhost:7000/b c", "%20"),
        ("wxs://localhost:7000/x", "wss://"),
        ("10.0.0.0-10.255.0.0:7000", "65536 at most"),
        ("127.0.0.1", "127.0.0.1:7000"),
        ("::1:7000", "[::1]:7000"),
        ("127.0.0.1:7009-7000", "7000-7009"),
    ] {
        refuses(&["--connections", "10", "--target", target], &["--target", word]);
    }
    refuses(&[], &["--target", "--connections"]);
}

#[test]
fn flags_that_contradict_each_other_are_refused() {
    for (flags, words) in [
        (
            &["--message-every", "1s", "--message-rate", "5/s"][..],
            ["cannot be used with", "leave out --message-every"],
        ),
        (
            &["--message-every", "1s", "--message-count", "5"],
            ["cannot be used with", "leave out --message-every"],
        ),
        (&["--banner", "hi"], ["--banner", "--expect push"]),
        (&["--push-text", "hi"], ["--push-text", "--expect push"]),
        (&["--push-every", "1s"], ["--push-every", "--expect push"]),
        (&["--expect", "push", "--push-every", "31m"], ["--push-every", "30m"]),
        (&["--expect", "push", "--message-every", "1s"], ["sends nothing", "--message-*"]),
        (&["--expect", "push", "--sweep"], ["--sweep", "--expect echo"]),
        (&["--expect", "nothing", "--churn", "5/s"], ["--churn", "--expect echo"]),
        (&["--churn", "5/s", "--hold", "0s"], ["--churn", "--hold 10s"]),
        (&["--message-every", "1s", "--hold", "0s"], ["--hold 0s", "--hold 10s"]),
        (&["--message-rate", "5/s", "--hold", "0s"], ["--hold 0s", "--hold 10s"]),
        (&["--min-established", "11"], ["--min-established 11", "--connections 10"]),
    ] {
        refuses_beside_good(flags, &words);
    }
    refuses_beside_good(&["--expect", "push", "--max-p99", "1s"], &["--max-p99", "--expect echo"]);
    let good = ["--target", "127.0.0.1:7000"];
    let alone = ["--churn", "5/s", "--message-rate", "5/s"];
    refuses(&[&good[..], &alone].concat(), &["--message-*", "--connections"]);
    refuses(&[&good[..], &["--connections", "10,10"]].concat(), &["--connections", "that differ"]);
    refuses(&[&good[..], &["--connections", "1k,"]].concat(), &["--connections", "10k"]);
    refuses(&[&good[..], &["--hold", "1s"]].concat(), &["--connections"]);
}

/// Tuples that would come again while they are in TIME_WAIT are no tuples.
#[test]
fn more_short_connections_than_tuples_are_refused() {
    let few = ["--source", "127.0.0.9", "--hold", "5m"];
    refuses_beside_good(
        &[&few[..], &["--churn", "1k/s"]].concat(),
        &["--connections 10 with --churn 1000/s", "source-ports", "--source"],
    );
}

#[test]
fn cores_that_cannot_be_are_refused() {
    refuses_beside_good(&["--cores", "9999"], &["--cores", "CPU 9999", "allowed: "]);
    let first = cores(1);
    let twice = format!("{first},{first}");
    refuses_beside_good(&["--cores", &twice], &[&format!("CPU {first}"), "twice"]);
}

#[test]
fn a_core_outside_the_affinity_mask_is_refused() {
    let both = cores(2);
    let Some((first, second)) = both.split_once(',') else {
        return eprintln!("SKIPPED: one CPU alone leaves none outside a mask");
    };
    if let Err(error) = Command::new("taskset").arg("--version").output() {
        return eprintln!("SKIPPED: taskset cannot be run: {error}");
    }
    let mut command = Command::new("taskset");
    command.args(["-c", first, env!("CARGO_BIN_EXE_megaconn-client"), "run", "--cores", second]);
    command.args(["--target", "127.0.0.1:7000", "--connections", "10"]);
    let line = refusal(&mut command);
    for word in [format!("CPU {second}"), format!("--cores {first}"), "taskset -c".into()] {
        assert!(line.contains(&word), "no word of `{word}`: {line}");
    }
}

#[test]
fn a_target_where_nothing_listens_is_refused() {
    let target = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let flags = ["--target", &target, "--connections", "10"];
    refuses(&flags, &["--target", &target, "nothing listens", "ECONNREFUSED", "start the server"]);
}

#[test]
fn sources_and_targets_that_cannot_go_together_are_refused() {
    // An address of TEST-NET-1 belongs to nobody.
    refuses_beside_good(&["--source", "192.0.2.1"], &["--source 192.0.2.1", "no such address"]);
    refuses_beside_good(&["--source", "::1"], &["--source", "family"]);
    let overlapping = ["--source", "127.0.0.2-127.0.0.9", "--source", "127.0.0.8"];
    refuses_beside_good(&overlapping, &["--source", "overlap"]);
    let target = ["--target", "127.0.0.1:7000"];
    refuses(&[&target[..], &target, &["--connections", "10"]].concat(), &["--target", "twice"]);
}

#[test]
fn more_connections_than_tuples_are_refused() {
    let flags = ["--source", "127.0.0.2", "--source-ports", "32768-60999"];
    let target = ["--target", "127.0.0.1:7000", "--connections", "50k"];
    let words = ["--connections 50,000", "source-ports: ", "--source", "ip_local_port_range"];
    refuses(&[target, flags].concat(), &words);
}

#[test]
fn more_connections_than_the_host_can_hold_are_refused() {
    let what = ["--connections", "100M", "--target", "127.0.0.1:7000"];
    let mut plan = Command::new(server_binary());
    let plan = Program::start(plan.arg("plan").args(what).args(["--format", "json"])).finish();
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    let rows = plan["rows"].as_array().unwrap();
    let memory = rows.iter().find(|row| row["id"] == "memory").unwrap();
    assert!(number(memory, "need") > 100_000_000 * 1000, "a connection is not free: {memory}");
    // Memory, as a rule; where locked memory or open files bind before it, the client says that.
    let first = rows.iter().find(|row| row["fits"] == false).expect("nobody has 800 GB to spare");
    let allows = format!("error: {}: ", first["id"].as_str().unwrap());
    refuses(&what, &["--connections 100,000,000", &allows, "need", "have"]);
}

#[test]
fn a_run_directory_that_cannot_be_written_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "in the way").unwrap();
    let out = file.join("run");
    let out = out.to_str().unwrap();
    refuses_beside_good(&["--out", out], &["--out", out, "may write"]);
}

#[test]
fn a_file_of_the_run_directory_that_cannot_be_written_is_refused() {
    for name in ["client.ndjson", "environment.json", "doctor.json"] {
        let world = World::on_loopback();
        fs::create_dir(world.directory.path().join(name)).unwrap();
        let finished = world.client(&["--connections", "10"]).finish();
        assert_eq!(finished.code, Some(2), "{finished:#?}");
        let errors = finished.stderr.iter().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{finished:#?}");
        let line = finished.stderr.last().unwrap();
        assert!(line.contains("--out") && line.contains(name) && line.contains("fix: "), "{line}");
        until("the look at the target is over", || last(&world.stats(), "closed_total") == 1);
        assert_eq!(last(&world.stats(), "accepted_total"), 1, "connections were made");
    }
}

#[test]
fn io_uring_forbidden_by_a_filter_is_refused() {
    for (errno, words) in [
        (libc::ENOSYS, ["io_uring", "ENOSYS", "Linux 6.1", "seccomp profile"]),
        (libc::EPERM, ["io_uring", "EPERM", "io_uring_register", "seccomp profile"]),
    ] {
        // The filter holds for the thread that applies it, and for what that thread starts.
        let thread = thread::spawn(move || {
            let rules = [(libc::SYS_io_uring_setup, Vec::new())].into();
            let answer = SeccompAction::Errno(errno.unsigned_abs());
            let architecture = std::env::consts::ARCH.try_into().expect("we can filter here");
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture);
            let program: BpfProgram = filter.unwrap().try_into().unwrap();
            seccompiler::apply_filter(&program).unwrap();
            refuses(&["--target", "127.0.0.1:7000", "--connections", "10"], &words);
        });
        thread.join().expect("see the panic of the thread");
    }
}

#[test]
fn a_short_help_is_one_screen_with_two_examples() {
    for command in [[].as_slice(), &["run"]] {
        for flag in ["-h", "--help"] {
            let help = run(&[command, &[flag]].concat());
            assert_eq!((help.code, help.stderr.len()), (Some(0), 0), "{command:?}: {help:#?}");
            let (_, examples) = help.stdout.split_once("Examples:\n").expect("it has examples");
            let is_example = |line: &&str| line.starts_with("  megaconn-client ");
            assert_eq!(examples.lines().filter(is_example).count(), 2, "{flag}: {examples}");
            let lines = help.stdout.lines().count();
            assert!(flag != "-h" || lines <= SCREEN_LINES, "{command:?} -h is {lines} lines");
        }
    }
    let manual = run(&["run", "--help"]).stdout;
    assert!(manual.contains("Exit status:") && manual.contains("130 or 143"), "{manual}");
}

/// Lines of a short help at most: a screen, as terminals on today's displays are opened.
const SCREEN_LINES: usize = 50;

#[test]
fn completions_and_the_man_page_are_written() {
    let completions = run(&["completions", "bash"]);
    assert_eq!(completions.code, Some(0), "{:?}", completions.stderr);
    assert!(completions.stdout.contains("-o default megaconn-client\n"));
    assert!(completions.stdout.contains("--source-ports"));
    let page = run(&["man"]);
    assert_eq!(page.code, Some(0), "{:?}", page.stderr);
    assert!(page.stdout.contains(".TH megaconn-client 1") && page.stdout.contains("run"));
}
