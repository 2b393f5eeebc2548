//! What happens in a simulated world, and when: operations act, conditions come true, peers move.
//!
//! All time passes in `run_until`, one event after the other. What an operation does to a peer and
//! what the endpoint hears of it are two events, so that the world may change between them.

use std::time::Duration;

use super::driver::SimDriver;
use super::event::{
    Answer, Ask, Event, Move, POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT, POLL_PEER_ENDED,
};
use super::faults::Mutation;
use super::invariants::Shut;
use super::peer::{Peer, Reading};
use crate::base::errno::Errno;
use crate::engine::driver::{Completion, ShutdownMode};
use crate::engine::token::{Generation, Operation, SlotId, Token};

impl SimDriver {
    pub(super) fn plan(&mut self, time: Duration, event: Event) {
        self.events_planned += 1;
        self.events.insert((time, self.events_planned), event);
    }

    pub(super) fn run_until(&mut self, until: Duration) {
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((time, _), event) = entry.remove_entry();
            self.now = self.now.max(time);
            match event {
                Event::Arrival { peer, listener } => {
                    self.listeners[listener].waiting.push_back(peer);
                    self.wake_peer(peer);
                    self.match_up(listener);
                }
                Event::Act { peer } => self.act(peer),
                Event::Schedule { peer } => self.act_unasked(peer),
                Event::Connected { token, result } => self.on_connected(token, result),
                Event::Effect { token, ask } => self.take_effect(token, &ask),
                Event::Done(answer) => self.done.push(answer),
            }
        }
        self.now = self.now.max(until);
    }

    // ---- operations -----------------------------------------------------------------------

    /// The kernel takes an operation: those that wait begin to, in order; the others act soon.
    pub(super) fn start(&mut self, token: Token, ask: Ask) {
        let slot = token.slot();
        match ask {
            Ask::Accept(listener) => {
                self.listeners[listener].accepts.push_back(token);
                self.match_up(listener);
            }
            Ask::PollListener(listener) => {
                self.listeners[listener].polls.push_back(token);
                self.match_up(listener);
            }
            // Planned when its socket was made.
            Ask::Connect => {}
            Ask::Poll => {
                let is_read = token.operation() == Operation::PollReadable;
                if is_read && self.happens(self.config.faults.would_block / 8) {
                    // It promises bytes, and there are none: select(2), BUGS.
                    return self.complete(token, Ok(POLL_IN));
                }
                let place = self.invariants.place(slot);
                let waiting =
                    if is_read { &mut place.waiting_readable } else { &mut place.waiting_writable };
                *waiting = Some(token);
                self.settle(slot);
            }
            Ask::Await(_) => {
                self.invariants.place(slot).waiting_readable = Some(token);
                self.settle(slot);
            }
            Ask::Recv(..)
            | Ask::Send(..)
            | Ask::Shutdown(_)
            | Ask::Unacked
            | Ask::Cancel
            | Ask::Close => {
                let time = self.now + self.latency();
                self.plan(time, Event::Effect { token, ask });
            }
        }
    }

    fn take_effect(&mut self, token: Token, ask: &Ask) {
        let result = match ask {
            Ask::Recv(..) => self.receive(token, ask),
            Ask::Send(..) => self.send_to_peer(token, ask),
            Ask::Shutdown(cut) => self.shut_down(token.slot(), *cut),
            Ask::Close => self.close_place(token.slot()),
            Ask::Unacked => self.unacked_of(token.slot()),
            Ask::Cancel => return self.cancel_waiting(token),
            Ask::Accept(_) | Ask::PollListener(_) | Ask::Connect | Ask::Poll | Ask::Await(_) => {
                unreachable!("{ask:?} waits, it does not act")
            }
        };
        self.complete(token, result);
    }

    fn receive(&mut self, token: Token, ask: &Ask) -> Result<u32, Errno> {
        let &Ask::Recv(buffer, start) = ask else { unreachable!("{ask:?} is no receive") };
        if self.invariants.place(token.slot()).shut == Shut::Both {
            return Ok(0);
        }
        let would_block = self.happens(self.config.faults.would_block);
        let breaks = self.config.mutation == Some(Mutation::DamagedByte);
        let drops_unread = self.random.bool();
        let number = self.peer_at(token.slot());
        let peer = &mut self.peers[number];
        if !peer.reset_was_read && peer.has_reset && (drops_unread || peer.unread().is_empty()) {
            peer.reset_was_read = true;
            peer.read = peer.sent.len();
            return Err(Errno::ECONNRESET);
        }
        if peer.unread().is_empty() {
            let is_over = peer.has_reset || peer.has_half_closed;
            return if is_over { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        if would_block {
            return Err(Errno::EAGAIN);
        }
        let space = &mut self.pool.of_operation(buffer, token)[usize::from(start)..];
        let most = peer.unread().len().min(space.len());
        let bytes = if self.random.bool() { most } else { self.random.usize(1..=most) };
        space[..bytes].copy_from_slice(&peer.unread()[..bytes]);
        if breaks && self.random.u8(..8) == 0 {
            space[bytes - 1] ^= 1;
        }
        peer.read += bytes;
        self.touch(number);
        Ok(u32::try_from(bytes).expect("a buffer is small"))
    }

    fn send_to_peer(&mut self, token: Token, ask: &Ask) -> Result<u32, Errno> {
        let Ask::Send(buffer, range) = ask else { unreachable!("{ask:?} is no send") };
        if self.invariants.place(token.slot()).shut != Shut::Neither {
            return Err(Errno::EPIPE);
        }
        let would_block = self.happens(self.config.faults.would_block);
        let number = self.peer_at(token.slot());
        let peer = &mut self.peers[number];
        if peer.has_reset {
            let is_first = !std::mem::replace(&mut peer.reset_was_read, true);
            return Err(if is_first { Errno::ECONNRESET } else { Errno::EPIPE });
        }
        let room = peer.room();
        if room == 0 || would_block {
            return Err(Errno::EAGAIN);
        }
        let range = usize::from(range.start)..usize::from(range.end);
        let outgoing = &self.pool.of_operation(*buffer, token)[range];
        let most = room.min(outgoing.len());
        let bytes = if self.random.bool() { most } else { self.random.usize(1..=most) };
        peer.received.extend_from_slice(&outgoing[..bytes]);
        if peer.profile.reading != Reading::Never || peer.profile.echo.is_some() {
            self.wake_peer(number);
        }
        Ok(u32::try_from(bytes).expect("a buffer is small"))
    }

    fn shut_down(&mut self, slot: SlotId, mode: ShutdownMode) -> Result<u32, Errno> {
        let number = self.peer_at(slot);
        if self.peers[number].has_reset {
            // Taking a broken connection apart once more is no error.
            return if mode == ShutdownMode::Reset { Ok(0) } else { Err(Errno::ENOTCONN) };
        }
        let place = self.invariants.place(slot);
        place.shut = if mode == ShutdownMode::Sending { Shut::Sending } else { Shut::Both };
        if mode == ShutdownMode::Reset {
            self.peers[number].was_reset = true;
        } else {
            self.peers[number].saw_end = true;
        }
        self.wake_peer(number);
        self.settle(slot);
        Ok(0)
    }

    /// Bytes that the peer has not taken. The slot may be closed by now.
    fn unacked_of(&mut self, slot: SlotId) -> Result<u32, Errno> {
        if self.happens(self.config.faults.unacked) {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = self.invariants.place(slot).peer.ok_or(Errno::EBADF)?;
        let peer = &self.peers[number];
        Ok(u32::try_from(peer.received.len() - peer.taken).expect("a window is small"))
    }

    fn close_place(&mut self, slot: SlotId) -> Result<u32, Errno> {
        let number =
            self.invariants.place(slot).peer.take().expect("the invariants saw a descriptor");
        let peer = &mut self.peers[number];
        peer.slot = None;
        assert!(!peer.was_closed, "peer {number} was closed twice");
        // Unread bytes turn the end into a reset; after a reset comes no end.
        peer.saw_end |= peer.unread().is_empty() && !peer.was_reset;
        peer.was_closed = true;
        if self.is_wired && !peer.unread().is_empty() && !peer.was_reset {
            (peer.was_reset, peer.closed_unread) = (true, true);
        }
        self.touch(number);
        self.counts.closed += 1;
        Ok(0)
    }

    /// Completes what still waits; what is done is done, and its own completion is on its way.
    fn cancel_waiting(&mut self, token: Token) {
        let is_waiting = match token.operation() {
            Operation::Accept => self.listeners.iter_mut().any(|listener| {
                let before = listener.accepts.len();
                listener.accepts.retain(|accept| *accept != token);
                listener.accepts.len() < before
            }),
            Operation::PollListener => self.listeners.iter_mut().any(|listener| {
                let before = listener.polls.len();
                listener.polls.retain(|poll| *poll != token);
                listener.polls.len() < before
            }),
            Operation::Connect => self.take_connect(token),
            Operation::PollReadable | Operation::PollWritable | Operation::Recv => {
                let place = self.invariants.place(token.slot());
                let polls = [&mut place.waiting_readable, &mut place.waiting_writable];
                polls.into_iter().any(|poll| poll.take_if(|poll| *poll == token).is_some())
            }
            _ => false,
        };
        let answer = if is_waiting { Ok(0) } else { Err(Errno::ENOENT) };
        self.complete(token.with(Operation::Cancel), answer);
        if is_waiting {
            self.complete(token, Err(Errno::ECANCELED));
        }
    }

    // ---- conditions and completions -------------------------------------------------------

    /// Completes the polls of a slot whose condition has come true; a receive that waited for it
    /// acts.
    pub(super) fn settle(&mut self, slot: SlotId) {
        let place = self.invariants.place(slot);
        let Some(number) = place.peer else { return };
        let (readable, writable) = events_of(&self.peers[number], place.shut, self.is_wired);
        let read = place.waiting_readable.take_if(|_| readable != 0).map(|t| (t, readable));
        let write = place.waiting_writable.take_if(|_| writable != 0).map(|t| (t, writable));
        for (token, events) in read.into_iter().chain(write) {
            if token.operation() == Operation::Recv {
                let ask = Ask::Recv(self.invariants.lent_to_receive(slot), 0);
                let time = self.now + self.latency();
                self.plan(time, Event::Effect { token, ask });
            } else {
                self.complete(token, Ok(events));
            }
        }
    }

    /// The endpoint will hear of it soon.
    pub(super) fn complete(&mut self, token: Token, result: Result<u32, Errno>) {
        if self.config.mutation == Some(Mutation::LostCompletion) && self.random.u8(..64) == 0 {
            return;
        }
        let is_close = token.operation() == Operation::Close;
        let is_slow = is_close && self.happens(self.config.faults.slow_close);
        let delay =
            if is_slow { Duration::from_millis(self.random.u64(..12_000)) } else { self.latency() };
        let completion = Completion { token, result };
        self.plan(self.now + delay, Event::Done(Answer { completion, is_extra: false }));
    }

    /// Mostly some microseconds, sometimes milliseconds: enough to reorder anything.
    pub(super) fn latency(&mut self) -> Duration {
        let most_us = if self.random.u8(..10) == 0 { 5_000 } else { 300 };
        Duration::from_micros(self.random.u64(..most_us))
    }

    /// The endpoint gets the answer to what it asked for, and the buffer back that was used.
    pub(super) fn hand_over(&mut self, Completion { token, result }: Completion) {
        if let (Operation::Recv | Operation::Send, Ok(bytes)) = (token.operation(), result) {
            let number = self.peer_at(token.slot());
            let bytes = usize::try_from(bytes).expect("a buffer is small");
            let is_receive = token.operation() == Operation::Recv;
            let peer = &mut self.peers[number];
            *(if is_receive { &mut peer.delivered } else { &mut peer.confirmed }) += bytes;
            if self.is_wired {
                self.moves.push(Move { peer: number, is_receive, bytes });
            }
        }
        if let Some(buffer) = self.invariants.finish(token) {
            self.pool.hand_back(buffer, token);
        }
    }

    /// What follows from an answer being handed over: the next token of a life that is over may
    /// come again.
    pub(super) fn after_reaping(&mut self, completion: Completion, is_extra: bool) -> Completion {
        let Completion { token, result } = completion;
        let is_over = match token.operation() {
            Operation::Close => true,
            Operation::Accept => result.is_err(),
            _ => false,
        };
        if !is_extra && is_over && self.happens(self.config.faults.stale) {
            let operation = self.pick(STALE_OPERATIONS);
            let result = if self.random.bool() { Ok(0) } else { Err(Errno::ECANCELED) };
            self.repeat(Completion { token: token.with(operation), result });
        }
        let rarely = self.config.mutation.is_some() && self.random.u8(..32) == 0;
        let is_quiet = matches!(
            token.operation(),
            Operation::Cancel | Operation::PollListener | Operation::Unacked
        );
        match self.config.mutation.filter(|_| rarely && !is_extra && !is_quiet) {
            Some(Mutation::RepeatedCompletion) => self.repeat(completion),
            Some(Mutation::WrongGeneration) => {
                let next = Generation::new(token.generation().get() + 1);
                let token = Token::new(token.operation(), next, token.slot());
                return Completion { token, result };
            }
            _ => {}
        }
        completion
    }

    fn repeat(&mut self, completion: Completion) {
        let time = self.now + self.latency();
        self.plan(time, Event::Done(Answer { completion, is_extra: true }));
    }
}

/// The poll(2) events for reading and for writing; none is zero.
fn events_of(peer: &Peer, shut: Shut, is_wired: bool) -> (u32, u32) {
    let both_ended = shut == Shut::Both || (shut == Shut::Sending && peer.has_half_closed);
    let error = if peer.has_reset { POLL_ERR } else { 0 };
    let gone = if peer.has_reset || both_ended { POLL_HUP } else { 0 };
    let is_ended = peer.has_half_closed || gone != 0;
    let ended = if is_ended { POLL_PEER_ENDED | POLL_IN } else { 0 };
    let bytes = if peer.unread().is_empty() { 0 } else { POLL_IN };
    // The kernel promises room when a third of the send buffer is free; a send takes any. A wire has
    // send buffers of a message or so, and moves all that there is room for.
    let has_room = peer.room() > 0 && (is_wired || 3 * peer.room() >= peer.profile.window);
    let room = if has_room { POLL_OUT } else { 0 };
    (error | gone | ended | bytes, error | gone | room)
}

/// Operations that an earlier life of a slot may seem to have had.
const STALE_OPERATIONS: &[Operation] = &[
    Operation::Accept,
    Operation::Connect,
    Operation::PollReadable,
    Operation::PollWritable,
    Operation::Recv,
    Operation::Send,
    Operation::Shutdown,
    Operation::Close,
];
