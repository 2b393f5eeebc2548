//! What the client must count, worked out from what the peers' streams show and from the schedules,
//! turn by turn, with none of the shard's figures but that of tuples that were passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use megaconn::base::constants::{CHURN_TRIES_MAX, ECHO_LATE_AFTER, SCHEDULE_SLACK};
use megaconn::base::errno::Errno;
use megaconn::drivers::sim::{Attempt, Peer, SimDriver};
use megaconn::engine::slot::ConnState;
use megaconn::observe::stats::{ByCause, ClientStats, LOST_CAUSES, LostCause};

use crate::lives::{Line, Open, Waits, between};
use crate::scene::Told;
use crate::scene::place_in_plan;
use megaconn::engine::client::Client;
use megaconn::engine::client::config::{Pace, Schedule};
use megaconn::engine::client::phase::Phase;
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::push::Pushes;

/// Counts by cause.
pub(super) type Causes = [u64; LOST_CAUSES.len()];

pub(super) struct Model {
    /// By the number of the peer.
    pub(super) open: BTreeMap<usize, Open>,
    /// Held connections that we have closed, by their peers.
    pub(super) closed_by_us: BTreeSet<usize>,
    /// Short ones that were closed when their exchange was done.
    pub(super) churned: BTreeSet<usize>,
    /// What must be counted.
    pub(super) figures: ClientStats,
    pub(super) lost: Causes,
    pub(super) churn_lost: Causes,
    /// Messages that were out on connections that were lost.
    pub(super) lost_with_message: u64,
    messages: Line,
    /// Connections that it is for.
    messages_on: u64,
    churn: Line,
    connects: Line,
    opens_no_more: bool,
    /// When messages of held, and of short connections, may have been due.
    dues: [BTreeSet<Duration>; 2],
    begun_or_failed: usize,
    next_held: u32,
    /// Held ones were closed, whose tuples may be taken again.
    is_released: bool,
    first_short: u32,
    next_short: u32,
    tuples: u32,
    is_scarce: bool,
    /// Tuples that were tried for the short connection that is due.
    churn_tries: u32,
    /// By the number of the peer: when its connect began, or was due if it is a short one.
    begun: Vec<Duration>,
    tick_at_ms: u64,
    sent_before: u64,
    skipped_before: u64,
    lost_before: (Causes, Causes),
}

impl Model {
    pub(super) fn new(supply: &TupleAllocator, tuples: u32, is_scarce: bool) -> Model {
        let first_short = (0..tuples).find(|&n| supply.is_short(n)).unwrap_or(tuples);
        Model {
            open: BTreeMap::new(),
            closed_by_us: BTreeSet::new(),
            churned: BTreeSet::new(),
            figures: ClientStats::new(),
            lost: Causes::default(),
            churn_lost: Causes::default(),
            lost_with_message: 0,
            messages: Line::default(),
            messages_on: 0,
            churn: Line::default(),
            connects: Line::default(),
            opens_no_more: false,
            dues: [BTreeSet::new(), BTreeSet::new()],
            begun_or_failed: 0,
            next_held: 0,
            is_released: false,
            first_short,
            // The first one is the supply's to choose.
            next_short: supply.clone().next_churn().map_or(first_short, |(number, _)| number),
            tuples,
            is_scarce,
            churn_tries: 0,
            begun: Vec::new(),
            tick_at_ms: 0,
            sent_before: 0,
            skipped_before: 0,
            lost_before: Default::default(),
        }
    }

    pub(super) fn verified_by_peer(&self) -> BTreeMap<usize, usize> {
        self.open.iter().map(|(&peer, open)| (peer, open.verified)).collect()
    }

    // ---- schedules ------------------------------------------------------------------------

    /// The schedules end; what they had due a moment ago and has not begun is missed.
    pub(super) fn end_schedules(&mut self, now: Duration) {
        let until = now.saturating_sub(SCHEDULE_SLACK);
        self.figures.messages_unsent_total.add(self.messages.missed(until));
        self.figures.churn_unstarted_total.add(self.churn.missed(until));
        (self.messages, self.churn) = (Line::default(), Line::default());
    }

    /// Nothing is opened any more; whether short connections were to be, by a schedule.
    pub(super) fn open_no_more(&mut self, now: Duration) -> bool {
        self.opens_no_more = true;
        let until = now.saturating_sub(SCHEDULE_SLACK);
        self.figures.churn_unstarted_total.add(self.churn.missed(until));
        std::mem::take(&mut self.churn).per_s > 0.0
    }

