//! How connections come about in a simulated world, and when their peers act.

use std::net::SocketAddr;
use std::time::Duration;

use super::behavior::PeerBehavior;
use super::driver::SimDriver;
use super::event::{Event, POLL_IN};
use super::invariants::Shut;
use super::peer::{Echo, EchoFault, Parting, Peer, PeerProfile, Reading};
use crate::base::errno::Errno;
use crate::engine::token::{SlotId, Token};

impl SimDriver {
    /// Gives waiting connections to waiting accepts, and completes the polls of a listener.
    pub(super) fn match_up(&mut self, listener: usize) {
        if self.listeners[listener].is_closed {
            return self.close_listener(listener);
        }
        while !self.listeners[listener].waiting.is_empty() {
            let Some(token) = self.listeners[listener].accepts.pop_front() else { break };
            let result = if self.happens(self.config.faults.accept) {
                Err(self.pick(ACCEPT_ERRORS))
            } else {
                Ok(0)
            };
            // Exhaustion leaves the connection in the queue; any other answer takes it out.
            if result.is_ok() || result == Err(Errno::ECONNABORTED) {
                let peer = self.listeners[listener].waiting.pop_front().expect("not empty");
                if result.is_ok() {
                    self.put_in_table(token.slot(), peer);
                } else {
                    self.turn_away(peer);
                }
            }
            self.complete(token, result);
        }
        if !self.listeners[listener].waiting.is_empty()
            && let Some(token) = self.listeners[listener].polls.pop_front()
        {
            self.complete(token, Ok(POLL_IN));
        }
    }

    /// Closes a listener: connections that wait at it are reset, and operations on it fail.
    pub(super) fn close_listener(&mut self, listener: usize) {
        let closed = &mut self.listeners[listener];
        closed.is_closed = true;
        let waiting = std::mem::take(&mut closed.waiting);
        let asked: Vec<Token> = closed.accepts.drain(..).chain(closed.polls.drain(..)).collect();
        waiting.into_iter().for_each(|peer| self.turn_away(peer));
        asked.into_iter().for_each(|token| self.complete(token, Err(Errno::EINVAL)));
    }

    /// Connections that wait where this driver has let go of a listener, by their profiles: another process's.
    pub fn take_left(&mut self) -> Vec<PeerProfile> {
        let left = self.listeners.iter_mut().filter(|listener| listener.is_left);
        let left: Vec<usize> = left.flat_map(|listener| listener.waiting.drain(..)).collect();
        left.into_iter().map(|peer| self.peers[peer].profile).collect()
    }

    /// What the host says of a socket at `source` before it connects.
    pub(super) fn bind(&mut self, source: SocketAddr, target: usize) -> Result<(), Errno> {
        let tuple = Some((source, target));
        if self.peers.iter().any(|peer| peer.slot.is_some() && peer.tuple == tuple) {
            self.counts.tuples_taken += 1;
            return Err(Errno::EADDRNOTAVAIL);
        }
        if self.happens(self.config.faults.connect_at_once) {
            return Err(self.pick(&[Errno::EADDRNOTAVAIL, Errno::EADDRINUSE, Errno::ENOBUFS]));
        }
        Ok(())
    }

    pub(super) fn put_peer_to_connect(&mut self, token: Token, tuple: (SocketAddr, usize)) {
        let profile = self.answering_profile();
        let mut peer = Peer::new(profile);
        peer.tuple = Some(tuple);
        self.peers.push(peer);
        self.put_in_table(token.slot(), self.peers.len() - 1);
        let fails = self.happens(self.config.faults.connect);
        let taken = self.config.faults.connect_taken;
        let is_taken = taken > 0 && self.happens(taken);
        let result = match (fails, is_taken) {
            (true, _) => Err(self.pick(CONNECT_ERRORS)),
            (false, true) => Err(Errno::EADDRINUSE),
            (false, false) => Ok(0),
        };
        if self.is_wired && result.is_ok() {
            // The wire carries it to a listener, which answers.
            let number = self.peers.len() - 1;
            self.peers[number].connecting = Some(token);
            return self.touch(number);
        }
        // A failure may take about as long as our own patience does, or as long as the kernel's.
        let delay_us = match self.random.u8(..16) {
            0 if fails => 9_800_000..11_000_000,
            1 if fails => 127_000_000..128_000_000,
            _ => 10..30_000,
        };
        let time = self.now + Duration::from_micros(self.random.u64(delay_us));
        self.plan(time, Event::Connected { token, result });
    }

