//! The process's own limits, raised as far as any process may raise them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::base::constants::{EXECUTOR_MEMLOCK_LEAST, SEGMENT_SLOTS_MAX};
use crate::host::procfs::ProcFs;

/// Raises the soft limit on open files to the hard one, and returns the limit that then holds. It
/// bounds the table of a segment, and fewer, larger segments need less locked memory.
#[must_use]
pub fn raise_nofile() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising soft to hard is always allowed. If it fails all the same, the old limit holds.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Slots of one segment under a limit of `nofile` open files.
#[must_use]
pub fn slots_per_segment(nofile: u64) -> u32 {
    u32::try_from(nofile).unwrap_or(u32::MAX).clamp(1, SEGMENT_SLOTS_MAX)
}

/// Bytes of locked memory that this user may have; `None` without a limit, or with CAP_IPC_LOCK.
/// The capability does not help where the limit is too small for an executor.
#[must_use]
pub fn memlock_bytes() -> Option<u64> {
    let passes = is_capable(CapabilitySet::IPC_LOCK);
    memlock_limit().filter(|limit| !passes || *limit < EXECUTOR_MEMLOCK_LEAST)
}

/// The same by the limit alone, as it holds without a capability.
#[must_use]
pub fn memlock_limit() -> Option<u64> {
    getrlimit(Resource::Memlock).current
}

/// Bytes of address space that this process may still map; `None` without a limit.
#[must_use]
pub fn address_space_left() -> Option<u64> {
    let limit = getrlimit(Resource::As).current?;
    let statm = ProcFs::host().read("proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0);
    Some(limit.saturating_sub(pages.saturating_mul(rustix::param::page_size() as u64)))
}

/// Whether `fs.file-max` does not bind this process (CAP_SYS_ADMIN).
#[must_use]
pub fn passes_file_max() -> bool {
    is_capable(CapabilitySet::SYS_ADMIN)
}

/// Threads that this user may have; `None` without a limit, and for root and other users that the
/// kernel does not hold to it.
#[must_use]
pub fn nproc() -> Option<u64> {
    let passes = rustix::process::getuid().is_root() && is_first_user_namespace()
        || is_capable(CapabilitySet::SYS_RESOURCE)
        || is_capable(CapabilitySet::SYS_ADMIN);
    getrlimit(Resource::Nproc).current.filter(|_| !passes)
}

/// Whether this process is in a group.
#[must_use]
pub fn is_in_group(id: u32) -> bool {
    let is_it = |group: rustix::process::Gid| group.as_raw() == id;
    is_it(rustix::process::getegid())
        || rustix::process::getgroups().is_ok_and(|groups| groups.into_iter().any(is_it))
}

/// Whether a capability lets this process pass the host's own limits. It must be held in the first
/// user namespace, so root of a rootless container has none.
fn is_capable(capability: CapabilitySet) -> bool {
    is_first_user_namespace()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

/// Whether user 0 is root of the host.
fn is_first_user_namespace() -> bool {
    let map = ProcFs::host().read("proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
