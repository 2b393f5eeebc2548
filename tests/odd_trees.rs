//! A fuzzer of everything that is read of a host: trees of which files are cut, absent, empty, garbage,
//! no files at all, or full of huge numbers. Nothing panics, nothing hangs, and no wall is said to
//! be far when what it is read from could not be read.
//!
//! `MEGACONN_TREES=1000000 cargo test --release --test odd_trees` reads as many as it is told.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use fake_host::{FakeHost, demand};
use fastrand::Rng;
use megaconn::base::layers::UserMemory;
use megaconn::host::addresses::Addresses;
use megaconn::host::counters::Counters;
use megaconn::host::headroom::MemoryHeadrooms;
use megaconn::host::meminfo::{KernelMemory, MemInfo};
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::Sockstat;
use megaconn::host::{links, open_files, ports, sysctl_files, threads};
use megaconn::plan::demand::{Demand, Ends};
use megaconn::walls::doctor::{self, text::text};
use megaconn::walls::have::Have;
use megaconn::walls::host::Host;
use megaconn::walls::reading::Verdict;
use megaconn::walls::remedy;

mod fake_host;

/// Trees that are read unless the environment says otherwise.
const TREES: u64 = 20_000;

/// Files beside those of [`FakeHost::plentiful`], as a kernel writes them.
const MORE: &[(&str, &str)] = &[
    ("proc/self/cgroup", "4:pids,memory:/box\n0::/\n"),
    (
        "proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory,pids\n\
         31 23 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    ),
    ("sys/fs/cgroup/memory/box/cgroup.procs", "1\n"),
    ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "9000000000\n"),
    ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", "5000\n"),
    ("sys/fs/cgroup/memory/box/memory.stat", "cache 1\ntotal_inactive_file 2000\n"),
    ("sys/fs/cgroup/memory/box/pids.max", "20000\n"),
    ("sys/fs/cgroup/memory/box/pids.current", "7\n"),
    ("proc/net/netstat", "TcpExt: SyncookiesSent ListenDrops\nTcpExt: 3 7\n"),
    ("proc/net/snmp", "Tcp: MaxConn RetransSegs\nTcp: -1 9\n"),
    ("proc/net/softnet_stat", "0000000a 00000002 00000001\n0000000b 00000000 00000000\n"),
    ("proc/net/sockstat", "sockets: used 9\nTCP: inuse 5 orphan 0 tw 3 alloc 7 mem 1\n"),
    ("proc/net/sockstat6", "TCP6: inuse 2\n"),
    ("proc/net/stat/arp_cache", "entries allocs table_fulls\n2 a 1\n2 1 2\n"),
    ("proc/net/dev", "Inter-| Receive\n face |bytes\n lo: 1 2 0 5 6 0 0 0 1 2 0 7 0 0 0 0\n"),
    (
        "proc/net/fib_trie",
        "Local:\n |-- 127.0.0.0\n /8 host LOCAL\n |-- 10.0.0.1\n /32 host LOCAL\n",
    ),
    ("proc/net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n"),
    ("proc/sys/net/ipv4/ip_local_reserved_ports", "1,3-5,40000-40100\n"),
    ("proc/slabinfo", "TCP 1 13 2368 13 8 : tunables 0 0 0 : slabdata 10 10 0\n"),
    ("proc/stat", "cpu  1 2 3 4 5 6 7 8\ncpu0 1 2 3 4 5 6 7 8 9\n"),
    ("proc/vmstat", "pgfault 12\noom_kill 3\n"),
    ("etc/sysctl.conf", "net.core.somaxconn = 128\nnet.ipv4.tcp_mem = 1 2 3\n"),
    ("etc/sysctl.d/10-x.conf", "net/ipv4/tcp_tw_recycle=1\n-fs.file-max = 9\n"),
];

