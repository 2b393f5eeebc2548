//! This host and this process, as far as a wall can be read before anything is opened.

use crate::base::constants::{FILES_PER_CORE, FILES_PER_PROCESS};
use crate::host::meminfo::MemInfo;
use crate::host::procfs::ProcFs;
use crate::host::sockets::Sockstat;
use crate::host::{conntrack, headroom, open_files, rlimit, threads};
use crate::plan::demand::{Demand, Ends};
use crate::walls::fix::{CHOICES, Fix};
use crate::walls::have::Have;

/// What came of a ring that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingTried {
    /// It was not tried, or failed for something that has a wall of its own.
    Not,
    /// It works.
    Works,
    /// The sysctl forbids it.
    Disabled,
    /// A filter of system calls forbids it.
    Filtered,
    /// The kernel has none, or lacks an operation.
    TooOld,
}

/// The host and the process. The limits of the process are values; everything else is read when it
/// is asked for.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where `/proc`, `/sys` and `/etc` are.
    pub procfs: ProcFs,
    /// Files this process may have open.
    pub nofile: u64,
    /// Slots of one segment.
    pub slots_per_segment: u64,
    /// Locked memory this user may have.
    pub memlock: Have,
    /// Whether `fs.file-max` does not bind this process (CAP_SYS_ADMIN).
    pub passes_file_max: bool,
    /// Threads this user may have.
    pub nproc: Have,
    /// Bytes of memory that are left to the other programs of the host.
    pub reserve_bytes: u64,
    /// Whether a connection of this host is tracked; `None` when that was not tried.
    pub tracks: Option<bool>,
    /// Whether this process may have a ring.
    pub ring: RingTried,
}

impl Host {
    /// This host, now, for a process that may have `nofile` files open.
    #[must_use]
    pub fn read(nofile: u64, reserve_bytes: u64) -> Host {
        Host {
            procfs: ProcFs::host(),
            nofile,
            slots_per_segment: u64::from(rlimit::slots_per_segment(nofile)),
            memlock: rlimit::memlock_bytes().map_or(Have::Unlimited, Have::Some),
            passes_file_max: rlimit::passes_file_max(),
            nproc: rlimit::nproc().map_or(Have::Unlimited, Have::Some),
            reserve_bytes,
            tracks: None,
            ring: RingTried::Not,
        }
    }

    /// The same host for a user without the capabilities that pass limits.
    #[must_use]
    pub fn for_a_user(self) -> Host {
        let memlock = rlimit::memlock_limit().map_or(Have::Unlimited, Have::Some);
        Host { memlock, passes_file_max: false, ..self }
    }

    /// The same host, for which it has been tried whether connections with these ends here are tracked.
    /// The trial goes over loopback. A firewall that leaves loopback alone may still track connections
    /// over an interface, so with one end here only a yes is an answer.
    #[must_use]
    pub fn with_tracking(self, ends: Ends) -> Host {
        let tracks = conntrack::tracks_loopback(&self.procfs);
        Host { tracks: tracks.filter(|tracks| *tracks || ends == Ends::Both), ..self }
    }

    /// A sysctl that is one number.
    #[must_use]
    pub fn have(&self, sysctl: &str) -> Have {
        self.procfs.number(sysctl).into()
    }

    /// Whether a fix is already in force: a sysctl that is a choice and chosen, or each number of which
    /// is at least the wanted one. A range is in force when it is as wide.
    #[must_use]
    pub fn has(&self, fix: &Fix) -> bool {
        let Fix::Sysctl(name, value) = fix else { return false };
        let wanted: Vec<u64> = value.split(' ').filter_map(|word| word.parse().ok()).collect();
        let have = self.procfs.numbers(name).filter(|have| have.len() == wanted.len());
        let Some(have) = have else { return false };
        match (*name, have.as_slice(), wanted.as_slice()) {
            (name, have, wanted) if CHOICES.contains(&name) => have == wanted,
            ("net.ipv4.ip_local_port_range", [low, high], [least, most]) => {
                low <= least && high >= most
            }
            (_, have, wanted) => have.iter().zip(wanted).all(|(have, wanted)| have >= wanted),
        }
    }

    /// A field of meminfo, in bytes.
    #[must_use]
    pub fn meminfo(&self, field: &str) -> Option<u64> {
        MemInfo::of(&self.procfs)?.get(field)
    }

    /// Bytes of memory that may still be taken.
    #[must_use]
    pub fn memory_available(&self) -> Option<u64> {
        let meminfo = MemInfo::of(&self.procfs)?;
        let reclaimable = meminfo.get("SReclaimable").unwrap_or(0);
        let sockets = Sockstat::read(&self.procfs).tcp_allocated.unwrap_or(0);
        Some(headroom::without_pinned(meminfo.get("MemAvailable")?, reclaimable, sockets))
    }

    /// Threads that this process may still start.
    #[must_use]
    pub fn threads_left(&self) -> Have {
        threads::left(&self.procfs, self.nproc.number()).into()
    }

    /// Open files that the whole host may still have.
    #[must_use]
    pub fn files_left(&self) -> Have {
        if self.passes_file_max { Have::Unlimited } else { open_files::left(&self.procfs).into() }
    }

    /// Segments that each end of `demand` needs. Each core rounds up its own share.
    #[must_use]
    pub fn segments(&self, demand: &Demand) -> u64 {
        let cores = demand.cores.max(1);
        let slots = self.slots_per_segment.max(1);
        demand.connections.div_ceil(cores).div_ceil(slots).saturating_mul(cores)
    }

    /// Files that a process has open. Connections are direct descriptors, and none of them.
    #[must_use]
    pub fn own_files(demand: &Demand) -> u64 {
        FILES_PER_PROCESS + demand.cores * FILES_PER_CORE
    }
}
