//! What `megaconn` says to input that cannot be: exit status 2 and one line with the fix, before
//! anything starts; and what it says to questions: plan, help, completions, man page.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::thread;

use common::{Finished, Program, Server, cores, free_ports, number, refusal};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn megaconn(flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_megaconn"));
    // Help is wrapped at the width of the terminal, if there is one.
    command.args(flags).env("COLUMNS", "80");
    command
}

/// Refuses `flags` in one line that contains each of `words`.
fn refuses(flags: &[&str], words: &[&str]) {
    let line = refusal(&mut megaconn(flags));
    for word in words {
        assert!(line.contains(word), "{flags:?} is refused without a word of `{word}`: {line}");
    }
}

fn run(flags: &[&str]) -> Finished {
    Program::start(&mut megaconn(flags)).finish()
}

#[test]
fn values_that_are_none_are_refused_with_an_example() {
    for (flags, words) in [
        (["--listen", "localhost:7000"], ["--listen", "127.0.0.1:7000"]),
        (["--listen", "127.0.0.1"], ["--listen", "127.0.0.1:7000"]),
        (["--listen", "::1:7000"], ["--listen", "[::1]:7000"]),
        (["--listen", "127.0.0.1:0"], ["--listen", "127.0.0.1:7000"]),
        (["--listen", "127.0.0.1:7009-7000"], ["--listen", "7000-7009"]),
        (["--listen", "127.0.0.1:70000"], ["--listen", "127.0.0.1:7000"]),
        (["--max-connections", "many"], ["--max-connections", "10k"]),
        (["--max-connections", "1e-6"], ["--max-connections", "2.4M"]),
        (["--max-connections", "0"], ["--max-connections", "1 or more"]),
        (["--memory-reserve", "5%"], ["--memory-reserve", "512MiB"]),
        (["--memory-reserve", "1.5GiB"], ["--memory-reserve", "2GiB"]),
        (["--stats-every", "5"], ["--stats-every", "500ms"]),
        (["--stats-every", "5 days"], ["--stats-every", "1h"]),
        (["--cores", "one"], ["--cores", "0,2-5"]),
        (["--cores", "3-1"], ["--cores", "0,2-5"]),
        (["--backlog", "0"], ["--backlog", "1 or more"]),
        (["--backlog", "3G"], ["--backlog", "2147483647 or less"]),
        (["--max-connections", "-1"], ["--max-connections", "never negative"]),
        (["--listen", "224.0.0.1:7000"], ["--listen", "multicast"]),
        (["--listen", "255.255.255.255:7000"], ["--listen", "broadcast"]),
        (["--listen", "[ff02::1]:7000"], ["--listen", "multicast"]),
        (["--mode", "parrot"], ["--mode", "echo"]),
        (["--mode", "parrot"], ["--mode", "sink"]),
        (["--banner", ""], ["--banner", "1 to 4096 bytes"]),
        (["--banner", r"\q"], ["--banner", r"\xHH"]),
        (["--push-every", "0s"], ["--push-every", "above 0"]),
        (["--push-every", "25h"], ["--push-every", "24h or less"]),
        (["--push-every", "1s"], ["--push-every", "--mode push"]),
        (["--push-text", "hi"], ["--push-text", "--mode push"]),
        (["--idle-timeout", "0s"], ["--idle-timeout", "above 0"]),
        (["--idle-timeout", "61m"], ["--idle-timeout", "1h or less"]),
        (["--send-timeout", "0s"], ["--send-timeout", "above 0"]),
        (["--send-timeout", "9m"], ["--send-timeout", "8m or less"]),
        (["--keepalive", "500ms"], ["--keepalive", "whole seconds"]),
        (["--keepalive", "10h"], ["--keepalive", "32767s"]),
        (["--drain", "soon"], ["--drain", "500ms"]),
        (["--drain", "2h"], ["--drain", "1h or less"]),
        (["--storm", "drop 5% at 1s by vanishing"], ["--storm", "by fin"]),
        (["--storm", "drop half"], ["--storm", "drop 50% at 30s"]),
        (["--storm", "drop 0% at 1s"], ["--storm", "above 0%"]),
        (["--storm", "drop 5% every 10ms"], ["--storm", "every 1s"]),
        (["--metrics", "9100"], ["--metrics", "127.0.0.1:9100"]),
        (["--metrics", "localhost:9100"], ["--metrics", "[::1]:9100"]),
        (["--metrics", "127.0.0.1:91000"], ["--metrics", "127.0.0.1:9100"]),
        (["--steer", "left"], ["--steer", "hash"]),
        (["--liste", "127.0.0.1:7000"], ["--liste", "'--listen'"]),
    ] {
        refuses(&[["serve"].as_slice(), &flags].concat(), &words);
    }
    let both = ["--idle-timeout", "50m", "--push-every", "11m"];
    refuses(&[["serve", "--mode", "push"].as_slice(), &both].concat(), &["more than 1h together"]);
    refuses(&["serve", "--stats"], &["--stats", "value is required"]);
    refuses(&["top"], &["ADDR:PORT", "add <ADDR:PORT>"]);
    refuses(&["top", "here"], &["here", "127.0.0.1:9100"]);
    refuses(&["top", "127.0.0.1:0"], &["no port"]);
    refuses(&["top", "127.0.0.1:9100", "--every", "99ms"], &["--every", "100ms or more"]);
    refuses(&["server"], &["'server'", "'serve'"]);
    refuses(&["plan"], &["--connections", "--target"]);
    refuses(&["completions", "sea-shell"], &["bash"]);
    for (flags, words) in [
        (["--connections", "0"], ["--connections", "1 or more"]),
        (["--side", "middle"], ["--side", "server"]),
        (["--side", "client"], ["required", "--target"]),
        (["--backlog", "0"], ["--backlog", "1 or more"]),
        (["--target", "localhost"], ["--target", "127.0.0.1:7000"]),
        (["--source", "::1"], ["--source", "family"]),
        (["--cores", "9999"], ["--cores", "affinity"]),
        (["--format", "xml"], ["--format", "json"]),
        (["--fix", "maybe"], ["--fix", "print"]),
    ] {
        refuses(&[["doctor"].as_slice(), &flags].concat(), &words);
    }
    for fix in ["print", "apply"] {
        let flags = ["doctor", "--fix", fix, "--format", "json"];
        refuses(&flags, &["--fix", "--format json", "leave out"]);
    }
    let taken = run(&["doctor", "--backlog", "4k", "--connections", "10"]);
    assert!(taken.code != Some(2), "counts are as everywhere: {taken:#?}");
}

