//! The production driver: io_uring, one ring and registered-file table per segment.
//!
//! It owns every byte and descriptor that the kernel may touch:
//! rings, buffers, target addresses, listeners. Sockets live in the tables as direct descriptors,
//! so the limit on open files bounds a table's size, not the number of connections.

use std::net::{IpAddr, SocketAddr};
use std::ops::{Range, RangeInclusive};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use io_uring::{opcode, squeue, types};
use rustix::net::Shutdown;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::base::constants::{BUFFER_BYTES, BUFFERS_PER_CORE};
use crate::base::errno::Errno;
use crate::engine::driver::{Completion, Dial, Driver, Listen, ShutdownMode};
use crate::engine::slot::BufferId;
use crate::engine::token::{Operation, Token};
use crate::engine::worker::Wakeup;
use crate::sys::doorbell::Doorbell;
use crate::sys::socket::{self, can_pin_source_port, keep_alive};

mod accept;
mod buffers;
mod deferred_release;
mod peers;
mod probe;
mod ring;
mod short_wait;
mod shut_down;

pub use probe::{ProbeError, can_vanish, probe};

use buffers::Buffers;
use peers::Peers;
use ring::{DROPPED, Ring};
use short_wait::ShortWait;

/// What a driver is made of, per core.
pub struct UringConfig {
    /// Listening sockets of this core, in the order of their numbers.
    pub listeners: Vec<Socket>,
    /// Addresses that `connect` names by their index.
    pub targets: Vec<SocketAddr>,
    /// Ports that the kernel hands out by itself; inside it a source port is pinned, not bound.
    pub ephemeral_ports: RangeInclusive<u16>,
    /// Buffers of the pool, and bytes of each.
    pub buffers: (u16, u16),
    /// Time after which the kernel asks a silent peer of a connect whether it is there; listeners
    /// hand their own setting on.
    pub keepalive: Option<Duration>,
    /// Whether a connect sends what is short at once, also behind bytes that are not acknowledged
    /// (TCP_NODELAY): for connections on which this end says one thing after the other.
    pub sends_at_once: bool,
    /// Whether the address of a peer is kept with each accept, to be asked for.
    pub keeps_peers: bool,
}

impl UringConfig {
    /// For a core that accepts and opens no connection.
    #[must_use]
    pub fn listening(listeners: Vec<Socket>) -> UringConfig {
        UringConfig {
            listeners,
            targets: Vec::new(),
            // It pins no port.
            ephemeral_ports: 1..=u16::MAX,
            buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            keepalive: None,
            sends_at_once: false,
            keeps_peers: false,
        }
    }
}

/// Sockets and time by io_uring. Made and used on one thread.
pub struct UringDriver {
    segments: Vec<Option<Ring>>,
    /// Where the next reap starts, so that no segment is always last.
    reap_from: usize,
    buffers: Buffers,
    listeners: Vec<Socket>,
    /// In memory that outlives the rings.
    peers: Option<Peers>,
    targets: Vec<SockAddr>,
    /// In memory that stays where it is.
    nowhere: Box<libc::sockaddr>,
    ephemeral_ports: RangeInclusive<u16>,
    keepalive: Option<Duration>,
    sends_at_once: bool,
    pins_source_port: bool,
    defers_release: bool,
    /// The kernel gives a direct descriptor a number.
    installs: bool,
    /// What an accept is asked with: to look before it tries, where the kernel can.
    accept_flags: u16,
    bell: OwnedFd,
    /// Whether completions ring the bell, also those of rings to come.
    is_armed: bool,
    short_wait: ShortWait,
    started: Instant,
}

impl UringDriver {
    /// A driver without segments, whose completions ring `doorbell`.
    ///
    /// # Errors
    /// When the descriptor of the doorbell cannot be duplicated, a small ring of the trials cannot be
    /// made, or memory is short.
    pub fn new(config: UringConfig, doorbell: &Doorbell) -> std::io::Result<UringDriver> {
        let (count, bytes) = config.buffers;
        let looks_first = !config.listeners.is_empty() && accept::can_look_first()?;
        Ok(UringDriver {
            segments: Vec::new(),
            reap_from: 0,
            buffers: Buffers::new(count, bytes)?,
            listeners: config.listeners,
            peers: config.keeps_peers.then(Peers::default),
            targets: config.targets.into_iter().map(SockAddr::from).collect(),
            nowhere: Box::new(NOWHERE),
            ephemeral_ports: config.ephemeral_ports,
            keepalive: config.keepalive,
            sends_at_once: config.sends_at_once,
            pins_source_port: can_pin_source_port(),
            defers_release: deferred_release::defers_release()?,
            installs: probe::installs(),
            accept_flags: if looks_first { accept::LOOK_FIRST } else { 0 },
            bell: doorbell.descriptor()?,
            is_armed: true,
            short_wait: ShortWait::new()?,
            started: Instant::now(),
        })
    }

    fn ring(&mut self, token: Token) -> &mut Ring {
        let segment = usize::from(token.slot().segment());
        self.segments[segment].as_mut().expect("an operation names a segment that is open")
    }