    pub(super) fn on_connected(&mut self, token: Token, result: Result<u32, Errno>) {
        let number = self.peer_at(token.slot());
        match result {
            Ok(_) => {
                self.begin_schedule(number);
                self.wake_peer(number);
            }
            Err(_) => self.peers[number].was_refused = true,
        }
        self.complete(token, result);
    }

    /// It is connected; from now on it does what is its behavior.
    fn begin_schedule(&mut self, number: usize) {
        if self.is_wired {
            self.peers[number].is_connected = true;
            return;
        }
        // A peer that answers has got its fault with its profile.
        let may_err = !matches!(self.behavior, PeerBehavior::Answer);
        let errs = may_err && self.happens(self.config.faults.echo);
        let peer = &mut self.peers[number];
        peer.is_connected = true;
        if let Some(due) = peer.begin_schedule(&self.behavior, errs, self.now, &mut self.random) {
            self.plan(due, Event::Schedule { peer: number });
        }
    }

    pub(super) fn act_unasked(&mut self, number: usize) {
        let next = self.peers[number].act_unasked(self.now, &mut self.random);
        if let Some(time) = next {
            self.plan(time, Event::Schedule { peer: number });
        }
        self.after_acting(number);
    }

    /// A peer that has done nothing wrong so far goes now, unasked; one that stays is heard of no
    /// more and takes nothing.
    pub fn hang_up(&mut self, number: usize, parting: Parting) {
        self.peers[number].hang_up(parting);
        self.after_acting(number);
    }

    /// Takes a connect that is cancelled out of what will happen.
    pub(super) fn take_connect(&mut self, token: Token) -> bool {
        if let Some(number) = self.invariants.place(token.slot()).peer
            && self.peers[number].connecting.take().is_some()
        {
            return true;
        }
        let is_it =
            |event: &Event| matches!(event, Event::Connected { token: t, .. } if *t == token);
        let key = self.events.iter().find(|(_, event)| is_it(event)).map(|(&key, _)| key);
        if let Some(key) = key {
            self.events.remove(&key);
            let number = self.peer_at(token.slot());
            self.peers[number].was_refused = true;
        }
        key.is_some()
    }

    /// How a peer that is connected to behaves: it answers, and errs as often as it is told to.
    fn answering_profile(&mut self) -> PeerProfile {
        let errs = self.happens(self.config.faults.echo);
        let fault = errs.then(|| self.pick(ECHO_FAULTS));
        let echo = Echo {
            message_bytes: self.config.message_bytes,
            fault,
            // In the first two messages, or at their seam.
            fault_after_bytes: self.random.usize(..2 * self.config.message_bytes.max(1)),
        };
        PeerProfile {
            bytes: 0,
            window: self.random.usize(8..=256),
            reading: Reading::Promptly,
            parting: Parting::HalfClose,
            echo: Some(echo),
        }
    }

    fn put_in_table(&mut self, slot: SlotId, peer: usize) {
        self.invariants.place(slot).peer = Some(peer);
        self.peers[peer].slot = Some(slot);
        self.peers[peer].met_at = self.now;
        self.counts.opened += 1;
    }

    // ---- peers ----------------------------------------------------------------------------

