//! The baseline with io_uring and nothing else: one ring, one table, no state but a buffer for each
//! connection, no timeouts, no limits, no figures. What it costs beyond epoll is the ring's; what a server
//! costs beyond it is the server's.
//!
//! Usage: ring-echo PORT CPU [FORM [ACCEPT]]. It listens on 127.0.0.1, is pinned to CPU and runs until SIGTERM.
//! FORM is how it waits for a message: `multishot` (one receive for all messages, with buffers that the kernel
//! takes; the default), `skip` (the same, and a send says nothing when all went well), `wait` (a receive for
//! each message, which waits for it), `poll` (a poll, then a receive) or `polls` (one poll for all messages, a
//! receive for each). ACCEPT is how it waits for a connection: `try` (an accept for each, tried at once; the
//! default), `look` (the same, which looks first: Linux 6.10) or `many` (one for all, whose slots the kernel
//! takes).
#![allow(unsafe_code)]

use std::io::{self, Error};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::cqueue::{buffer_select, more};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, DestinationSlot, Fd, Fixed};
use io_uring::{IoUring, opcode};

const SLOTS: u16 = 16_384;
/// A buffer for each slot; those that the kernel takes in turn are fewer, so that they stay in the cache.
const BUFFERS: u16 = SLOTS;
const BUFFERS_GIVEN: u16 = 1024;
const BUFFER_BYTES: u32 = 4096;
const ACCEPTS: u16 = 16;
const BACKLOG: i32 = 4096;
const BATCH: usize = 512;
const RECV_POLL_FIRST: u16 = 1;
const ACCEPT_POLL_FIRST: u16 = 4;

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Multishot,
    Skip,
    Wait,
    Poll,
    Polls,
}

#[derive(Clone, Copy, PartialEq)]
enum Arrival {
    Try,
    Look,
    Many,
}

/// What a completion is of: the operation, its slot and its buffer, in `user_data`.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Accept,
    Poll,
    Receive,
    Send,
    Cancel,
    Close,
}
use Operation::{Accept, Cancel, Close, Poll, Receive, Send};

const OPERATIONS: [Operation; 6] = [Accept, Poll, Receive, Send, Cancel, Close];

struct Server {
    ring: IoUring,
    form: Form,
    arrival: Arrival,
    listener: TcpListener,
    /// Slots that nobody has, unless the kernel takes them by itself.
    slots: Vec<u16>,
    /// Slots whose connection is not closed: a poll for all messages may speak of one that is.
    open: Vec<bool>,
    memory: *mut u8,
    /// Buffers that nobody has, unless the kernel has them.
    free: Vec<u16>,
    /// Buffers that the kernel takes by itself, and how many it was ever given.
    given: *mut BufRingEntry,
    tail: u16,
    /// Buffers of sends that say nothing: the kernel has done with them after the next `enter`.
    silent: Vec<u16>,
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let numbers: Vec<u16> = words.by_ref().take(2).filter_map(|word| word.parse().ok()).collect();
    let form = match words.next().as_deref() {
        None | Some("multishot") => Some(Form::Multishot),
        Some("skip") => Some(Form::Skip),
        Some("wait") => Some(Form::Wait),
        Some("poll") => Some(Form::Poll),
        Some("polls") => Some(Form::Polls),
        Some(_) => None,
    };
    let arrival = match words.next().as_deref() {
        None | Some("try") => Some(Arrival::Try),
        Some("look") => Some(Arrival::Look),
        Some("many") => Some(Arrival::Many),
        Some(_) => None,
    };
    let (&[port, cpu], Some(form), Some(arrival)) = (&*numbers, form, arrival) else {
        return Err(Error::other(
            "usage: ring-echo PORT CPU [multishot|skip|wait|poll|polls [try|look|many]]",
        ));
    };
    pin(cpu.into())?;
    Server::new(port, form, arrival)?.serve()
}

fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: the set is plain bits, of the size that is named.
    let failed = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set)
    };
    if failed == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

fn zeroed(bytes: usize) -> io::Result<*mut u8> {
    let (rights, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, which is never taken back.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes, rights, kind, -1, 0) };
    if memory == libc::MAP_FAILED { Err(Error::last_os_error()) } else { Ok(memory.cast()) }
}

