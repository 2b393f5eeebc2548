//! Where dumps go: stdout, a file, or a FIFO that need not have a reader. A tick gets there whole, or
//! not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write, stdout};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::base::files::{take_away, take_over};
use crate::base::stderr::talk;
use crate::base::stdout;
use crate::base::until::Until;

/// A place that ticks are written to, `-` being stdout. It has this process alone as its writer, and
/// what an earlier one wrote there is set aside, and told.
///
/// # Errors
/// When the file cannot be made, or another process is writing it.
pub fn open(path: &Path) -> io::Result<Box<dyn Write + Send>> {
    if path == Path::new("-") {
        stdout::is_open()?;
        return Ok(Box::new(stdout()));
    }
    if path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        let mut fifo = Fifo { path: path.to_owned(), reader: None, tick: Vec::new() };
        fifo.reader = fifo.find_reader()?;
        if fifo.reader.is_none() {
            fifo.say_it();
        }
        return Ok(Box::new(fifo));
    }
    let (file, aside) = take_over(path)?;
    if let Some(aside) = aside {
        talk(&format!("{} of an earlier run is set aside: {}", path.display(), aside.display()));
    }
    Ok(Box::new(Whole { file, tick: Vec::new(), written: 0 }))
}

/// The same for a file that an older server writes: ticks are dropped until that time is over. What it has written
/// is set aside then, and it goes on writing there.
#[must_use]
pub fn open_later(path: &Path, until: Until) -> Box<dyn Write + Send> {
    Box::new(Later { path: path.to_owned(), until, drops: false, place: None })
}

/// A place that is opened when its time has come.
struct Later {
    path: PathBuf,
    until: Until,
    /// What was written of this tick is dropped, and so is the rest of it.
    drops: bool,
    place: Option<Box<dyn Write + Send>>,
}

impl Write for Later {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.place.is_none() && !self.drops && self.until.is_over() {
            let (file, aside) = take_away(&self.path)?;
            if let Some(aside) = aside {
                talk(&format!("{} of the server before: {}", self.path.display(), aside.display()));
            }
            self.place = Some(Box::new(Whole { file, tick: Vec::new(), written: 0 }));
        }
        match &mut self.place {
            Some(place) => place.write(bytes),
            None => {
                self.drops = true;
                Ok(bytes.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drops = false;
        self.place.as_mut().map_or(Ok(()), |place| place.flush())
    }
}

/// A file that has whole ticks.
struct Whole {
    file: File,
    /// What has come of a tick so far.
    tick: Vec<u8>,
    /// Bytes of whole ticks.
    written: u64,
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tick.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let written = self.file.write_all(&self.tick);
        if written.is_ok() {
            self.written += self.tick.len() as u64;
        } else {
            // Of a device, and on a disk that fails, it may not be possible.
            let _ = self.file.set_len(self.written);
        }
        self.tick.clear();
        written
    }
}

/// A FIFO. Ticks that come while it has no reader are dropped; with a reader they are written, and
/// the thread of the dumps waits for it.
struct Fifo {
    path: PathBuf,
    reader: Option<File>,
    tick: Vec<u8>,
}

impl Fifo {
    /// `None` while there is no reader.
    fn find_reader(&self) -> io::Result<Option<File>> {
        let mut options = OpenOptions::new();
        let opened = options.write(true).custom_flags(libc::O_NONBLOCK).open(&self.path);
        match opened {
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(error),
            Ok(file) => {
                // From now on whole ticks count, not haste.
                let flags = rustix::fs::fcntl_getfl(file.as_fd())?;
                rustix::fs::fcntl_setfl(file.as_fd(), flags - OFlags::NONBLOCK)?;
                Ok(Some(file))
            }
        }
    }

    fn say_it(&self) {
        talk(&format!(
            "nothing reads {}: ticks are dropped until something does",
            self.path.display()
        ));
    }
}

impl Write for Fifo {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tick.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let tick = std::mem::take(&mut self.tick);
        if self.reader.is_none() {
            self.reader = self.find_reader()?;
        }
        let Some(reader) = &mut self.reader else { return Ok(()) };
        match reader.write_all(&tick) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.reader = None;
                self.say_it();
                Ok(())
            }
            written => written,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::{Duration, Instant};
    use std::{fs, thread};

    use super::*;

    fn tick(place: &mut dyn Write, text: &str) -> io::Result<()> {
        place.write_all(text.as_bytes())?;
        place.flush()
    }

    #[test]
    fn a_fifo_without_a_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        let began = Instant::now();
        let mut place = open(&path).unwrap();
        tick(&mut *place, "dropped\n").unwrap();
        assert!(began.elapsed() < Duration::from_secs(5), "it was waited for");
        let mut reader =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        tick(&mut *place, "one\n").unwrap();
        let mut text = [0; 16];
        let n = reader.read(&mut text).unwrap();
        assert_eq!(&text[..n], b"one\n");
        drop(reader);
        tick(&mut *place, "lost with its reader\n").unwrap();
        tick(&mut *place, "dropped\n").unwrap();
        let again = thread::spawn(move || fs::read_to_string(path).unwrap());
        // The reader may take a moment to come.
        while !again.is_finished() {
            tick(&mut *place, "two\n").unwrap();
            if began.elapsed() > Duration::from_millis(200) {
                place = Box::new(io::sink());
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert!(again.join().unwrap().starts_with("two\n"));
    }

    #[test]
    fn a_file_has_whole_ticks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.ndjson");
        let mut place = open(&path).unwrap();
        place.write_all(b"{\"half\":").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "", "no half line");
        tick(&mut *place, "1}\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\":1}\n");
        let full = open(Path::new("/dev/full")).unwrap();
        assert_eq!(tick(&mut { full }, "x\n").unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    }
}
