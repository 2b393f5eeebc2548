//! The books of the shard against the model's and the world's: after each turn, and at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use megaconn::base::constants::AGE_GRAIN_MS;
use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{BehaviorFault, EchoFault, Peer};
use megaconn::engine::driver::Driver;
use megaconn::engine::slot::ConnState;
use megaconn::observe::stats::{ByCause, ClientStats, Ending, Listed, LostCause};

use crate::worlds::World;
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::expect::Expect;

/// Time after which the client must have noticed what a peer did wrong.
const NOTICED_WITHIN: Duration = Duration::from_millis(300);

/// Reads a figure of the shard's, or of the model's.
type Read = fn(&ClientStats) -> u64;

impl World {
    pub(super) fn check_books(&mut self) {
        let census = self.shard.census();
        let arena = &self.shard.end.arena;
        let (used, free) = (u64::from(arena.used()), arena.count_free());
        assert_eq!(used + free, arena.capacity(), "used and free slots are not all slots");
        // By life: held ones, short ones.
        let mut lives = [[0_u64; 2]; 3];
        let mut messages_out = 0;
        for (_, slot) in arena.iter_used() {
            let life = match slot.state() {
                ConnState::Connecting => 0,
                ConnState::Open => 1,
                ConnState::Closing => 2,
                other => panic!("a slot of a client is {other:?}"),
            };
            let is_short = self.supply.is_short(slot.role.number);
            lives[life][usize::from(is_short)] += 1;
            messages_out += u64::from(life == 1 && !is_short && slot.role.pending > 0);
        }
        let [connecting, open, ending] = lives;
        assert_eq!(connecting[0] + connecting[1], u64::from(census.connecting), "{census:?}");
        assert_eq!(ending[0] + ending[1], u64::from(census.ending), "{census:?}");
        let queued = u64::from(census.resting + census.waiting + census.overdue);
        assert_eq!(open[0] + open[1], queued, "an open connection is in one queue: {census:?}");
        assert_eq!(open[0], census.connections, "{census:?}");
        assert_eq!(connecting[1] + open[1], u64::from(census.churning), "{census:?}");

        let stats = &self.stats;
        let (connected, failed) = (stats.connected_total.get(), stats.connect_failed_total.get());
        let untried = stats.connect_untried_total.get();
        let answered = connected + failed + untried + census.to_start + connecting[0];
        assert_eq!(answered, self.asked, "a connect got lost: {census:?}");
        self.check_memory(census.to_start, untried);
        let ended = sum(&stats.lost) + self.model.closed_by_us.len() as u64;
        assert!(connected >= census.connections + ended, "a connection ended twice: {census:?}");
        if !matches!(self.phase, megaconn::engine::client::phase::Phase::Close { .. }) {
            assert_eq!(connected, census.connections + ended, "established and lost: {census:?}");
        }
        let churned = stats.churned_total.get() + stats.churn_failed_total.get();
        let churned = churned + sum(&stats.churn_lost) + u64::from(census.churning);
        assert_eq!(stats.churn_started_total.get(), churned, "a short one got lost: {census:?}");
        self.check_messages_add_up(messages_out);
        self.check_figures();

        let driver = &mut self.shard.end.driver;
        let (counts, used) = (driver.counts(), driver.buffers_used());
        let stats = &self.stats;
        assert_eq!(counts.stale, stats.stale_total.get(), "an earlier life of a slot acted");
        assert!(counts.closed >= stats.closed_total.get(), "closed before the world did");
        assert_eq!(used as u64, stats.buffers_used.get(), "the gauge of buffers");
        let gauges =
            [&stats.connects_in_flight, &stats.messages_in_flight, &stats.closes_in_flight];
        let queues = [census.connecting, census.waiting, census.ending].map(u64::from);
        assert_eq!(gauges.map(|gauge| gauge.get()), queues, "the gauges of what is in flight");
        assert!(used <= self.buffers, "more buffers are in use than there are");
    }

    /// Once memory is short nothing begins any more; before it is nothing is left untried.
    fn check_memory(&self, to_start: u64, untried: u64) {
        let Some(before) = self.begun_until_short else {
            return assert_eq!(untried, 0, "connects are given up while there is memory");
        };
        let begun = [&self.stats.connect_started_total, &self.stats.churn_started_total];
        let begun = begun.map(|figure| figure.get());
        assert_eq!(begun, before, "connects, and short connections, begun while memory is short");
        assert_eq!(to_start, 0, "connects are to be started while memory is short");
    }

