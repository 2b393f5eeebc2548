//! Open files: of this process and of the host.

use std::fs;

use crate::host::procfs::ProcFs;

/// Files that this process has open. Direct descriptors are not among them.
#[must_use]
pub fn of_process() -> Option<u64> {
    // The directory that is read here is one more.
    fs::read_dir("/proc/self/fd").ok().map(|files| files.count().saturating_sub(1) as u64)
}

/// Files that the host may still open; `None` when `fs.file-nr` does not say.
#[must_use]
pub fn left(procfs: &ProcFs) -> Option<u64> {
    match procfs.numbers("fs.file-nr").as_deref() {
        Some([used, _, most]) => Some(most.saturating_sub(*used)),
        _ => None,
    }
}