    /// Lets a peer act soon, as its profile has it.
    pub(super) fn wake_peer(&mut self, number: usize) {
        if self.is_wired {
            return self.touch(number);
        }
        let peer = &mut self.peers[number];
        if peer.is_due || peer.is_over() {
            return;
        }
        peer.is_due = true;
        let reading = peer.profile.reading;
        let pauses = reading == Reading::WithPauses && self.random.u8(..8) == 0;
        let delay = match reading {
            Reading::Slowly { every, .. } => every,
            _ => Duration::from_micros(self.random.u64(..if pauses { 1_000_000 } else { 6_000 })),
        };
        self.plan(self.now + delay, Event::Act { peer: number });
    }

    pub(super) fn act(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        peer.is_due = false;
        let sent = peer.sent.len();
        let goes_on = peer.act(&mut self.random);
        if peer.sent.len() > sent {
            peer.spoke_at = self.now;
        }
        if goes_on {
            self.wake_peer(number);
        }
        self.after_acting(number);
    }

    fn after_acting(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        if peer.has_erred {
            peer.erred_at.get_or_insert(self.now);
        }
        if let Some(slot) = peer.slot {
            self.settle(slot);
        }
    }

    /// A connection that waits at a listener is reset.
    pub(super) fn turn_away(&mut self, number: usize) {
        self.peers[number].was_refused = true;
        self.touch(number);
    }

    // ---- what a wire does -----------------------------------------------------------------

    /// The wire, if there is one, looks at the peer soon.
    pub(super) fn touch(&mut self, number: usize) {
        if self.is_wired {
            self.touched.push(number);
        }
    }

    /// Whether a listener is closed, and how many connections wait at it.
    pub(super) fn listener_state(&self, listener: usize) -> (bool, usize) {
        let listener = &self.listeners[listener];
        (listener.is_closed, listener.waiting.len())
    }

    /// A connection of another driver waits at `listener` now; its number among the peers.
    pub(super) fn arrive_by_wire(&mut self, listener: usize, window: usize) -> usize {
        let (reading, parting) = (Reading::Promptly, Parting::Stay);
        self.peers.push(Peer::new(PeerProfile { bytes: 0, window, reading, parting, echo: None }));
        let number = self.peers.len() - 1;
        self.listeners[listener].waiting.push_back(number);
        self.match_up(listener);
        number
    }

    /// The connect to a peer is answered at `time`.
    pub(super) fn answer_connect(
        &mut self,
        number: usize,
        result: Result<u32, Errno>,
        time: Duration,
    ) {
        let token = self.peers[number].connecting.take().expect("a connect is answered once");
        self.plan(time, Event::Connected { token, result });
    }

    /// Whether bytes that arrive from the peer now have no reader any more.
    pub(super) fn takes_no_bytes(&mut self, number: usize) -> bool {
        let Some(slot) = self.peers[number].slot else { return self.peers[number].was_closed };
        self.invariants.place(slot).shut == Shut::Both
    }

    /// What waits for a condition of the peer looks again.
    pub(super) fn settle_peer(&mut self, number: usize) {
        if let Some(slot) = self.peers[number].slot {
            self.settle(slot);
        }
    }

    /// When something happens next.
    pub(super) fn next_event(&self) -> Option<Duration> {
        self.events.keys().next().map(|&(time, _)| time)
    }

    /// Whether completions wait for the endpoint.
    pub(super) fn has_answers(&self) -> bool {
        !self.done.is_empty()
    }

    pub(super) fn peer_at(&mut self, slot: SlotId) -> usize {
        self.invariants.place(slot).peer.expect("the invariants saw a descriptor")
    }
}

const ACCEPT_ERRORS: &[Errno] =
    &[Errno::ECONNABORTED, Errno::ENFILE, Errno::ENOMEM, Errno::EMFILE, Errno::ENOBUFS];

const CONNECT_ERRORS: &[Errno] = &[Errno::ECONNREFUSED, Errno::ETIMEDOUT, Errno::EHOSTUNREACH];

const ECHO_FAULTS: &[EchoFault] = &[
    EchoFault::Silence,
    EchoFault::Corruption,
    EchoFault::Repetition,
    EchoFault::Replay,
    EchoFault::CrossedWires,
    EchoFault::Reset,
    EchoFault::End,
    EchoFault::Stubbornness,
];
