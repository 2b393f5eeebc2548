//! A short sleep in which only the core's own rings wake it.
//!
//! To sleep through the executor takes it several system calls, and as many to wake. A core that will be
//! woken soon naps instead: one call, which ends with the first completion of any ring. Meanwhile
//! the executor's other tasks wait, so a nap is short, and who was not woken in it goes to sleep.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::thread::set_current_timer_slack;

/// By how much a nap may be longer than asked for, in nanoseconds: 1 is the least there is.
const SLACK_NS: u64 = 1;

/// The rings of one core, seen together.
pub(super) struct Nap {
    rings: OwnedFd,
}

impl Nap {
    /// For the calling thread, without any ring.
    pub(super) fn new() -> io::Result<Nap> {
        set_current_timer_slack(std::num::NonZero::new(SLACK_NS))?;
        Ok(Nap { rings: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    /// One more ring may end a nap, for as long as it is there.
    pub(super) fn heed(&self, ring: BorrowedFd<'_>) -> io::Result<()> {
        let data = epoll::EventData::new_u64(0);
        Ok(epoll::add(&self.rings, ring, data, epoll::EventFlags::IN)?)
    }

    /// Sleeps for `time` at most; whether it was woken.
    ///
    /// # Errors
    /// When a filter of the process forbids the call: then nobody has slept.
    pub(super) fn ends_within(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).expect("a nap is short");
        let mut event = [MaybeUninit::uninit()];
        match epoll::wait(&self.rings, &mut event, Some(&time)) {
            Ok((woken, _)) => Ok(!woken.is_empty()),
            // A ring had work for this thread.
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}
