//! `bench-scripts/fleet.sh` on hosts that are network namespaces, each with an sshd of its own: every host that cannot do
//! its part is refused beforehand, a part that is lost is missed and not counted, and nothing stays behind.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use common::{Finished, Program, cores, number, result_in, server_binary, sum, until};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Where the hosts find what logs them in.
const SSH: &str = "-F /run/fleet/ssh_config";

/// Says loudly that something was not tested.
#[expect(clippy::print_stderr, reason = "whoever reads the test's output is to know")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: a fleet of hosts: {why}");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench-scripts").join(name)
}

/// Hosts, and what is beside them on their bridge.
struct Fleet {
    hosts: Program,
    servers: Vec<Program>,
    directory: tempfile::TempDir,
}

impl Fleet {
    /// So many clients and servers, which listen; `None`, said loudly, where they cannot be.
    fn new(clients: usize, servers: usize) -> Option<Fleet> {
        for tool in ["pdsh", "ssh", "unshare"] {
            if let Err(error) = Command::new(tool).arg("-V").output() {
                skipped(&format!("{tool}: {error}; fix: apt-get install pdsh openssh-client"));
                return None;
            }
        }
        let (clients, count) = (clients.to_string(), servers.to_string());
        let mut command = Command::new(script("namespaces.sh"));
        command.args(["--clients", &clients, "--servers", &count, "--tmp", "256m"]);
        command.args(["sh", "-c", "echo all are up >&2; exec sleep 600"]);
        let mut hosts = Program::start(&mut command);
        if !hosts.says("all are up") {
            let why = hosts.said("error: ").unwrap_or("without a word").to_owned();
            assert_eq!(hosts.finish().code, Some(2), "{why}");
            skipped(&why);
            return None;
        }
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let mut fleet = Fleet { hosts, servers: Vec::new(), directory };
        fleet.servers = (1..=servers).map(|server| fleet.server(server)).collect();
        Some(fleet)
    }

    fn server(&self, number: usize) -> Program {
        let serve = format!(
            "{} serve --listen 10.88.2.{number}:7000 --cores {} --metrics 10.88.2.{number}:9100",
            server_binary().display(),
            cores(1)
        );
        let mut server = Program::start(&mut self.ssh(&format!("server-{number}"), &serve));
        assert!(server.says("listening on"), "server {number} listens");
        server
    }