#[test]
fn addresses_that_cannot_be_listened_on_are_refused() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    refuses(&["serve", "--listen", &taken], &["--listen", &taken, "in use", "ss -ltnp"]);
    // Sockets of another server would share the port, if they were asked.
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let other = Server::start(binary, Ipv4Addr::LOCALHOST.into(), 1, &["--cores", &cores(1)]);
    let taken = other.address.to_string();
    refuses(&["serve", "--listen", &taken], &["--listen", &taken, "in use"]);
    // An address of TEST-NET-1 belongs to nobody.
    let not_ours = "192.0.2.1:7000";
    refuses(&["serve", "--listen", not_ours], &["--listen", not_ours, "no such address"]);
    let many = "127.0.0.1:1024-65000";
    refuses(&["serve", "--listen", many], &["--listen", "63977 ports", "smaller range"]);
}

#[test]
fn metrics_addresses_that_cannot_be_listened_on_are_refused() {
    let serves = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let serve = ["serve", "--cores", &cores(1), "--listen", &serves, "--metrics"];
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    refuses(&[&serve[..], &[&taken]].concat(), &["--metrics", &taken, "in use", "ss -ltnp"]);
    let not_ours = "192.0.2.1:9100";
    refuses(&[&serve[..], &[not_ours]].concat(), &["--metrics", not_ours, "no such address"]);
    // Its own listeners are somebody who has the port, too.
    refuses(&[&serve[..], &[&serves]].concat(), &["--metrics", &serves, "in use"]);
}

