//! Which CPUs the scaling script gives to each end, on hosts of many shapes: the trees are the tests' own.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What `cpus_for count` says on a host where `allowed` CPUs may be used, and each of `siblings` are the
/// threads of a core.
fn cpus_for(count: u32, allowed: &str, siblings: &[&str]) -> Option<String> {
    let tree = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = tree.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("proc/self/status", &format!("Name:\tawk\nCpus_allowed_list:\t{allowed}\n"));
    for threads in siblings {
        for cpu in threads.split(',') {
            let topology = format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            write(&topology, &format!("{threads}\n"));
        }
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench-scripts/cpus.sh");
    let text = format!(
        "set -euo pipefail\ncpus_root={}\n. {}\ncpus_for {count}\n",
        tree.path().display(),
        script.display()
    );
    let ended = Command::new("bash").args(["-c", &text]).output().unwrap();
    assert!(ended.stderr.is_empty(), "{ended:?}");
    let said = String::from_utf8(ended.stdout).unwrap();
    ended.status.success().then(|| said.trim_end().to_owned())
}

const NO_SIBLINGS: [&str; 0] = [];

#[test]
fn each_end_has_its_own_where_there_are_enough() {
    let on = |count, allowed| cpus_for(count, allowed, &NO_SIBLINGS).unwrap();
    assert_eq!(on(1, "0-1"), "0 1 no");
    assert_eq!(on(2, "0-1"), "0,1 0,1 yes");
    assert_eq!(on(2, "0-7"), "0,1 2,3 no");
    assert_eq!(on(4, "0-7"), "0,1,2,3 4,5,6,7 no");
    assert_eq!(on(5, "0-7"), "0,1,2,3,4 0,1,2,3,4 yes");
    // By number, whatever else is allowed.
    assert_eq!(on(2, "3,5,8-10"), "3,5 8,9 no");
    assert_eq!(cpus_for(3, "0-1", &NO_SIBLINGS), None);
}

#[test]
fn no_core_has_both_ends_as_long_as_that_can_be() {
    let threads = ["0,4", "1,5", "2,6", "3,7"];
    let on = |count| cpus_for(count, "0-7", &threads).unwrap();
    assert_eq!(on(1), "0 1 no");
    assert_eq!(on(2), "0,1 2,3 no");
    // Not one thread of each core any more: whole cores.
    assert_eq!(on(4), "0,4,1,5 2,6,3,7 no");
    // The second core of the server has a thread left over, which is no place for the client.
    assert_eq!(on(3), "0,4,1 2,6,3 no");
    assert_eq!(on(5), "0,1,2,3,4 0,1,2,3,4 yes");
    let neighbours = ["0,1", "2,3", "4,5", "6,7"];
    assert_eq!(cpus_for(2, "0-7", &neighbours).unwrap(), "0,2 4,6 no");
    assert_eq!(cpus_for(1, "0-1", &neighbours).unwrap(), "0 0 yes", "two threads of one core");
}