    pub(super) fn after_order(
        &mut self,
        config: &Told,
        phase: Phase,
        connections: u64,
        now: Duration,
    ) {
        if let Phase::Close { .. } = phase {
            self.is_released = true;
        }
        match phase {
            Phase::Connect { .. } => self.start_connects(config, now),
            Phase::Traffic => {
                self.start_messages(config, connections, now);
                self.start_churn(config, now);
            }
            _ => {}
        }
    }

    /// Schedules of another pace than before begin anew, and the others go on.
    pub(super) fn change_pace(
        &mut self,
        config: &Told,
        before: Pace,
        phase: Phase,
        connections: u64,
        now: Duration,
    ) {
        let until = now.saturating_sub(SCHEDULE_SLACK);
        let pace = config.pace;
        if matches!(phase, Phase::Connect { .. }) && pace.connects_per_s != before.connects_per_s {
            self.start_connects(config, now);
        }
        if phase == Phase::Traffic && pace.schedule != before.schedule {
            self.figures.messages_unsent_total.add(self.messages.missed(until));
            self.start_messages(config, connections, now);
        }
        if phase == Phase::Traffic && pace.churn_per_s != before.churn_per_s {
            self.figures.churn_unstarted_total.add(self.churn.missed(until));
            self.start_churn(config, now);
        }
    }

    fn start_connects(&mut self, config: &Told, now: Duration) {
        let per_s = config.pace.connects_per_s.unwrap_or(0.0);
        self.connects = Line::start(per_s, config.turn, now);
    }

    fn start_messages(&mut self, config: &Told, connections: u64, now: Duration) {
        let per_s = match config.pace.schedule {
            Schedule::None => 0.0,
            Schedule::Exponential(_) => unreachable!("worlds of both ends have it"),
            Schedule::Every(interval) => connections as f64 / interval.as_secs_f64(),
            Schedule::PerSecond(_) if connections == 0 => 0.0,
            Schedule::PerSecond(rate) => rate,
        };
        self.messages = Line::start(per_s, config.turn, now);
        self.messages_on = connections;
    }

    /// Nothing is due any more on a connection that is lost.
    fn have_one_less(&mut self, config: &Told, now: Duration) {
        self.messages_on = self.messages_on.saturating_sub(1);
        let until = now.saturating_sub(SCHEDULE_SLACK);
        let missed = self.messages.missed(until);
        match config.pace.schedule {
            Schedule::Every(every) => {
                self.messages.slow(self.messages_on as f64 / every.as_secs_f64())
            }
            _ if self.messages_on == 0 => self.messages = Line::default(),
            _ => {}
        }
        let dropped = missed.saturating_sub(self.messages.missed(until));
        self.figures.messages_unsent_total.add(dropped);
    }

    fn start_churn(&mut self, config: &Told, now: Duration) {
        let per_s = if self.opens_no_more { 0.0 } else { config.pace.churn_per_s };
        self.churn = Line::start(per_s, config.turn, now);
    }

    // ---- one turn -------------------------------------------------------------------------

    pub(super) fn after_turn(
        &mut self,
        shard: &mut Client<SimDriver, Expect>,
        config: &Told,
        supply: &TupleAllocator,
        phase: Phase,
    ) {
        let (now, tick_at_ms) = (shard.end.now, shard.end.tick_at_ms());
        let used = shard.end.arena.iter_used().filter(|(_, slot)| slot.state() == ConnState::Open);
        let slots: Vec<_> =
            used.map(|(id, slot)| (id, slot.role.pending > 0, slot.role.number)).collect();
        let behind = |shard: &mut Client<SimDriver, Expect>, id| shard.end.driver.peer_behind(id);
        let now_open: BTreeMap<usize, (bool, u32)> = slots
            .into_iter()
            .map(|(id, owes, number)| {
                (behind(shard, id).expect("an open slot has a descriptor"), (owes, number))
            })
            .collect();
        let peers = shard.end.driver.peers();
        self.receive(peers, config, phase, now);
        let has_ticked = std::mem::replace(&mut self.tick_at_ms, tick_at_ms) != tick_at_ms;
        if matches!(phase, Phase::Close { .. }) {
            // It takes all open connections out, behind the tick, and ends all waits.
            let counted = &self.figures.pushes_overdue_total;
            counted.add(shard.end.stats.pushes_overdue_total.get() - counted.get());
        } else if has_ticked && let Expect::Push(pushes) = &config.expect {
            self.count_overdue(pushes, &now_open, now);
        }
        self.account_for_ended(shard, &now_open, config, (phase, now));
        self.add_opened(shard.end.driver.peers(), config, supply, &now_open, now);
        self.give_turns_back(shard, config);
        self.count_begun(shard, config, supply, phase, now);
    }

