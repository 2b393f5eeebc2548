//! A host that is a directory: `proc`, `sys` and `etc` as a test writes them.

use std::fs;
use std::path::Path;

use megaconn::walls::tree::Tree;
use tempfile::TempDir;

/// A directory that is read as if it were `/`; removed when dropped.
pub(crate) struct FakeHost(TempDir);

impl FakeHost {
    /// With nothing in it.
    pub(crate) fn empty() -> FakeHost {
        FakeHost(tempfile::tempdir().expect("a directory for a test can be made"))
    }

    pub(crate) fn root(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::at(self.root())
    }

    /// Writes a file, by its path without the leading slash.
    pub(crate) fn write(&self, path: &str, text: &str) -> &FakeHost {
        let path = self.root().join(path);
        let directory = path.parent().expect("a file lies in a directory");
        fs::create_dir_all(directory).expect("our own directory can be written");
        fs::write(path, text).expect("our own directory can be written");
        self
    }

    /// Sets a sysctl, by its dotted name.
    pub(crate) fn sysctl(&self, key: &str, value: &str) -> &FakeHost {
        self.write(&format!("proc/sys/{}", key.replace('.', "/")), &format!("{value}\n"))
    }
}
