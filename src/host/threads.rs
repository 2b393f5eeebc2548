//! Threads: how many there are, and how many a process may still start.

use crate::host::cgroup::{self, Directory};
use crate::host::limit::Limit;
use crate::host::procfs::{ProcFs, Unread};

/// Threads that the host has now; `None` when `/proc/loadavg` does not say.
#[must_use]
pub fn running(procfs: &ProcFs) -> Option<u64> {
    let loadavg = procfs.read("proc/loadavg")?;
    loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
}

/// Threads that this process may still start: by the host, by every pids cgroup that it is in, and by
/// its user's limit, where there is one. `None` when one of these cannot be read.
#[must_use]
pub fn left(procfs: &ProcFs, user_limit: Option<u64>) -> Option<u64> {
    let most = procfs.number("kernel.threads-max")?.min(procfs.number("kernel.pid_max")?);
    let of_host = Limit::Left(most.saturating_sub(running(procfs)?));
    let of_user = match user_limit {
        Some(most) => of_own_user(procfs).map(|used| most.saturating_sub(used)).into(),
        None => Limit::None,
    };
    let groups = cgroup::find(procfs, "pids");
    let hidden = if groups.is_whole { Limit::None } else { Limit::Unknown };
    let of_groups = groups.directories.iter().map(|group| of_group(procfs, group));
    match of_groups.fold(hidden, Limit::min).min(of_host).min(of_user) {
        Limit::Left(left) => Some(left),
        Limit::None | Limit::Unknown => None,
    }
}

/// Threads that the rings of one core may have of the kernel, which count as ours: none where the driver
/// can shut connections down and close them without a worker, as on Linux since 6.16. Where the version
/// cannot be read it is taken for an older one.
#[must_use]
pub fn workers_per_core(procfs: &ProcFs) -> u64 {
    let version = || {
        let release = procfs.sysctl("kernel.osrelease")?;
        let mut words = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        Some((words.next()?.ok()?, words.next()?.ok()?))
    };
    u64::from(version().is_none_or(|version| version < (6, 16)))
}

/// Threads that a pids cgroup still allows.
fn of_group(procfs: &ProcFs, group: &Directory) -> Limit<u64> {
    let text = |name: &str| procfs.text(group.path.join(name).to_str().ok_or(Unread::Absent)?);
    let number = |text: Result<String, Unread>| text.ok()?.trim().parse::<u64>().ok();
    match text("pids.max") {
        // The root of a hierarchy has no limit, and no file for one.
        Err(Unread::Absent) => Limit::None,
        Ok(text) if text.trim() == "max" => Limit::None,
        most => {
            let used = number(text("pids.current"));
            number(most).zip(used).map(|(most, used)| most.saturating_sub(used)).into()
        }
    }
}

/// Threads of this process's user, over all processes that can be seen; `None` when not even this
/// process can be.
fn of_own_user(procfs: &ProcFs) -> Option<u64> {
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let status = |process: &str| procfs.read(&format!("proc/{process}/status"));
    let user = field(&status("self")?, "Uid:")?;
    let processes = procfs.names("proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
    let of_user = processes.filter_map(|process| status(&process));
    let of_user = of_user.filter(|status| field(status, "Uid:") == Some(user));
    let threads: Vec<u64> = of_user.filter_map(|status| field(&status, "Threads:")).collect();
    (!threads.is_empty()).then(|| threads.into_iter().fold(0, u64::saturating_add))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// A host of 100 threads, of which 7 and 5 are of the user of this process.
    fn host() -> (tempfile::TempDir, ProcFs) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/sys/kernel/threads-max", "1000\n"),
            ("proc/sys/kernel/pid_max", "900\n"),
            ("proc/loadavg", "0.10 0.20 0.30 2/100 4711\n"),
            ("proc/self/status", "Name:\tx\nUid:\t42\t42\t42\t42\nThreads:\t7\n"),
            ("proc/1/status", "Uid:\t0\t0\t0\t0\nThreads:\t88\n"),
            ("proc/4710/status", "Uid:\t42\t42\t42\t42\nThreads:\t5\n"),
            ("proc/4711/status", "Uid:\t42\t42\t42\t42\nThreads:\t7\n"),
            ("proc/self/cgroup", "0::/box\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/box/cgroup.procs", "4711\n"),
        ] {
            write(root.path(), path, text);
        }
        let procfs = ProcFs::at(root.path());
        (root, procfs)
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn an_older_kernel_has_a_worker_for_each_core() {
        let (root, procfs) = host();
        assert_eq!(workers_per_core(&procfs), 1, "the version is unknown");
        for (release, workers) in [
            ("6.1.0-18-cloud-amd64\n", 1),
            ("6.15.11\n", 1),
            ("6.16.0\n", 0),
            ("7.0-rc1\n", 0),
            ("x\n", 1),
        ] {
            write(root.path(), "proc/sys/kernel/osrelease", release);
            assert_eq!(workers_per_core(&procfs), workers, "{release}");
        }
    }

    #[test]
    fn the_least_of_host_group_and_user_is_left() {
        let (root, procfs) = host();
        assert_eq!(running(&procfs), Some(100));
        assert_eq!(left(&procfs, None), Some(800), "pid_max is less than threads-max");
        assert_eq!(left(&procfs, Some(50)), Some(38), "the user has 12");
        assert_eq!(left(&procfs, Some(5)), Some(0));
        write(root.path(), "sys/fs/cgroup/box/pids.max", "30\n");
        write(root.path(), "sys/fs/cgroup/box/pids.current", "10\n");
        assert_eq!(left(&procfs, Some(50)), Some(20));
        write(root.path(), "sys/fs/cgroup/box/pids.max", "max\n");
        assert_eq!(left(&procfs, Some(50)), Some(38));
        write(root.path(), "proc/sys/kernel/pid_max", "many\n");
        assert_eq!(left(&procfs, Some(50)), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_no_limit() {
        let hidden = |path: &str| {
            let (root, procfs) = host();
            write(root.path(), "sys/fs/cgroup/box/pids.max", "30\n");
            write(root.path(), "sys/fs/cgroup/box/pids.current", "10\n");
            assert_eq!(left(&procfs, Some(50)), Some(20));
            let path = root.path().join(path);
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
            (left(&procfs, Some(50)), left(&procfs, None))
        };
        for path in [
            "proc/loadavg",
            "proc/sys/kernel/threads-max",
            "proc/self/mountinfo",
            "sys/fs/cgroup/box/pids.current",
            "sys/fs/cgroup/box",
            "sys",
        ] {
            assert_eq!(hidden(path), (None, None), "{path}");
        }
        assert_eq!(hidden("proc/self/status"), (None, Some(20)), "the user's limit alone needs it");
        assert_eq!(hidden("sys/fs/cgroup/box/pids.max"), (Some(38), Some(800)));
    }
}
