//! Where the per-core dumps of both programs go: a file, stdout, and on SIGUSR1 stdout where there is
//! no file; and that a reader who has stopped reading holds nobody up.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Program, Server, client, connect, cores, echo, free_ports, number, server_binary, ticks, until,
};
use megaconn::base::constants::DUMP_END_TIMEOUT;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

fn server(flags: &[&str]) -> Server {
    let cores = cores(1);
    let flags = [&["--cores", &cores], flags].concat();
    Server::start(&server_binary(), Ipv4Addr::LOCALHOST.into(), 1, &flags)
}

fn run_against(server: &Server, flags: &[&str]) -> Program {
    let (target, cores) = (server.address.to_string(), cores(1));
    let always = ["run", "--target", &target, "--cores", &cores, "--connections", "50"];
    Program::start(&mut client(&[&always, flags].concat()))
}

/// The lines of a text that must be dumps and nothing else.
fn lines(text: &str, side: &str) -> Vec<Value> {
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        assert_eq!((&line["schema"], &line["side"]), (&"megaconn.core/1".into(), &side.into()));
    }
    lines
}

#[test]
fn a_client_dumps_to_a_file_or_to_stdout_and_then_talks_its_summary() {
    let server = server(&[]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.ndjson");
    let flags = ["--stats", path.to_str().unwrap(), "--stats-every", "100ms", "--hold", "1s"];
    let finished = run_against(&server, &flags).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(finished.stdout.contains("established  50 of 50"), "{}", finished.stdout);
    let of_file = ticks(&path);
    // One each tenth of a second, with the first and the last.
    assert!(of_file.len() >= 8, "{} lines in more than a second", of_file.len());

    let finished =
        run_against(&server, &["--stats", "-", "--stats-every", "1h", "--hold", "0s"]).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let of_stdout = lines(&finished.stdout, "client");
    assert_eq!(of_stdout.len(), 2, "the first tick and the last");
    for last in [of_file.last().unwrap(), of_stdout.last().unwrap()] {
        assert_eq!(number(last, "connected_total"), 50);
        assert!(number(last, "ran_us_total") > 0 && last["waited_us_total"].is_u64(), "{last}");
    }
    let talked = finished.stderr.iter().any(|line| line.contains("established  50 of 50"));
    assert!(talked, "{finished:#?}");
}

#[test]
fn a_dump_asked_for_by_signal_goes_to_stdout_where_there_is_no_file() {
    let mut server = server(&[]);
    let mut client = run_against(&server, &["--hold", "2s"]);
    assert!(client.says("holding 50"), "{:#?}", client.finish());
    for program in [&server.program, &client] {
        program.signal(Signal::USR1);
    }
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let (dumps, summary) = finished.stdout.split_once('\n').unwrap();
    assert_eq!(number(&lines(dumps, "client")[0], "connections"), 50);
    assert!(summary.contains("established  50 of 50"), "{summary}");

    server.program.signal(Signal::TERM);
    let dumps = lines(&server.program.finish().stdout, "server");
    assert_eq!(dumps.len(), 1, "what was asked for, and nothing at the end");
    assert_eq!(number(&dumps[0], "connections"), 50);
}

/// A pipe that nobody reads is full after some lines. The server goes on, hears its signal, and does
/// not wait for the reader for ever.
#[test]
fn a_reader_that_has_stopped_reading_holds_nothing_up() {
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let mut child = Command::new(server_binary())
        .args(["serve", "--listen", &address.to_string(), "--cores", &cores(1)])
        .args(["--stats", "-", "--stats-every", "1ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let writes = format!("/proc/{}/io", child.id());
    let written = || {
        let io = std::fs::read_to_string(&writes).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap().to_owned();
        line.parse::<u64>().unwrap()
    };
    until("the pipe is full", || {
        let before = written();
        thread::sleep(Duration::from_millis(300));
        // A line is a kilobyte, and begins a page of the pipe where it does not fit into the last;
        // what wakes threads is some bytes.
        before > 40_000 && written() - before < 1_000
    });
    assert_eq!(echo(&connect(address), b"still there").unwrap(), b"still there");
    let began = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    until("it has ended", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let took = began.elapsed();
    assert!(took >= DUMP_END_TIMEOUT && took < 4 * DUMP_END_TIMEOUT, "it ended after {took:?}");
}
