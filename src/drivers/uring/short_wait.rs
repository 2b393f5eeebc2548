//! A short wait in which only the core's own rings wake the thread: one system call, which ends with
//! the first completion of any ring.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::thread::set_current_timer_slack;

use crate::base::errno::Errno;

/// By how much a wait may be longer than asked for, in nanoseconds: 1 is the least there is.
const SLACK_NS: u64 = 1;

/// The rings of one core, seen together.
pub(super) struct ShortWait {
    rings: OwnedFd,
}

impl ShortWait {
    /// For the calling thread, without any ring.
    pub(super) fn new() -> io::Result<ShortWait> {
        set_current_timer_slack(std::num::NonZero::new(SLACK_NS))?;
        Ok(ShortWait { rings: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// One more ring may end a wait, for as long as it is there.
    pub(super) fn add(&self, ring: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        Ok(epoll::add(&self.rings, ring, data, epoll::EventFlags::IN)?)
    }

    /// Blocks for `time` at most; whether a ring ended it.
    ///
    /// # Errors
    /// When a filter of the process forbids the call: then no time has passed.
    pub(super) fn wait(&self, time: Duration) -> Result<bool, Errno> {
        let time = Timespec::try_from(time).expect("a short wait is short");
        let mut event = [MaybeUninit::uninit()];
        match epoll::wait(&self.rings, &mut event, Some(&time)) {
            Ok((woken, _)) => Ok(!woken.is_empty()),
            // A ring had work for this thread.
            Err(rustix::io::Errno::INTR) => Ok(true),
            Err(error) => Err(Errno(error.raw_os_error())),
        }
    }
}
