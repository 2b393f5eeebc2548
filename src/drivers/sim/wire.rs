//! A wire between two simulated drivers: one endpoint's peers are the other endpoint's connections.
//!
//! The wire owns the time of both ends. It carries connects, bytes, ends and resets from one to the
//! other, in order within a direction, in pieces of any length and after any delay. Its faults are
//! those that TCP lets through: a lost SYN, a direction that stalls, a reset at any moment, a core
//! that does not run for a while. The rules of TCP at either end are kept here too: bytes that were
//! not read turn a close into a reset, and so do bytes that arrive after it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::choices::Choices;
use super::driver::SimDriver;
use super::link::{End, Link, Outcome};
use crate::base::errno::Errno;
use crate::engine::worker::Turn;

/// What a wire is made of.
#[derive(Clone, Copy, Debug)]
pub struct WireConfig {
    /// Source of all its decisions.
    pub seed: u64,
    /// Bytes that the server's end of a connection takes before they are under way.
    pub send_buffer: usize,
    /// Bytes that an end keeps for an endpoint that does not read.
    pub window: usize,
    /// Connections that wait at one listener at most. A SYN beyond them is dropped.
    pub backlog: usize,
    /// What fails, and how often.
    pub faults: WireFaults,
    /// A rule that the wire breaks, to prove that the checks can fail.
    pub mutation: Option<WireMutation>,
}

/// How many of 1,000 things fail, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireFaults {
    /// SYNs that are lost. They are sent again after a second, and so on.
    pub lost_syn: u32,
    /// Pieces behind which their direction stalls, mostly for some ten milliseconds.
    pub stall: u32,
    /// Pieces behind which their direction stalls for up to forty seconds.
    pub long_stall: u32,
    /// Connections that are reset for both ends, at any moment of their first two seconds.
    pub reset: u32,
    /// Turns behind which a core does not run for up to a second.
    pub pause: u32,
}

/// A rule that the wire breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireMutation {
    /// A bit of a byte is flipped.
    DamagedByte,
    /// A byte does not arrive.
    LostByte,
    /// A byte arrives twice.
    DoubledByte,
    /// The end of a stream, or a reset, does not arrive.
    LostEnd,
    /// Bytes arrive on another connection.
    CrossedBytes,
}

/// What a wire has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// SYNs dropped because a listener had its backlog.
    pub backlog_full: u64,
    /// SYNs lost.
    pub syns_lost: u64,
    /// Times that a direction stalled.
    pub stalls: u64,
    /// Of these, for up to forty seconds.
    pub long_stalls: u64,
    /// Connections that the wire reset.
    pub broken: u64,
    /// Times that a core did not run.
    pub pauses: u64,
    /// Resets that answered bytes which came after a close.
    pub bounced: u64,
    /// Closes that became resets because bytes were not read.
    pub unread_closes: u64,
    /// Times that a sender found the receiver's window full.
    pub windows_full: u64,
}

/// The connections between a server's driver and a client's, and the time of both.
#[derive(Debug)]
pub struct Wire {
    pub(super) config: WireConfig,
    pub(super) random: Choices,
    pub(super) now: Duration,
    pub(super) links: Vec<Link>,
    /// The link of each peer, by end and number.
    link_of: [Vec<Option<usize>>; 2],
    events: BTreeMap<(Duration, u64), WireEvent>,
    events_planned: u64,
    /// When each end's core turns next.
    rests: [Rest; 2],
    pub(super) counts: WireCounts,
}

/// What a core does until its next turn.
#[derive(Clone, Copy, Debug)]
enum Rest {
    /// It sleeps until something completes, or until this time.
    Asleep(Option<Duration>),
    /// It does not look before this time.
    Away(Duration),
}

/// Something that will happen on the wire.
#[derive(Clone, Debug)]
pub(super) enum WireEvent {
    /// A connect reaches the listener.
    Syn { link: usize },
    /// Bytes reach the end behind `from`.
    Bytes { link: usize, from: End, bytes: Vec<u8> },
    /// The end of a stream does.
    Ended { link: usize, from: End },
    /// A reset does.
    Reset { link: usize, from: End },
    /// The wire breaks the connection.
    Break { link: usize },
}