    /// What this turn gave to connections that were open before it.
    fn receive(&mut self, peers: &[Peer], config: &Told, phase: Phase, now: Duration) {
        for (&number, open) in &mut self.open {
            let peer = &peers[number];
            if peer.delivered == open.seen {
                continue;
            }
            let from = std::mem::replace(&mut open.seen, peer.delivered);
            match &config.expect {
                Expect::Echo(_) => {
                    let bytes = usize::from(config.message_bytes);
                    let figures = &self.figures;
                    match open.take_echo(peer, bytes, &self.dues, now) {
                        None => {}
                        Some(took) if open.is_short => {
                            figures.churned_total.add(1);
                            figures.churn_latency_us.record(took);
                        }
                        Some(took) => {
                            figures.messages_total.add(1);
                            // A sweep asks whether they live, not how fast.
                            if phase != Phase::Sweep {
                                let is_late = took > ECHO_LATE_AFTER;
                                figures.message_latency_us.record(took);
                                figures.messages_late_total.add(is_late.into());
                            }
                        }
                    }
                }
                Expect::Push(pushes) => open.take_pushes(pushes, peer, from, now, &self.figures),
                // Made-up peers send no texts to all.
                Expect::Broadcast(_) | Expect::Nothing => open.is_mismatched = true,
            }
            if open.is_mismatched {
                self.figures.messages_mismatched_total.add(1);
            }
        }
    }

    /// A tick looks at each connection that was open before it and is open after the turn.
    fn count_overdue(
        &mut self,
        pushes: &Pushes,
        now_open: &BTreeMap<usize, (bool, u32)>,
        now: Duration,
    ) {
        for (number, open) in &mut self.open {
            if now_open.contains_key(number) {
                open.waits.count_overdue(pushes, now, &self.figures);
            }
        }
    }

