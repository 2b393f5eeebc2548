//! The process's own limits, raised as far as they may be without any right.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::limits::SEGMENT_SLOTS_MAX;

/// Raises the soft limit on open files to the hard one: it bounds the table of a segment, and
/// fewer, larger segments need less locked memory. The limit that then holds.
#[must_use]
pub fn raise_nofile() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Raising soft to hard is always allowed; if it fails all the same, the old limit holds.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Slots of one segment under a limit of `nofile` open files.
#[must_use]
pub fn slots_per_segment(nofile: u64) -> u32 {
    u32::try_from(nofile).unwrap_or(u32::MAX).clamp(1, SEGMENT_SLOTS_MAX)
}

/// Bytes of locked memory this user may have; `None` without a limit, by the limit itself or by
/// CAP_IPC_LOCK.
#[must_use]
pub fn memlock_bytes() -> Option<u64> {
    getrlimit(Resource::Memlock).current.filter(|_| !is_capable(CapabilitySet::IPC_LOCK))
}

/// Whether `fs.file-max` does not bind this process (CAP_SYS_ADMIN).
#[must_use]
pub fn passes_file_max() -> bool {
    is_capable(CapabilitySet::SYS_ADMIN)
}

fn is_capable(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}
