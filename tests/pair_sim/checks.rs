//! What must hold after every turn of either end.

use megaconn::drivers::sim::{End, Move, Peer, SimDriver};
use megaconn::engine::arena::Arena;
use megaconn::engine::client::phase::Phase;
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::{Push, Pushes};
use megaconn::engine::protocol::{Expectation, Protocol};
use megaconn::engine::slot::{ConnState, Queue, Role, WriteSide};
use megaconn::observe::stats::{CommonStats, LostCause};

use crate::ends::{BY_RESET, Used, causes_of_client, causes_of_server, sum, used_slots};
use crate::frames::Said;
use crate::scene::Layer;
use crate::world::World;

impl<P: Protocol, E: Expectation> World<P, E> {
    pub(crate) fn check_turn(&mut self, end: End) {
        let used = match end {
            End::Server => check_slots(&self.server.end.arena, &self.served),
            End::Client => check_slots(&self.client.end.arena, &self.called),
        };
        let (driver, stats): (&mut SimDriver, &CommonStats) = match end {
            End::Server => (&mut self.server.end.driver, &self.served),
            End::Client => (&mut self.client.end.driver, &self.called),
        };
        check_driver(driver, stats);
        let moves = driver.take_moves();
        let books = &mut self.ends[end as usize];
        let ended = books.take_ended(used, end, driver);
        books.count_bytes(&moves, stats);
        match end {
            End::Server => self.check_ends_of_server(&ended),
            End::Client => self.check_ends_of_client(&ended),
        }
        self.check_streams(end, &moves);
        if end == End::Client {
            self.check_waits();
        }
    }

    /// When the last text has come on a connection is known, however often the wait for the next one was
    /// moved, and whatever else goes out on it meanwhile: it changes with a text that comes alone.
    fn check_waits(&mut self) {
        let Expect::Push(Pushes { every: Some(every), .. }) = self.scene.expect else { return };
        let every_us = u32::try_from(every.as_micros()).expect("some milliseconds");
        let mut is_any_out = false;
        for (id, slot) in self.client.end.arena.iter_used() {
            let is_waiting = matches!(slot.queue(), Queue::Resting | Queue::Overdue);
            // A reply that is out uses the place of the number.
            let is_out = slot.write != WriteSide::Idle;
            is_any_out |= is_waiting && is_out;
            if is_waiting && !is_out {
                let last_us = slot.since_us.wrapping_sub(every_us * u32::from(slot.start));
                let life = (id, slot.generation().get());
                let before = self.last_texts.insert(life, last_us);
                self.waits_begun += u64::from(before.is_some_and(|before| before != last_us));
            }
        }
        let (begun, came) = (self.waits_begun, self.called.pushes_total.get() - self.texts);
        assert!(begun <= came, "{begun} waits began anew, {came} texts came");
        if !is_any_out {
            (self.waits_begun, self.texts) = (0, self.texts + came);
        }
    }

    // ---- each end has one cause -----------------------------------------------------------

    /// Each connection that ended is counted by one cause, which its peer has given if it is one of
    /// the peer's; one without a cause has seen the end of its peer's stream.
    fn check_ends_of_server(&mut self, ended: &[usize]) {
        let stats = &self.served;
        let counted = self.ends[0].rise_of_causes(causes_of_server(stats));
        let open = self.ends[0].open.len() as u64;
        let ends = stats.accepted_total.get() - open;
        assert_eq!(ends, self.ends[0].seen.len() as u64 - open, "a connection is not counted");
        assert_eq!(
            u64::from(self.server.connections()),
            stats.accepted_total.get() - stats.closed_total.get()
        );
        let all: u64 = counted.iter().sum();
        let finished = (ended.len() as u64).checked_sub(all);
        let finished = finished.unwrap_or_else(|| panic!("{all} causes for the ends of {ended:?}"));
        let peers = self.server.end.driver.peers();
        let count = |is_so: &dyn Fn(&Peer) -> bool| {
            ended.iter().filter(|&&peer| is_so(&peers[peer])).count() as u64
        };
        let has_frames = self.scene.has_frames();
        let reset = count(&|p| p.has_reset);
        // A close frame of either end ends it too.
        let half_closed = count(&|p| {
            p.has_half_closed
                || has_frames
                    && [&p.sent[..p.delivered], &p.received]
                        .iter()
                        .any(|stream| Said::of(stream).has_closed())
        });
        // In records it is not seen.
        let is_unseen = self.scene.has_records();
        assert!(
            is_unseen || finished <= half_closed,
            "{finished} finished, {half_closed} were ended: {ended:?}"
        );
        assert!(counted[0] <= reset, "{} resets are counted, {reset} came: {ended:?}", counted[0]);
        let shaken = stats.handshakes_total.get() + stats.handshakes_failed_total.get();
        assert!(shaken <= stats.accepted_total.get(), "{shaken} handshakes are over");
        assert!(stats.handshake_timeout_total.get() <= stats.handshakes_failed_total.get());
        self.handshakes_held_up += u64::from(stats.handshakes_waiting.get() > 0);
        let by_reset: u64 = BY_RESET.iter().map(|&cause| counted[cause]).sum();
        self.expect_resets(End::Server, ended, by_reset, counted.last());
    }