    /// A command that runs on the bridge, beside the hosts.
    fn beside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let place = format!("/proc/{}/ns", self.hosts.id());
        let mut command = Command::new("nsenter");
        command.args([format!("--net={place}/net"), format!("--mount={place}/mnt")]);
        command.arg(program);
        command
    }

    fn ssh(&self, host: &str, line: &str) -> Command {
        let mut command = self.beside("ssh");
        command.args(SSH.split(' ')).args(["-n", host, line]);
        command
    }

    /// What a line of shell says on a host. It must succeed.
    fn on(&self, host: &str, line: &str) -> String {
        let output = self.ssh(host, line).output().expect("ssh can be run");
        assert!(output.status.success(), "{host}: {line}: {output:?}");
        String::from_utf8(output.stdout).expect("it is text")
    }

    /// fleet.sh with `flags`, in a process group of its own; its programs are those under test.
    fn run(&self, remote: &str, hosts: &str, flags: &[&str]) -> Command {
        let programs = server_binary().with_file_name("");
        let mut command = self.beside("setsid");
        command.arg(script("fleet.sh")).env("MEGACONN_BIN", &programs);
        command.args(["--remote", remote, "--hosts", hosts, "--ssh", SSH, "--cores", &cores(1)]);
        if !flags.contains(&"--copy") {
            command.arg("--bin").arg(programs);
        }
        command.args(flags);
        command
    }

    fn out(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Connections that all servers have, by their own figures.
    fn connections(&self) -> u64 {
        (1..=self.servers.len()).map(|server| self.connections_of(server)).sum()
    }

    fn connections_of(&self, server: usize) -> u64 {
        let read = format!(
            "exec 3<>/dev/tcp/10.88.2.{server}/9100; printf 'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3"
        );
        let output = self.beside("bash").args(["-c", &read]).output().expect("bash can be run");
        let text = String::from_utf8(output.stdout).expect("metrics are text");
        let of = |line: &str| line.starts_with("megaconn_connections{");
        let values =
            text.lines().filter(|line| of(line)).filter_map(|line| line.split(' ').next_back());
        values.map(|value| value.parse::<u64>().expect("a count")).sum()
    }

    /// That nothing is left of a run: neither on these hosts nor here.
    fn is_clean(&self, hosts: &[&str]) {
        for host in hosts {
            let left = "ls -A /tmp; for pid in /proc/[0-9]*; do tr '\\0' ' ' <$pid/cmdline; echo; done | grep -E '^[^ ]*(megaconn|tail)' || true";
            until("nothing is left on the host", || self.on(host, left).is_empty());
        }
    }

    /// Ends what a host has of the run, without a word to it.
    fn kill(&self, host: &str, signal: &str) {
        self.on(host, &format!("kill -{signal} $(cat /tmp/megaconn-*/pid)"));
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary names are plain")
}

/// Exit status 2, nothing opened, and the words.
fn is_refused(finished: &Finished, words: &str) {
    assert_eq!(finished.code, Some(2), "{words}: {finished:#?}");
    let all = finished.stderr.join("\n");
    assert!(all.contains(words) && all.contains("fix: "), "{words}: {all}");
}

#[test]
fn a_host_that_cannot_do_its_part_is_refused_beforehand() {
    let Some(fleet) = Fleet::new(4, 1) else { return };
    let client = env!("CARGO_BIN_EXE_megaconn-client");
    fleet.on(
        "client-2",
        "cp /bin/date /tmp/now; printf '#!/bin/sh\\nexec /tmp/now -d +60sec \"$@\"\\n' >/tmp/date; \
        chmod 755 /tmp/date; mount --bind /tmp/date /bin/date",
    );
    fleet.on(
        "client-3",
        &format!(
            "printf '#!/bin/sh\\necho megaconn-client 0.0.1\\n' >/tmp/old; \
        chmod 755 /tmp/old; mount --bind /tmp/old {client}"
        ),
    );
    fleet.on("client-4", "dd if=/dev/zero of=/tmp/full bs=1M count=200 2>/dev/null");
    let usual = ["--connections", "100", "--target", "server-1:7000", "--rate", "100"];
    let with = |flag: &'static str, value: &'static str| {
        let at = usual.iter().position(|word| *word == flag).map(|at| at + 1);
        let mut flags = usual.to_vec();
        match at {
            Some(at) => flags[at] = value,
            None => flags.extend([flag, value]),
        }
        flags
    };
    let cases = [
        ("client-1,client-2", usual.to_vec(), "client-2: its clock is +60."),
        ("client-1,client-3", usual.to_vec(), "client-3 has megaconn"),
        ("client-1,client-4", usual.to_vec(), "client-4: error: /tmp has"),
        // Nothing listens there for ssh.
        ("client-1,10.88.0.1", usual.to_vec(), "10.88.0.1: not reached: ssh: connect to host"),
        ("client-1,10.88.1.1", usual.to_vec(), "10.88.1.1 and client-1 are one host"),
        ("client-1,client-1", usual.to_vec(), "--hosts has client-1 twice"),
        (
            "client-1",
            with("--target", "server-1:9"),
            "client-1: error: server-1:9 cannot be reached",
        ),
        ("client-1", with("--connections", "100G"), "client-1: FAIL  source-ports"),
        ("client-1", with("--bin", "/nowhere"), "client-1: "),
        ("client-1", with("--message-every", "often"), "client-1) is refused: error: "),
        ("client-1", with("--part", "1/2"), "--part is of one host"),
        ("client-1", with("--metrics", "127.0.0.1:9100"), "not seen from here"),
        ("client-1;reboot", usual.to_vec(), "is no host"),
    ];
    thread::scope(|scope| {
        for (number, (hosts, flags, words)) in cases.into_iter().enumerate() {
            let out = fleet.out(&number.to_string());
            let flags = [&flags[..], &["--out", path(&out)]].concat();
            let mut command = fleet.run(["ssh", "pdsh"][number % 2], hosts, &flags);
            scope.spawn(move || {
                is_refused(&Program::start(&mut command).finish(), words);
                assert!(!out.join("result.json").exists(), "{words}");
            });
        }
    });
    fleet.is_clean(&["client-1"]);
}

/// A run of 2,000 connections on four hosts, one of which is killed while all are held.
fn loses_a_part(remote: &str) {
    let Some(fleet) = Fleet::new(4, 2) else { return };
    let out = fleet.out("run");
    let hosts = "client-1,client-2,client-3,client-4";
    let targets = ["--target", "server-1:7000", "--target", "server-2:7000"];
    let flags = [
        "--connections",
        "2k",
        "--open-time",
        "3s",
        "--hold",
        "8s",
        "--metrics",
        "%h:9100",
        "--out",
        path(&out),
    ];
    let mut run = Program::start(&mut fleet.run(remote, hosts, &[&targets[..], &flags].concat()));
    assert!(run.says("watch: "), "metrics are offered");
    let top = run.said("watch: ").unwrap_or_default();
    assert!(
        top.ends_with("megaconn top 10.88.1.1:9100 10.88.1.2:9100 10.88.1.3:9100 10.88.1.4:9100"),
        "{top}"
    );
    assert!(run.says("plateau 1 is held by all"), "all hold");
    assert_eq!(fleet.connections(), 2_000);
    fleet.kill("client-3", "KILL");
    assert!(run.says("part 3/4 (client-3) is lost: exit status 137"), "it is named");
    until("the servers have lost them", || fleet.connections() == 1_500);
    let finished = run.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");

    let result = result_in(&out);
    assert_eq!(number(&result, "established"), 1_500, "{result:#}");
    assert_eq!([sum(&result["failed"]), sum(&result["lost"])], [0, 0]);
    let of_targets = result["targets"].as_array().expect("a list").iter();
    assert_eq!(of_targets.map(|target| number(target, "established")).sum::<u64>(), 1_500);
    let rows = result["parts"].as_array().expect("a list");
    let parts: Vec<_> =
        rows.iter().map(|row| (number(row, "number"), number(row, "established"))).collect();
    assert_eq!(parts, [(1, 500), (2, 500), (4, 500)]);
    let verdict = &result["verdict"];
    assert_eq!(verdict["met"], Value::Bool(false), "{verdict:#}");
    assert!(verdict["missed"].to_string().contains("these are missing: 3"), "{verdict:#}");
    assert!(out.join("report.html").exists() && out.join("parts/client-1/client.log").exists());
    fleet.is_clean(&["client-1", "client-2", "client-3", "client-4"]);
}

#[test]
fn a_part_that_is_killed_is_missed_and_not_counted() {
    thread::scope(|scope| {
        for remote in ["ssh", "pdsh"] {
            scope.spawn(move || loses_a_part(remote));
        }
    });
}

#[test]
fn a_signal_ends_all_parts_and_what_there_is_is_merged() {
    let Some(fleet) = Fleet::new(4, 1) else { return };
    let load =
        ["--target", "server-1:7000", "--connections", "600", "--hold", "5m", "--open-time", "3s"];
    let cases = [
        ("ssh", "client-1,client-2", Signal::TERM, 143),
        ("pdsh", "client-3,client-4", Signal::INT, 130),
    ];
    let runs = cases.map(|(remote, hosts, signal, code)| {
        let out = fleet.out(remote);
        let flags = [&load[..], &["--out", path(&out)]].concat();
        (Program::start(&mut fleet.run(remote, hosts, &flags)), out, signal, code)
    });
    for (mut run, out, signal, code) in runs {
        assert!(run.says("plateau 1 is held by all"), "all hold");
        if signal == Signal::INT {
            // As a terminal does it: to what runs in the script's group as well.
            let group = i32::try_from(run.id()).ok().and_then(Pid::from_raw);
            kill_process_group(group.expect("it runs"), signal).expect("it has a group of its own");
        } else {
            run.signal(signal);
        }
        let finished = run.finish();
        assert_eq!(finished.code, Some(code), "{finished:#?}");
        let result = result_in(&out);
        assert_eq!(number(&result, "established"), 600, "{result:#}");
        assert_eq!(result["parts"].as_array().map(Vec::len), Some(2), "{result:#}");
    }
    until("the server has none", || fleet.connections() == 0);
    fleet.is_clean(&["client-1", "client-2", "client-3", "client-4"]);
}

#[test]
fn a_part_that_is_late_and_then_lost_ends_the_others_when_asked() {
    let Some(fleet) = Fleet::new(2, 1) else { return };
    let out = fleet.out("run");
    let hosts = "client-1,client-2";
    let load = ["--target=server-1:7000", "--connections=400", "--rate=100", "--hold=5m"];
    let flags = ["--on-part-lost", "stop", "--out", path(&out)];
    let mut run = Program::start(&mut fleet.run("ssh", hosts, &[&load[..], &flags].concat()));
    until("they open", || fleet.connections() > 20);
    fleet.kill("client-2", "STOP");
    assert!(run.says("part 2/2 (client-2) is late"), "it is named");
    fleet.kill("client-2", "KILL");
    assert!(run.says("part 2/2 (client-2) is lost"), "it is named");
    assert!(run.says("== part 2/2 (client-2) is lost: all parts end"), "the other one ends");
    let finished = run.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let result = result_in(&out);
    assert_eq!(number(&result, "established"), 200, "{result:#}");
    fleet.is_clean(&["client-1", "client-2"]);
}

#[test]
fn programs_are_copied_for_one_run() {
    let Some(fleet) = Fleet::new(2, 1) else { return };
    let out = fleet.out("run");
    let flags = [
        "--copy",
        "--target",
        "server-1:7000",
        "--connections",
        "40",
        "--open-time",
        "2s",
        "--hold",
        "1s",
    ];
    let programs = fleet.out("bin");
    std::fs::create_dir(&programs).expect("it is ours");
    for name in ["megaconn", "megaconn-client"] {
        // Without what debuggers want they are a tenth.
        let (from, to) = (server_binary().with_file_name(name), programs.join(name));
        let stripped = Command::new("strip").arg("-o").args([&to, &from]).status();
        if !stripped.is_ok_and(|status| status.success()) {
            std::fs::copy(from, to).expect("there is room for it");
        }
    }
    let mut command =
        fleet.run("pdsh", "client-1,client-2", &[&flags[..], &["--out", path(&out)]].concat());
    command.env("MEGACONN_BIN", &programs);
    let finished = Program::start(&mut command).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(number(&result_in(&out), "established"), 40);
    fleet.is_clean(&["client-1", "client-2"]);
}