impl Server {
    fn new(port: u16, form: Form, arrival: Arrival) -> io::Result<Server> {
        let ring = IoUring::builder()
            .setup_cqsize(1024)
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_single_issuer()
            .setup_submit_all()
            .build(128)?;
        ring.submitter().register_files_sparse(SLOTS.into())?;
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        // SAFETY: the descriptor is open; to listen again only makes the queue longer.
        unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };
        let given = zeroed(usize::from(BUFFERS_GIVEN) * size_of::<BufRingEntry>())?.cast();
        let memory = zeroed(usize::from(BUFFERS) * BUFFER_BYTES as usize)?;
        let slots = (0..SLOTS).rev().collect();
        let free = (0..BUFFERS).rev().collect();
        let mut server = Server {
            ring,
            form,
            arrival,
            listener,
            slots,
            open: vec![false; SLOTS.into()],
            memory,
            free,
            given,
            tail: 0,
            silent: Vec::new(),
        };
        if server.kernel_takes_buffers() {
            let submitter = server.ring.submitter();
            // SAFETY: the entries lie in a mapping that is never taken back.
            unsafe { submitter.register_buf_ring_with_flags(given as u64, BUFFERS_GIVEN, 0, 0)? };
            (0..BUFFERS_GIVEN).for_each(|buffer| server.give(buffer));
        }
        for _ in 0..if arrival == Arrival::Many { 1 } else { ACCEPTS } {
            server.accept();
        }
        Ok(server)
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.ring.submit()?;
            for buffer in std::mem::take(&mut self.silent) {
                self.give(buffer);
            }
            batch.extend(self.ring.completion().take(BATCH));
            if batch.is_empty() {
                match self.ring.submit_and_wait(1) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => continue,
                }
            }
            for done in batch.drain(..) {
                let data = done.user_data();
                let operation = OPERATIONS[(data >> 32) as usize];
                self.step(operation, data as u16, (data >> 16) as u16, done.result(), done.flags());
            }
        }
    }

    fn step(&mut self, operation: Operation, slot: u16, buffer: u16, result: i32, flags: u32) {
        match operation {
            Accept => {
                let is_many = self.arrival == Arrival::Many;
                let slot = if is_many { result as u16 } else { slot };
                if result >= 0 {
                    self.open[usize::from(slot)] = true;
                    self.wait_for_message(slot, None);
                } else if result == -libc::EINVAL {
                    panic!("this kernel does not know how to accept so: `look` takes Linux 6.10");
                } else if !is_many {
                    return self.slots.push(slot);
                }
                if !more(flags) {
                    self.accept();
                }
            }
            // It was cancelled, or the connection is closed and the cancel on its way. Of any other
            // fault the receive will tell.
            Poll if result == -libc::ECANCELED || !self.open[usize::from(slot)] => {}
            Poll => {
                if self.form == Form::Polls && !more(flags) {
                    self.wait_for_message(slot, None);
                }
                let buffer = self.free.pop().expect("one for each slot");
                self.receive(slot, buffer, 0, libc::MSG_DONTWAIT);
            }
            Receive if result == -libc::ENOBUFS => self.wait_for_message(slot, None),
            // A poll for all messages has spoken twice of one.
            Receive if result == -libc::EAGAIN && self.form == Form::Polls => {
                self.free.push(buffer)
            }
            Receive if result <= 0 => {
                if !self.kernel_takes_buffers() {
                    self.free.push(buffer);
                }
                if !std::mem::replace(&mut self.open[usize::from(slot)], false) {
                    return;
                }
                if self.form == Form::Polls {
                    let cancel = opcode::AsyncCancel::new(user_data(Poll, slot, 0)).build();
                    self.push(cancel, Cancel, slot, 0);
                }
                self.push(opcode::Close::new(fixed(slot)).build(), Close, slot, 0);
            }
            Receive => {
                let buffer = buffer_select(flags).unwrap_or(buffer);
                self.send(slot, buffer, result as u32);
                if self.kernel_takes_buffers() && !more(flags) {
                    self.wait_for_message(slot, None);
                }
            }
            Send => match self.form {
                Form::Multishot => self.give(buffer),
                // One that said something has failed, and was given back as any other.
                Form::Skip => {}
                Form::Wait => self.wait_for_message(slot, Some(buffer)),
                Form::Poll => {
                    self.free.push(buffer);
                    self.wait_for_message(slot, None);
                }
                Form::Polls => self.free.push(buffer),
            },
            Cancel => {}
            Close if self.arrival == Arrival::Many => {}
            Close => self.slots.push(slot),
        }
    }

    fn accept(&mut self) {
        let listener = Fd(self.listener.as_raw_fd());
        if self.arrival == Arrival::Many {
            let entry = opcode::AcceptMulti::new(listener).allocate_file_index(true);
            return self.push(entry.build(), Accept, 0, 0);
        }
        let Some(slot) = self.slots.pop() else { return };
        let table = DestinationSlot::try_from_slot_target(slot.into()).expect("slots are few");
        let nobody = std::ptr::null_mut();
        let entry = opcode::Accept::new(listener, nobody, nobody.cast()).file_index(Some(table));
        let mut entry = entry.build();
        if self.arrival == Arrival::Look {
            let ioprio = (&raw mut entry).cast::<u16>().wrapping_add(1);
            // SAFETY: an entry is the kernel's `io_uring_sqe`, of which this is the second word.
            unsafe { ioprio.write(ACCEPT_POLL_FIRST) };
        }
        self.push(entry, Accept, slot, 0);
    }

    fn wait_for_message(&mut self, slot: u16, buffer: Option<u16>) {
        match self.form {
            Form::Multishot | Form::Skip => {
                self.push(opcode::RecvMulti::new(fixed(slot), 0).build(), Receive, slot, 0);
            }
            Form::Wait => {
                let buffer = buffer.or_else(|| self.free.pop()).expect("one for each slot");
                self.receive(slot, buffer, RECV_POLL_FIRST, 0);
            }
            Form::Poll | Form::Polls => {
                let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
                let poll = opcode::PollAdd::new(fixed(slot), events);
                self.push(poll.multi(self.form == Form::Polls).build(), Poll, slot, 0);
            }
        }
    }

    fn receive(&mut self, slot: u16, buffer: u16, priority: u16, flags: i32) {
        let entry = opcode::Recv::new(fixed(slot), self.address(buffer), BUFFER_BYTES);
        self.push(entry.ioprio(priority).flags(flags).build(), Receive, slot, buffer);
    }

    /// A message is short and its peer reads, as those of this benchmark do: all of it goes at once.
    fn send(&mut self, slot: u16, buffer: u16, bytes: u32) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry =
            opcode::Send::new(fixed(slot), self.address(buffer), bytes).flags(flags).build();
        if self.form == Form::Skip {
            self.silent.push(buffer);
            self.push(entry.flags(Flags::SKIP_SUCCESS), Send, slot, buffer);
        } else {
            self.push(entry, Send, slot, buffer);
        }
    }

    fn push(&mut self, entry: Entry, operation: Operation, slot: u16, buffer: u16) {
        let entry = entry.user_data(user_data(operation, slot, buffer));
        // SAFETY: buffers lie in a mapping that is never taken back, and each is named by one
        // operation at a time.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.ring.submit().expect("a ring that was made takes what is queued");
        }
    }

    fn kernel_takes_buffers(&self) -> bool {
        matches!(self.form, Form::Multishot | Form::Skip)
    }

    fn address(&self, buffer: u16) -> *mut u8 {
        self.memory.wrapping_add(usize::from(buffer) * BUFFER_BYTES as usize)
    }

    /// Gives the kernel a buffer that nobody uses.
    fn give(&mut self, buffer: u16) {
        let address = self.address(buffer) as u64;
        // SAFETY: the entry lies in the mapping, and the kernel reads it after the tail has moved.
        unsafe {
            let entry = &mut *self.given.add(usize::from(self.tail % BUFFERS_GIVEN));
            entry.set_addr(address);
            entry.set_len(BUFFER_BYTES);
            entry.set_bid(buffer);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.given).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }
}

fn fixed(slot: u16) -> Fixed {
    Fixed(slot.into())
}

fn user_data(operation: Operation, slot: u16, buffer: u16) -> u64 {
    (operation as u64) << 32 | u64::from(buffer) << 16 | u64::from(slot)
}