    /// A storm in order resets those that are busy, which are told from the others in no counter.
    fn expect_resets(&mut self, end: End, ended: &[usize], resets: u64, dropped: Option<&u64>) {
        let dropped = dropped.copied().unwrap_or(0);
        if dropped == 0 || self.drops_by_reset[end as usize] {
            self.ends[end as usize].expect_resets(ended, resets + dropped);
        }
    }

    fn check_ends_of_client(&mut self, ended: &[usize]) {
        let stats = &self.called;
        let counted = self.ends[1].rise_of_causes(causes_of_client(stats));
        let all: u64 = counted.iter().sum();
        let by_us = (ended.len() as u64).checked_sub(all);
        let by_us = by_us.unwrap_or_else(|| panic!("{all} causes for the ends of {ended:?}"));
        let is_close = matches!(self.phase, Phase::Close { .. });
        assert!(by_us == 0 || is_close, "{by_us} of {ended:?} ended without a cause");
        self.ends[1].closed_by_us += by_us;
        let peers = self.client.end.driver.peers();
        let count = |is_so: &dyn Fn(&Peer) -> bool| {
            ended.iter().filter(|&&peer| is_so(&peers[peer])).count() as u64
        };
        let has_frames = self.scene.has_frames();
        let [fin, reset] = [LostCause::Fin, LostCause::Reset].map(|cause| counted[cause as usize]);
        let was_reset = count(&|p| p.has_reset);
        let half_closed = count(&|p| {
            p.has_half_closed || has_frames && Said::of(&p.sent[..p.delivered]).has_closed()
        });
        let is_unseen = self.scene.has_records();
        assert!(
            is_unseen || fin <= half_closed,
            "{fin} lost by an end, {half_closed} were ended: {ended:?}"
        );
        assert!(reset <= was_reset, "{reset} lost by a reset, {was_reset} were reset: {ended:?}");
        for cause in [LostCause::Mismatch, LostCause::Local, LostCause::Timeout] {
            assert_eq!(
                counted[cause as usize], 0,
                "{cause:?} has no cause in this world: {ended:?}"
            );
        }
        assert_eq!(stats.messages_mismatched_total.get(), 0, "bytes that were not expected came");
        let causes = LostCause::ALL.len();
        // What is done, and what has lived for its time.
        let in_time = by_us + counted[causes] + counted[causes + 2];
        let by_reset = if self.scene.client.close == ShutdownMode::Reset { in_time } else { 0 };
        self.expect_resets(End::Client, ended, by_reset, counted.last());
        let stats = &self.called;
        let (late, overdue) = (stats.pushes_late_total.get(), stats.pushes_overdue_total.get());
        assert!(late <= overdue, "{late} pushes came late, {overdue} were overdue");
        let census = self.client.census();
        let dropped = stats.dropped_total.get();
        let gone = sum(&stats.lost) + stats.departures_total.get() + self.ends[1].closed_by_us;
        let held = census.connections + gone + dropped;
        assert_eq!(stats.connected_total.get(), held, "established, held and ended: {census:?}");
        let open = census.aside + census.resting + census.waiting + census.overdue;
        let others = census.connecting + census.opening + census.ending;
        assert_eq!(open + others, self.client.end.arena.used(), "each stands in one queue");
        if self.scene.has_frames() {
            assert_eq!(census.connections, u64::from(open), "held ones: {census:?}");
            self.turns_aside += u64::from(census.aside > 0);
        }
        self.check_returns();
        let (stats, census) = (&self.called, self.client.census());
        let short = stats.churned_total.get() + stats.churn_failed_total.get();
        let short = short + sum(&stats.churn_lost) + u64::from(census.churning);
        assert_eq!(stats.churn_started_total.get(), short, "short connections: {census:?}");
    }

