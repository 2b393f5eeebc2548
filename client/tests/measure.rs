//! `megaconn measure` with both real programs: it starts both ends, leaves the whole run directory, and
//! ends everything, also when a signal comes in any phase, an end is killed, or it is killed itself.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use common::{Finished, Program, cores, refusal, result_in, server_binary, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Every file of a whole run directory without bystanders.
const FILES: [&str; 8] = [
    "result.json",
    "report.html",
    "environment.json",
    "doctor.json",
    "counters.json",
    "client.ndjson",
    "server.ndjson",
    "server.log",
];

/// A measurement that has begun, in a directory of its own.
struct Measurement {
    program: Program,
    directory: tempfile::TempDir,
}

impl Measurement {
    fn begin(line: &str) -> Measurement {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let mut command = measure(directory.path());
        let program = Program::start(command.args(line.split_whitespace()));
        Measurement { program, directory }
    }

    /// The same without bystanders, of 2,000 connections on two cores of the client.
    fn of_2k(more: &str) -> Measurement {
        Measurement::begin(&format!("--connections 2k --no-bystanders {more}"))
    }

    /// The numbers of its ends that run, by the program's name.
    fn ends(&self, program: &str) -> Vec<Pid> {
        let mark = format!("MEGACONN_PARENT={}\0", self.program.id());
        let is_it = |process: &Path| {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            // The kernel cuts names after 15 bytes.
            let name = name.trim_end();
            let is_named = !name.is_empty() && program.starts_with(name) && name.len() >= 8;
            is_named && String::from_utf8_lossy(&environment).contains(&mark)
        };
        let processes = fs::read_dir("/proc").expect("/proc is there").filter_map(Result::ok);
        let found = processes
            .filter(|process| is_it(&process.path()))
            .filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?));
        found.filter(|id| is_whole_name(*id, program)).collect()
    }

    fn end(&self, program: &str) -> Pid {
        let ends = self.ends(program);
        assert_eq!(ends.len(), 1, "{program}: {ends:?}");
        ends[0]
    }

    /// Its end, after which none of its ends is there.
    fn finish(&mut self) -> Finished {
        let finished = self.program.finish();
        for program in ["megaconn", "megaconn-client"] {
            assert_eq!(self.ends(program), [], "{program} is left: {finished:#?}");
        }
        finished
    }

    /// A complete partial report, of a run that `signal` stopped.
    fn finish_stopped(&mut self, signal: Signal, status: i32) -> Value {
        self.program.signal(signal);
        let finished = self.finish();
        assert_eq!(finished.code, Some(status), "{finished:#?}");
        for file in FILES {
            assert!(self.directory.path().join(file).exists(), "no {file}: {finished:#?}");
        }
        let result = result_in(self.directory.path());
        let missed = result["verdict"]["missed"][0].as_str().unwrap_or_default();
        assert!(missed.starts_with("stopped by SIG"), "{missed}");
        result
    }
}

fn is_whole_name(id: Pid, program: &str) -> bool {
    let path = fs::read_link(format!("/proc/{}/exe", id.as_raw_nonzero()));
    path.is_ok_and(|path| path.file_name().is_some_and(|name| name == program))
}

fn measure(out: &Path) -> Command {
    let mut command = Command::new(server_binary());
    command.args(["measure", "--out"]).arg(out);
    command
}

#[test]
fn both_ends_are_started_and_ended_and_the_run_directory_is_whole() {
    let core = cores(1);
    let line = format!(
        "--connections 500,2k --hold 300ms --no-bystanders \
         -- run --sweep --cores {core} -- serve --max-connections 3k --cores {core}"
    );
    let mut measurement = Measurement::begin(&line);
    let finished = measurement.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = result_in(measurement.directory.path());
    assert_eq!((&result["established"], &result["verdict"]["met"]), (&2000.into(), &true.into()));
    assert_eq!(result["plateaus"][1]["sweep"]["answered"], 2000, "{result:#}");
    for file in FILES {
        assert!(measurement.directory.path().join(file).exists(), "no {file}");
    }
    let log = fs::read_to_string(measurement.directory.path().join("server.log")).unwrap();
    assert!(log.lines().any(|line| line == "max_connections=3000"), "{log}");
    assert!(finished.stdout.contains("verdict  met"), "{finished:#?}");
    assert!(finished.stdout.contains("/report.html"), "{finished:#?}");
}

#[test]
fn bystanders_are_watched_unless_told_otherwise() {
    let mut measurement = Measurement::begin("--connections 100 --hold 100ms");
    assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
    measurement.finish_stopped(Signal::INT, 130);
    let result = result_in(measurement.directory.path());
    let spans = result["bystanders"]["spans"].as_array().expect("they were watched");
    let probes = spans[0]["probes"].as_array().expect("some of them");
    assert!(probes.iter().any(|probe| probe["name"] == "request"), "{probes:#?}");
}

