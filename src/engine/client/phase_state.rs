//! What the present phase asks of a core, and when each thing is due.

use std::time::Duration;

use crate::base::clock::microseconds;
use crate::base::constants::{SCHEDULE_SLACK, TICK_MS};
use crate::observe::stats::ClientStats;

use crate::engine::client::config::{ClientConfig, Pace, Schedule};
use crate::engine::client::pacer::Pacer;
use crate::engine::client::phase::{Phase, PhaseCommand};
use crate::engine::client::tuple_allocator::TupleAllocator;

/// The phase command of the housekeeping thread, and what of it is still to be begun.
pub(super) struct PhaseState {
    command: PhaseCommand,
    since: Duration,
    /// When traffic began, or went on after a pause.
    traffic_since: Duration,
    /// Held connections asked for so far, over all plateaus.
    asked: u64,
    /// Of these, those that are to be left when a close is over.
    pub(super) keep: u64,
    /// Of these, connects that are to be started still.
    pub(super) to_start: u64,
    /// Memory is short, or another wall is met: nothing is opened any more.
    opens_no_more: bool,
    /// That was when as many were opened as there can be.
    was_filled: bool,
    /// The core's part of all connections, and so of what is due on them.
    part: f64,
    /// Messages of this phase that have not begun.
    pub(super) to_send: u64,
    /// The schedule of connects.
    pub(super) connects: Pacer,
    /// The schedule of messages.
    pub(super) messages: Pacer,
    /// Connections that it is for.
    messages_on: u64,
    /// The schedule of short connections.
    pub(super) churn: Pacer,
}

impl PhaseState {
    /// Nothing is asked.
    pub(super) fn new() -> PhaseState {
        PhaseState {
            command: PhaseCommand { number: 0, phase: Phase::Hold },
            since: Duration::ZERO,
            traffic_since: Duration::ZERO,
            asked: 0,
            keep: 0,
            to_start: 0,
            opens_no_more: false,
            was_filled: false,
            part: 0.0,
            to_send: 0,
            connects: Pacer::never(),
            messages: Pacer::never(),
            messages_on: 0,
            churn: Pacer::never(),
        }
    }

    /// Takes a command for a core with this number of `connections`, which will be `open` when each
    /// connect is answered. What the schedules before it had due and the core had not begun is counted.
    pub(super) fn take(
        &mut self,
        command: PhaseCommand,
        config: &ClientConfig,
        tuples: &TupleAllocator,
        (connections, open): (u64, u64),
        now: Duration,
        stats: &ClientStats,
    ) {
        if !config.pace.is_paused {
            self.count_traffic(now, stats);
        }
        // What came due at the very end has no time to begin.
        let until = now.saturating_sub(SCHEDULE_SLACK);
        self.end_messages(until, stats);
        self.end_churn(until, stats);
        (self.command, self.since, self.traffic_since) = (command, now, now);
        match command.phase {
            Phase::Connect { connections } | Phase::Fill { most: connections } => {
                let share = tuples.share(connections);
                self.part = share as f64 / connections.max(1) as f64;
                self.start(share.saturating_sub(self.asked), stats);
                self.asked = share;
            }
            Phase::Messages => self.to_send = connections * u64::from(config.message_count),
            Phase::Sweep => self.to_send = connections,
            Phase::Close { keep } => {
                self.keep = tuples.share(keep);
                // Connections that were lost, or never opened, are asked for again by the next
                // connects. Those that have not begun are not wanted any more.
                self.asked = open.min(self.keep);
                self.to_start = 0;
                self.part = self.keep as f64 / keep.max(1) as f64;
                // Room that was filled is free again.
                self.opens_no_more &= !self.was_filled;
            }
            Phase::Traffic | Phase::Hold => {}
        }
        self.start_connects(config, now);
        self.start_messages(config, connections, now);
        self.start_churn(config, now);
    }

