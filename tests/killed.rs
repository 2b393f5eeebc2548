//! What the scripts say of a program that was killed: by whom, as far as the kernel's log and counts
//! can be seen. The log and the counts are the tests' own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::Path;
use std::process::Command;

/// What `say_killed megaconn 4711 STATUS` says where `log` is what dmesg gives, at 100 s of uptime, and
/// each count of kills for want of memory is first the one and then the other.
fn says(status: u32, log: Option<&str>, in_cgroup: [&str; 2], on_host: [&str; 2]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-scripts/killed.sh");
    let dmesg = log.map_or("return 1".to_owned(), |log| format!("printf '%s\\n' '{log}'"));
    let counts = |of: [&str; 2]| {
        format!(
            "kills_in_cgroup() {{ echo {}; }}\n\
        kills_on_host() {{ echo {}; }}\n",
            of[0], of[1]
        )
    };
    let text = format!(
        "set -euo pipefail\n. {script}\ncut() {{ echo 100.00; }}\ndmesg() {{ {dmesg}; }}\n\
         {before}kills_begin\n{after}say_killed megaconn 4711 {status}\n",
        script = script.display(),
        before = counts([in_cgroup[0], on_host[0]]),
        after = counts([in_cgroup[1], on_host[1]]),
    );
    let ended = Command::new("bash").args(["-c", &text]).output().unwrap();
    assert!(ended.status.success() && ended.stdout.is_empty(), "{ended:?}");
    String::from_utf8(ended.stderr).unwrap()
}

const SAME: [&str; 2] = ["3", "3"];

#[test]
fn the_kernels_own_line_names_the_limit() {
    let host = "[  150.000001] Out of memory: Killed process 4711 (megaconn) total-vm:1kB";
    let group = "[  150.000001] Memory cgroup out of memory: Killed process 4711 (megaconn) x";
    let line = says(137, Some(host), SAME, ["3", "4"]);
    assert!(
        line.starts_with("error: megaconn was killed by signal 9, by the kernel: the host was")
    );
    assert!(line.contains("Killed process 4711 (megaconn) total-vm:1kB"), "{line}");
    let line = says(137, Some(group), ["3", "4"], ["3", "4"]);
    assert!(line.contains("by the kernel: its memory cgroup was full"), "{line}");
    // A container has numbers of its own: then the name tells.
    let line = says(137, Some(&group.replace("4711", "99")), SAME, SAME);
    assert!(line.contains("by the kernel: its memory cgroup was full"), "{line}");
}

#[test]
fn lines_of_others_and_of_yesterday_are_none() {
    for log in [
        "[  150.0] Out of memory: Killed process 99 (megaconn-client) total-vm:1kB",
        "[   50.0] Out of memory: Killed process 4711 (megaconn) total-vm:1kB",
        "[  150.0] megaconn[4711]: segfault at 0",
        "",
    ] {
        let line = says(137, Some(log), SAME, SAME);
        assert!(line.contains("by somebody, not the kernel"), "{log}: {line}");
    }
}

#[test]
fn without_the_log_the_counts_tell_what_they_can() {
    let line = says(137, None, ["3", "4"], ["3", "4"]);
    assert!(line.contains("by the kernel, it seems: its memory cgroup counts oom_kill 3 -> 4"));
    let line = says(137, None, SAME, ["3", "5"]);
    assert!(line.contains("the host counts oom_kill 3 -> 5") && line.contains("fix: "), "{line}");
    for counts in [SAME, ["", ""]] {
        let line = says(137, None, counts, counts);
        assert!(line.contains("by somebody, it seems"), "{line}");
    }
}

#[test]
fn another_signal_is_named() {
    assert_eq!(says(139, None, SAME, SAME), "error: megaconn was killed by signal 11\n");
}
