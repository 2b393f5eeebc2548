//! What older kernels ask for: they defer the release of a closed slot's socket.
//!
//! There the table's entries are counted by generation, not each by itself: a socket that was
//! closed is given up only when every operation is done that was begun on the same table before the
//! close. An idle connection's poll is such an operation, and may wait for days: the peers of
//! closed connections would never see an end, and the memory of all of them would stay.
//!
//! So on these kernels a close is led by a shutdown, which ends the connection at once, and when
//! enough closes have gathered all polls of the table are begun anew, which frees the memory.
//! Seen on Linux 6.1.192 and 6.12.95 (deferred), 6.16.3 and 6.18.44 (at once).

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use io_uring::{IoUring, opcode, types};

use crate::engine::token::Token;

/// Part of a table's slots that may be closed and not released yet: a poll is begun anew at most
/// this often per close, and this much memory waits.
const UNRELEASED_PART: usize = 4;

/// Time that a kernel which releases at once has to do so.
const AT_ONCE: Duration = Duration::from_millis(20);

/// The polls of one table, to be begun anew, and how many closes wait for that.
pub(super) struct DeferredRelease {
    /// By slot: the packed token of the poll that is with the kernel.
    polls: Box<[Option<u64>]>,
    closed: usize,
}

impl DeferredRelease {
    pub(super) fn new(slots: u32) -> DeferredRelease {
        DeferredRelease { polls: vec![None; slots as usize].into(), closed: 0 }
    }

    /// A poll of idle length is with the kernel.
    pub(super) fn begun(&mut self, token: Token) {
        self.polls[usize::from(token.slot().index())] = Some(token.packed());
    }

    /// It is not any more.
    pub(super) fn done(&mut self, token: Token) {
        self.polls[usize::from(token.slot().index())] = None;
    }

    /// A slot was closed: the polls that are to be cancelled now, as a rule none.
    pub(super) fn closed(&mut self) -> Vec<u64> {
        self.closed += 1;
        if self.closed <= self.polls.len() / UNRELEASED_PART {
            return Vec::new();
        }
        self.closed = 0;
        self.polls.iter().flatten().copied().collect()
    }
}

/// Whether this kernel defers the release, by trying it: one slot is polled, then another is closed, and
/// its peer looks for the end.
///
/// # Errors
/// When the small ring or the sockets of the trial cannot be made.
pub(super) fn defers_release() -> std::io::Result<bool> {
    let mut ring: IoUring = IoUring::new(2)?;
    let ((polled, _silent), (closed, mut peer)) = (UnixStream::pair()?, UnixStream::pair()?);
    ring.submitter().register_files(&[polled.as_raw_fd(), closed.as_raw_fd()])?;
    drop(closed);
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build();
    let close = opcode::Close::new(types::Fixed(1)).build();
    for entry in [poll, close] {
        // SAFETY: neither entry holds a pointer. Exercised by every start.
        unsafe { ring.submission().push(&entry) }.expect("the queue has two places");
    }
    ring.submit()?;
    peer.set_read_timeout(Some(AT_ONCE))?;
    Ok(peer.read(&mut [0]).is_err())
}