/// Both drivers, the server's first.
pub type Drivers<'a> = [&'a mut SimDriver; 2];

impl Wire {
    /// Ties `drivers` to each other: from now on their peers are each other's connections.
    #[must_use]
    pub fn new(config: WireConfig, drivers: Drivers) -> Wire {
        drivers.into_iter().for_each(|driver| driver.is_wired = true);
        Wire {
            config,
            random: Choices::scripted(Vec::new(), config.seed),
            now: Duration::ZERO,
            links: Vec::new(),
            link_of: [Vec::new(), Vec::new()],
            events: BTreeMap::new(),
            events_planned: 0,
            rests: [Rest::Away(Duration::ZERO); 2],
            counts: WireCounts::default(),
        }
    }

    /// The time of both ends.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Every connect that reached the wire, and what became of it.
    #[must_use]
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The link that `peer` of the driver of `end` stands for; none when its connect failed before.
    #[must_use]
    pub fn link_of(&self, end: End, peer: usize) -> Option<&Link> {
        let link = self.link_of[end as usize].get(peer).copied().flatten();
        link.map(|link| &self.links[link])
    }

    /// What has happened so far.
    #[must_use]
    pub fn counts(&self) -> WireCounts {
        self.counts
    }

    /// From now on, other things fail.
    pub fn set_faults(&mut self, faults: WireFaults) {
        self.config.faults = faults;
    }

    /// `end` has taken a turn, and does what `turn` says until the next.
    pub fn rest(&mut self, end: End, turn: Turn) {
        let rest = match turn {
            _ if self.random.u32(..1000) < self.config.faults.pause => {
                self.counts.pauses += 1;
                let span = Duration::from_secs(1).mul_f64(self.random.f64().powi(3));
                Rest::Away(self.now + span)
            }
            Turn::Busy => Rest::Away(self.now + self.micros(TURN_US_MAX)),
            Turn::Idle(limit) => Rest::Asleep(limit.map(|limit| self.now + limit)),
        };
        self.rests[end as usize] = rest;
    }

    /// From now on the core of `end` does not run for `span`.
    pub fn hold_up(&mut self, end: End, span: Duration) {
        self.rests[end as usize] = Rest::Away(self.now + span);
    }

    /// A sleeping core is told something, and turns.
    pub fn wake(&mut self, end: End) {
        if let Rest::Asleep(_) = self.rests[end as usize] {
            self.rests[end as usize] = Rest::Away(self.now);
        }
    }

    /// Lets time pass until an end takes a turn, which is the answer, or until `until`.
    pub fn advance(&mut self, mut drivers: Drivers, until: Duration) -> Option<End> {
        loop {
            self.look_at_touched(&mut drivers);
            if let Some(end) = self.next_turn(&drivers) {
                return Some(end);
            }
            match self.next_time(&drivers).filter(|&time| time <= until) {
                Some(time) => self.run_until(&mut drivers, time),
                None => {
                    self.run_until(&mut drivers, until.max(self.now));
                    return None;
                }
            }
        }
    }

    /// Whether nothing will ever happen again.
    #[must_use]
    pub fn is_quiet(&self, drivers: &Drivers) -> bool {
        self.next_time(drivers).is_none() && drivers.iter().all(|driver| !driver.has_answers())
    }

    fn next_turn(&mut self, drivers: &Drivers) -> Option<End> {
        let is_due = |end: &End| match self.rests[*end as usize] {
            Rest::Away(until) => until <= self.now,
            Rest::Asleep(limit) => {
                drivers[*end as usize].has_answers() || limit.is_some_and(|limit| limit <= self.now)
            }
        };
        match End::BOTH.map(|end| Some(end).filter(is_due)) {
            [Some(_), Some(_)] => Some(End::BOTH[usize::from(self.random.bool())]),
            [server, client] => server.or(client),
        }
    }

    fn next_time(&self, drivers: &Drivers) -> Option<Duration> {
        let own = self.events.keys().next().map(|&(time, _)| time);
        let theirs = drivers.iter().map(|driver| driver.next_event());
        let turns = self.rests.iter().map(|rest| match rest {
            Rest::Away(until) => Some(*until),
            Rest::Asleep(limit) => *limit,
        });
        theirs.chain(turns).chain([own]).flatten().min()
    }