#[test]
fn cores_that_cannot_be_are_refused() {
    refuses(&["serve", "--cores", "9999"], &["--cores", "CPU 9999", "affinity", "allowed: "]);
    let first = cores(1);
    let twice = format!("{first},{first}");
    refuses(&["serve", "--cores", &twice], &["--cores", &format!("CPU {first}"), "twice"]);
}

#[test]
fn a_core_outside_the_affinity_mask_is_refused() {
    let both = cores(2);
    let Some((first, second)) = both.split_once(',') else {
        return eprintln!("SKIPPED: one CPU alone leaves none outside a mask");
    };
    let mut command = Command::new("taskset");
    command.args(["-c", first, env!("CARGO_BIN_EXE_megaconn"), "serve", "--cores", second]);
    if let Err(error) = Command::new("taskset").arg("--version").output() {
        return eprintln!("SKIPPED: taskset cannot be run: {error}");
    }
    let line = refusal(&mut command);
    for word in [format!("CPU {second}"), format!("--cores {first}"), "taskset -c".into()] {
        assert!(line.contains(&word), "no word of `{word}`: {line}");
    }
}

#[test]
fn a_place_for_statistics_that_cannot_be_written_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    for path in [directory.path().join("is/not/there.ndjson"), directory.path().to_owned()] {
        let path = path.to_str().unwrap();
        refuses(
            &["serve", "--listen", &address, "--cores", &cores(1), "--stats", path],
            &["--stats", path, "may write"],
        );
    }
}

#[test]
fn a_core_that_cannot_start_for_want_of_files_is_refused() {
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    for most in ["8", "10"] {
        let mut command = Command::new("sh");
        let binary = env!("CARGO_BIN_EXE_megaconn");
        command.args(["-c", "ulimit -n $1; shift; exec \"$@\"", "sh", most, binary, "serve"]);
        command.args(["--listen", &address, "--cores", &cores(1)]);
        let finished = Program::start(&mut command).finish();
        assert_eq!(finished.code, Some(2), "{finished:#?}");
        let errors = finished.stderr.iter().filter(|line| line.starts_with("error: "));
        assert_eq!(errors.count(), 1, "{finished:#?}");
        let line = finished.stderr.last().unwrap();
        for word in ["error: nofile: ", "fix: ulimit -n "] {
            assert!(line.contains(word), "no word of `{word}` with {most} files: {line}");
        }
    }
}

#[test]
fn io_uring_forbidden_by_a_filter_is_refused() {
    let as_if_missing = refusal_behind_filter(libc::ENOSYS);
    for word in ["io_uring", "ENOSYS", "Linux 6.1", "seccomp profile"] {
        assert!(as_if_missing.contains(word), "no word of `{word}`: {as_if_missing}");
    }
    let forbidden = refusal_behind_filter(libc::EPERM);
    for word in ["io_uring", "EPERM", "io_uring_register", "seccomp profile"] {
        assert!(forbidden.contains(word), "no word of `{word}`: {forbidden}");
    }
}

#[test]
fn plan_and_doctor_try_a_ring() {
    for command in ["plan --connections 1k --target 127.0.0.1:7000", "doctor --connections 1k"] {
        let answer = behind_filter(libc::EPERM, move || {
            Program::start(&mut megaconn(&command.split(' ').collect::<Vec<_>>())).finish()
        });
        assert_eq!(answer.code, Some(1), "{answer:#?}");
        assert!(answer.stdout.contains("FAIL  io-uring-seccomp"), "{answer:#?}");
    }
}

/// What a server says whose io_uring_setup fails with `errno`.
fn refusal_behind_filter(errno: i32) -> String {
    behind_filter(errno, || refusal(&mut megaconn(&["serve"])))
}

/// Does something in a thread in which io_uring_setup fails with `errno`.
fn behind_filter<T: Send + 'static>(errno: i32, act: impl FnOnce() -> T + Send + 'static) -> T {
    // The filter holds for the thread that applies it, and for what that thread starts.
    let thread = thread::spawn(move || {
        let rules = [(libc::SYS_io_uring_setup, Vec::new())].into();
        let answer = SeccompAction::Errno(errno.unsigned_abs());
        let architecture = std::env::consts::ARCH.try_into().expect("a filter can be made here");
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture);
        let program: BpfProgram = filter.unwrap().try_into().unwrap();
        seccompiler::apply_filter(&program).unwrap();
        act()
    });
    thread.join().expect("see the panic of the thread")
}