    /// What was lost is back, given up, called off, or waits; and no connection lives twice.
    fn check_returns(&mut self) {
        let stats = &self.called;
        let lost = sum(&stats.lost) + stats.dropped_total.get();
        let before = std::mem::replace(&mut self.lost[0], lost);
        let is_wanted = self.scene.client.reconnect.is_some();
        if !is_wanted || matches!(self.phase, Phase::Close { .. }) {
            self.lost[1] += lost - before;
        }
        let came = [&stats.returned_total, &stats.given_up_total, &stats.called_off_total];
        let came: u64 = came.iter().map(|counter| counter.get()).sum();
        let waiting = stats.returns_waiting.get();
        assert_eq!(lost, came + waiting + self.lost[1], "lost, back, given up and waiting");
        assert!(stats.returned_total.get() <= stats.reconnect_tries_total.get());
        let filled = stats.arrivals_total.get() + stats.arrivals_called_off_total.get();
        let (left, places) = (stats.departures_total.get(), stats.places_waiting.get());
        assert_eq!(left, filled + places, "places left, filled, called off and not filled");
        assert!(stats.arrivals_total.get() <= stats.arrival_tries_total.get());
        let slots = self.client.end.arena.iter_used();
        let living = slots.filter(|(_, slot)| slot.state() != ConnState::Closing);
        let mut numbers: Vec<u32> = living.map(|(_, slot)| slot.role.number).collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count, "a connection lives twice");
    }

    // ---- streams --------------------------------------------------------------------------

    /// What an end was given is what the other end has sent, byte by byte; what the server has
    /// sent is what its mode says.
    fn check_streams(&mut self, end: End, moves: &[Move]) {
        let (server, client) = (&self.server.end.driver, &self.client.end.driver);
        let drivers = [server, client];
        for step in moves {
            let link = self.wire.link_of(end, step.peer).expect("bytes move on a link only");
            let other = link.peer(end.other()).expect("an established link has two ends");
            let peer = &drivers[end as usize].peers()[step.peer];
            let far = &drivers[end.other() as usize].peers()[other];
            let looked_at = self.ends[end as usize].looked_at.entry(step.peer).or_default();
            let now = [peer.delivered, peer.confirmed];
            let [came, went] = std::mem::replace(looked_at, now);
            let given = &peer.sent[came..now[0]];
            let is_right = far.received.get(came..now[0]) == Some(given);
            assert!(is_right, "{end:?} was given {given:?} at {came} of {far:?}");
            let sent = &peer.received[went..now[1]];
            let is_right = match end {
                // Frames are looked at when all is at rest, and records by their ends alone.
                _ if self.scene.layer != Layer::None => true,
                // Texts to all are looked at then, too.
                End::Server if self.scene.orders.is_some() => true,
                End::Server => is_as_served(&self.scene.protocol, peer, went, sent),
                End::Client => sent.is_empty() || !matches!(self.scene.expect, Expect::Push(_)),
            };
            assert!(is_right, "{end:?} has sent {sent:?} at {went} of {peer:?}");
        }
    }
}

/// Whether a server sends these bytes at this place of a stream.
fn is_as_served(protocol: &Banner<Mode>, peer: &Peer, at: usize, bytes: &[u8]) -> bool {
    match &protocol.then {
        Mode::Echo => peer.sent[..peer.delivered].get(at..at + bytes.len()) == Some(bytes),
        Mode::Sink => bytes.is_empty(),
        Mode::Push(Push { text, .. }) => {
            let banner = protocol.text.as_ref().map_or(&[][..], |banner| banner.bytes());
            let expected = |at: usize| match at.checked_sub(banner.len()) {
                None => banner[at],
                Some(at) => text.bytes()[at % text.bytes().len()],
            };
            bytes.iter().enumerate().all(|(n, byte)| *byte == expected(at + n))
        }
    }
}

fn check_slots<R: Role>(arena: &Arena<R>, stats: &CommonStats) -> Used {
    let used = used_slots(arena);
    let all = used.len() as u64 + arena.count_free();
    assert_eq!(all, arena.capacity(), "used and free slots are not all slots");
    assert_eq!(used.len() as u64, u64::from(arena.used()), "slots in use are miscounted");
    assert_eq!(arena.segments() as u64, stats.segments.get(), "the gauge of segments");
    used
}

fn check_driver(driver: &SimDriver, stats: &CommonStats) {
    let counts = driver.counts();
    assert_eq!(counts.stale, stats.stale_total.get(), "an earlier life of a slot acted");
    assert_eq!(driver.buffers_used() as u64, stats.buffers_used.get(), "the gauge of buffers");
    assert!(counts.closed >= stats.closed_total.get(), "a close is counted before it is done");
}
