//! The open files that are left to other programs: every socket is a file of the host, and where none is
//! left no program can open one.

use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::host::open_files;
use megaconn::host::procfs::ProcFs;
use megaconn::walls::host::Host;

/// Of all files a 64th is left, at least what both ends may open until they hear of it, and no more than
/// any host needs.
const LEFT_PART: u64 = 64;
const LEFT_LEAST: u64 = 4_096;
const LEFT_MOST: u64 = 16_384;

/// Looks whether files are left, and remembers when they no longer were.
pub(crate) struct FilesWatchdog {
    /// `None` where `fs.file-max` does not bind this process.
    procfs: Option<ProcFs>,
    met: Option<String>,
}

impl FilesWatchdog {
    /// A watchdog over the files of `host`.
    pub(crate) fn new(host: &Host) -> FilesWatchdog {
        let procfs = (!host.passes_file_max).then(|| host.procfs.clone());
        FilesWatchdog { procfs, met: None }
    }

    /// Looks; `true` when nothing more may be opened from now on. It is `true` once.
    pub(crate) fn look(&mut self) -> bool {
        if self.met.is_some() {
            return false;
        }
        self.met = self.procfs.as_ref().and_then(few_left);
        if let Some(met) = &self.met {
            talk(&format!("files are short: opening nothing more ({met})"));
        }
        self.met.is_some()
    }

    /// That they were short, in words.
    pub(crate) fn met(&self) -> Option<&str> {
        self.met.as_deref()
    }
}

/// That too few files are left, in words.
fn few_left(procfs: &ProcFs) -> Option<String> {
    let left = open_files::left(procfs)?;
    let most = procfs.number("fs.file-max")?;
    let to_be_left = (most / LEFT_PART).clamp(LEFT_LEAST, LEFT_MOST);
    let [left_of, most, to_be_left_of] = [left, most, to_be_left].map(grouped);
    (left < to_be_left).then(|| {
        format!("{left_of} files left of fs.file-max {most}, {to_be_left_of} are left to others")
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn some_files_are_left_to_others() {
        let root = tempfile::tempdir().unwrap();
        let few = |used: u64, most: u64| {
            let fs_of = root.path().join("proc/sys/fs");
            fs::create_dir_all(&fs_of).unwrap();
            fs::write(fs_of.join("file-nr"), format!("{used}\t0\t{most}\n")).unwrap();
            fs::write(fs_of.join("file-max"), format!("{most}\n")).unwrap();
            few_left(&ProcFs::at(root.path()))
        };
        assert_eq!(few(0, 10_000), None);
        assert_eq!(few(5_904, 10_000), None);
        let words = "4,095 files left of fs.file-max 10,000, 4,096 are left to others";
        assert_eq!(few(5_905, 10_000).as_deref(), Some(words));
        assert_eq!((few(900_000, 1_000_000), few(0, i64::MAX.unsigned_abs())), (None, None));
        assert!(few(985_000, 1_000_000).is_some(), "a 64th");
        assert!(few_left(&ProcFs::at(root.path().join("nowhere"))).is_none());
    }
}
