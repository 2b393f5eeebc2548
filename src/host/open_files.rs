//! Open files: of this process and of the host.

use crate::host::procfs::ProcFs;

/// Files that this process has open. Direct descriptors are not among them.
#[must_use]
pub fn of_process() -> Option<u64> {
    // The directory that is read here is one more, so a list that could be read is not empty.
    let files = ProcFs::host().names("proc/self/fd");
    (!files.is_empty()).then(|| files.len() as u64 - 1)
}

/// Files that the host may still open; `None` when `fs.file-nr` does not say.
#[must_use]
pub fn left(procfs: &ProcFs) -> Option<u64> {
    match procfs.numbers("fs.file-nr").as_deref() {
        Some([used, _, most]) => Some(most.saturating_sub(*used)),
        _ => None,
    }
}