    /// Connections that are not open any more: each has its cause, or was closed by us.
    fn account_for_ended(
        &mut self,
        shard: &mut Client<SimDriver, Expect>,
        now_open: &BTreeMap<usize, (bool, u32)>,
        config: &Told,
        (phase, now): (Phase, Duration),
    ) {
        let read = |figures: &ByCause| figures.each_ref().map(|figure| figure.get());
        let counted = (read(&shard.end.stats.lost), read(&shard.end.stats.churn_lost));
        let (mut held, mut short) = self.lost_before;
        let open = std::mem::take(&mut self.open).into_iter();
        let (still_open, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            open.partition(|(number, _)| now_open.contains_key(number));
        self.open = still_open;
        for (number, open) in gone {
            let peer = &shard.end.driver.peers()[number];
            let (place, counted) = match open.is_short {
                true => (&mut short, &counted.1),
                false => (&mut held, &counted.0),
            };
            // Where buffers are short an echo, or an end, may wait for one until its time is up.
            let silent = LostCause::Silent as usize;
            let is_starved = self.is_scarce && open.owes_echo && place[silent] < counted[silent];
            // A close may come before the client notices what the peer did.
            let is_expected = !matches!(phase, Phase::Close { .. }) && !is_starved;
            let cause = open.cause(peer).filter(|&c| is_expected || place[c] < counted[c]);
            match cause.or(is_starved.then_some(silent)) {
                _ if open.is_short && open.verified > 0 => {
                    self.churned.insert(number);
                }
                Some(cause) => {
                    place[cause] += 1;
                    self.lost_with_message += u64::from(!open.is_short && open.owes_echo);
                }
                _ if matches!(phase, Phase::Close { .. }) && !open.is_short => {
                    self.closed_by_us.insert(number);
                }
                _ => panic!("peer {number} did nothing wrong and was lost: {open:?} {peer:?}"),
            }
        }
        assert_eq!(counted.0, held, "losses, as {LOST_CAUSES:?}");
        assert_eq!(counted.1, short, "losses of short connections, as {LOST_CAUSES:?}");
        let all = |lost: &Causes| lost.iter().sum::<u64>();
        (all(&self.lost_before.0)..all(&counted.0)).for_each(|_| self.have_one_less(config, now));
        self.lost_before = counted;
        (self.lost, self.churn_lost) = (held, short);
    }

    /// Connections that have opened in this turn, and what is out on each.
    fn add_opened(
        &mut self,
        peers: &[Peer],
        config: &Told,
        supply: &TupleAllocator,
        now_open: &BTreeMap<usize, (bool, u32)>,
        now: Duration,
    ) {
        for (&number, &(owes, place)) in now_open {
            let open = self.open.entry(number).or_insert_with(|| {
                let (source, target) = peers[number].tuple.expect("it was connected to");
                assert_eq!(place_in_plan(source, target), place, "a slot names another tuple");
                let begun = self.begun[number];
                if supply.is_short(place) {
                    self.figures.churn_connect_latency_us.record(now - begun);
                } else {
                    self.figures.connected_total.add(1);
                    self.figures.connect_latency_us.record(between(begun, now));
                }
                Open {
                    is_short: supply.is_short(place),
                    owes_echo: false,
                    seen: 0,
                    verified: 0,
                    is_mismatched: false,
                    waits: Waits::opened(config, now),
                }
            });
            open.owes_echo = owes && !matches!(config.expect, Expect::Push(_));
        }
    }

    /// What this turn has begun, in the order in which it was due.
    fn count_begun(
        &mut self,
        shard: &mut Client<SimDriver, Expect>,
        config: &Told,
        supply: &TupleAllocator,
        phase: Phase,
        now: Duration,
    ) {
        let lag = &self.figures.schedule_lag_us;
        let sent = shard.end.stats.messages_sent_total.get();
        for _ in std::mem::replace(&mut self.sent_before, sent)..sent {
            let due = if phase == Phase::Traffic { self.messages.begin(now) } else { now };
            if phase == Phase::Traffic {
                lag.record(shard.own_lag(due));
            }
            self.dues[0].insert(due);
        }
        for attempt in &shard.end.driver.connects()[self.begun_or_failed..] {
            self.begun_or_failed += 1;
            let place = place_in_plan(attempt.source, attempt.target);
            let begun = if supply.is_short(place) {
                assert_eq!(place, self.next_short, "short ones take their tuples round and round");
                let next = Some(place + 1).filter(|next| *next < self.tuples);
                self.next_short = next.unwrap_or(self.first_short);
                self.churn_tries += 1;
                let is_taken =
                    matches!(attempt.failed, Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE));
                if is_taken && self.churn_tries < CHURN_TRIES_MAX {
                    continue;
                }
                self.churn_tries = 0;
                let due = self.churn.begin(now);
                self.figures.churn_started_total.add(1);
                lag.record(shard.own_lag(due));
                self.dues[1].insert(due);
                due
            } else {
                if self.next_held == self.first_short && std::mem::take(&mut self.is_released) {
                    self.next_held = 0;
                }
                assert_eq!(place, self.next_held, "held ones take tuples one after the other");
                self.next_held += 1;
                if config.pace.connects_per_s.is_some() && attempt.failed.is_none() {
                    lag.record(now - self.connects.begin(now));
                }
                now
            };
            if attempt.failed.is_none() {
                self.begun.push(begun);
            }
        }
    }

    /// A connect whose tuple turned out to be taken, since the turn before, has used no turn of the
    /// schedule. One that failed at once never had one.
    fn give_turns_back(&mut self, shard: &Client<SimDriver, Expect>, config: &Told) {
        let skipped = shard.end.stats.tuples_skipped_total.get();
        let skipped = skipped - std::mem::replace(&mut self.skipped_before, skipped);
        if config.pace.churn_per_s == 0.0 {
            let is_taken = |attempt: &&Attempt| {
                matches!(attempt.failed, Some(Errno::EADDRNOTAVAIL | Errno::EADDRINUSE))
            };
            let attempts = &shard.end.driver.connects()[self.begun_or_failed..];
            let at_once = attempts.iter().filter(is_taken).count() as u64;
            self.connects.begun = self.connects.begun.saturating_sub(skipped - at_once);
        }
    }
}
