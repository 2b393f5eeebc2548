//! Files that programs leave behind: written whole or not at all, never over those of an earlier run,
//! and what is told when that fails.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::base::errno::Errno;

/// Directories of earlier runs that are looked for in one place.
const EARLIER_MAX: u32 = 100_000;

/// A process that only asks whether a file is being written has it for some microseconds.
const LOCK_TRIES: u32 = 10;
const LOCK_AGAIN: Duration = Duration::from_millis(10);

/// `error` with its fix: what the kernel says is named where people would not know it, and the fix is
/// `otherwise` where the error has none of its own.
#[must_use]
pub fn told(error: &io::Error, otherwise: &str) -> String {
    if error.kind() == io::ErrorKind::ResourceBusy {
        return "another process is writing there; fix: another place, or wait for its end".into();
    }
    let (what, fix) = match error.raw_os_error().map(Errno) {
        Some(Errno::ENOSPC) => ("the disk is full: ", "free space there, or another disk"),
        Some(Errno(libc::EDQUOT)) => ("the quota is used up: ", "free space, or a higher quota"),
        Some(Errno(libc::EROFS)) => ("the file system is read-only: ", "a place on another one"),
        Some(Errno(libc::EFBIG)) => ("the file may not grow: ", "a higher `ulimit -f`"),
        Some(Errno::EIO) => ("the device failed: ", "another disk, and a look at dmesg"),
        _ => ("", otherwise),
    };
    format!("{what}{error}; fix: {fix}")
}

/// Writes a whole file: under another name beside it first, so that its own name has all of it or what
/// was there before. What is no regular file, as a pipe or `/dev/stdout`, is written to as it is.
///
/// # Errors
/// When it cannot be written. Then nothing is left of it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // The file behind a link is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, bytes);
    }
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    let part = path.with_file_name(name);
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    });
    if written.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&part);
    }
    written
}

/// A file that this process alone writes, emptied. What another process wrote into it before is set
/// aside; where it was, is told with the file.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] when another process is writing it, or whatever else is wrong.
pub fn take_over(path: &Path) -> io::Result<(File, Option<PathBuf>)> {
    let file = open_to_write(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok((file, None));
    }
    lock(&file)?;
    if metadata.len() == 0 {
        return Ok((file, None));
    }
    take_away(path)
}

/// The same of a file that another process may be writing: it goes on where its file is set aside.
///
/// # Errors
/// As [`take_over`], where nothing was written yet.
pub fn take_away(path: &Path) -> io::Result<(File, Option<PathBuf>)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let aside = set_aside(dir, &[Path::new(name)])?;
    let file = open_to_write(path)?;
    lock(&file)?;
    Ok((file, aside))
}

fn open_to_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    // A FIFO without a reader is an error, not a wait.
    options.write(true).create(true).truncate(false).custom_flags(libc::O_NONBLOCK).open(path)
}

/// A regular file, to be read; `None` when there is something else, of which no FIFO is waited for.
///
/// # Errors
/// When it cannot be opened.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Locks `file` for this process for as long as it is open.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] when another process has it.
pub fn lock(file: &File) -> io::Result<()> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_AGAIN),
            // A file system without locks; nothing can be told there.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(()),
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Whether a process that took `file` over still writes it.
#[must_use]
pub fn is_being_written(file: &File) -> bool {
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

/// Moves those of `names` that are regular files in `dir`, and are not empty, to a directory in it
/// that is called `earlier-` and a number; which that was.
///
/// # Errors
/// When one of them cannot be moved.
pub fn set_aside(dir: &Path, names: &[&Path]) -> io::Result<Option<PathBuf>> {
    let is_ours = |name: &&&Path| {
        let metadata = fs::symlink_metadata(dir.join(name));
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0)
    };
    let names: Vec<&Path> = names.iter().filter(is_ours).copied().collect();
    if names.is_empty() {
        return Ok(None);
    }
    let numbered = |number| dir.join(format!("earlier-{number}"));
    let last = (1..EARLIER_MAX).take_while(|number| numbered(*number).exists()).last();
    // Files of one run are together, also when two processes set them aside.
    let has_room = |dir: &PathBuf| names.iter().all(|name| !dir.join(name).exists());
    let aside = last.map(numbered).filter(has_room);
    let aside = aside.unwrap_or_else(|| numbered(last.unwrap_or(0) + 1));
    fs::create_dir_all(&aside)?;
    for name in names {
        fs::rename(dir.join(name), aside.join(name))?;
    }
    Ok(Some(aside))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn a_full_disk_is_told_and_leaves_no_half_of_a_file() {
        let full = io::Error::from_raw_os_error(libc::ENOSPC);
        let said = told(&full, "a directory that you may write");
        assert!(said.contains("the disk is full") && said.contains("fix: free space"), "{said}");
        let denied = told(&io::Error::from_raw_os_error(libc::EACCES), "rights");
        assert!(denied.ends_with("fix: rights"), "{denied}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("result.json");
        write_whole(&path, b"one").unwrap();
        // The name beside it is taken by a directory: it cannot be written there.
        fs::create_dir(dir.path().join(".result.json")).unwrap();
        write_whole(&path, b"two").unwrap_err();
        assert_eq!(text(&path), "one");
        fs::remove_dir(dir.path().join(".result.json")).unwrap();
        write_whole(&path, b"three").unwrap();
        assert_eq!((text(&path).as_str(), fs::read_dir(dir.path()).unwrap().count()), ("three", 1));
        assert_eq!(write_whole(Path::new("/dev/full"), b"x").unwrap_err().raw_os_error(), Some(28));
    }

    #[test]
    fn a_file_has_one_writer_and_what_was_in_it_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.ndjson");
        let (mut first, aside) = take_over(&path).unwrap();
        assert_eq!(aside, None);
        first.write_all(b"first\n").unwrap();
        let read = File::open(&path).unwrap();
        assert!(is_being_written(&read));
        assert_eq!(take_over(&path).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(text(&path), "first\n", "the other one's file is left alone");
        drop(first);
        assert!(!is_being_written(&read));
        drop(read);
        let (_second, aside) = take_over(&path).unwrap();
        assert_eq!(aside, Some(dir.path().join("earlier-1")));
        assert_eq!(
            (text(&path), text(&dir.path().join("earlier-1/server.ndjson"))),
            (String::new(), "first\n".to_owned())
        );
    }

    #[test]
    fn files_of_one_run_are_set_aside_together() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let set_aside = |names: &[&str]| {
            let names: Vec<&Path> = names.iter().map(Path::new).collect();
            set_aside(dir.path(), &names)
                .unwrap()
                .map(|aside| aside.file_name().unwrap().to_str().unwrap().to_owned())
        };
        assert_eq!(set_aside(&["a", "b"]), None);
        for (a, b, expected) in [("1", "1", "earlier-1"), ("2", "2", "earlier-2")] {
            write("a", a);
            assert_eq!(set_aside(&["a"]).as_deref(), Some(expected));
            write("b", b);
            assert_eq!(set_aside(&["b", "absent"]).as_deref(), Some(expected));
        }
        write("a", "");
        assert_eq!(set_aside(&["a"]), None, "nothing is in it");
        assert_eq!(text(&dir.path().join("earlier-2/a")), "2");
    }
}