    /// From now on things begin at the pace of `config`, in place of `before`. What a schedule that ends
    /// had due and the core had not begun is counted; one that stays goes on.
    pub(super) fn change_pace(
        &mut self,
        config: &ClientConfig,
        before: Pace,
        connections: u64,
        now: Duration,
        stats: &ClientStats,
    ) {
        let pace = config.pace;
        let is_other = pace.is_paused != before.is_paused;
        if is_other && pace.is_paused {
            // A pause is no time of traffic.
            self.count_traffic(now, stats);
        } else if is_other {
            self.traffic_since = now;
        }
        let until = now.saturating_sub(SCHEDULE_SLACK);
        if is_other || pace.connects_per_s != before.connects_per_s {
            self.start_connects(config, now);
        }
        if is_other || pace.schedule != before.schedule {
            self.end_messages(until, stats);
            self.start_messages(config, connections, now);
        }
        if is_other || pace.churn_per_s != before.churn_per_s {
            self.end_churn(until, stats);
            self.start_churn(config, now);
        }
    }

    /// The phase whose schedules run; none in a pause.
    fn scheduled(&self, config: &ClientConfig) -> Option<Phase> {
        (!config.pace.is_paused).then_some(self.command.phase)
    }

    fn start_connects(&mut self, config: &ClientConfig, now: Duration) {
        self.connects = match self.scheduled(config) {
            Some(Phase::Connect { .. } | Phase::Fill { .. }) => {
                Pacer::start(config.pace.connects_per_s, config.turn, now)
            }
            _ => Pacer::never(),
        };
    }

    fn start_messages(&mut self, config: &ClientConfig, connections: u64, now: Duration) {
        if self.scheduled(config) == Some(Phase::Traffic) && connections > 0 {
            let per_s = match config.pace.schedule {
                // By think times they are due on each connection by itself.
                Schedule::None | Schedule::Exponential(_) => 0.0,
                Schedule::Every(interval) => connections as f64 / interval.as_secs_f64(),
                Schedule::PerSecond(rate) => rate * self.part,
            };
            self.messages = Pacer::start(Some(per_s), config.turn, now);
            self.messages_on = connections;
        }
    }

    fn start_churn(&mut self, config: &ClientConfig, now: Duration) {
        if self.scheduled(config) == Some(Phase::Traffic) && !self.opens_no_more {
            self.churn = Pacer::start(Some(config.pace.churn_per_s), config.turn, now);
        }
    }

    fn end_messages(&mut self, until: Duration, stats: &ClientStats) {
        stats.messages_unsent_total.add(self.messages.missed(until));
        self.messages = Pacer::never();
    }

    /// Counts the time of traffic since it began, or went on.
    fn count_traffic(&self, now: Duration, stats: &ClientStats) {
        if self.command.phase == Phase::Traffic {
            let passed = now.saturating_sub(self.traffic_since);
            stats.traffic_us_total.add(microseconds(passed));
        }
    }

    /// `connects` are to be started, of new connections or for a tuple that was skipped. None is tried
    /// any more when memory is short.
    pub(super) fn start(&mut self, connects: u64, stats: &ClientStats) {
        self.to_start += connects;
        if self.opens_no_more {
            let untried = std::mem::take(&mut self.to_start);
            // As many as there can be were asked for, and no number.
            let untried = if self.is_filling() { 0 } else { untried };
            stats.connect_untried_total.add(untried);
        }
    }

    /// Whether connections are opened until a wall is met.
    pub(super) fn is_filling(&self) -> bool {
        matches!(self.command.phase, Phase::Fill { .. })
    }

    /// From now on nothing is opened. What of churn was due before, and not begun, is counted; nothing
    /// of it is due from here on.
    pub(super) fn open_no_more(&mut self, now: Duration, stats: &ClientStats) {
        self.opens_no_more = true;
        self.was_filled = self.is_filling();
        self.start(0, stats);
        self.end_churn(now.saturating_sub(SCHEDULE_SLACK), stats);
    }

