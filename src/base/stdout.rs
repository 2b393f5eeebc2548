//! stdout is data: it is delivered, or its loss is told by a message and an exit status. It is the one
//! place that writes answers; dumps have their own.

use std::io::{self, ErrorKind, IsTerminal, Write, stdout};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::files;
use crate::base::stderr::talk;

/// Exit status of a program that a closed pipe ended: 128 and the number of SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// Whether stdout was closed before the program began. The standard library has opened `/dev/null` in
/// its place, which takes everything.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Why data did not reach stdout.
#[derive(Debug, thiserror::Error)]
pub enum Undelivered {
    /// The reader of a pipe has closed it: it has seen enough, and nothing is said.
    #[error("stdout: its reader has closed the pipe")]
    PipeClosed,
    /// Anything else.
    #[error("stdout: {}", files::told(.0, "an open stdout, as a file or a pipe"))]
    Failed(io::Error),
}

impl Undelivered {
    /// Says what is to be said; the exit status of a program that could not give its answer. It is
    /// `failed`, or 141 after a closed pipe, as if SIGPIPE had ended the program.
    #[must_use]
    pub fn report(&self, failed: u8) -> ExitCode {
        match self {
            Undelivered::PipeClosed => ExitCode::from(CLOSED_PIPE),
            Undelivered::Failed(_) => {
                talk(&format!("error: {self}"));
                ExitCode::from(failed)
            }
        }
    }
}

impl From<io::Error> for Undelivered {
    fn from(error: io::Error) -> Undelivered {
        match error.kind() {
            ErrorKind::BrokenPipe => Undelivered::PipeClosed,
            _ => Undelivered::Failed(error),
        }
    }
}

/// Remembers that stdout was closed before the program began.
pub fn was_closed_at_start(is_closed: bool) {
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// An error when stdout was closed before the program began.
///
/// # Errors
/// `EBADF`.
pub fn is_open() -> io::Result<()> {
    let closed = io::Error::from_raw_os_error(libc::EBADF);
    if IS_CLOSED.load(Ordering::Relaxed) { Err(closed) } else { Ok(()) }
}

/// Writes all of `bytes`, and does not keep any in a buffer.
///
/// # Errors
/// When they did not reach stdout.
pub fn deliver(bytes: &[u8]) -> Result<(), Undelivered> {
    is_open()?;
    let mut out = stdout().lock();
    out.write_all(bytes)?;
    out.flush()?;
    Ok(())
}

/// Writes all of `bytes`; where stdout is a file, they are on its disk afterwards.
///
/// # Errors
/// As [`deliver`].
pub fn deliver_durably(bytes: &[u8]) -> Result<(), Undelivered> {
    deliver(bytes)?;
    let out = stdout();
    if out.is_terminal() {
        return Ok(());
    }
    match rustix::fs::fsync(&out) {
        // A pipe or a device has nothing to be made durable.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => Ok(()),
        Err(errno) => Err(io::Error::from(errno).into()),
    }
}
