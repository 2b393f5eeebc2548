//! A host that is a directory: `proc`, `sys` and `etc` as a test writes them.

use std::fs;
use std::path::Path;

use megaconn::base::layers::Layers;
use megaconn::host::procfs::ProcFs;
use megaconn::plan::demand::{Demand, Ends};
use megaconn::runtime::footprint;
use megaconn::walls::have::Have;
use megaconn::walls::host::Host;
use tempfile::TempDir;

/// A directory that is read as if it were `/`; removed when dropped.
pub(crate) struct FakeHost(TempDir);

impl FakeHost {
    /// With nothing in it.
    pub(crate) fn empty() -> FakeHost {
        // In memory where that can be, since a test may write many thousand files.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        FakeHost(directory.expect("a directory for a test can be made"))
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn procfs(&self) -> ProcFs {
        ProcFs::at(self.root())
    }

    /// Writes a file, by its path without the leading slash.
    pub(crate) fn write(&self, path: &str, text: &str) -> &FakeHost {
        let path = self.root().join(path);
        let directory = path.parent().expect("a file lies in a directory");
        fs::create_dir_all(directory).expect("our own directory can be written");
        fs::write(path, text).expect("our own directory can be written");
        self
    }

    /// Sets a sysctl, by its dotted name.
    pub(crate) fn sysctl(&self, key: &str, value: &str) -> &FakeHost {
        self.write(&format!("proc/sys/{}", key.replace('.', "/")), &format!("{value}\n"))
    }

    /// The host, with limits of an ordinary user.
    pub(crate) fn host(&self) -> Host {
        Host {
            procfs: self.procfs(),
            memlock: Have::Some(8 << 20),
            passes_file_max: false,
            tracks: Some(true),
            ..Host::read(20_000, 1 << 30)
        }
    }

    /// A kernel that has enough of everything for 100,000 connections with both ends here.
    pub(crate) fn plentiful() -> FakeHost {
        let host = FakeHost::empty();
        host.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 8000000 kB\n");
        host.write("proc/self/status", "Name:\tx\nUid:\t7\t7\t7\t7\nThreads:\t1\nSeccomp:\t0\n");
        host.write("proc/loadavg", "0.10 0.20 0.30 2/100 4711\n");
        for (key, value) in [
            ("fs.file-max", "800000"),
            ("fs.file-nr", "1000\t0\t800000"),
            ("fs.nr_open", "1048576"),
            ("kernel.io_uring_disabled", "0"),
            ("kernel.pid_max", "32768"),
            ("kernel.threads-max", "60000"),
            ("net.core.netdev_max_backlog", "1000"),
            ("net.core.somaxconn", "4096"),
            ("net.ipv4.ip_local_port_range", "32768\t60999"),
            ("net.ipv4.neigh.default.gc_thresh3", "1024"),
            ("net.ipv4.tcp_ehash_entries", "65536"),
            ("net.ipv4.tcp_fin_timeout", "60"),
            ("net.ipv4.tcp_max_orphans", "65536"),
            ("net.ipv4.tcp_max_syn_backlog", "1024"),
            ("net.ipv4.tcp_max_tw_buckets", "262144"),
            ("net.ipv4.tcp_mem", "95000\t127000\t190000"),
            ("net.netfilter.nf_conntrack_count", "12"),
            ("net.netfilter.nf_conntrack_max", "262144"),
        ] {
            host.sysctl(key, value);
        }
        host
    }
}

/// 100,000 connections with both ends here.
pub(crate) fn demand() -> Demand {
    Demand {
        connections: 100_000,
        tuples: Some(1_000_000),
        churn_tuples: 0,
        lifetime_tuples: 0,
        cores: 2,
        ends: Ends::Both,
        connects_in_flight: 512,
        backlog: 4096,
        neighbours: 10,
        memory: footprint::of(Layers::default()),
    }
}