    fn end_churn(&mut self, until: Duration, stats: &ClientStats) {
        stats.churn_unstarted_total.add(self.churn.missed(until));
        self.churn = Pacer::never();
    }

    /// A connection that is lost has no messages due from now on, and where none is left there are none. What was
    /// due before, and not begun, is counted.
    pub(super) fn has_one_less(
        &mut self,
        config: &ClientConfig,
        now: Duration,
        stats: &ClientStats,
    ) {
        self.messages_on = self.messages_on.saturating_sub(1);
        self.go_on_with_messages(config, now, stats);
    }

    /// Messages are due on another number of connections. What was due before, and not begun, is counted.
    fn go_on_with_messages(&mut self, config: &ClientConfig, now: Duration, stats: &ClientStats) {
        let until = now.saturating_sub(SCHEDULE_SLACK);
        let missed = self.messages.missed(until);
        match config.pace.schedule {
            Schedule::Every(interval) => {
                self.messages.go_on_at(self.messages_on as f64 / interval.as_secs_f64(), now);
            }
            _ if self.messages_on == 0 => self.messages = Pacer::never(),
            _ => return,
        }
        stats.messages_unsent_total.add(missed.saturating_sub(self.messages.missed(until)));
    }

    /// A connection has come back: from now on it has messages due as any other.
    pub(super) fn has_one_more(
        &mut self,
        config: &ClientConfig,
        now: Duration,
        stats: &ClientStats,
    ) {
        if self.command.phase != Phase::Traffic {
            return;
        }
        if self.messages_on == 0 {
            return self.start_messages(config, 1, now);
        }
        self.messages_on += 1;
        self.go_on_with_messages(config, now, stats);
    }

    /// Whether connections are held, so that one that is lost is made again.
    pub(super) fn holds(&self) -> bool {
        matches!(self.command.phase, Phase::Traffic)
    }

    /// Whether connections are closed, and none is wanted back.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.command.phase, Phase::Close { .. })
    }

    /// Whether anything may be opened.
    pub(super) fn may_open(&self) -> bool {
        !self.opens_no_more
    }

    /// A held connection is lost that has `waited` since it last began something. When a sweep had
    /// not asked it, no other connection is asked twice in its place. (After 71 minutes a wait looks
    /// short again: then another one may be.)
    pub(super) fn has_lost(&mut self, is_asked: bool, waited: Duration, now: Duration) {
        // A slot's clock has whole microseconds, so both are taken as such.
        let swept_us = microseconds(now).saturating_sub(microseconds(self.since));
        if self.command.phase == Phase::Sweep && !is_asked && microseconds(waited) > swept_us {
            self.to_send = self.to_send.saturating_sub(1);
        }
    }

    /// The part of this core of what is due over all.
    pub(super) fn part_of(&self, rate: f64) -> f64 {
        rate * self.part
    }

    /// The present phase.
    pub(super) fn now(&self) -> Phase {
        self.command.phase
    }

    /// Says, once, that the command is carried out.
    pub(super) fn is_carried_out(&self, now: Duration, stats: &ClientStats) {
        if stats.order_finished.get() != self.command.number {
            stats.order_took_us.set(microseconds(now - self.since));
            stats.order_finished.set(self.command.number);
        }
    }

    /// Time until something is due to begin; what is due already waits for something that rings,
    /// or for the tick. `None` when nothing is to be begun.
    pub(super) fn wait(&self, now: Duration, has_resting: bool) -> Option<Duration> {
        let pacers = match self.command.phase {
            Phase::Connect { .. } | Phase::Fill { .. } if self.to_start > 0 => {
                [Some(&self.connects), None]
            }
            Phase::Traffic => [Some(&self.churn), has_resting.then_some(&self.messages)],
            _ => return None,
        };
        let tick = Duration::from_millis(u64::from(TICK_MS));
        let waits = pacers.into_iter().flatten().filter_map(|pacer| pacer.wait(now));
        waits.map(|wait| if wait.is_zero() { tick } else { wait.min(tick) }).min()
    }
}
