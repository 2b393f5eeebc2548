//! Headrooms of hosts that are a few files in a directory.

use std::fs;

use super::*;

const MEMINFO: &str = "MemTotal:       1000 kB\nMemFree:         100 kB\nMemAvailable:    600 kB\n";

/// A host on which this process is in `own` and these mounts are there.
struct Fake(tempfile::TempDir);

impl Fake {
    fn new(own: &str, mounts: &str) -> Fake {
        let fake = Fake(tempfile::tempdir().unwrap());
        fake.write("proc/meminfo", MEMINFO);
        fake.write("proc/self/cgroup", own);
        fake.write("proc/self/mountinfo", mounts);
        fake
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A group of version 1 with `cache` bytes of cache in it and below it.
    fn group_1(&self, directory: &str, limit: &str, usage: u64, cache: u64) {
        self.write(&format!("{directory}/memory.limit_in_bytes"), limit);
        self.write(&format!("{directory}/memory.usage_in_bytes"), &usage.to_string());
        let text = format!("inactive_file 1\nactive_file 2\ntotal_inactive_file {cache}\n");
        self.write(&format!("{directory}/memory.stat"), &text);
    }

    fn group_2(&self, directory: &str, limit: &str, usage: u64, cache: u64) {
        self.write(&format!("{directory}/memory.max"), limit);
        self.write(&format!("{directory}/memory.current"), &format!("{usage}\n"));
        self.write(
            &format!("{directory}/memory.stat"),
            &format!("anon 1\ninactive_file {cache}\n"),
        );
    }

    fn headrooms(&self) -> MemoryHeadrooms {
        MemoryHeadrooms::find(&ProcFs::at(self.0.path()))
    }

    /// Limit, total and what is available, limit by limit.
    fn read(&self) -> Vec<(String, u64, u64)> {
        let headrooms = self.headrooms();
        let each =
            headrooms.read().map(|r| (r.limit.to_string(), r.total_bytes, r.available_bytes));
        each.collect()
    }
}

const MOUNT_1: &str = "35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
    33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";

const MOUNT_2: &str = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

fn host() -> (String, u64, u64) {
    (HOST.to_owned(), 1_024_000, 614_400)
}

fn group(directory: &str, total: u64, available: u64) -> (String, u64, u64) {
    (format!("/sys/fs/cgroup/{directory}"), total, available)
}

#[test]
fn a_host_without_groups_is_its_memory() {
    assert_eq!(Fake::new("", "").read(), [host()]);
    assert_eq!(Fake::new("", "").headrooms().total_bytes(), Some(1_024_000));
}

#[test]
fn without_proc_nothing_is_known() {
    let nowhere = tempfile::tempdir().unwrap();
    let headrooms = MemoryHeadrooms::find(&ProcFs::at(nowhere.path()));
    assert_eq!((headrooms.least(), headrooms.total_bytes()), (None, None));
}

#[test]
fn version_1_is_read_up_the_hierarchy_with_its_cache() {
    let fake = Fake::new("9:name=systemd:/x\n4:cpu,memory:/a/b\n0::/\n", MOUNT_1);
    fake.group_1("sys/fs/cgroup/memory", "9223372036854771712\n", 77, 0);
    fake.group_1("sys/fs/cgroup/memory/a", "500000\n", 300_000, 100_000);
    fake.group_1("sys/fs/cgroup/memory/a/b", "800000\n", 250_000, 0);
    // Not ours.
    fake.group_1("sys/fs/cgroup/memory/a/c", "5000\n", 5_000, 0);
    let expected =
        [host(), group("memory/a/b", 800_000, 550_000), group("memory/a", 500_000, 300_000)];
    assert_eq!(fake.read(), expected);
    let least = fake.headrooms().least().unwrap();
    assert_eq!((&*least.limit, least.available_bytes), ("/sys/fs/cgroup/memory/a", 300_000));
    assert_eq!(fake.headrooms().total_bytes(), Some(500_000));
}

#[test]
fn version_2_is_read_up_the_hierarchy_with_its_cache() {
    let fake = Fake::new("0::/user.slice/run.scope\n", MOUNT_2);
    // The root has no limit, and no file that could say so.
    fake.write("sys/fs/cgroup/memory.stat", "anon 1\n");
    fake.group_2("sys/fs/cgroup/user.slice", "max\n", 900_000, 0);
    fake.group_2("sys/fs/cgroup/user.slice/run.scope", "700000\n", 690_000, 40_000);
    assert_eq!(fake.read(), [host(), group("user.slice/run.scope", 700_000, 50_000)]);
}

#[test]
fn a_group_that_uses_more_than_its_limit_has_no_room() {
    let fake = Fake::new("0::/a\n", MOUNT_2);
    fake.group_2("sys/fs/cgroup/a", "1000\n", 5_000, 10);
    assert_eq!(fake.read(), [host(), group("a", 1_000, 0)]);
}

/// In a container the mount's root is the container's own group: the path outside does not exist.
#[test]
fn a_mount_of_a_part_is_read_from_there() {
    let mount =
        "35 31 0:32 /docker/1f /sys/fs/cgroup/memory ro master:9 - cgroup cgroup rw,memory\n";
    for own in ["4:memory:/docker/1f\n", "4:memory:/elsewhere\n", "4:memory:/../..\n", ""] {
        let fake = Fake::new(own, mount);
        fake.group_1("sys/fs/cgroup/memory", "400000\n", 100_000, 0);
        assert_eq!(fake.read(), [host(), group("memory", 400_000, 300_000)], "{own}");
    }
    let fake = Fake::new("4:memory:/docker/1f/inner\n", mount);
    fake.group_1("sys/fs/cgroup/memory", "400000\n", 100_000, 0);
    fake.group_1("sys/fs/cgroup/memory/inner", "200000\n", 100_000, 0);
    let expected =
        [host(), group("memory/inner", 200_000, 100_000), group("memory", 400_000, 300_000)];
    assert_eq!(fake.read(), expected);
}

/// As on a host whose groups below the root are not to be seen.
#[test]
fn groups_that_are_not_visible_are_passed_over() {
    let fake = Fake::new("4:memory:/hidden/deep\n", MOUNT_1);
    fake.group_1("sys/fs/cgroup/memory", "400000\n", 100_000, 0);
    assert_eq!(fake.read(), [host(), group("memory", 400_000, 300_000)]);
    // Outside the root of its namespace: nothing is read beside the mount.
    let fake = Fake::new("4:memory:/../beside\n", MOUNT_1);
    fake.group_1("sys/fs/cgroup/beside", "5\n", 1, 0);
    assert_eq!(fake.read(), [host()]);
}

#[test]
fn a_limit_that_changes_is_seen() {
    let fake = Fake::new("0::/a\n", MOUNT_2);
    fake.group_2("sys/fs/cgroup/a", "max\n", 100_000, 0);
    let headrooms = fake.headrooms();
    assert_eq!(headrooms.read().count(), 1);
    fake.group_2("sys/fs/cgroup/a", "500000\n", 450_000, 0);
    assert_eq!(headrooms.least().map(|headroom| headroom.available_bytes), Some(50_000));
    fake.group_2("sys/fs/cgroup/a", "500000\n", 100_000, 0);
    assert_eq!(headrooms.least().map(|headroom| headroom.available_bytes), Some(400_000));
}

#[test]
fn this_host_has_room() {
    let least = MemoryHeadrooms::find(&ProcFs::host()).least().unwrap();
    assert!(least.available_bytes > 0 && least.available_bytes <= least.total_bytes, "{least:?}");
}

#[test]
fn what_open_sockets_pin_is_not_available() {
    let fake = Fake::new("", "");
    let host =
        || MemoryHeadrooms::find(&ProcFs::at(fake.0.path())).least().unwrap().available_bytes;
    assert_eq!(host(), 600 << 10);
    fake.write("proc/meminfo", &format!("{MEMINFO}SReclaimable:    300 kB\n"));
    assert_eq!(host(), 600 << 10, "it is not known how many sockets there are");
    fake.write(
        "proc/net/sockstat",
        "sockets: used 9\nTCP: inuse 5 orphan 0 tw 3 alloc 100 mem 7\n",
    );
    assert_eq!(host(), (600 << 10) - 100 * 1_219);
    fake.write("proc/net/sockstat", "TCP: inuse 5 orphan 0 tw 3 alloc 100000 mem 7\n");
    assert_eq!(host(), 300 << 10, "no more than there is of both");
}
