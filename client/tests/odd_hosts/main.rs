//! Odd hosts: the main run of 5,000 connections and the doctor, each in a host that lacks something. No
//! panic, no hang, and the exit status and the sentence that it should have.
//!
//! Each host is a shell of its own in namespaces of its own, which change nothing outside. Where a
//! host cannot be made here, that is said loudly.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::process::Command;

use common::server_binary;
use lab::host::{ControlGroup, skipped};

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../lab/mod.rs"]
mod lab;

/// A host, and what both programs should say in it.
struct Host {
    name: &'static str,
    /// What begins it; the shell is its argument.
    within: &'static str,
    /// What the shell does before; when that fails the host cannot be made here.
    prelude: &'static str,
    /// A control group that all are in.
    group: fn() -> Option<ControlGroup>,
    /// What begins each program.
    start: &'static str,
    /// What follows the arguments of each, beside its output into a file.
    stdio: &'static str,
    target: &'static str,
    /// Exit status of the run, and what its output has.
    run: (i32, &'static str),
    /// Exit status of the doctor, and what its output has.
    doctor: (i32, &'static str),
    /// Exit status of the server, which a signal ends, and what it has said.
    server: (i32, &'static str),
}

const ORDINARY: Host = Host {
    name: "",
    within: "unshare -n -m",
    prelude: "ip link set lo up",
    group: || None,
    start: "",
    stdio: "",
    target: "127.0.0.1:7000",
    run: (0, "5,000 of 5,000"),
    doctor: (0, "it fits"),
    server: (143, "listening on"),
};

const HOSTS: &[Host] = &[
    Host { name: "ordinary", ..ORDINARY },
    Host { name: "without /sys", prelude: "ip link set lo up; umount -l /sys", ..ORDINARY },
    Host {
        name: "/proc of processes alone",
        within: "unshare -n -m -p -f",
        prelude: "ip link set lo up; mount -t proc -o subset=pid proc /proc",
        doctor: (0, "unknown"),
        ..ORDINARY
    },
    Host {
        name: "/proc/sys read-only",
        prelude: "ip link set lo up; mount --bind -o ro /proc/sys /proc/sys",
        ..ORDINARY
    },
    Host {
        name: "IPv6 alone",
        prelude: "ip link set lo up; ip addr del 127.0.0.1/8 dev lo",
        target: "[::1]:7000",
        ..ORDINARY
    },
    Host {
        name: "loopback down",
        prelude: "true",
        run: (2, "ip link set lo up"),
        doctor: (1, "ip link set lo up"),
        ..ORDINARY
    },
    Host {
        name: "127.0.0.1/32",
        prelude: "ip link set lo up; ip addr del 127.0.0.1/8 dev lo; ip addr add 127.0.0.1/32 dev lo",
        ..ORDINARY
    },
    Host {
        name: "addresses with labels",
        prelude: "ip link set lo up; ip addr add 10.1.1.1/24 dev lo label lo:1; \
                  ip addr add 10.1.1.2/24 dev lo label lo:2",
        target: "10.1.1.1:7000",
        ..ORDINARY
    },
    Host { name: "one CPU", within: "taskset -c 0 unshare -n -m", ..ORDINARY },
    Host {
        name: "64 files",
        prelude: "ip link set lo up; ulimit -n 64",
        run: (2, "fix: ulimit -n"),
        doctor: (1, "fix: ulimit -n"),
        server: (2, "nofile: a server on"),
        ..ORDINARY
    },
    Host {
        name: "64 KiB of locked memory",
        prelude: "ip link set lo up; ulimit -l 64",
        run: (2, "fix: ulimit -l"),
        doctor: (1, "fix: ulimit -l"),
        server: (2, "memlock: a server on"),
        ..ORDINARY
    },
    Host {
        name: "2 GiB of address space",
        prelude: "ip link set lo up; ulimit -v 2097152",
        ..ORDINARY
    },
    Host {
        name: "no terminal and no HOME",
        within: "env -u HOME -u TERM -u USER -u LOGNAME -u SHELL -u LANG unshare -n -m",
        ..ORDINARY
    },
    Host { name: "without stdin", stdio: "<&-", ..ORDINARY },
    Host {
        name: "without stdout",
        stdio: ">&-",
        run: (1, "error: stdout: Bad file descriptor"),
        doctor: (2, "error: stdout: Bad file descriptor"),
        ..ORDINARY
    },
    Host { name: "without stderr", stdio: "2>&-", server: (143, ""), ..ORDINARY },
    Host {
        name: "without any of the three",
        stdio: "<&- >&- 2>&-",
        run: (1, ""),
        doctor: (2, ""),
        server: (143, ""),
        ..ORDINARY
    },
    Host { name: "half a CPU", group: || ControlGroup::cpu(50), ..ORDINARY },
    Host { name: "24 threads", group: || ControlGroup::threads(24), ..ORDINARY },
    Host {
        name: "16 threads, of which the server has most",
        group: || ControlGroup::threads(16),
        run: (2, "error: threads: --connections 5,000: need "),
        doctor: (1, "FAIL  threads"),
        ..ORDINARY
    },
    Host {
        name: "4 threads",
        group: || ControlGroup::threads(4),
        run: (2, "error: threads: --connections 5,000: need "),
        doctor: (1, "FAIL  threads"),
        server: (2, "error: threads: a server on "),
        ..ORDINARY
    },
    Host {
        name: "an ordinary user without capabilities",
        prelude: "ip link set lo up; chown 65534:65534 .; cp $SERVER $CLIENT .; SERVER=./megaconn; CLIENT=./megaconn-client",
        start: "setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --inh-caps=-all --",
        ..ORDINARY
    },
];

/// Both programs in turn; each exit status and each output in a file. The server is there when it has
/// said so, or written its first statistics where it cannot say anything.
const BODY: &str = r#"
$START "$SERVER" serve --listen "$TARGET" --stats server.ndjson --stats-every 100ms >server.txt 2>&1 $STDIO &
server=$!
tries=0
until grep -q '^listening on' server.txt || [ -s server.ndjson ] || ! kill -0 $server 2>/dev/null ||
    [ $tries -gt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
timeout 20 $START "$SERVER" doctor --connections 5000 --target "$TARGET" >doctor.txt 2>&1 $STDIO
echo $? >doctor.code
timeout 40 $START "$CLIENT" run --target "$TARGET" --connections 5000 --hold 1s --out run >run.txt 2>&1 $STDIO
echo $? >run.code
kill $server
wait $server
echo $? >server.code
"#;

fn looks_right(host: &Host) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let group = (host.group)();
    let join =
        group.as_ref().map(|group| format!("echo $$ >{}/cgroup.procs", group.path().display()));
    let body = BODY.replace("$START", host.start).replace("$STDIO", host.stdio);
    let (prelude, join) = (host.prelude, join.unwrap_or_default());
    let script = format!("({prelude}) || exit 77\n{prelude}\n{join}\n{body}");
    let mut words = host.within.split(' ').chain(["/bin/sh", "-c", &script]);
    let output = Command::new(words.next().unwrap())
        .args(words)
        .current_dir(at)
        .env("SERVER", server_binary())
        .env("CLIENT", env!("CARGO_BIN_EXE_megaconn-client"))
        .env("TARGET", host.target)
        .output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.code() == Some(77) {
        skipped(&format!("{}: {}", host.name, String::from_utf8_lossy(&output.stderr)));
        return Ok(());
    }
    let read = |name: &str| fs::read_to_string(at.join(name)).unwrap_or_default();
    let mut wrong = Vec::new();
    for (what, (code, words)) in
        [("run", host.run), ("doctor", host.doctor), ("server", host.server)]
    {
        let (text, ended) = (read(&format!("{what}.txt")), read(&format!("{what}.code")));
        if ended.trim() != code.to_string() || !text.contains(words) {
            wrong.push(format!("{what} ended with {} for {code}, said: {text}", ended.trim()));
        }
    }
    let all: Vec<String> = ["server.txt", "run.txt", "doctor.txt"].map(read).into();
    if let Some(panicked) = all.iter().find(|text| text.contains("panicked")) {
        wrong.push(format!("a panic: {panicked}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

#[test]
fn every_odd_host_has_what_it_should_have() {
    if !Path::new("/usr/bin/unshare").exists() {
        skipped("odd hosts: no unshare; fix: apt-get install util-linux");
        return;
    }
    let wrong: Vec<String> = HOSTS
        .iter()
        .filter_map(|host| looks_right(host).err().map(|why| format!("{}: {why}", host.name)))
        .collect();
    assert!(
        wrong.is_empty(),
        "{} hosts are not as they should be:\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
}