    fn push(&mut self, token: Token, entry: squeue::Entry) {
        let entry = entry.user_data(token.packed());
        self.ring(token).push(&entry);
    }

    fn bound_socket(&self, source: SocketAddr, target: usize) -> std::io::Result<Socket> {
        let domain = Domain::for_address(source);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        assert_eq!(self.targets[target].domain(), domain, "the plan pairs one family");
        if let Some(interval) = self.keepalive {
            keep_alive(&socket, interval)?;
        }
        if self.sends_at_once {
            socket.set_tcp_nodelay(true)?;
        }
        if self.ephemeral_ports.contains(&source.port()) && self.pins_source_port {
            // A port that is bound outright is barred to every automatic connect of the host,
            // whatever its addresses; a pinned one is shared as long as the 4-tuples differ.
            socket::pin_source_port(&socket, source.port())?;
            // The link of a link-local address stays.
            let mut at_any_port = source;
            at_any_port.set_port(0);
            socket.bind(&at_any_port.into())?;
        } else {
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        Ok(socket)
    }
}

impl Driver for UringDriver {
    fn open_segment(&mut self, number: u16, slots: u32) -> Result<(), Errno> {
        let ring = Ring::new(slots, &self.bell, self.is_armed, self.defers_release)
            .and_then(|ring| self.short_wait.add(ring.as_fd()).map(|()| ring))
            .map_err(|e| Errno::from(&e))?;
        let index = usize::from(number);
        if self.segments.len() <= index {
            self.segments.resize_with(index + 1, || None);
        }
        self.segments[index] = Some(ring);
        Ok(())
    }

    fn close_segment(&mut self, number: u16) {
        self.segments[usize::from(number)] = None;
    }

    fn poll(&mut self, token: Token) {
        let events = match token.operation() {
            Operation::PollReadable => POLL_IN | POLL_PEER_ENDED,
            Operation::PollWritable => POLL_OUT,
            other => unreachable!("{other:?} is no poll"),
        };
        if token.operation() == Operation::PollReadable {
            self.ring(token).poll_begins(token);
        }
        self.push(token, opcode::PollAdd::new(fixed(token), events).build());
    }

    fn recv(&mut self, token: Token, buffer: BufferId, start: u16) {
        let (address, bytes) = self.buffers.space_from(buffer, start);
        let entry = opcode::Recv::new(fixed(token), address, bytes).flags(libc::MSG_DONTWAIT);
        self.push(token, entry.build());
    }

    fn await_bytes(&mut self, token: Token, buffer: BufferId) {
        let (address, bytes) = self.buffers.space_from(buffer, 0);
        // As a rule there is nothing yet, so the kernel looks before it tries.
        let entry = opcode::Recv::new(fixed(token), address, bytes).ioprio(RECV_POLL_FIRST);
        self.push(token, entry.build());
    }

    fn send(&mut self, token: Token, buffer: BufferId, range: Range<u16>) {
        let (address, bytes) = self.buffers.filled(buffer, range);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(fixed(token), address, bytes).flags(flags);
        self.push(token, entry.build());
    }

    fn shutdown(&mut self, token: Token, mode: ShutdownMode) {
        let how = match mode {
            ShutdownMode::Sending => Shutdown::Write,
            ShutdownMode::Both => Shutdown::Both,
            // A connect to "no address" takes a connection apart at once, see connect(2): by a reset, unless it is under
            // repair.
            ShutdownMode::Reset | ShutdownMode::Vanishing => {
                if mode == ShutdownMode::Vanishing {
                    let (level, name, value, bytes) = probe::repair();
                    let repair =
                        opcode::SetSockOpt::new(fixed(token), level, name, value, bytes).build();
                    let repair = repair.flags(squeue::Flags::IO_LINK);
                    self.ring(token).push(&repair.user_data(DROPPED));
                }
                let bytes = libc::socklen_t::try_from(size_of::<libc::sockaddr>()).expect("16");
                let nowhere = &raw const *self.nowhere;
                return self
                    .push(token, opcode::Connect::new(fixed(token), nowhere, bytes).build());
            }
        };
        let installs = self.installs;
        self.ring(token).shut_down(token, how, installs);
    }

    fn unacked(&mut self, token: Token) {
        let ask = opcode::UringCmd16::new(fixed(token), SOCKET_OUTQ).build();
        self.push(token, ask);
    }

    fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.packed()).build();
        self.push(token.with(Operation::Cancel), entry);
    }

    fn close(&mut self, token: Token) {
        let close = opcode::Close::new(fixed(token)).build().user_data(token.packed());
        self.ring(token).close(fixed(token), &close);
    }

    fn submit(&mut self) {
        for ring in self.segments.iter_mut().flatten() {
            ring.submit();
        }
    }

    fn reap(&mut self, batch: &mut Vec<Completion>) {
        let count = self.segments.len();
        for offset in 0..count {
            let index = (self.reap_from + offset) % count;
            if let Some(ring) = &mut self.segments[index] {
                let before = batch.len();
                ring.reap(batch);
                if self.defers_release {
                    begin_anew(ring, batch, before);
                }
            }
            if batch.len() == batch.capacity() {
                // The next turn begins behind it: a flood in one segment must not starve the rest.
                self.reap_from = index + 1;
                return;
            }
        }
    }

    fn buffers(&self) -> usize {
        self.buffers.count()
    }

    fn take_buffer(&mut self) -> Option<BufferId> {
        self.buffers.take()
    }

    fn give_buffer(&mut self, buffer: BufferId) {
        self.buffers.give(buffer);
    }

    fn buffer(&mut self, buffer: BufferId) -> &mut [u8] {
        self.buffers.whole(buffer)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Listen for UringDriver {
    fn accept(&mut self, token: Token, listener: usize) {
        let slot = types::DestinationSlot::try_from_slot_target(u32::from(token.slot().index()));
        let listener = types::Fd(self.listeners[listener].as_raw_fd());
        let slot = slot.expect("a slot index is below the kernel's table limit");
        let place = self.peers.as_mut().map(|peers| peers.place(token));
        self.push(token, accept::entry(listener, Some(slot), self.accept_flags, place));
    }

    fn peer(&mut self, token: Token) -> Option<IpAddr> {
        self.peers.as_mut()?.take(token)
    }

    fn poll_listener(&mut self, token: Token, listener: usize) {
        let listener = types::Fd(self.listeners[listener].as_raw_fd());
        self.push(token, opcode::PollAdd::new(listener, POLL_IN).build());
    }

    fn stop_listening(&mut self) {
        for listener in &self.listeners {
            // It fails when the listener has ended already.
            let _ = listener.shutdown(std::net::Shutdown::Both);
        }
    }

    fn let_go_of_listeners(&mut self) {
        self.listeners.clear();
    }

    fn refuse(&mut self, listener: usize, limit: usize) -> usize {
        socket::accept_to_reset(&self.listeners[listener], limit).unwrap_or(0)
    }
}

impl Dial for UringDriver {
    fn connect(&mut self, token: Token, source: SocketAddr, target: usize) -> Result<(), Errno> {
        let socket = self.bound_socket(source, target).map_err(|e| Errno::from(&e))?;
        let address = &self.targets[target];
        let index = u32::from(token.slot().index());
        let entry =
            opcode::Connect::new(types::Fixed(index), address.as_ptr().cast(), address.len());
        let ring = self.ring(token);
        ring.put_in_table(index, socket.as_fd()).map_err(|e| Errno::from(&e))?;
        ring.push(&entry.build().user_data(token.packed()));
        Ok(())
    }

    fn learn_targets(&mut self, targets: &[SocketAddr]) {
        // An address must stay where it is until its connect is submitted.
        self.submit();
        let known = self.targets.len();
        self.targets.extend(targets[known..].iter().copied().map(SockAddr::from));
    }
}

impl Wakeup for UringDriver {
    fn has_work(&mut self) -> bool {
        self.segments.iter_mut().flatten().any(Ring::has_work)
    }

    fn housekeep(&mut self) -> Option<Duration> {
        self.buffers.tidy(self.now())
    }

    fn wait(&mut self, at_most: Duration) -> Result<bool, Errno> {
        self.short_wait.wait(at_most)
    }

    fn arm(&mut self, on: bool) {
        self.is_armed = on;
        for ring in self.segments.iter_mut().flatten() {
            ring.arm(on);
        }
        if on {
            // The bells are on before the queues are looked at, on every architecture.
            fence(Ordering::SeqCst);
        }
    }
}

/// Sees which polls of `batch`, from `before` on, are done; those that `Ring` had cancelled begin
/// anew and are taken out.
fn begin_anew(ring: &mut Ring, batch: &mut Vec<Completion>, before: usize) {
    let mut index = before;
    while let Some(&Completion { token, result }) = batch.get(index) {
        if token.operation() != Operation::PollReadable {
            index += 1;
            continue;
        }
        if result == Err(Errno::ECANCELED) {
            batch.remove(index);
            let poll = opcode::PollAdd::new(fixed(token), POLL_IN | POLL_PEER_ENDED).build();
            ring.push(&poll.user_data(token.packed()));
        } else {
            ring.poll_is_done(token);
            index += 1;
        }
    }
}

/// The address, of family AF_UNSPEC, to which a connect takes a connection apart.
const NOWHERE: libc::sockaddr = libc::sockaddr { sa_family: 0, sa_data: [0; 14] };
const _: () = assert!(libc::AF_UNSPEC == 0);

const POLL_IN: u32 = libc::POLLIN as u32;
const POLL_OUT: u32 = libc::POLLOUT as u32;
const POLL_PEER_ENDED: u32 = libc::POLLRDHUP as u32;

/// SOCKET_URING_OP_SIOCOUTQ of the kernel's io_uring.h: what SIOCOUTQ of tcp(7) tells, also of a direct
/// descriptor. Linux since 6.7 has it; those before answer EOPNOTSUPP.
const SOCKET_OUTQ: u32 = 1;

/// IORING_RECVSEND_POLL_FIRST of the kernel's io_uring.h.
const RECV_POLL_FIRST: u16 = 1;

fn fixed(token: Token) -> types::Fixed {
    types::Fixed(u32::from(token.slot().index()))
}
