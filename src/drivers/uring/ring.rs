//! One ring with its registered-file table.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use io_uring::{IoUring, opcode, squeue, types};
use rustix::net::Shutdown;

use crate::base::constants::{CQ_ENTRIES, SQ_ENTRIES};
use crate::base::errno::Errno;
use crate::engine::driver::Completion;
use crate::engine::token::Token;

use super::deferred_release::DeferredRelease;
use super::shut_down::{self, Shut};

/// A ring of one segment. Entries wait in the submission queue until `submit` or until it is full.
pub(super) struct Ring {
    ring: IoUring,
    queued: u32,
    /// Completions that had to be moved out of the way while a full queue was submitted.
    early: VecDeque<Completion>,
    /// Shutdowns for which there was no descriptor: a worker does them.
    for_worker: Vec<(Token, Shutdown)>,
    /// On a kernel that defers the release of closed slots.
    deferred: Option<DeferredRelease>,
}

/// `user_data` of an operation whose completion is dropped: no token packs to it.
pub(super) const DROPPED: u64 = u64::MAX;

impl Ring {
    /// A ring with an empty table of `slots`, whose completions ring `bell` when `is_armed`.
    pub(super) fn new(
        slots: u32,
        bell: &OwnedFd,
        is_armed: bool,
        defers_release: bool,
    ) -> std::io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_cqsize(CQ_ENTRIES)
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_submit_all()
            .dontfork()
            .build(SQ_ENTRIES)?;
        ring.submitter().register_files_sparse(slots)?;
        ring.submitter().register_eventfd(bell.as_raw_fd())?;
        // One at most of each kind, so that it is known how many threads a core has.
        ring.submitter().register_iowq_max_workers(&mut [1, 1])?;
        let deferred = defers_release.then(|| DeferredRelease::new(slots));
        let mut ring =
            Ring { ring, queued: 0, early: VecDeque::new(), for_worker: Vec::new(), deferred };
        ring.arm(is_armed);
        Ok(ring)
    }

    /// Queues an entry; submits first when the queue is full.
    pub(super) fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every pointer in an entry is made by `UringDriver` from memory that it owns and
        // keeps longer than any `enter`: its target addresses, which a connect copies, and
        // its buffers, which a receive or send with MSG_DONTWAIT has done with by then, and which
        // are never freed, because a receive that waits has not. Exercised by tests/ring.rs.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.submit();
        }
        self.queued += 1;
    }

    /// Queues the close of a slot, so that its connection ends at once whatever the kernel does.
    pub(super) fn close(&mut self, slot: types::Fixed, close: &squeue::Entry) {
        let Some(deferred) = &mut self.deferred else { return self.push(close) };
        let to_cancel = deferred.closed();
        let shutdown = opcode::Shutdown::new(slot, libc::SHUT_RDWR).build();
        // Linked hard: the close follows the shutdown's end, also one in failure.
        let shutdown = shutdown.flags(squeue::Flags::IO_HARDLINK).user_data(DROPPED);
        let pair = [shutdown, close.clone()];
        // SAFETY: neither entry holds a pointer. Exercised by bench-scripts/kernel-6.1.sh.
        while unsafe { self.ring.submission().push_multiple(&pair) }.is_err() {
            self.submit();
        }
        self.queued += 2;
        for poll in to_cancel {
            self.push(&opcode::AsyncCancel::new(poll).build().user_data(DROPPED));
        }
    }

    /// Queues the shutdown of a slot, by no worker where the kernel `installs` descriptors.
    pub(super) fn shut_down(&mut self, token: Token, how: Shutdown, installs: bool) {
        let slot = types::Fixed(u32::from(token.slot().index()));
        let make = if installs { shut_down::install } else { shut_down::by_worker };
        self.push(&make(slot, token, how));
    }

    /// A poll that may wait for long is about to be queued.
    pub(super) fn poll_begins(&mut self, token: Token) {
        if let Some(deferred) = &mut self.deferred {
            deferred.begun(token);
        }
    }

    /// It has completed.
    pub(super) fn poll_is_done(&mut self, token: Token) {
        if let Some(deferred) = &mut self.deferred {
            deferred.done(token);
        }
    }

    /// Hands the queued entries to the kernel; one system call, none when nothing is queued.
    pub(super) fn submit(&mut self) {
        while self.queued > 0 {
            match self.ring.submit() {
                Ok(submitted) => self.submitted(submitted),
                Err(error) if is_transient(&error) => self.set_aside(),
                Err(error) => panic!("io_uring_enter failed on a ring that it had made: {error}"),
            }
        }
    }

    /// Moves completions into `batch`, up to its capacity.
    pub(super) fn reap(&mut self, batch: &mut Vec<Completion>) {
        let before = batch.len();
        while batch.len() < batch.capacity() {
            let Some(completion) = self.early.pop_front() else { break };
            batch.push(completion);
        }
        loop {
            let room = batch.capacity() - batch.len();
            let for_worker = &mut self.for_worker;
            let completions = self.ring.completion().take(room);
            batch.extend(completions.filter_map(|entry| completion(&entry, for_worker)));
            self.hand_to_worker();
            if batch.len() == batch.capacity() || !self.has_more(batch.len() == before) {
                return;
            }
            // The kernel puts what it has into the queue when asked; a failure here is transient
            // and the next reap asks again.
            match self.ring.submit() {
                Ok(submitted) => self.submitted(submitted),
                Err(_) => return,
            }
        }
    }

    /// Whether completions ring the bell: off while the core is awake and looks by itself.
    pub(super) fn arm(&mut self, on: bool) {
        let completions = self.ring.completion();
        if on {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
    }

    /// Whether there is something to reap or to submit.
    pub(super) fn has_work(&mut self) -> bool {
        self.queued > 0
            || !self.early.is_empty()
            || !self.ring.completion().is_empty()
            || self.has_more(true)
    }

    /// Whether an `enter` would bring completions: what did not fit into the queue, and, when the core
    /// has nothing else to do, what waits for any `enter`.
    fn has_more(&mut self, is_idle: bool) -> bool {
        let submission = self.ring.submission();
        submission.cq_overflow() || (is_idle && submission.taskrun())
    }

    /// The ring itself, to be waited for.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring is open for as long as this borrows it. Exercised by every run of a core.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    /// Puts a socket into the table; the table then holds its own reference.
    pub(super) fn put_in_table(&self, index: u32, socket: BorrowedFd<'_>) -> std::io::Result<()> {
        self.ring.submitter().register_files_update(index, &[socket.as_raw_fd()]).map(|_| ())
    }

    fn submitted(&mut self, entries: usize) {
        self.queued -= u32::try_from(entries).expect("no more than were queued");
    }

    fn set_aside(&mut self) {
        let for_worker = &mut self.for_worker;
        let completions = self.ring.completion();
        self.early.extend(completions.filter_map(|entry| completion(&entry, for_worker)));
    }

    fn hand_to_worker(&mut self) {
        while let Some((token, how)) = self.for_worker.pop() {
            self.shut_down(token, how, false);
        }
    }
}

fn completion(
    entry: &io_uring::cqueue::Entry,
    for_worker: &mut Vec<(Token, Shutdown)>,
) -> Option<Completion> {
    match shut_down::finish(entry.user_data(), entry.result()) {
        Shut::Done(completion) => return Some(completion),
        Shut::NotInstalled(token, how) => {
            for_worker.push((token, how));
            return None;
        }
        Shut::Other => {}
    }
    let result = u32::try_from(entry.result()).map_err(|_| Errno(-entry.result()));
    Token::unpack(entry.user_data()).map(|token| Completion { token, result })
}

fn is_transient(error: &std::io::Error) -> bool {
    matches!(Errno::from(error), Errno::EAGAIN | Errno::EBUSY | Errno::EINTR | Errno::ENOMEM)
}