    /// Each message is out, has been answered, or was lost with its connection.
    fn check_messages_add_up(&self, out: u64) {
        let sent = self.stats.messages_sent_total.get();
        let lost = self.model.lost_with_message;
        match self.config.expect {
            Expect::Echo(_) => {
                let verified = self.stats.messages_total.get();
                assert_eq!(sent, verified + out + lost, "messages out {out}, lost {lost}");
            }
            Expect::Push(_) | Expect::Broadcast(_) => {
                assert_eq!(sent, 0, "a client that expects pushes speaks");
            }
            Expect::Nothing => assert!(sent >= out + lost, "messages out {out}, lost {lost}"),
        }
    }

    /// What the model has counted by itself.
    fn check_figures(&self) {
        let figures: [(&str, Read); 10] = [
            ("messages", |s| s.messages_total.get()),
            ("late messages", |s| s.messages_late_total.get()),
            ("mismatches", |s| s.messages_mismatched_total.get()),
            ("unsent messages", |s| s.messages_unsent_total.get()),
            ("churned", |s| s.churned_total.get()),
            ("churn unstarted", |s| s.churn_unstarted_total.get()),
            ("pushes", |s| s.pushes_total.get()),
            ("late pushes", |s| s.pushes_late_total.get()),
            ("overdue pushes", |s| s.pushes_overdue_total.get()),
            ("churn started", |s| s.churn_started_total.get()),
        ];
        for (name, figure) in figures {
            assert_eq!(figure(&self.stats), figure(&self.model.figures), "{name}");
        }
    }

    /// As many echoes have come in this phase as the connections that are still held were to send.
    pub(super) fn check_messages(&mut self, verified_before: u64) {
        let census = self.shard.census();
        assert_eq!(census.waiting, 0, "an echo is out");
        let all = census.connections * u64::from(self.config.message_count);
        let verified = self.stats.messages_total.get() - verified_before;
        let is_echo = matches!(self.config.expect, Expect::Echo(_));
        assert!(!is_echo || verified >= all, "{verified} echoes of {all} on {census:?}");
    }

    /// Each connection that is still held has answered once, and none twice.
    pub(super) fn check_sweep(&mut self, before: &BTreeMap<usize, usize>) {
        for (number, open) in &self.model.open {
            let before = before.get(number).expect("no connection begins in a sweep");
            assert_eq!(open.verified, before + 1, "peer {number} was not asked once in a sweep");
        }
    }

    /// All is quiet: each wrong was noticed, and what was sent has come.
    pub(super) fn check_verdicts(&mut self) {
        let now = self.shard.end.driver.now();
        let bytes = usize::from(self.config.message_bytes);
        let slots =
            self.shard.end.arena.iter_used().filter(|(_, slot)| slot.state() == ConnState::Open);
        let sequences: Vec<_> = slots.map(|(id, slot)| (id, slot.role.state)).collect();
        for (id, sequence) in sequences {
            let driver = &mut self.shard.end.driver;
            let number = driver.peer_behind(id).expect("an open slot has a descriptor");
            let peer = &driver.peers()[number];
            let is_unnoticed = peer.erred_at.is_some_and(|at| at + NOTICED_WITHIN < now)
                && ends_a_connection(peer);
            assert!(!is_unnoticed, "peer {number} did wrong and is still held: {peer:?}");
            if !matches!(self.config.expect, Expect::Push(_)) {
                let whole = usize::from(sequence) * bytes;
                assert_eq!(peer.received.len(), whole, "bytes that have come to peer {number}");
            }
        }
        let ending = self.shard.census().ending;
        assert!(ending == 0 || self.closes_slowly, "{ending} lost connections keep their slots");
    }