    fn run_until(&mut self, drivers: &mut Drivers, time: Duration) {
        self.now = self.now.max(time);
        for driver in drivers.iter_mut() {
            driver.run_until(self.now);
        }
        self.look_at_touched(drivers);
        while let Some(entry) = self.events.first_entry().filter(|entry| entry.key().0 <= time) {
            let event = entry.remove();
            self.happen(drivers, event);
        }
    }

    pub(super) fn plan(&mut self, time: Duration, event: WireEvent) {
        self.events_planned += 1;
        self.events.insert((time, self.events_planned), event);
    }

    pub(super) fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.random.u64(..most))
    }

    pub(super) fn happens(&mut self, of_thousand: u32) -> bool {
        self.random.u32(..1000) < of_thousand
    }

    // ---- connects -------------------------------------------------------------------------

    /// Looks at every peer whose endpoint has done something to it.
    fn look_at_touched(&mut self, drivers: &mut Drivers) {
        for end in End::BOTH {
            while let Some(peer) = drivers[end as usize].touched.pop() {
                match self.link_of[end as usize].get(peer).copied().flatten() {
                    Some(link) => {
                        self.carry(drivers, link, end);
                        self.carry(drivers, link, end.other());
                    }
                    None => self.begin(drivers, peer),
                }
            }
        }
    }

    /// A connect leaves the client.
    fn begin(&mut self, drivers: &mut Drivers, peer: usize) {
        let client = &drivers[End::Client as usize].peers[peer];
        if client.connecting.is_none() {
            return;
        }
        let (_, target) = client.tuple.expect("the client has connected to it");
        self.links.push(Link::new(target, peer));
        let link = self.links.len() - 1;
        self.name(link, End::Client, peer);
        let time = self.now + self.micros(SYN_US_MAX);
        self.plan(time, WireEvent::Syn { link });
    }

    fn name(&mut self, link: usize, end: End, peer: usize) {
        let names = &mut self.link_of[end as usize];
        if names.len() <= peer {
            names.resize(peer + 1, None);
        }
        names[peer] = Some(link);
    }

    /// A connect reaches its listener: the handshake is done there, or it is refused or dropped.
    pub(super) fn on_syn(&mut self, drivers: &mut Drivers, link: usize) {
        let (listener, peer) = (self.links[link].listener, self.links[link].client);
        if drivers[End::Client as usize].peers[peer].connecting.is_none() {
            self.links[link].outcome = Outcome::Abandoned;
            return;
        }
        let (is_closed, waiting) = drivers[End::Server as usize].listener_state(listener);
        let is_lost = self.happens(self.config.faults.lost_syn);
        let is_full = !is_closed && waiting >= self.config.backlog;
        if is_lost || is_full {
            self.counts.syns_lost += u64::from(is_lost);
            self.counts.backlog_full += u64::from(is_full && !is_lost);
            // It is sent again after one second, then after two more, and so on.
            let wait = Duration::from_secs(1 << self.links[link].syns.min(6));
            self.links[link].syns += 1;
            return self.plan(self.now + wait, WireEvent::Syn { link });
        }
        let time = self.now + self.micros(SYN_US_MAX);
        if is_closed {
            self.links[link].outcome = Outcome::Refused;
            let refused = Err(Errno::ECONNREFUSED);
            return drivers[End::Client as usize].answer_connect(peer, refused, time);
        }
        let send_buffer = self.config.send_buffer;
        let server = drivers[End::Server as usize].arrive_by_wire(listener, send_buffer);
        self.links[link].outcome = Outcome::Established;
        self.links[link].server = Some(server);
        self.name(link, End::Server, server);
        drivers[End::Client as usize].answer_connect(peer, Ok(0), time);
        if self.happens(self.config.faults.reset) {
            let time = self.now + self.micros(BREAK_US_MAX);
            self.plan(time, WireEvent::Break { link });
        }
    }
}

/// A turn takes less than this, in microseconds.
const TURN_US_MAX: u64 = 200;

/// Half of a handshake takes less than this, in microseconds.
const SYN_US_MAX: u64 = 10_000;

/// The wire breaks a connection within this time of its beginning, in microseconds.
const BREAK_US_MAX: u64 = 2_000_000;
