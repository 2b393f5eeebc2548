//! Where the host is read: under `/` or, in tests, under a directory that looks like it. Every file of
//! `/proc`, `/sys` and `/etc` that the programs read is read here; a test of the repository holds it.
//!
//! A reading is whole, bounded and never waits. The files below `/proc/net` and `/proc/sys/net` are
//! of the task's own network namespace. Those below `/sys/class/net` are of the namespace in which
//! `/sys` was mounted, so no figure is taken from there: `links` has them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::constants::{HOST_FILE_BYTES_MAX, HOST_FILE_FIRST_READ_BYTES};
use crate::base::errno::Errno;

/// A root directory with `proc`, `sys` and `etc` in it.
#[derive(Clone, Debug)]
pub struct ProcFs(PathBuf);

/// Why a file has no text. A file that is empty has one, which is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// There is no such file. It may be hidden, so by itself this does not say that the kernel has
    /// none.
    Absent,
    /// It is there, and the kernel does not let it be read.
    Unreadable(Errno),
    /// It is a directory, a pipe or a device, which is never opened.
    NoFile,
    /// It is longer than any file that is read here.
    TooLong,
}

/// A sysctl as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sysctl {
    /// Its value, with single spaces between its words.
    Value(String),
    /// The kernel shows others beside it, so it has none of this name.
    Missing,
    /// It cannot be read, or nothing beside it can be seen either.
    Hidden,
}

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

    /// The text of a file. Bytes that are no UTF-8 are replaced, since a name of a process may have
    /// any bytes.
    ///
    /// # Errors
    /// Why there is no text.
    pub fn text(&self, path: &str) -> Result<String, Unread> {
        let bytes = whole(&self.open(path)?)?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// The text of a file; `None` when it is not there or may not be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<String> {
        self.text(path).ok()
    }

    /// The text of a file of at most `bytes_max`, as [`ProcFs::text`] gives it. Unlike a file of the
    /// kernel, it says how long it is before it is read.
    ///
    /// # Errors
    /// Why there is no text.
    pub fn config_text(&self, path: &str, bytes_max: usize) -> Result<String, Unread> {
        let bytes = fs::metadata(self.path(path)).map_err(|error| unread(&error))?;
        if bytes.is_file() && bytes.len() > bytes_max as u64 {
            return Err(Unread::TooLong);
        }
        self.text(path)
    }

    /// What a symbolic link says; `None` when it is none, or may not be read.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let told = fs::read_link(self.path(path)).ok()?;
        Some(told.to_string_lossy().into_owned())
    }

    /// Whether a path leads to `/dev/null`.
    #[must_use]
    pub fn is_null(&self, path: &str) -> bool {
        let metadata = fs::metadata(self.path(path));
        metadata.is_ok_and(|metadata| {
            metadata.file_type().is_char_device() && metadata.rdev() == libc::makedev(1, 3)
        })
    }

    /// A file that can be read again and again by [`first_bytes`].
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(&self, path: &str) -> Result<File, Unread> {
        let path = self.path(path);
        // A pipe or a device is not opened at all, since to open one may wait or do something.
        if !fs::metadata(&path).map_err(|error| unread(&error))?.is_file() {
            return Err(Unread::NoFile);
        }
        let open = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        let file = open.map_err(|error| unread(&error))?;
        // It may have been replaced since it was looked at.
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_file { Ok(file) } else { Err(Unread::NoFile) }
    }

    /// The file of a sysctl, by its dotted name.
    #[must_use]
    pub fn sysctl_path(&self, name: &str) -> PathBuf {
        self.path(&sysctl_file(name))
    }

    /// A sysctl by its dotted name, with single spaces between its words.
    #[must_use]
    pub fn sysctl(&self, name: &str) -> Option<String> {
        self.read(&sysctl_file(name)).map(|text| spaced(&text))
    }

    /// A sysctl by its dotted name, and if it cannot be read, what that means.
    #[must_use]
    pub fn find_sysctl(&self, name: &str) -> Sysctl {
        let room = name.split('.').next().unwrap_or_default();
        match self.text(&sysctl_file(name)) {
            Ok(text) => Sysctl::Value(spaced(&text)),
            Err(Unread::Absent) if !self.names(&format!("proc/sys/{room}")).is_empty() => {
                Sysctl::Missing
            }
            Err(_) => Sysctl::Hidden,
        }
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

impl ProcFs {
    /// The names in a directory, whatever bytes they have.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn raw_names(&self, directory: &str) -> Result<Vec<OsString>, Unread> {
        let entries = fs::read_dir(self.path(directory)).map_err(|error| unread(&error))?;
        Ok(entries.flatten().map(|entry| entry.file_name()).collect())
    }
}

impl AsRef<Path> for ProcFs {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

/// The beginning of an open file, in one read from its start: the length of what is in `bytes`.
///
/// # Errors
/// When the kernel does not let it be read.
pub fn first_bytes(file: &File, bytes: &mut [u8]) -> Result<usize, Unread> {
    rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *bytes, 0))
        .map_err(|errno| unread(&errno.into()))
}

