//! Where the host is read: under `/` or, in tests, under a directory that looks like it.

use std::fs;
use std::path::{Path, PathBuf};

/// A root directory with `proc`, `sys` and `etc` in it.
#[derive(Clone, Debug)]
pub struct ProcFs(PathBuf);

impl ProcFs {
    /// This host's own.
    #[must_use]
    pub fn host() -> ProcFs {
        ProcFs::at("/")
    }

    /// The host below `root`.
    #[must_use]
    pub fn at(root: impl Into<PathBuf>) -> ProcFs {
        ProcFs(root.into())
    }

    /// Whether it is this host's own, so that the kernel can be asked by other ways as well.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// The place of `path`, which is written without a leading slash.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// The text of a file; `None` when it is not there or may not be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.path(path)).ok()
    }

    /// The file of a sysctl, by its dotted name.
    #[must_use]
    pub fn sysctl_path(&self, name: &str) -> PathBuf {
        self.path("proc/sys").join(name.replace('.', "/"))
    }

    /// A sysctl by its dotted name, with single spaces between its words.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.sysctl_path(name)).ok()?;
        Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The numbers of a sysctl, such as the three of `net.ipv4.tcp_mem`; `None` unless every word
    /// is a number.
    #[must_use]
    pub fn numbers(&self, sysctl: &str) -> Option<Vec<u64>> {
        let text = self.sysctl(sysctl)?;
        let numbers: Option<Vec<u64>> = text.split(' ').map(|word| word.parse().ok()).collect();
        numbers.filter(|numbers| !numbers.is_empty())
    }

    /// A sysctl that is one number.
    #[must_use]
    pub fn number(&self, sysctl: &str) -> Option<u64> {
        self.numbers(sysctl).filter(|numbers| numbers.len() == 1).map(|numbers| numbers[0])
    }

    /// The names in a directory, in order; empty when there is no such directory.
    #[must_use]
    pub fn names(&self, directory: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}

impl AsRef<Path> for ProcFs {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
