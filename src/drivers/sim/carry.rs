//! How a wire carries what an end sends: bytes in pieces, the end of a stream, a reset.

use std::time::Duration;

use super::link::End;
use super::wire::{Drivers, Wire, WireEvent, WireMutation};

impl Wire {
    /// Takes what the endpoint at `from` has sent on `link`, as far as the other end has room for it.
    pub(super) fn carry(&mut self, drivers: &mut Drivers, link: usize, from: End) {
        let to = from.other();
        let (Some(source), Some(target)) = (self.links[link].peer(from), self.links[link].peer(to))
        else {
            return;
        };
        let peer = &drivers[from as usize].peers[source];
        if self.links[link].lane(from).has_reset || peer.has_reset {
            return;
        }
        if peer.was_reset || peer.was_refused {
            self.counts.unread_closes += u64::from(peer.closed_unread);
            return self.send_reset(link, from);
        }
        let mut has_taken = false;
        loop {
            let peer = &drivers[from as usize].peers[source];
            let waiting = peer.received.len() - peer.taken;
            let unread = drivers[to as usize].peers[target].unread().len();
            let used = unread + self.links[link].lane(from).in_flight;
            let most = waiting.min(self.config.window.saturating_sub(used));
            if most == 0 {
                self.counts.windows_full += u64::from(waiting > 0);
                break;
            }
            let count = if self.random.bool() { most } else { self.random.usize(1..=most) };
            let peer = &mut drivers[from as usize].peers[source];
            let bytes = peer.received[peer.taken..peer.taken + count].to_vec();
            peer.taken += count;
            has_taken = true;
            self.links[link].lane(from).in_flight += count;
            let time = self.arrival(link, from);
            self.plan(time, WireEvent::Bytes { link, from, bytes });
        }
        let peer = &drivers[from as usize].peers[source];
        let is_sent = peer.taken == peer.received.len();
        if peer.saw_end && is_sent && !self.links[link].lane(from).has_ended {
            self.links[link].lane(from).has_ended = true;
            let time = self.arrival(link, from);
            self.plan(time, WireEvent::Ended { link, from });
        }
        if has_taken {
            drivers[from as usize].settle_peer(source);
        }
    }

    /// When something that `from` sends now arrives: after all that it has sent before.
    fn arrival(&mut self, link: usize, from: End) -> Duration {
        let is_long = self.happens(self.config.faults.long_stall);
        let stalls = is_long || self.happens(self.config.faults.stall);
        let most_ms = match self.random.u8(..16) {
            _ if is_long => 40_000,
            0 => 3_000,
            _ => 60,
        };
        let held = Duration::from_millis(most_ms).mul_f64(self.random.f64());
        let most_us = if self.random.u8(..10) == 0 { 5_000 } else { 300 };
        let delay = self.micros(most_us);
        let now = self.now;
        self.counts.stalls += u64::from(stalls);
        self.counts.long_stalls += u64::from(is_long);
        let lane = self.links[link].lane(from);
        if stalls {
            lane.held_until = now + held;
        }
        lane.last_arrival = lane.last_arrival.max(lane.held_until).max(now) + delay;
        lane.last_arrival
    }

    /// A reset leaves `from`: behind what is under way, or past it.
    fn send_reset(&mut self, link: usize, from: End) {
        self.links[link].was_reset = true;
        self.links[link].lane(from).has_reset = true;
        let overtakes = self.random.bool();
        let time = if overtakes { self.now + self.micros(300) } else { self.arrival(link, from) };
        self.plan(time, WireEvent::Reset { link, from });
    }

    pub(super) fn happen(&mut self, drivers: &mut Drivers, event: WireEvent) {
        match event {
            WireEvent::Syn { link } => self.on_syn(drivers, link),
            WireEvent::Bytes { link, from, bytes } => self.on_bytes(drivers, link, from, bytes),
            WireEvent::Ended { link, from } => self.on_ended(drivers, link, from),
            WireEvent::Reset { link, from } => self.on_reset(drivers, link, from),
            WireEvent::Break { link } => self.break_link(link),
        }
    }

    fn on_bytes(&mut self, drivers: &mut Drivers, link: usize, from: End, mut bytes: Vec<u8>) {
        self.links[link].lane(from).in_flight -= bytes.len();
        let link = self.mutate(link, from, &mut bytes);
        let to = from.other();
        let Some(number) = self.links[link].peer(to) else { return };
        let driver = &mut drivers[to as usize];
        let peer = &driver.peers[number];
        if peer.has_reset || peer.was_reset || peer.was_refused {
            return;
        }
        if driver.takes_no_bytes(number) {
            // Nothing will ever read them: the end that has closed says so, and forgets the rest.
            self.counts.bounced += 1;
            let peer = &mut driver.peers[number];
            peer.has_reset = true;
            driver.settle_peer(number);
            if !self.links[link].lane(to).has_reset {
                self.send_reset(link, to);
            }
            return;
        }
        driver.peers[number].sent.extend_from_slice(&bytes);
        driver.settle_peer(number);
    }

    fn on_ended(&mut self, drivers: &mut Drivers, link: usize, from: End) {
        let to = from.other();
        let Some(number) = self.links[link].peer(to) else { return };
        if self.loses_end() {
            return;
        }
        let peer = &mut drivers[to as usize].peers[number];
        // It is noted at an end that has closed as well. After a reset there is no end.
        if !peer.has_reset && !peer.was_reset && !peer.was_refused {
            peer.has_half_closed = true;
            drivers[to as usize].settle_peer(number);
        }
    }

    fn on_reset(&mut self, drivers: &mut Drivers, link: usize, from: End) {
        let to = from.other();
        let Some(number) = self.links[link].peer(to) else { return };
        if self.loses_end() {
            return;
        }
        let peer = &mut drivers[to as usize].peers[number];
        if !peer.is_over() {
            peer.has_reset = true;
            drivers[to as usize].settle_peer(number);
        }
    }

    /// Both ends hear of a reset, one after the other, and nothing arrives behind it.
    fn break_link(&mut self, link: usize) {
        self.counts.broken += 1;
        self.links[link].was_broken = true;
        self.links[link].was_reset = true;
        for from in End::BOTH {
            if !self.links[link].lane(from).has_reset {
                self.links[link].lane(from).has_reset = true;
                let time = self.now + self.micros(50_000);
                self.plan(time, WireEvent::Reset { link, from });
            }
        }
    }

    // ---- rules that the wire breaks -------------------------------------------------------

    fn loses_end(&mut self) -> bool {
        self.config.mutation == Some(WireMutation::LostEnd) && self.random.u8(..4) == 0
    }

    /// Damages a piece; the link on which it arrives.
    fn mutate(&mut self, link: usize, from: End, bytes: &mut Vec<u8>) -> usize {
        let Some(mutation) = self.config.mutation else { return link };
        if self.random.u8(..8) > 0 {
            return link;
        }
        let at = self.random.usize(..bytes.len());
        match mutation {
            WireMutation::DamagedByte => bytes[at] ^= 1 << self.random.u8(..8),
            WireMutation::LostByte => drop(bytes.remove(at)),
            WireMutation::DoubledByte => bytes.insert(at, bytes[at]),
            WireMutation::LostEnd => {}
            WireMutation::CrossedBytes => {
                let other = self.random.usize(..self.links.len());
                let is_there = self.links[other].peer(from.other()).is_some();
                return if is_there { other } else { link };
            }
        }
        link
    }
}