/// The first read where there is no memory for a large one.
const SHORT_READ_BYTES: usize = 4096;

/// All of a file. Some files below `/proc/sys` give all that they have in the first read, and nothing
/// in a second one, so the first one has room for the longest of them.
fn whole(file: &File) -> Result<Vec<u8>, Unread> {
    let mut bytes = Vec::new();
    loop {
        if bytes.len() == bytes.capacity() {
            // A process with little address space reads what is short, and says what it has.
            let more = bytes.try_reserve_exact(HOST_FILE_FIRST_READ_BYTES);
            more.or_else(|_| bytes.try_reserve_exact(SHORT_READ_BYTES))
                .map_err(|_| Unread::Unreadable(Errno::ENOMEM))?;
        }
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes))
        });
        match read {
            Ok(0) => return Ok(bytes),
            Ok(_) if bytes.len() > HOST_FILE_BYTES_MAX => return Err(Unread::TooLong),
            Ok(_) => {}
            Err(errno) => return Err(unread(&errno.into())),
        }
    }
}

/// A process or thread that has just ended is as absent as one that never was.
fn unread(error: &io::Error) -> Unread {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ESRCH) => Unread::Absent,
        _ => Unread::Unreadable(Errno::from(error)),
    }
}

fn sysctl_file(name: &str) -> String {
    format!("proc/sys/{}", name.replace('.', "/"))
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::host::in_namespace;

    fn tree() -> (tempfile::TempDir, ProcFs) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("proc/sys/net/ipv4")).unwrap();
        let procfs = ProcFs::at(root.path());
        (root, procfs)
    }

    #[test]
    fn absent_empty_and_unreadable_are_told_apart() {
        let (root, procfs) = tree();
        assert_eq!(procfs.text("proc/meminfo"), Err(Unread::Absent));
        assert_eq!(procfs.text("proc/sys"), Err(Unread::NoFile));
        fs::write(root.path().join("proc/empty"), "").unwrap();
        assert_eq!(procfs.text("proc/empty"), Ok(String::new()));
        assert_eq!(procfs.text("proc/empty/x"), Err(Unread::Absent));
        fs::write(root.path().join("proc/bytes"), b"a\xffb\n").unwrap();
        assert_eq!(procfs.text("proc/bytes").unwrap(), "a\u{fffd}b\n");
        symlink("loop", root.path().join("proc/loop")).unwrap();
        assert_eq!(procfs.text("proc/loop"), Err(Unread::Unreadable(Errno(libc::ELOOP))));
        // The memory of a process at address 0.
        let memory = ProcFs::host().text("proc/self/mem");
        assert_eq!(memory, Err(Unread::Unreadable(Errno::EIO)));
    }

    #[test]
    fn a_sysctl_is_missing_only_beside_others() {
        let (root, procfs) = tree();
        let find = |name| procfs.find_sysctl(name);
        assert_eq!(find("net.netfilter.nf_conntrack_max"), Sysctl::Missing);
        assert_eq!(find("kernel.io_uring_disabled"), Sysctl::Hidden, "no other of kernel is seen");
        fs::write(root.path().join("proc/sys/net/ipv4/tcp_mem"), "1\t2\t3\n").unwrap();
        assert_eq!(find("net.ipv4.tcp_mem"), Sysctl::Value("1 2 3".into()));
        assert_eq!(find("net.ipv4"), Sysctl::Hidden, "a directory is no value");
    }

    #[test]
    fn a_pipe_a_device_and_a_long_file_are_not_waited_for() {
        let (root, procfs) = tree();
        let pipe = root.path().join("proc/pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        symlink(&pipe, root.path().join("proc/to_pipe")).unwrap();
        symlink("/dev/zero", root.path().join("proc/zero")).unwrap();
        File::create(root.path().join("proc/long")).unwrap().set_len(1 << 40).unwrap();
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let names = ["pipe", "to_pipe", "zero", "long"];
            tell.send(names.map(|name| procfs.text(&format!("proc/{name}")))).unwrap();
        });
        let found = told.recv_timeout(Duration::from_secs(10)).expect("a reading waits");
        let no_file = || Err(Unread::NoFile);
        assert_eq!(found, [no_file(), no_file(), no_file(), Err(Unread::TooLong)]);
    }

    /// The kernel gives such a file in its first read alone; the standard library begins with 32 bytes.
    #[test]
    fn a_long_sysctl_is_read_whole() {
        let before = "seq -s, 40001 2 41199 | \
            dd bs=4k iflag=fullblock of=/proc/sys/net/ipv4/ip_local_reserved_ports";
        let name = "host::procfs::tests::six_hundred_ports_are_reserved";
        in_namespace::passes("-Urn", before, name);
    }

    #[test]
    #[ignore = "is run by another test, in a namespace that has them"]
    fn six_hundred_ports_are_reserved() {
        let text = ProcFs::host().sysctl("net.ipv4.ip_local_reserved_ports").unwrap();
        assert_eq!(text.split(',').count(), 600, "{} bytes", text.len());
        assert_eq!(crate::host::ports::usable(&ProcFs::host(), 40_000..=41_199).len(), 600);
    }
}