#[test]
fn a_signal_before_the_client_begins_leaves_nothing() {
    let mut measurement = Measurement::of_2k("--hold 10s");
    until("the server is started", || !measurement.ends("megaconn").is_empty());
    measurement.program.signal(Signal::INT);
    let finished = measurement.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
}

#[test]
fn a_signal_in_the_baseline_of_bystanders_leaves_a_whole_report() {
    let mut measurement = Measurement::begin("--connections 2k --hold 10s");
    assert!(measurement.program.says("metrics="), "{:#?}", measurement.finish());
    sleep(Duration::from_millis(500));
    measurement.program.signal(Signal::INT);
    let finished = measurement.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
    assert!(measurement.directory.path().join("result.json").exists(), "{finished:#?}");
}

#[test]
fn a_signal_while_it_opens_leaves_a_whole_report() {
    let mut measurement = Measurement::of_2k("--hold 10s -- run --rate 1k/s");
    assert!(measurement.program.says("metrics="), "{:#?}", measurement.finish());
    sleep(Duration::from_millis(700));
    let result = measurement.finish_stopped(Signal::INT, 130);
    let established = result["established"].as_u64().expect("it is a count");
    assert!((1..2000).contains(&established), "{established}");
}

#[test]
fn a_signal_while_it_verifies_leaves_a_whole_report() {
    let mut measurement = Measurement::of_2k("--hold 10s -- run --message-count 10000");
    assert!(measurement.program.says("opening"), "{:#?}", measurement.finish());
    sleep(Duration::from_millis(700));
    let result = measurement.finish_stopped(Signal::TERM, 143);
    assert_eq!(result["plateaus"][0]["hold_seconds"], Value::Null, "{result:#}");
}

#[test]
fn a_signal_while_it_holds_leaves_a_whole_report() {
    let mut measurement = Measurement::of_2k("--hold 30s");
    assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
    let result = measurement.finish_stopped(Signal::INT, 130);
    assert_eq!(result["established"], 2000);
}

#[test]
fn a_signal_while_it_closes_leaves_a_whole_report() {
    let mut measurement = Measurement::of_2k("--hold 500ms");
    assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
    // A server that stands still ends no connection; it is ended all the same.
    kill_process(measurement.end("megaconn"), Signal::STOP).expect("it runs");
    sleep(Duration::from_millis(4_500));
    let result = measurement.finish_stopped(Signal::INT, 130);
    assert_eq!(result["established"], 2000);
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let mut measurement = Measurement::of_2k("--hold 30s");
    assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
    kill_process(measurement.end("megaconn-client"), Signal::STOP).expect("it runs");
    measurement.program.signal(Signal::INT);
    sleep(Duration::from_millis(200));
    measurement.program.signal(Signal::INT);
    let finished = measurement.finish();
    assert_eq!(finished.code, Some(130), "{finished:#?}");
}

#[test]
fn an_end_that_is_killed_is_named_and_the_other_one_is_ended() {
    for (killed, has_result) in [("megaconn", true), ("megaconn-client", false)] {
        let mut measurement = Measurement::of_2k("--hold 3s");
        assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
        kill_process(measurement.end(killed), Signal::KILL).expect("it runs");
        let finished = measurement.finish();
        assert_eq!(finished.code, Some(1), "{killed}: {finished:#?}");
        let said = format!("error: {killed} was killed by signal 9, by something else");
        assert!(finished.stderr.iter().any(|line| line.starts_with(&said)), "{finished:#?}");
        let there = |file: &str| measurement.directory.path().join(file).exists();
        assert_eq!((there("result.json"), there("report.html")), (has_result, true));
    }
}

#[test]
fn when_it_is_killed_itself_the_kernel_ends_its_ends() {
    let mut measurement = Measurement::of_2k("--hold 30s");
    assert!(measurement.program.says("holding"), "{:#?}", measurement.finish());
    let ends = [measurement.end("megaconn"), measurement.end("megaconn-client")];
    measurement.program.signal(Signal::KILL);
    let is_gone = |id: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
        // A zombie waits for the process that takes in orphans.
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    until("both ends are gone", || ends.iter().all(is_gone));
    assert!(measurement.directory.path().join("result.json").exists());
}

#[test]
fn what_cannot_be_is_refused_with_the_fix() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    for (line, words) in [
        (format!("--ports {port}"), "in use; fix: "),
        ("--connections 10,10".into(), "fix: write plateaus that differ"),
        ("-- client --sweep".into(), "fix: write `-- run FLAGS`"),
        ("-- run --connections 5".into(), "fix: --connections of measure"),
        ("-- serve --cores 4095".into(), "fix: "),
    ] {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let mut command = measure(directory.path());
        let line = refusal(command.args(line.split_whitespace()));
        assert!(line.contains(words), "{line}");
    }
    // Without the other program there is nothing to measure with.
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let alone = directory.path().join("megaconn");
    fs::copy(server_binary(), &alone).expect("a program can be copied");
    let line = refusal(Command::new(&alone).args(["measure"]).env("PATH", "/nowhere"));
    assert!(line.contains("megaconn-client is not found"), "{line}");
}