#[test]
fn a_plan_is_refused_when_it_cannot_be_made() {
    let plan = ["plan", "--connections", "1k", "--target", "127.0.0.1:7000"];
    for (flags, words) in [
        (["--connections", "some"], ["--connections", "10k"]),
        (["--source", "everywhere"], ["--source", "10.0.0.0/28"]),
        (["--source", "127.0.0.9-127.0.0.2"], ["--source", "lower address first"]),
        (["--source", "::1"], ["--source", "family"]),
        (["--source-ports", "0-10"], ["--source-ports", "7000-7009"]),
        (["--target", "127.0.0.1:7000"], ["--target", "twice"]),
        (["--format", "xml"], ["--format", "json"]),
    ] {
        // A flag that may stand once takes the place of the good one.
        let is_single = flags[0] == "--connections";
        let from = if is_single { 3 } else { 1 };
        let plan = [&["plan"], &plan[from..], &flags].concat();
        refuses(&plan, &words);
    }
    let overlapping = ["--source", "127.0.0.2-127.0.0.9", "--source", "127.0.0.8"];
    refuses(&[plan.as_slice(), &overlapping].concat(), &["--source", "overlap"]);
}

#[test]
fn a_plan_answers_in_words_and_in_json() {
    let source = ["--source", "127.0.0.2", "--source-ports", "40000-40999"];
    let plan = |connections: &str, format: &str| {
        let flags = ["plan", "--connections", connections, "--target", "127.0.0.1:7000-7001"];
        run(&[flags.as_slice(), &source, &["--format", format]].concat())
    };
    let fits = plan("2k", "json");
    assert_eq!(fits.code, Some(0), "{fits:#?}");
    let json: Value = serde_json::from_str(&fits.stdout).unwrap();
    assert_eq!(json["schema"], "megaconn.plan/1");
    assert_eq!((number(&json, "connections"), &json["fits"]), (2000, &Value::Bool(true)));
    assert!(number(&json, "segments") >= 1 && number(&json, "slots_per_segment") >= 1);
    let rows = json["rows"].as_array().unwrap();
    let row = |id| rows.iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("no row {id}"));
    for id in ["source-ports", "memory", "memlock", "file-max"] {
        assert_eq!(row(id)["fits"], true, "{id} binds at 2,000 connections");
        assert!(number(row(id), "need") > 0, "{id} needs nothing");
        assert!(row(id)["unit"].is_string() && row(id)["fix"].is_string());
        assert!(row(id).get("have").is_some() && row(id).get("allows_connections").is_some());
    }
    assert_eq!(number(row("source-ports"), "have"), 2000, "1,000 ports times 2 targets");
    assert_eq!(rows[0]["id"], "source-ports", "the one that binds first is at the top");

    let short = plan("2001", "json");
    assert_eq!(short.code, Some(1), "{short:#?}");
    let json: Value = serde_json::from_str(&short.stdout).unwrap();
    assert_eq!((&json["fits"], &json["rows"][0]["fits"]), (&false.into(), &false.into()));

    let words = plan("2001", "text");
    assert_eq!((words.code, words.stderr.len()), (Some(1), 0), "{words:#?}");
    for word in ["2,001 connections", "FAIL  source-ports", "fix: --source with more addresses"] {
        assert!(words.stdout.contains(word), "no word of `{word}`: {}", words.stdout);
    }
    assert!(words.stdout.contains("binds first: source-ports at 2,000 connections"));
    assert!(words.stdout.contains("binds next:"));
}