/// Files, the walls that are read from them, and whether a kernel without the file has no such wall.
const HOLDS: &[(&str, &[&str], bool)] = &[
    ("proc/loadavg", &["threads"], false),
    ("proc/meminfo", &["memory"], false),
    ("proc/self/cgroup", &["cgroup-memory", "threads"], true),
    ("proc/self/mountinfo", &["cgroup-memory", "threads"], false),
    ("proc/self/status", &["io-uring-seccomp", "threads"], false),
    ("proc/sys/fs/file-nr", &["file-max"], false),
    ("proc/sys/fs/nr_open", &["nr-open"], false),
    ("proc/sys/kernel/io_uring_disabled", &["io-uring-disabled"], true),
    ("proc/sys/kernel/pid_max", &["threads"], false),
    ("proc/sys/kernel/threads-max", &["threads"], false),
    ("proc/sys/net/core/netdev_max_backlog", &["netdev-backlog"], false),
    ("proc/sys/net/core/somaxconn", &["accept-queue"], false),
    ("proc/sys/net/ipv4/neigh/default/gc_thresh3", &["neighbours"], false),
    ("proc/sys/net/ipv4/tcp_ehash_entries", &["ehash"], false),
    ("proc/sys/net/ipv4/tcp_max_orphans", &["orphans"], false),
    ("proc/sys/net/ipv4/tcp_max_syn_backlog", &["syn-queue"], false),
    ("proc/sys/net/ipv4/tcp_max_tw_buckets", &["tw-buckets"], false),
    ("proc/sys/net/ipv4/tcp_mem", &["tcp-mem"], false),
    ("proc/sys/net/netfilter/nf_conntrack_count", &["conntrack"], false),
    ("proc/sys/net/netfilter/nf_conntrack_max", &["conntrack"], true),
    ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", &["cgroup-memory"], true),
    ("sys/fs/cgroup/memory/box/memory.usage_in_bytes", &["cgroup-memory"], false),
    ("sys/fs/cgroup/memory/box/pids.max", &["threads"], true),
    ("sys/fs/cgroup/memory/box/pids.current", &["threads"], false),
];

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Absent,
    Empty,
    Garbage,
    TooHuge,
    NoFile,
    /// It can still be read, as something else.
    Cut,
    Huge,
    Shuffled,
}

const FATES: [Fate; 8] = [
    Fate::Absent,
    Fate::Empty,
    Fate::Garbage,
    Fate::TooHuge,
    Fate::NoFile,
    Fate::Cut,
    Fate::Huge,
    Fate::Shuffled,
];

/// A tree that is changed and put back.
struct Tree {
    host: FakeHost,
    files: Vec<(String, Vec<u8>)>,
}

impl Tree {
    fn new() -> Tree {
        let host = FakeHost::plentiful();
        for (path, text) in MORE {
            host.write(path, text);
        }
        let mut files = Vec::new();
        collect(host.root(), host.root(), &mut files);
        files.sort();
        assert!(files.len() >= MORE.len() + 18, "{} files", files.len());
        Tree { host, files }
    }

    fn change(&self, file: usize, fate: Fate, random: &mut Rng) {
        let (path, bytes) = &self.files[file];
        let path = self.host.root().join(path);
        fs::remove_file(&path).expect("it is a file, or was put back");
        let garbage = ["many\n", "-\n", "\0\0\0", "\u{feff}x", ": :", "é\n\n\n", "nan inf 0x10"];
        let words = |word: &str| {
            let text = String::from_utf8_lossy(bytes);
            let is_digit = |c: char| c.is_ascii_digit();
            let replaced = text.split_inclusive(|c: char| !is_digit(c)).map(|part| {
                let end = part.trim_start_matches(is_digit);
                if end.len() < part.len() { format!("{word}{end}") } else { part.to_owned() }
            });
            replaced.collect::<String>()
        };
        let huge = ["18446744073709551615", "9223372036854775807", "4294967296", "0", "65535"];
        let text = match fate {
            Fate::Absent => return,
            Fate::NoFile if random.bool() => return fs::create_dir(&path).expect("ours"),
            Fate::NoFile => return symlink("/dev/zero", &path).expect("ours"),
            Fate::Empty => Vec::new(),
            Fate::Garbage => garbage[random.usize(..garbage.len())].into(),
            Fate::TooHuge => words("99999999999999999999999").into_bytes(),
            Fate::Cut => bytes[..random.usize(..=bytes.len())].to_vec(),
            Fate::Huge => words(huge[random.usize(..huge.len())]).into_bytes(),
            Fate::Shuffled => {
                let mut bytes = bytes.clone();
                for _ in 0..4 {
                    let at = random.usize(..bytes.len());
                    bytes[at] = random.u8(..);
                }
                bytes
            }
        };
        fs::write(path, text).expect("ours");
    }

    fn put_back(&self, file: usize) {
        let (path, bytes) = &self.files[file];
        let path = self.host.root().join(path);
        if path.is_dir() {
            fs::remove_dir(&path).expect("it is empty");
        } else {
            // A link is not followed, and what is absent stays so until the next line.
            let _ = fs::remove_file(&path);
        }
        fs::write(path, bytes).expect("ours");
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(folder).expect("ours").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it is below").display().to_string();
            files.push((name, fs::read(path).expect("ours")));
        }
    }
}

/// A demand of which the numbers may be of any size.
fn any_demand(random: &mut Rng) -> Demand {
    let any = |random: &mut Rng| random.u64(..) >> random.u32(..64);
    Demand {
        connections: any(random),
        tuples: random.bool().then(|| any(random)),
        churn_tuples: any(random),
        lifetime_tuples: any(random),
        cores: random.u64(1..=1024),
        ends: [Ends::Client, Ends::Server, Ends::Both][random.usize(..3)],
        connects_in_flight: any(random),
        backlog: any(random),
        neighbours: any(random),
        memory: UserMemory {
            server_bytes: any(random),
            client_bytes: any(random),
            buffer_bytes: any(random),
            ciphers_bytes: any(random),
            handshake_bytes: any(random),
        },
    }
}

