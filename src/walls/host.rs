//! This host and this process, as far as a wall can be read before anything is opened.

use crate::base::constants::{FILES_PER_CORE, FILES_PER_PROCESS};
use crate::host::cgroup;
use crate::host::meminfo::MemInfo;
use crate::host::procfs::Tree;
use crate::host::rlimit;
use crate::plan::demand::Demand;
use crate::walls::fix::Fix;
use crate::walls::have::Have;

/// What there is. Everything but the process's own limits is read from the tree when it is asked for.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where `/proc`, `/sys` and `/etc` are.
    pub tree: Tree,
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
    /// CPUs this process may run on.
    pub cpus: u64,
    /// Bytes of memory that are left to everybody else.
    pub reserve_bytes: u64,
    /// Whether a connection of this host is tracked; `None` when nobody has tried.
    pub tracks: Option<bool>,
}

impl Host {
    /// This host, now, for a process that may have `nofile` files open.
    #[must_use]
    pub fn read(nofile: u64, reserve_bytes: u64) -> Host {
        Host {
            tree: Tree::host(),
            nofile,
            slots_per_segment: u64::from(rlimit::slots_per_segment(nofile)),
            memlock: rlimit::memlock_bytes().map_or(Have::Unlimited, Have::Some),
            passes_file_max: rlimit::passes_file_max(),
            nproc: rlimit::nproc().map_or(Have::Unlimited, Have::Some),
            cpus: core_affinity::get_core_ids().map_or(1, |ids| ids.len() as u64),
            reserve_bytes,
            tracks: None,
        }
    }

    /// The same host for somebody who passes no limit by a capability.
    #[must_use]
    pub fn for_a_user(self) -> Host {
        let memlock = rlimit::memlock_limit().map_or(Have::Unlimited, Have::Some);
        Host { memlock, passes_file_max: false, ..self }
    }

    /// A sysctl that is one number.
    #[must_use]
    pub fn have(&self, sysctl: &str) -> Have {
        self.tree.number(sysctl).into()
    }

    /// Whether a fix is there already: a sysctl whose every number is as large.
    #[must_use]
    pub fn has(&self, fix: &Fix) -> bool {
        let Fix::Sysctl(name, value) = fix else { return false };
        let wanted: Vec<u64> = value.split(' ').filter_map(|word| word.parse().ok()).collect();
        let have = self.tree.numbers(name).filter(|have| have.len() == wanted.len());
        have.is_some_and(|have| have.iter().zip(&wanted).all(|(have, wanted)| have >= wanted))
    }

    /// A field of meminfo, in bytes.
    #[must_use]
    pub fn meminfo(&self, field: &str) -> Option<u64> {
        MemInfo::parse(&self.tree.read("proc/meminfo")?).get(field)
    }

    /// Threads that this host has now.
    #[must_use]
    pub fn threads(&self) -> Option<u64> {
        let loadavg = self.tree.read("proc/loadavg")?;
        loadavg.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()
    }

    /// Threads that this process may still start: by the host, by every pids cgroup that it is in, and
    /// by its user's limit.
    #[must_use]
    pub fn threads_left(&self) -> Have {
        let most = ["kernel.threads-max", "kernel.pid_max"].map(|name| self.tree.number(name));
        let [Some(threads), Some(pids)] = most else { return Have::Unknown };
        let of_host = Some(threads.min(pids).saturating_sub(self.threads().unwrap_or(0)));
        let groups = cgroup::directories(&self.tree, "pids");
        let of_groups = groups.iter().filter_map(|group| {
            let number = |name: &str| {
                self.tree.read(group.path.join(name).to_str()?)?.trim().parse::<u64>().ok()
            };
            Some(number("pids.max")?.saturating_sub(number("pids.current")?))
        });
        let of_user = match self.nproc {
            Have::Some(most) => Some(most.saturating_sub(self.threads_of_user())),
            _ => None,
        };
        of_groups.chain(of_host).chain(of_user).min().into()
    }

    /// Threads of this process's user, over all processes that can be seen.
    fn threads_of_user(&self) -> u64 {
        let field = |status: &str, name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        let status = |process: &str| self.tree.read(&format!("proc/{process}/status"));
        let Some(user) = status("self").and_then(|status| field(&status, "Uid:")) else { return 0 };
        let processes =
            self.tree.names("proc").into_iter().filter(|name| name.parse::<u32>().is_ok());
        let of_user = processes.filter_map(|process| status(&process));
        let of_user = of_user.filter(|status| field(status, "Uid:") == Some(user));
        of_user.filter_map(|status| field(&status, "Threads:")).sum()
    }

    /// Open files that the whole host may still have.
    #[must_use]
    pub fn files_left(&self) -> Have {
        if self.passes_file_max {
            return Have::Unlimited;
        }
        match self.tree.numbers("fs.file-nr").as_deref() {
            Some([used, _, most]) => Have::Some(most.saturating_sub(*used)),
            _ => Have::Unknown,
        }
    }

    /// Segments that each end of `demand` needs; each core rounds up for itself.
    #[must_use]
    pub fn segments(&self, demand: &Demand) -> u64 {
        let cores = demand.cores.max(1);
        let slots = self.slots_per_segment.max(1);
        demand.connections.div_ceil(cores).div_ceil(slots).saturating_mul(cores)
    }

    /// Files that a process has open besides its connections, which are none.
    #[must_use]
    pub fn own_files(demand: &Demand) -> u64 {
        FILES_PER_PROCESS + demand.cores * FILES_PER_CORE
    }
}
