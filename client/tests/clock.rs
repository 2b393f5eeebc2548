//! The time of day is set by an hour while a run is under way: no figure moves. Row A5 of the faults.
//!
//! The clock of a host is not for a test to set, and no namespace has one of its own. So both programs
//! run with a library before libc's that answers as a clock would that was set.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::{Program, Server, cores, result_in, server_binary};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const HOUR_S: i64 = 3_600;

/// Seconds that a process has run when its clock is set.
const SET_AFTER_S: u32 = 2;

/// A run holds for longer than that, and ends well within the hour.
const HOLD: &str = "5s";
const SPAN_MAX: Duration = Duration::from_secs(60);

/// What stands before libc: the time of day moves by STEP_S once the process has run for AFTER_S.
const LIBRARY: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static struct timespec began;
static long after_s, step_s;

__attribute__((constructor)) static void begin(void) {
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &began);
    after_s = atol(getenv("AFTER_S"));
    step_s = atol(getenv("STEP_S"));
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) {
        struct timespec now;
        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
        if (now.tv_sec - began.tv_sec >= after_s) time->tv_sec += step_s;
    }
    return result;
}
"#;

/// Programs whose clock is set.
struct Clock {
    directory: tempfile::TempDir,
}

impl Clock {
    /// `None`, said loudly, where no compiler for C is.
    #[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
    fn new() -> Option<Clock> {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("clock.c");
        fs::write(&source, LIBRARY).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(directory.path().join("clock.so"));
        let Ok(built) = cc.arg(&source).output() else {
            eprintln!("SKIPPED: a clock that is set, because there is no cc");
            return None;
        };
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(Clock { directory })
    }

    /// A program that starts `binary` with a clock that is set by `step_s` after `after_s`.
    fn before(&self, binary: &Path, step_s: i64, after_s: u32) -> PathBuf {
        let name = binary.file_name().unwrap().to_str().unwrap();
        let path = self.directory.path().join(name);
        let library = self.directory.path().join("clock.so");
        let (library, binary) = (library.display(), binary.display());
        let set = format!("STEP_S={step_s} AFTER_S={after_s} LD_PRELOAD={library}");
        fs::write(&path, format!("#!/bin/sh\nexec env {set} {binary} \"$@\"\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }
}

/// The times of all lines of a file of dumps, in seconds.
fn times(path: &Path) -> Vec<f64> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.map(|line| line["at_ms"].as_f64().unwrap() / 1e3).collect()
}

fn run(clock: &Clock, step_s: i64, after_s: u32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let stats = directory.path().join("server.ndjson");
    let cores = cores(1);
    let every = ["--stats-every", "100ms"];
    let flags = ["--cores", &cores, "--stats", stats.to_str().unwrap()];
    let binary = clock.before(&server_binary(), step_s, after_s);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let server = Server::start(&binary, loopback, 1, &[&flags[..], &every].concat());
    let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
    let mut client = Command::new(clock.before(client, step_s, after_s));
    let target = server.address.to_string();
    client.args(["run", "--target", &target, "--cores", &cores, "--out", out, "--hold", HOLD]);
    client.args(["--connections", "300", "--message-every", "200ms"]).args(every);
    let finished = Program::start(&mut client).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    directory
}

#[test]
fn a_clock_that_is_set_moves_no_figure() {
    let Some(clock) = Clock::new() else { return };
    // That the library is asked at all: from the start the dumps are an hour ahead.
    let ahead = run(&clock, HOUR_S, 0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    let first = times(&ahead.path().join("client.ndjson"))[0];
    let by = first - now - HOUR_S as f64;
    assert!(by.abs() < SPAN_MAX.as_secs_f64(), "{by} s: the programs ask another clock");

    for step_s in [HOUR_S, -HOUR_S] {
        let directory = run(&clock, step_s, SET_AFTER_S);
        for name in ["client.ndjson", "server.ndjson"] {
            let times = times(&directory.path().join(name));
            assert!(times.is_sorted(), "{name} goes back: {times:?}");
            let span = times.last().unwrap() - times[0];
            let is_right = (5.0..SPAN_MAX.as_secs_f64()).contains(&span);
            assert!(is_right, "{name}: {span} s, set by {step_s} s");
        }
        let seconds = result_in(directory.path())["seconds"].as_f64().unwrap();
        assert!((5.0..SPAN_MAX.as_secs_f64()).contains(&seconds), "{seconds} s");
        check_stats(directory.path());
        let html = fs::read_to_string(directory.path().join("report.html")).unwrap();
        for missing in ["Not measured", "Not recorded", "Missing in the run directory"] {
            assert!(!html.contains(missing), "{missing}, set by {step_s} s: {html}");
        }
        for line in ["client 0", "server 0"] {
            assert!(html.contains(line), "no line of {line}");
        }
    }
}

/// `megaconn stats` tells the seconds of both ends.
fn check_stats(directory: &Path) {
    let files = ["client.ndjson", "server.ndjson"].map(|name| directory.join(name));
    let finished = Program::start(Command::new(server_binary()).arg("stats").args(files)).finish();
    let line = finished.stdout.lines().find(|line| line.starts_with("lines / seconds"));
    let ends: Vec<f64> = line
        .unwrap_or_else(|| panic!("{finished:#?}"))
        .split(" / ")
        .skip(2)
        .map(|text| text.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    let is_right = |seconds: &f64| (5.0..SPAN_MAX.as_secs_f64()).contains(seconds);
    assert!(ends.len() == 2 && ends.iter().all(is_right), "{ends:?} of {line:?}");
}