/// Reads all that is read outside of the walls. What it finds is not judged.
fn read_all(procfs: &ProcFs) {
    let counters = Counters::read(procfs);
    assert!(counters.iter().all(|(name, _)| !name.is_empty()));
    let meminfo = MemInfo::of(procfs).unwrap_or_default();
    let kernel = KernelMemory::parse(procfs.read("proc/slabinfo").as_deref(), &meminfo);
    let _ = (kernel.bytes(), kernel.by_layer(), Sockstat::read(procfs));
    let headrooms = MemoryHeadrooms::find(procfs);
    let _ = (headrooms.least(), headrooms.total_bytes(), headrooms.of_groups());
    let _ = (sysctl_files::lines(procfs), links::all(procfs), open_files::left(procfs));
    let _ = threads::left(procfs, Some(100));
    assert!(ports::usable(procfs, ports::ephemeral(procfs)).len() <= usize::from(u16::MAX));
    if let Some(addresses) = Addresses::read(procfs) {
        let ends = ["0.0.0.0", "255.255.255.255"].map(|ip| ip.parse().expect("an address"));
        let parts = addresses.ours(ends[0], ends[1]);
        assert!(parts.iter().all(|(low, high)| low <= high && addresses.is_ours(*low)));
    }
}

fn read_trees(first: u64, count: u64) {
    let tree = Tree::new();
    let calm = Host { nproc: Have::Some(10_000), ..tree.host.host() };
    for seed in first..first + count {
        let mut random = Rng::with_seed(seed);
        let mut changed: Vec<(usize, Fate)> = Vec::new();
        for _ in 0..random.usize(1..=3) {
            let file = random.usize(..tree.files.len());
            if !changed.iter().any(|(other, _)| *other == file) {
                let fate = FATES[random.usize(..FATES.len())];
                tree.change(file, fate, &mut random);
                changed.push((file, fate));
            }
        }
        let named: Vec<(&str, Fate)> =
            changed.iter().map(|(file, fate)| (tree.files[*file].0.as_str(), *fate)).collect();
        let is_usual = random.u8(..4) > 0;
        let wanted = if is_usual { demand() } else { any_demand(&mut random) };
        let outcome = std::panic::catch_unwind(|| {
            let report = doctor::report(&calm, &wanted, &[]);
            let hidden = |path: &str, fate: Fate, is_none: bool| match fate {
                Fate::Absent => !is_none,
                // Their numbers are not what is read of them.
                Fate::TooHuge => !path.starts_with("proc/self/"),
                Fate::Empty | Fate::Garbage | Fate::NoFile => true,
                Fate::Cut | Fate::Huge | Fate::Shuffled => false,
            };
            let fate_of =
                |path: &str| named.iter().find(|(name, _)| *name == path).map(|(_, fate)| *fate);
            // Where the kernel has no such wall, or a limit is so high that it is none, its other files
            // say nothing.
            let is_gone = |id: &str| {
                HOLDS.iter().any(|(path, ids, is_none)| {
                    let fate = fate_of(path).filter(|_| *is_none && ids.contains(&id));
                    matches!(fate, Some(Fate::Absent | Fate::Huge))
                })
            };
            for (path, ids, is_none) in HOLDS {
                let of_it = report.rows.iter().filter(|row| ids.contains(&row.id));
                if fate_of(path).is_some_and(|fate| hidden(path, fate, *is_none)) {
                    let mut left = of_it.filter(|row| !is_gone(row.id));
                    let fine = left.find(|row| row.verdict == Verdict::Ok);
                    assert!(fine.is_none(), "{path} is hidden: {fine:?}");
                }
            }
            // These read much that the seed did not change.
            if seed % 32 == 0 {
                assert!(!text(&report).is_empty());
                assert!(!remedy::files(&calm.procfs, &report.rows, "of a test").is_empty());
            }
            if seed % 8 == 1 {
                read_all(&calm.procfs);
            }
        });
        assert!(outcome.is_ok(), "seed {seed}: {named:?}, {wanted:?}");
        changed.iter().for_each(|(file, _)| tree.put_back(*file));
    }
}

#[test]
fn no_tree_makes_a_panic_or_hides_a_wall() {
    let trees = std::env::var("MEGACONN_TREES").ok().and_then(|count| count.parse().ok());
    let trees = trees.unwrap_or(TREES);
    thread::scope(|scope| {
        for part in 0..2 {
            scope.spawn(move || read_trees(part * (trees / 2), trees / 2));
        }
    });
}
