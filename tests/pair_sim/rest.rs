//! What must hold when a world has come to rest: nothing is left, and the books agree.

use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{End, Link, Outcome, Peer, SimDriver};
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::protocol::{Expectation, Protocol};
use megaconn::observe::stats::{Listed, LostCause};

use crate::Figures;
use crate::ends::sum;
use crate::frames::{CLOSE, PING, PONG, Said, Talk};
use crate::scene::{self, Layer};
use crate::world::World;

impl<P: Protocol, E: Expectation> World<P, E> {
    pub(crate) fn check_rest(&mut self) {
        self.check_nothing_is_left();
        self.check_connects();
        self.check_links();
        self.check_ways();
        self.check_bytes();
        self.check_texts();
        self.check_timeouts();
        if self.scene.has_frames() {
            self.talks().for_each(|talk| talk.check(&self.scene));
        }
    }

    /// The connections of a world that speaks WebSocket.
    fn talks(&self) -> impl Iterator<Item = Talk<'_>> {
        let (server, client) = (&self.server.end.driver, &self.client.end.driver);
        let timeouts = [&self.served.ping_timeout_total, &self.served.idle_timeout_total];
        let silent = self.called.lost[LostCause::Silent as usize].get();
        let may_be_cut = silent > 0 || timeouts.iter().any(|counter| counter.get() > 0);
        let links = self.wire.links().iter().filter(|l| l.outcome == Outcome::Established);
        links.map(move |link| {
            let [a, b] = ends_of(link, server, client);
            let number = link.peer(End::Server).expect("the handshake is done");
            let is_in_order = self.ends[0].by_reset.get(&number) == Some(&false) && !a.has_reset;
            Talk {
                from_client: Said::of(&b.received),
                to_server: Said::of(&a.sent[..a.delivered]),
                from_server: Said::of(&a.received),
                to_client: Said::of(&b.sent[..b.delivered]),
                was_reset: link.was_reset,
                may_be_cut,
                is_in_order,
            }
        })
    }

    /// A figure of a world that speaks TLS.
    fn in_records(&self, figure: u64) -> u64 {
        if self.scene.has_records() { figure } else { 0 }
    }

    /// What was said in frames.
    fn frames(&self) -> [(&'static str, u64); 5] {
        let mut counts = [0; 5];
        if self.scene.has_frames() {
            for talk in self.talks() {
                counts[0] += talk.to_client.count(PING);
                counts[1] += talk.from_client.count(PONG);
                counts[2] += talk.to_server.count(CLOSE);
                counts[3] += u64::from(talk.from_server.has_gone_away());
                counts[4] += u64::from(talk.is_refused());
            }
        }
        let names =
            ["frames.pings", "frames.pongs", "frames.closes", "frames.left", "frames.refused"];
        std::array::from_fn(|n| (names[n], counts[n]))
    }

    fn check_nothing_is_left(&mut self) {
        assert_eq!(self.server.connections(), 0, "connections remain: {:?}", self.server.end.arena);
        assert_eq!(self.client.end.arena.used(), 0, "slots of the client remain");
        let drivers = [&mut self.server.end.driver, &mut self.client.end.driver];
        let stats = [&self.served.common, &self.called.common];
        for (driver, stats) in drivers.into_iter().zip(stats) {
            assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
            let counts = driver.counts();
            assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
            assert_eq!(counts.closed, stats.closed_total.get(), "closes are miscounted");
        }
        assert_eq!(self.client.end.driver.in_flight(), 0, "something is with the kernel still");
        for books in &self.ends {
            assert!(books.open.is_empty(), "open connections remain: {:?}", books.open);
        }
    }

    /// Every connect has one outcome, and each that was established was accepted or turned away.
    fn check_connects(&mut self) {
        let links = self.wire.links();
        let count = |outcome| links.iter().filter(|link| link.outcome == outcome).count() as u64;
        assert_eq!(count(Outcome::Connecting), 0, "a connect is under way");
        let established = count(Outcome::Established);
        let (server, client) = (&self.served, &self.called);
        let accepted = server.accepted_total.get();
        let turned_away = self.server.end.driver.peers().iter().filter(|p| p.was_refused).count();
        let turned_away = turned_away as u64;
        assert_eq!(established, accepted + turned_away, "established, accepted and turned away");
        let refused = server.refused_total.get() + server.refused_memory_total.get();
        let known = refused + server.failed[Errno::ECONNABORTED.index()].get();
        let is_right = if self.drained { known <= turned_away } else { known == turned_away };
        assert!(is_right, "{known} were turned away, as counted, of {turned_away}");

        let peers = self.client.end.driver.peers();
        let connected = peers.iter().filter(|peer| peer.is_connected).count() as u64;
        let begun = client.churn_started_total.get() - client.churn_failed_total.get();
        let unopened = client.opening_failed_total.get();
        let held = client.connected_total.get();
        assert_eq!(connected, held + begun + unopened, "connects that succeeded");
        let given_up = established - connected;
        let timeouts = [
            &client.failed,
            &client.churn_failed,
            &client.reconnect_failed,
            &client.arrival_failed,
        ];
        let timeouts: u64 = timeouts.iter().map(|f| f[Errno::ETIMEDOUT.index()].get()).sum();
        assert!(given_up <= timeouts, "{given_up} connects given up, {timeouts} counted");
        let ended = sum(&client.lost) + sum(&client.churn_lost) + client.churned_total.get();
        let ended = ended + unopened + client.departures_total.get() + client.dropped_total.get();
        assert_eq!(connected, ended + self.ends[1].closed_by_us, "each has one cause of its end");
    }

    /// On a link that was not reset everything has arrived, and then both ends.
    fn check_links(&mut self) {
        let (server, client) = (&self.server.end.driver, &self.client.end.driver);
        for link in self.wire.links().iter().filter(|l| l.outcome == Outcome::Established) {
            let [a, b] = ends_of(link, server, client);
            for (near, far) in [(a, b), (b, a)] {
                assert!(far.received.starts_with(&near.sent), "other bytes came: {link:?}");
                assert!(near.delivered <= near.sent.len() && far.confirmed == far.received.len());
                let is_whole = near.delivered == far.received.len() && near.has_half_closed;
                assert!(is_whole || link.was_reset, "not all arrived: {link:?} {near:?} {far:?}");
            }
            let is_reset = a.was_reset || a.was_refused || b.was_reset || link.was_broken;
            let is_reset = is_reset || a.has_reset || b.has_reset;
            assert_eq!(link.was_reset, is_reset, "a reset that no end has sent: {link:?}");
        }
    }

    /// What is to be ended by a reset was, and the rest in order; unless bytes came that were not
    /// read.
    fn check_ways(&mut self) {
        if matches!(self.scene.protocol.then, Mode::Echo) && self.scene.layer == Layer::None {
            for (&number, _) in self.ends[0].by_reset.iter().filter(|(_, by_reset)| !**by_reset) {
                let peer = &self.server.end.driver.peers()[number];
                let is_whole = peer.received.len() == peer.delivered || peer.has_reset;
                assert!(is_whole, "ended in order without an echo: {peer:?}");
            }
        }
        let drivers = [&mut self.server.end.driver, &mut self.client.end.driver];
        for (driver, books) in drivers.into_iter().zip(&self.ends) {
            for (&number, &by_reset) in &books.by_reset {
                let peer = &driver.peers()[number];
                let has_reset = peer.was_reset && !peer.closed_unread;
                let is_right = if by_reset { peer.was_reset || peer.has_reset } else { !has_reset };
                assert!(is_right, "to be reset: {by_reset}, but {has_reset}: {peer:?}");
            }
        }
    }

    /// What one end has sent the other has received, but for what resets have lost.
    fn check_bytes(&mut self) {
        let (server, client) = (&self.server.end.driver, &self.client.end.driver);
        let mut lost = [0_u64; 2];
        for link in self.wire.links().iter().filter(|link| link.was_reset) {
            let Some(_) = link.server else { continue };
            let [a, b] = ends_of(link, server, client);
            lost[0] += (a.received.len() - b.delivered) as u64;
            lost[1] += (b.received.len() - a.delivered) as u64;
        }
        let stats = [&self.served.common, &self.called.common];
        for (from, to) in [(0, 1), (1, 0)] {
            let [came, _] = self.ends[to].uncounted_bytes;
            let [_, went] = self.ends[from].uncounted_bytes;
            let sent = stats[from].send_bytes_total.get() + went;
            let received = stats[to].recv_bytes_total.get() + came;
            assert_eq!(sent, received + lost[from], "bytes sent, received, and lost by resets");
        }
    }

    /// Echoes that were verified, and pushes, are those that the streams show.
    fn check_texts(&mut self) {
        if self.scene.orders.is_some() {
            // They are looked at with what was ordered.
            return;
        }
        if self.scene.has_records() {
            let (came, went) = (self.called.pushes_total.get(), self.served.pushes_total.get());
            let uncounted = self.ends[0].uncounted.len() as u64;
            return assert!(came <= went + uncounted, "{came} pushes came of {went}");
        }
        let banner = self.scene.protocol.text.as_ref().map_or(0, |banner| banner.bytes().len());
        let (skip, each) = match &self.scene.protocol.then {
            Mode::Echo => (0, usize::from(self.scene.client.message_bytes)),
            Mode::Push(Push { text, .. }) => (banner, text.bytes().len()),
            Mode::Sink => return,
        };
        let has_frames = self.scene.has_frames();
        let is_echo = matches!(self.scene.protocol.then, Mode::Echo);
        let texts = |stream: &[u8]| {
            let said = has_frames.then(|| Said::of(stream));
            let bytes = said.as_ref().map_or(stream.len(), Said::carried);
            (bytes.saturating_sub(skip) / each) as u64
        };
        let before_last_pong = |client: &Peer| {
            let pongs = Said::of(&client.received).count(PONG);
            let bytes = Said::of(&client.sent[..client.delivered]).carried_before(pongs);
            (bytes.saturating_sub(skip) / each) as u64
        };
        // A timer that closes is counted with those that push.
        let closed_at_timer =
            |stream: &[u8]| u64::from(has_frames && !is_echo && Said::of(stream).has_gone_away());
        let (server, client) = (&self.server.end.driver, &self.client.end.driver);
        // Whole texts of each end: on all connections, and on those whose counters are certain.
        let (mut sent, mut came) = ([0_u64; 2], [0_u64; 2]);
        for link in self.wire.links().iter().filter(|l| l.outcome == Outcome::Established) {
            let [a, b] = ends_of(link, server, client);
            let (to, from) = (texts(&a.received), texts(&b.sent[..b.delivered]));
            let to = to + closed_at_timer(&a.received);
            let is_certain = link.server.is_some_and(|n| !self.ends[0].uncounted.contains(&n));
            sent[0] += to;
            sent[1] += if is_certain { to } else { 0 };
            came[0] += from;
            // What came behind a ping is heard when its pong is out, unless the connection ends before.
            let has_ended = has_frames && (link.was_reset || !is_echo);
            let heard = if has_ended { before_last_pong(b) } else { from };
            came[1] += if self.ends[1].uncounted.contains(&link.client) { 0 } else { heard };
        }
        let (server, client) = (&self.served, &self.called);
        let verified = match is_echo {
            true => client.messages_total.get() + client.churned_total.get(),
            false => client.pushes_total.get(),
        };
        assert!((came[1]..=came[0]).contains(&verified), "{verified} verified, {came:?} came");
        if !is_echo {
            let pushed = server.pushes_total.get();
            assert!((sent[1]..=sent[0]).contains(&pushed), "{pushed} counted, {sent:?} sent");
            let uncounted = sent[0] - sent[1];
            assert!(verified <= pushed + uncounted, "{verified} pushes came of {pushed}");
        }
    }

    /// Nothing times out at the client unless the wire is slow. A short connection that waits for its
    /// connect holds a buffer, so where those are few an echo may wait for one until its time is up.
    fn check_timeouts(&self) {
        let stats = &self.called;
        let silent = LostCause::Silent as usize;
        let silent = stats.lost[silent].get() + stats.churn_lost[silent].get();
        let closes = stats.close_timeout_total.get();
        let is_quick = !self.scene.is_slow;
        assert!(!is_quick || closes == 0, "{closes} closes timed out on a quick wire");
        let has_buffers = self.scene.sims[1].buffers >= scene::MANY_BUFFERS;
        let is_right = silent == 0 || !(is_quick && has_buffers);
        assert!(is_right, "{silent} echoes did not come on a quick wire");
    }

    pub(crate) fn figures(&mut self) -> Figures {
        let served = self.served.numbers().map(|(name, n)| (format!("server.{name}"), n));
        let called = self.called.numbers().map(|(name, n)| (format!("client.{name}"), n));
        let figures = served.chain(called);
        let wire = self.wire.counts();
        let links = self.wire.links();
        let count = |is_so: fn(&Link) -> bool| links.iter().filter(|l| is_so(l)).count() as u64;
        let own = [
            ("wire.backlog_full", wire.backlog_full),
            ("wire.syns_lost", wire.syns_lost),
            ("wire.stalls", wire.stalls),
            ("wire.long_stalls", wire.long_stalls),
            ("wire.broken", wire.broken),
            ("wire.pauses", wire.pauses),
            ("wire.bounced", wire.bounced),
            ("wire.unread_closes", wire.unread_closes),
            ("wire.windows_full", wire.windows_full),
            ("links.refused", count(|l| l.outcome == Outcome::Refused)),
            ("links.abandoned", count(|l| l.outcome == Outcome::Abandoned)),
            ("links.reset", count(|l| l.was_reset)),
            ("links.in_order", count(|l| l.outcome == Outcome::Established && !l.was_reset)),
            ("lost.fin", self.called.lost[0].get()),
            ("lost.reset", self.called.lost[1].get()),
            ("lost.silent", self.called.lost[3].get()),
            ("churn_lost", sum(&self.called.churn_lost)),
            ("uncounted", self.ends.iter().map(|books| books.uncounted.len() as u64).sum()),
            ("tuples_taken", self.client.end.driver.counts().tuples_taken),
            ("turns_aside", self.turns_aside),
            ("handshakes_held_up", self.handshakes_held_up),
            ("records.messages", self.in_records(self.called.messages_total.get())),
            ("records.pushes", self.in_records(self.called.pushes_total.get())),
            ("records.churned", self.in_records(self.called.churned_total.get())),
            ("records.handshakes", self.in_records(self.served.handshakes_total.get())),
            (
                "records.handshakes_failed",
                self.in_records(self.served.handshakes_failed_total.get()),
            ),
            ("records.broadcasts", self.in_records(self.called.broadcasts_received_total.get())),
            ("broadcasts.gone", self.orders_given.gone()),
            ("broadcasts.topical", self.orders_given.topical()),
            ("records.drained", self.in_records(self.served.drained_total.get())),
            ("now_ms", u64::try_from(self.wire.now().as_millis()).expect("some minutes")),
        ];
        let own = own.into_iter().chain(self.frames());
        figures.chain(own.map(|(name, figure)| (name.to_owned(), figure))).collect()
    }
}

/// The peers that stand for a link: in the server's driver, then in the client's.
fn ends_of<'a>(link: &Link, server: &'a SimDriver, client: &'a SimDriver) -> [&'a Peer; 2] {
    let number = link.peer(End::Server).expect("the handshake is done");
    [&server.peers()[number], &client.peers()[link.client]]
}
