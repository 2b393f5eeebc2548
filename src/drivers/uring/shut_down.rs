//! How a connection is shut down by no thread of the kernel's.
//!
//! io_uring hands every SHUTDOWN to a worker, a thread of this process that counts against `pids.max` and
//! RLIMIT_NPROC; where there may be no more threads, it waits for ever. So the direct descriptor is given
//! a number for a moment, which the ring does by itself, and shutdown(2) and close(2) follow. Where the
//! kernel cannot (before Linux 6.8), or there is no number left, it is a SHUTDOWN after all, of which a
//! core has one worker.

use std::os::fd::{FromRawFd, OwnedFd};

use io_uring::{opcode, squeue, types};
use rustix::net::Shutdown;

use crate::base::errno::Errno;
use crate::engine::driver::Completion;
use crate::engine::token::Token;

/// Marks the `user_data` of a descriptor to be installed: no operation has such a number.
const INSTALL: u64 = 1 << 63;

/// The same, of one that is then shut down in both directions.
const BOTH: u64 = 1 << 62;

/// What has come of an entry of the completion queue.
pub(super) enum Shut {
    /// It was none of ours.
    Other,
    /// The connection is shut down, or could not be.
    Done(Completion),
    /// There was no descriptor to be had.
    NotInstalled(Token, Shutdown),
}

/// A number is asked for the descriptor in `slot`, so that `finish` can shut it down.
pub(super) fn install(slot: types::Fixed, token: Token, how: Shutdown) -> squeue::Entry {
    let both = if how == Shutdown::Both { BOTH } else { 0 };
    let entry = opcode::FixedFdInstall::new(slot, 0).build();
    entry.user_data(token.packed() | INSTALL | both)
}

/// Shuts down by a worker.
pub(super) fn by_worker(slot: types::Fixed, token: Token, how: Shutdown) -> squeue::Entry {
    let how = if how == Shutdown::Both { libc::SHUT_RDWR } else { libc::SHUT_WR };
    opcode::Shutdown::new(slot, how).build().user_data(token.packed())
}

/// Shuts the connection down whose descriptor was installed.
pub(super) fn finish(user_data: u64, result: i32) -> Shut {
    if user_data & INSTALL == 0 {
        return Shut::Other;
    }
    let how = if user_data & BOTH == 0 { Shutdown::Write } else { Shutdown::Both };
    let Some(token) = Token::unpack(user_data & !(INSTALL | BOTH)) else { return Shut::Other };
    if result < 0 {
        return Shut::NotInstalled(token, how);
    }
    // SAFETY: the kernel has made this descriptor for us just now, and nothing else knows its number.
    // Exercised by tests/ring.rs.
    let socket = unsafe { OwnedFd::from_raw_fd(result) };
    let result = rustix::net::shutdown(&socket, how);
    let result = result.map(|()| 0).map_err(|errno| Errno(errno.raw_os_error()));
    Shut::Done(Completion { token, result })
}
