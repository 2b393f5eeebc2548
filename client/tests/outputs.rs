//! What becomes of a run when its outputs cannot be written, when its directory was used before, and
//! when two runs want the same one. Rows A6 and C4 to C7 of the faults.

use std::fs::{self, OpenOptions};
use std::net::Ipv4Addr;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Program, Server, World, client, number, result_in, server_binary};
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

#[test]
fn a_summary_that_a_full_disk_takes_is_told_and_the_result_is_kept() {
    let world = World::on_loopback();
    let run = |flags: &[&str]| {
        let target = world.server.address.to_string();
        let always = ["run", "--target", &target, "--cores", &world.cores, "--hold", "0s"];
        let mut command = client(&[&always[..], &["--connections", "10"], flags].concat());
        command.stdin(Stdio::null()).stderr(Stdio::piped());
        command
    };
    let out = tempfile::tempdir().unwrap();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let place = out.path().to_str().unwrap();
    let output = run(&["--out", place]).stdout(full).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("error: stdout: the disk is full"), "{stderr}");
    assert!(stderr.contains("verdict  met"), "the summary is shown elsewhere: {stderr}");
    assert_eq!(number(&result_in(out.path()), "established"), 10);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = run(&[]).stdout(writer).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}

#[test]
fn a_directory_is_used_again_and_nothing_is_mixed_or_lost() {
    let world = World::on_loopback();
    let run = || world.client(&["--connections", "20", "--hold", "200ms"]).finish();
    let first = run();
    assert_eq!(first.code, Some(0), "{first:#?}");
    let result = fs::read_to_string(world.directory.path().join("result.json")).unwrap();
    let second = run();
    assert_eq!(second.code, Some(0), "{second:#?}");
    let told =
        second.stderr.iter().any(|line| line.contains("set aside") && line.contains("--out"));
    assert!(told, "{second:#?}");
    let earlier = world.directory.path().join("earlier-1");
    assert_eq!(fs::read_to_string(earlier.join("result.json")).unwrap(), result);
    for name in ["client.ndjson", "environment.json", "doctor.json", "report.html"] {
        assert!(
            earlier.join(name).exists() && world.directory.path().join(name).exists(),
            "{name}"
        );
    }
    assert!(!earlier.join("server.ndjson").exists(), "the server goes on writing it");
    let result = world.result();
    assert!(result["file_descriptors"]["server"].is_u64(), "the server was seen: {result}");
}

#[test]
fn a_server_that_has_ended_is_not_waited_for() {
    let mut world = World::on_loopback();
    let first = world.client(&["--connections", "20", "--hold", "0s"]).finish();
    assert_eq!(first.code, Some(0), "{first:#?}");
    world.server.program.signal(Signal::TERM);
    world.server.program.finish();
    // One without --stats, at once: the last lines of the first are of less than a second ago.
    let flags = ["--cores", &world.cores];
    world.server = Server::start(&server_binary(), Ipv4Addr::LOCALHOST.into(), 1, &flags);
    let began = Instant::now();
    let flags = ["--connections", "20", "--hold", "0s", "--server-metrics", "none"];
    let second = world.client(&flags).finish();
    assert_eq!(second.code, Some(0), "{second:#?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let result = world.result();
    let cores = result["per_core"].as_array().unwrap();
    assert!(cores.iter().all(|core| core["side"] == "client"), "the old server's: {cores:?}");
    assert!(world.directory.path().join("earlier-1/server.ndjson").exists());
}

#[test]
fn two_runs_do_not_share_a_directory() {
    let world = World::on_loopback();
    let mut first = world.client(&["--connections", "20", "--hold", "10m"]);
    assert!(first.says("holding 20"), "{:#?}", first.finish());
    let second = world.client(&["--connections", "20", "--hold", "0s"]).finish();
    assert_eq!(second.code, Some(2), "{second:#?}");
    let line = second.stderr.last().unwrap();
    assert!(line.contains("--out") && line.contains("another run") && line.contains("fix: "));
    first.signal(Signal::HUP);
    let finished = first.finish();
    assert_eq!(finished.code, Some(129), "SIGHUP is as SIGTERM: {finished:#?}");
    let result = world.result();
    assert_eq!(number(&result, "established"), 20);
    let missed = result["verdict"]["missed"][0].as_str().unwrap();
    assert!(missed.contains("stopped by SIGHUP") && missed.contains("partial"), "{missed}");
    assert!(world.directory.path().join("report.html").exists());
}

/// The client in namespaces of its own with a file system of 64 KiB as its run directory.
#[test]
fn a_full_disk_is_told_and_leaves_no_half_of_a_result() {
    let place = tempfile::tempdir().unwrap();
    let script = r#"
        set -e
        mount -t tmpfs -o size=64k none "$3"
        ip link set lo up
        dd if=/dev/zero of="$3/filler" bs=4k count=$4 2>/dev/null || true
        "$2" serve --listen 127.0.0.1:7000 --cores 0 2>"$5" & server=$!
        while ! grep -q listening "$5"; do sleep 0.05; done
        "$1" run --target 127.0.0.1:7000 --cores 0 --connections 10 --hold 0s --out "$3" || echo "status $?"
        kill $server
        ls -A "$3"
    "#;
    let log = place.path().join("log");
    let disk = place.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let program = env!("CARGO_BIN_EXE_megaconn-client");
    for (filler, kept) in [("16", false), ("12", true)] {
        let mut command = Command::new("unshare");
        command.args(["-Urmn", "sh", "-c", script, "sh", program]).arg(server_binary());
        command.arg(&disk).arg(filler).arg(&log);
        let Some(finished) = run(&mut command) else { return };
        let text = format!("{}\n{}", finished.stdout, finished.stderr.join("\n"));
        assert!(text.contains("the disk is full"), "{text}");
        assert!(text.contains(if kept { "status" } else { "status 2" }), "{text}");
        let left: Vec<&str> =
            finished.stdout.lines().filter(|line| line.contains(".json")).collect();
        assert!(left.iter().all(|name| !name.starts_with('.')), "halves are left: {left:?}");
    }
}

#[expect(clippy::print_stderr, reason = "it is told why nothing was tried")]
fn run(command: &mut Command) -> Option<common::Finished> {
    let tried = Command::new("unshare").args(["-Urmn", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: unshare -Urmn is not permitted");
        return None;
    }
    Some(Program::start(command).finish())
}
