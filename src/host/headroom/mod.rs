//! How much memory may still be taken before the kernel kills a process for it: of the host, and of
//! every memory cgroup that this process is in.
//!
//! The housekeeping thread reads it often, so the files stay open. A reading is three reads for a
//! cgroup and one for the host. The groups are those that the process was in at its start.

use std::fs::File;
use std::sync::Arc;

use crate::base::errno::Errno;
use crate::host::cgroup::{self, Directory};
use crate::host::limit::Limit;
use crate::host::procfs::{self, ProcFs, Unread};
use crate::host::sockets;

/// What [`MemoryHeadroom::limit`] says of the host as a whole.
pub const HOST: &str = "host";

/// One limit on memory, as it stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryHeadroom {
    /// [`HOST`], or the directory of the memory cgroup.
    pub limit: Arc<str>,
    /// All that there is, or that the cgroup may have.
    pub total_bytes: u64,
    /// What may still be taken: free memory, and file cache that the kernel would drop.
    pub available_bytes: u64,
}

/// Where a limit holds, in words.
#[must_use]
pub fn place(limit: &str) -> String {
    if limit == HOST { "on this host".into() } else { format!("in cgroup {limit}") }
}

/// The limits that this process is under.
#[derive(Debug)]
pub struct MemoryHeadrooms {
    host: Option<File>,
    /// How many TCP sockets the host has.
    sockets: Option<File>,
    groups: Vec<Group>,
    /// Whether a group that is not in sight may have a limit.
    is_hidden: bool,
}

impl MemoryHeadrooms {
    /// The host and the memory cgroups of this process, as far as they can be seen.
    #[must_use]
    pub fn find(procfs: &ProcFs) -> MemoryHeadrooms {
        let found = cgroup::find(procfs, "memory");
        let groups: Vec<_> =
            found.directories.iter().map(|found| Group::open(procfs, found)).collect();
        MemoryHeadrooms {
            host: procfs.open("proc/meminfo").ok(),
            sockets: procfs.open("proc/net/sockstat").ok(),
            is_hidden: !found.is_whole || groups.iter().any(Result::is_err),
            groups: groups.into_iter().filter_map(|group| group.ok().flatten()).collect(),
        }
    }

    /// The bytes that the groups of this process leave to it.
    #[must_use]
    pub fn of_groups(&self) -> Limit<u64> {
        let hidden = if self.is_hidden { Limit::Unknown } else { Limit::None };
        self.groups.iter().map(Group::left).fold(hidden, Limit::min)
    }

    /// Every limit as it stands now, the host's first; a cgroup without a limit is left out.
    pub fn read(&self) -> impl Iterator<Item = MemoryHeadroom> {
        self.host().into_iter().chain(self.groups.iter().filter_map(Group::headroom))
    }

    /// What the host has left; `None` when that cannot be read.
    fn host(&self) -> Option<MemoryHeadroom> {
        let text = |file: &Option<File>| Text::of(file.as_ref()?).ok();
        let sockets = text(&self.sockets).and_then(|text| sockets::tcp_allocated(text.whole()));
        text(&self.host)?.host(sockets.unwrap_or(0))
    }

    /// The limit with the least memory left; `None` when none can be read.
    #[must_use]
    pub fn least(&self) -> Option<MemoryHeadroom> {
        self.read().min_by_key(|headroom| headroom.available_bytes)
    }

    /// The smallest of all totals.
    #[must_use]
    pub fn total_bytes(&self) -> Option<u64> {
        self.read().map(|headroom| headroom.total_bytes).min()
    }
}

/// The names that a hierarchy has for the same files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// The field of `memory.stat` with the file cache of the group and all below it that was not
    /// used lately.
    cache: &'static str,
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};

const VERSION_2: Names =
    Names { limit: "memory.max", usage: "memory.current", cache: "inactive_file" };

/// One memory cgroup.
#[derive(Debug)]
struct Group {
    directory: Arc<str>,
    limit: File,
    usage: File,
    statistics: File,
    names: &'static Names,
}