/// What connections speak is a part of the plan, and of the doctor's.
#[test]
fn a_plan_and_the_doctor_know_what_a_layer_takes() {
    let json = |command: &[&str]| -> Value {
        let place = ["--connections", "100k", "--target", "127.0.0.1:7000", "--cores", "0"];
        let finished = run(&[command, &place, &["--format", "json"]].concat());
        serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:#?}"))
    };
    let need = |of: &Value| {
        let rows = of["rows"].as_array().unwrap();
        number(rows.iter().find(|row| row["id"] == "memory").unwrap(), "need")
    };
    let [plain, wss] = ["tcp", "wss"].map(|protocol| json(&["plan", "--protocol", protocol]));
    let [of, more] = [&plain, &wss].map(|plan| &plan["memory"]);
    assert_eq!(number(of, "server_bytes_per_connection"), 40);
    assert_eq!((number(of, "buffer_bytes"), number(of, "handshakes_bytes")), (4096, 0));
    assert_eq!((&more["protocol"], number(more, "buffer_bytes")), (&"wss".into(), 24 << 10));
    let grows = |key| number(more, key) - number(of, key);
    let each = grows("server_bytes_per_connection") + grows("client_bytes_per_connection");
    assert!((2 * 136..2 * 200).contains(&each), "a session is 136 bytes at each end: {each}");
    let fixed = grows("buffers_bytes") + grows("ciphers_bytes") + grows("handshakes_bytes");
    assert_eq!(need(&wss) - need(&plain), 100_000 * each + fixed);
    let header = json(&["plan", "--protocol", "wss", "--proxy-protocol"]);
    let behind = number(&header["memory"], "server_bytes_per_connection");
    assert_eq!(behind, number(more, "server_bytes_per_connection") + 4);

    let [plain, wss] =
        ["tcp", "wss"].map(|protocol| need(&json(&["doctor", "--protocol", protocol])));
    assert_eq!(wss - plain, 100_000 * each + fixed);

    let words = ["plan", "--connections", "10", "--target", "127.0.0.1:7000", "--cores", "0"];
    let finished = run(&[&words[..], &["--protocol", "tls"]].concat());
    for word in ["memory of tls:", "buffers     24,576 bytes each", "handshakes"] {
        assert!(finished.stdout.contains(word), "no word of `{word}`: {}", finished.stdout);
    }
}

#[test]
fn a_count_beyond_everything_fits_nowhere() {
    let flags = ["plan", "--connections", "18446744073G", "--target", "127.0.0.1:7000"];
    let finished = run(&flags);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stdout.contains("FAIL  memory"), "{}", finished.stdout);
}

#[test]
fn a_short_help_is_one_screen_with_two_examples() {
    for command in [[].as_slice(), &["serve"], &["plan"], &["doctor"], &["stats"], &["top"]] {
        for flag in ["-h", "--help"] {
            let help = run(&[command, &[flag]].concat());
            assert_eq!((help.code, help.stderr.len()), (Some(0), 0), "{command:?}: {help:#?}");
            let (_, examples) = help.stdout.split_once("Examples:\n").expect("it has examples");
            let count = examples.lines().filter(|line| line.starts_with("  megaconn ")).count();
            assert_eq!(count, 2, "{command:?} {flag}: {examples}");
            let lines = help.stdout.lines().count();
            assert!(flag != "-h" || lines <= SCREEN_LINES, "{command:?} -h is {lines} lines");
        }
    }
    for flag in ["--version", "-V"] {
        let version = run(&[flag]);
        assert_eq!(version.code, Some(0));
        assert!(version.stdout.starts_with("megaconn "), "{version:#?}");
    }
}

/// Lines of a short help at most: a screen, as terminals on today's displays are opened.
const SCREEN_LINES: usize = 50;

#[test]
fn completions_and_the_man_page_are_written() {
    let completions = run(&["completions", "bash"]);
    assert_eq!(completions.code, Some(0), "{:?}", completions.stderr);
    assert!(completions.stdout.contains("complete -F _megaconn"));
    assert!(completions.stdout.contains("--max-connections"));
    let page = run(&["man"]);
    assert_eq!(page.code, Some(0), "{:?}", page.stderr);
    assert!(page.stdout.contains(".TH megaconn 1") && page.stdout.contains("serve"));
}
