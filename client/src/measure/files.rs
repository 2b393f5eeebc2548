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
    procfs: ProcFs,
    /// Whether `fs.file-max` does not bind this process: it opens what there is.
    passes: bool,
    met: Option<String>,
}

impl FilesWatchdog {
    /// A watchdog over the files of `host`.
    pub(crate) fn new(host: &Host) -> FilesWatchdog {
        FilesWatchdog { procfs: host.procfs.clone(), passes: host.passes_file_max, met: None }
    }

    /// Looks; `true` when nothing more may be opened from now on. It is `true` once.
    pub(crate) fn look(&mut self) -> bool {
        if self.passes || self.met.is_some() {
            return false;
        }
        self.met = few_left(&self.procfs);
        if let Some(met) = &self.met {
            talk(&format!("files are short: opening nothing more ({met})"));
        }
        self.met.is_some()
    }

    /// That they were short, in words.
    pub(crate) fn met(&self) -> Option<&str> {
        self.met.as_deref()
    }

    /// That fewer files are left now than a process leaves that is bound by `fs.file-max`, in words; `None`
    /// of such a one.
    pub(crate) fn passed(&self) -> Option<String> {
        let few = few_left(&self.procfs).filter(|_| self.passes)?;
        Some(format!("{few} by a run that is bound by it; other users could find none free"))
    }
}

/// That a run which is not bound by `fs.file-max` may leave too few files to others when it opens so many, in
/// a sentence.
pub(crate) fn may_pass(host: &Host, files: u64) -> Option<String> {
    let most = host.procfs.number("fs.file-max").filter(|_| host.passes_file_max)?;
    let left = open_files::left(&host.procfs)?.saturating_sub(files);
    (left < to_be_left(most)).then(|| {
        format!(
            "this user passes fs.file-max {}: while as many connections are held as there can be, other \
             users of this host may find no file free; fix: run it as an ordinary user",
            grouped(most)
        )
    })
}

/// That too few files are left, in words.
fn few_left(procfs: &ProcFs) -> Option<String> {
    let left = open_files::left(procfs)?;
    let most = procfs.number("fs.file-max")?;
    let to_be_left = to_be_left(most);
    let [left_of, most, to_be_left_of] = [left, most, to_be_left].map(grouped);
    (left < to_be_left).then(|| {
        format!("{left_of} files left of fs.file-max {most}, {to_be_left_of} are left to others")
    })
}

fn to_be_left(most: u64) -> u64 {
    (most / LEFT_PART).clamp(LEFT_LEAST, LEFT_MOST)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn write(root: &Path, used: u64, most: u64) {
        let fs_of = root.join("proc/sys/fs");
        fs::create_dir_all(&fs_of).unwrap();
        fs::write(fs_of.join("file-nr"), format!("{used}\t0\t{most}\n")).unwrap();
        fs::write(fs_of.join("file-max"), format!("{most}\n")).unwrap();
    }

    #[test]
    fn some_files_are_left_to_others() {
        let root = tempfile::tempdir().unwrap();
        let few = |used: u64, most: u64| {
            write(root.path(), used, most);
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

    #[test]
    fn a_run_that_is_not_bound_by_them_says_that_few_are_left() {
        let root = tempfile::tempdir().unwrap();
        let host = |passes_file_max| {
            let procfs = ProcFs::at(root.path());
            Host { procfs, passes_file_max, ..Host::read(1_000, 0) }
        };
        write(root.path(), 1_000, 100_000);
        assert_eq!(may_pass(&host(true), 90_000), None);
        let line = may_pass(&host(true), 95_000).unwrap();
        assert!(line.contains("fs.file-max 100,000") && line.contains("; fix: "), "{line}");
        assert_eq!(may_pass(&host(false), 95_000), None, "it ends before that");
        assert_eq!(FilesWatchdog::new(&host(true)).passed(), None);
        write(root.path(), 101_000, 100_000);
        let mut root_s = FilesWatchdog::new(&host(true));
        assert!(!root_s.look() && root_s.met().is_none(), "it goes on");
        let words = "0 files left of fs.file-max 100,000, 4,096 are left to others by a run that is bound \
                     by it; other users could find none free";
        assert_eq!(root_s.passed().as_deref(), Some(words));
        assert_eq!(FilesWatchdog::new(&host(false)).passed(), None);
    }
}
