//! How many processes the kernel has killed for want of memory.

use crate::host::cgroup;
use crate::host::procfs::ProcFs;

/// Counts that only rise; `None` where the kernel does not count, or it may not be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomKills {
    /// In the memory cgroup of this process.
    pub in_group: Option<u64>,
    /// On the whole host.
    pub on_host: Option<u64>,
}

impl OomKills {
    /// Until now.
    #[must_use]
    pub fn read(procfs: &ProcFs) -> OomKills {
        let groups = cgroup::directories(procfs, "memory");
        let in_group = groups.iter().find_map(|group| {
            let file = if group.version == 1 { "memory.oom_control" } else { "memory.events" };
            counted(&procfs.read(group.path.join(file).to_str()?)?)
        });
        let on_host = procfs.read("proc/vmstat").and_then(|text| counted(&text));
        OomKills { in_group, on_host }
    }
}

fn counted(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn of(mount: &str, own: &str, file: &str, text: &str) -> OomKills {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("proc/self/cgroup", own),
            ("proc/self/mountinfo", mount),
            ("proc/vmstat", "pgfault 12\noom_kill 7\n"),
            (file, text),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        OomKills::read(&ProcFs::at(root.path()))
    }

    #[test]
    fn both_versions_count_in_files_of_their_own() {
        let v1 = "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        let kills = of(v1, "4:memory:/box\n", "sys/fs/cgroup/memory/box/memory.oom_control", text);
        assert_eq!(kills, OomKills { in_group: Some(3), on_host: Some(7) });
        let v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let text = "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\n";
        let kills = of(v2, "0::/box\n", "sys/fs/cgroup/box/memory.events", text);
        assert_eq!(kills, OomKills { in_group: Some(1), on_host: Some(7) });
        let kills = of(v2, "0::/box\n", "sys/fs/cgroup/box/memory.stat", text);
        assert_eq!(kills, OomKills { in_group: None, on_host: Some(7) });
    }
}