    pub(super) fn check_rest(&mut self) {
        assert_eq!(self.shard.end.arena.used(), 0, "slots are in use after the close");
        self.check_latencies();
        self.check_losses();
        let driver = &mut self.shard.end.driver;
        assert_eq!(driver.buffers_used(), 0, "a buffer was not given back");
        assert_eq!(driver.in_flight(), 0, "something is with the kernel still");
        let counts = driver.counts();
        assert_eq!(counts.opened, counts.closed, "a descriptor was not closed");
        assert_eq!(counts.closed, self.stats.closed_total.get(), "closes are miscounted");
        for &number in self.model.closed_by_us.iter().chain(&self.model.churned) {
            let peer = &self.shard.end.driver.peers()[number];
            let saw = (peer.was_reset, peer.saw_end);
            let is_right = match self.config.close {
                ShutdownMode::Reset => saw == (true, false),
                ShutdownMode::Sending | ShutdownMode::Both => saw == (false, true),
                ShutdownMode::Vanishing => saw == (false, false),
            };
            assert!(is_right || peer.has_erred, "peer {number} saw {saw:?}: {peer:?}");
        }
        let stubborn =
            self.shard.end.driver.peers().iter().filter(|p| is_stubborn(p)).count() as u64;
        let timeouts = self.stats.close_timeout_total.get();
        if self.is_rough || matches!(self.config.expect, Expect::Push(_)) {
            // Any completion of the poll behind our end is taken for the peer's end, and ends the
            // wait; a connection that was lost for want of a buffer is waited for no more.
            assert!(timeouts <= stubborn, "close timeouts, and peers that never ended");
        } else {
            assert_eq!(timeouts, stubborn, "close timeouts, and peers that never ended");
        }
    }

    /// Every loss is in the log, with a time that can be: no byte has come for longer than it lived.
    fn check_losses(&self) {
        let log = self.losses.read();
        assert_eq!(log.beyond, 0);
        for (cause, lost) in LostCause::ALL.into_iter().zip(self.stats.lost.iter()) {
            let of_cause = log.kept.iter().filter(|loss| loss.ending == Ending::Lost(cause));
            assert_eq!(of_cause.count() as u64, lost.get(), "{} in the log", cause.name());
        }
        for (errno, failed) in (0..).map(Errno).zip(self.stats.failed.iter()) {
            let of_errno = log.kept.iter().filter(|loss| loss.ending == Ending::Failed(errno));
            // Connects that were given up together never began.
            assert!(of_errno.count() as u64 <= failed.get(), "{errno} in the log");
        }
        for loss in &log.kept {
            let idle_ms = loss.idle_ms.expect("no world lasts so long");
            // Where numbers are given twice no age is known.
            let age_ms = loss.age_ms.unwrap_or(loss.at_ms);
            assert!(age_ms <= loss.at_ms, "{loss:?} is older than its core");
            assert!(idle_ms <= age_ms + AGE_GRAIN_MS, "{loss:?} was silent before it was");
        }
        let mismatched = self.stats.messages_mismatched_total.get();
        assert_eq!(log.first_bytes.is_some(), mismatched > 0, "the first unexpected bytes");
    }

    /// Times are counted from when a thing was due, also when the core was kept from turning.
    fn check_latencies(&mut self) {
        let expected: BTreeMap<_, _> = self.model.figures.latencies().collect();
        for (name, counted) in self.stats.latencies() {
            // A connection that begins while all are closed is closed before a turn shows it.
            let is_seen = name != "connect_latency_us" || !self.was_stopped;
            assert!(!is_seen || counted == expected[name], "{name} is another");
        }
    }
}

fn sum(figures: &ByCause) -> u64 {
    figures.iter().map(|figure| figure.get()).sum()
}

/// Whether what a peer did wrong is of a kind that no connection survives.
fn ends_a_connection(peer: &Peer) -> bool {
    match (&peer.schedule, peer.profile.echo) {
        (Some(schedule), _) => matches!(
            schedule.fault,
            Some(
                BehaviorFault::Corruption
                    | BehaviorFault::Babble
                    | BehaviorFault::Reset
                    | BehaviorFault::End
            )
        ),
        // Silence is noticed when the peer is asked.
        (None, Some(echo)) => {
            !matches!(echo.fault, Some(EchoFault::Stubbornness | EchoFault::Silence))
        }
        (None, None) => false,
    }
}

fn is_stubborn(peer: &Peer) -> bool {
    let of_echo = peer.profile.echo.and_then(|echo| echo.fault) == Some(EchoFault::Stubbornness);
    let is_so = match &peer.schedule {
        Some(schedule) => schedule.fault == Some(BehaviorFault::Stubbornness),
        None => of_echo,
    };
    peer.has_erred && is_so
}