impl Group {
    /// `None` when it is not there, or its hierarchy does not count memory.
    ///
    /// # Errors
    /// When it has a limit that cannot be read.
    fn open(procfs: &ProcFs, found: &Directory) -> Result<Option<Group>, Unread> {
        let names = if found.version == 1 { &VERSION_1 } else { &VERSION_2 };
        let open = |name: &str| procfs.open(found.path.join(name).to_str().ok_or(Unread::Absent)?);
        let limit = match open(names.limit) {
            Err(Unread::Absent) => return Ok(None),
            limit => limit?,
        };
        Ok(Some(Group {
            directory: format!("/{}", found.path.display()).into(),
            limit,
            usage: open(names.usage)?,
            statistics: open("memory.stat")?,
            names,
        }))
    }

    fn left(&self) -> Limit<u64> {
        let headroom = |found: Result<Option<MemoryHeadroom>, Unread>| match found {
            // A group that is gone limits nothing.
            Err(Unread::Unreadable(Errno::ENODEV)) | Ok(None) => Limit::None,
            Ok(Some(headroom)) => Limit::Left(headroom.available_bytes),
            Err(_) => Limit::Unknown,
        };
        headroom(self.read())
    }

    /// `None` when it has no limit, is gone, or cannot be read.
    fn headroom(&self) -> Option<MemoryHeadroom> {
        self.read().ok().flatten()
    }

    /// `None` when it has no limit.
    fn read(&self) -> Result<Option<MemoryHeadroom>, Unread> {
        let garbled = Unread::Unreadable(Errno::EINVAL);
        let limit = Text::of(&self.limit)?;
        if limit.lines().next().is_some_and(|line| line.trim() == "max") {
            return Ok(None);
        }
        let total_bytes = limit.number().ok_or(garbled)?;
        if total_bytes >= NO_LIMIT_BYTES {
            return Ok(None);
        }
        let used = Text::of(&self.usage)?.number().ok_or(garbled)?;
        let cache = Text::of(&self.statistics)?.field(self.names.cache).unwrap_or(0);
        let available_bytes = total_bytes.saturating_sub(used.saturating_sub(cache));
        let limit = Arc::clone(&self.directory);
        Ok(Some(MemoryHeadroom { limit, total_bytes, available_bytes }))
    }
}

/// From here on a limit is no limit. Version 1 writes the last page below 2^63 bytes for none.
const NO_LIMIT_BYTES: u64 = 1 << 62;

/// An inode, of which four are in a page, and a dentry, of which 21 are. With 4.9 million sockets the kernel
/// said that 6.1 GB were available, and killed for want of memory (Linux 6.18).
const RECLAIMABLE_BYTES_OF_A_SOCKET: u64 = 1_024 + 195;

/// Of the bytes that the kernel says are available those that are, where `sockets` are open: it takes all
/// inodes and dentries for reclaimable, and those of open sockets are not.
#[must_use]
pub fn without_pinned(available: u64, reclaimable: u64, sockets: u64) -> u64 {
    let pinned = sockets.saturating_mul(RECLAIMABLE_BYTES_OF_A_SOCKET).min(reclaimable);
    available.saturating_sub(pinned)
}

/// The beginning of a small file, read in one piece.
struct Text {
    bytes: [u8; Text::BYTES_MAX],
    length: usize,
}

impl Text {
    /// `meminfo` and `memory.stat` have less than 4 KiB, so all their fields are in it.
    const BYTES_MAX: usize = 8 * 1024;

    fn of(file: &File) -> Result<Text, Unread> {
        let mut text = Text { bytes: [0; Text::BYTES_MAX], length: 0 };
        text.length = procfs::first_bytes(file, &mut text.bytes)?;
        Ok(text)
    }

    fn whole(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.whole().lines()
    }

    /// A file that is one number; `max` is none.
    fn number(&self) -> Option<u64> {
        self.lines().next()?.trim().parse().ok()
    }

    /// The number behind a name.
    fn field(&self, name: &str) -> Option<u64> {
        let value = self.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']));
        value?.split_whitespace().next()?.parse().ok()
    }

    fn host(&self, sockets: u64) -> Option<MemoryHeadroom> {
        let bytes = |name: &str| self.field(name)?.checked_mul(1024);
        let (total_bytes, available_bytes) = (bytes("MemTotal")?, bytes("MemAvailable")?);
        let reclaimable = bytes("SReclaimable").unwrap_or(0);
        let available_bytes = without_pinned(available_bytes, reclaimable, sockets);
        Some(MemoryHeadroom { limit: HOST.into(), total_bytes, available_bytes })
    }
}

#[cfg(test)]
mod tests;
