//! What becomes of the program when its outputs cannot be written: nothing is lost in silence, no
//! setting is changed without its undoing, nothing is waited for. Rows C4 to C7 of the faults.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Program, Server, cores, ticks, until};
use namespaces::{in_namespaces, text};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
mod namespaces;

const PROGRAM: &str = env!("CARGO_BIN_EXE_megaconn");

/// Everything that is answered on stdout; `DIR` is a run directory.
const ANSWERS: [&[&str]; 9] = [
    &["--version"],
    &["--help"],
    &["serve", "--help"],
    &["completions", "bash"],
    &["man"],
    &["plan", "--connections", "10", "--target", "127.0.0.1:7000"],
    &["doctor", "--connections", "10"],
    &["stats", "DIR/server.ndjson"],
    &["report", "DIR", "--out", "-"],
];

/// A directory with the dumps of a server.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let line = "{\"schema\":\"megaconn.core/1\",\"side\":\"server\",\"core\":0,\"cpu\":0,\
                \"at_ms\":1000,\"histograms\":{}}\n";
    fs::write(directory.path().join("server.ndjson"), line).unwrap();
    let result = "{\"schema\":\"megaconn.result/1\"}\n";
    fs::write(directory.path().join("result.json"), result).unwrap();
    directory
}

fn command(flags: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    let place = directory.to_str().unwrap();
    command.args(flags.iter().map(|flag| flag.replace("DIR", place)));
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_answer_that_a_full_disk_takes_is_an_error() {
    let directory = directory();
    for flags in ANSWERS {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(flags, directory.path()).stdout(full).output().unwrap();
        let stderr = said(&output);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {stderr}");
        let told = stderr.starts_with("error: stdout: the disk is full");
        assert!(told && stderr.contains("fix: "), "{flags:?}: {stderr}");
    }
}

#[test]
fn an_answer_without_a_stdout_is_an_error() {
    let directory = directory();
    let place = directory.path().to_str().unwrap();
    for flags in ANSWERS {
        let flags = flags.iter().map(|flag| flag.replace("DIR", place));
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" >&-", PROGRAM]).args(flags);
        let output = shell.stdin(Stdio::null()).output().unwrap();
        let stderr = said(&output);
        assert_eq!(output.status.code(), Some(2), "{shell:?}: {stderr}");
        assert!(stderr.starts_with("error: stdout: Bad file descriptor"), "{shell:?}: {stderr}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_program_without_a_word() {
    let directory = directory();
    for flags in ANSWERS {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(flags, directory.path()).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), said(&output)), (Some(141), String::new()), "{flags:?}");
    }
}

#[test]
fn no_setting_is_changed_without_a_place_for_its_undoing() {
    let place = tempfile::tempdir().unwrap();
    let script = r#"
        set -e
        sysctl -qw net.ipv4.tcp_max_tw_buckets=100
        for to in /dev/full "$2/none/undo.sh"; do
            "$1" doctor --connections 1k --fix apply > "$to" || echo "status $?"
            sysctl -n net.ipv4.tcp_max_tw_buckets
        done 2>&1
        "$1" doctor --connections 1k --fix apply >&- 2>&1 || echo "status $?"
        sysctl -n net.ipv4.tcp_max_tw_buckets
    "#;
    let output = match in_namespaces(script, place.path()) {
        Ok(output) => output,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    let values: Vec<&str> = stdout.lines().filter(|line| *line == "100").collect();
    assert_eq!(values.len(), 3, "a setting was changed: {stdout}{stderr}");
    assert!(stdout.contains("nothing was changed") && stdout.contains("status 2"), "{stdout}");
    assert!(!stdout.contains("until reboot"), "{stdout}{stderr}");
}

#[test]
fn a_fifo_that_nothing_reads_holds_nothing_up() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mkfifoat(CWD, &fifo, Mode::RWXU).unwrap();
    let flags = ["--cores", &cores(1), "--stats", fifo.to_str().unwrap(), "--stats-every", "50ms"];
    let mut server = Server::start(Path::new(PROGRAM), Ipv4Addr::LOCALHOST.into(), 1, &flags);
    assert!(server.program.said("nothing reads").is_some(), "it is told");
    // A reader that comes later has whole lines.
    let mut reader = File::open(&fifo).unwrap();
    let mut text = [0; 2];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"{\"");
    drop(reader);
    let began = Instant::now();
    server.program.signal(Signal::TERM);
    assert_eq!(server.program.finish().code, Some(143));
    assert!(began.elapsed() < PATIENCE / 4, "the first signal was not enough");
}

#[test]
fn a_lost_terminal_ends_a_server_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let stats = directory.path().join("server.ndjson");
    let flags = ["--cores", &cores(1), "--drain", "1s", "--stats", stats.to_str().unwrap()];
    let mut server = Server::start(Path::new(PROGRAM), Ipv4Addr::LOCALHOST.into(), 1, &flags);
    server.program.signal(Signal::HUP);
    let finished = server.program.finish();
    assert_eq!(finished.code, Some(129), "{finished:#?}");
    assert!(finished.stderr.iter().any(|line| line.starts_with("drained 0")), "{finished:#?}");
    assert!(!ticks(&stats).is_empty(), "the last tick is written");
}

#[test]
fn nohup_keeps_a_server() {
    let mut shell = Command::new("sh");
    let listen = format!("{}", common::free_ports(Ipv4Addr::LOCALHOST.into(), 1));
    let script = "trap '' HUP; exec \"$0\" \"$@\"";
    shell.args(["-c", script, PROGRAM, "serve", "--listen", &listen, "--cores", &cores(1)]);
    let mut program = Program::start(&mut shell);
    assert!(program.says("listening on"), "{:#?}", program.finish());
    program.signal(Signal::HUP);
    thread::sleep(Duration::from_millis(300));
    program.signal(Signal::TERM);
    assert_eq!(program.finish().code, Some(143), "SIGHUP was heard");
}

#[test]
fn statistics_have_one_writer_and_those_of_before_are_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    let stats = directory.path().join("server.ndjson");
    let flags = ["--cores", &cores(1), "--stats", stats.to_str().unwrap(), "--stats-every", "50ms"];
    let start = || Server::start(Path::new(PROGRAM), Ipv4Addr::LOCALHOST.into(), 1, &flags);
    let mut first = start();
    until("there is a tick", || !ticks(&stats).is_empty());
    let other = common::free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let mut second = Command::new(PROGRAM);
    second.args(["serve", "--listen", &other]).args(flags);
    let finished = Program::start(&mut second).finish();
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    let line = finished.stderr.last().unwrap();
    assert!(line.contains("--stats") && line.contains("another process is writing"), "{line}");
    first.program.signal(Signal::TERM);
    first.program.finish();
    let earlier = ticks(&stats);
    let second = start();
    let aside = directory.path().join("earlier-1/server.ndjson");
    assert_eq!(ticks(&aside), earlier);
    let line = second.program.said(stats.to_str().unwrap()).unwrap();
    assert!(line.contains("set aside") && line.contains("earlier-1"), "{line}");
}
