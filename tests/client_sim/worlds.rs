//! A world lives through the phases of a run, or is stopped in the middle of one.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::TICK_MS;
use megaconn::drivers::sim::{Parting, SimDriver};
use megaconn::engine::driver::Driver;
use megaconn::engine::worker::{Turn, Worker};
use megaconn::observe::stats::{ClientStats, Listed, LossLog, LostCause};

use crate::Figures;
use crate::model::Model;
use crate::scene::Scene;
use crate::scene::Told;
use megaconn::engine::client::Client;
use megaconn::engine::client::census::Census;
use megaconn::engine::client::config::{Pace, Schedule};
use megaconn::engine::client::phase::Command;
use megaconn::engine::client::phase::Phase;
use megaconn::engine::client::phase::PhaseCommand;
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::protocol::expect::Expect;

/// Turns after which a world is given up: far more than any needs.
const TURNS_MAX: u32 = 50_000;

/// Simulated time that a phase may take: some timeouts of ten seconds, one after the other.
const PHASE_MAX: Duration = Duration::from_secs(120);

const TICK: Duration = Duration::from_millis(TICK_MS as u64);

/// The run was stopped.
pub(super) struct Stopped;

pub(super) struct World {
    pub(super) shard: Client<SimDriver, Expect>,
    pub(super) losses: Arc<LossLog>,
    pub(super) config: Told,
    pub(super) supply: TupleAllocator,
    pub(super) plateaus: Vec<u64>,
    hold: Duration,
    sweeps: bool,
    sheds: bool,
    hang_up: bool,
    pub(super) was_stopped: bool,
    stalls: bool,
    stop_after: Option<u32>,
    /// Turns after which memory is short.
    short_after: Option<u32>,
    /// Turns after which things are begun so many times as fast.
    paced_after: Option<(u32, f64)>,
    /// Connects, and short connections, that had begun when memory was short.
    pub(super) begun_until_short: Option<[u64; 2]>,
    /// A schedule of short connections ran then.
    stopped_churn: bool,
    pub(super) buffers: usize,
    pub(super) closes_slowly: bool,
    /// Polls promise bytes in vain now and then, or buffers are short.
    pub(super) is_rough: bool,
    pub(super) stats: Arc<ClientStats>,
    pub(super) model: Model,
    pub(super) phase: Phase,
    /// Held connections asked for so far.
    pub(super) asked: u64,
    /// Of these, those that were not let go again.
    asked_of_now: u64,
    orders: u64,
    turns: u32,
    random: Rng,
    swept_silent: u64,
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        let mut random = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let scene = Scene::new(seed, &mut random);
        let stats = Arc::new(ClientStats::new());
        let mut driver = SimDriver::new(scene.sim);
        driver.set_behavior(scene.behavior);
        let supply = scene.supply;
        let Told { expect, client } = scene.config.clone();
        let losses = Arc::new(LossLog::default());
        let shard = Client::new(
            driver,
            client,
            expect,
            supply.clone(),
            Arc::clone(&stats),
            Arc::clone(&losses),
        );
        World {
            shard,
            losses,
            model: Model::new(&supply, scene.tuples, scene.is_scarce),
            config: scene.config,
            supply,
            plateaus: scene.plateaus,
            hold: scene.hold,
            sweeps: scene.sweeps,
            sheds: scene.sheds,
            hang_up: scene.hang_up,
            was_stopped: false,
            stalls: scene.stalls,
            stop_after: scene.stop_after,
            short_after: scene.short_after,
            paced_after: scene.paced_after,
            begun_until_short: None,
            stopped_churn: false,
            buffers: usize::from(scene.sim.buffers),
            closes_slowly: scene.sim.faults.slow_close > 0,
            is_rough: scene.sim.faults.would_block > 0 || scene.is_scarce,
            stats,
            phase: Phase::Hold,
            asked: 0,
            asked_of_now: 0,
            orders: 0,
            turns: 0,
            random,
            swept_silent: 0,
        }
    }

    pub(super) fn run(mut self) -> Figures {
        self.was_stopped = self.play().is_err();
        let was_stopped = self.was_stopped;
        self.stop_after = None;
        assert!(self.phase(Phase::Close { keep: 0 }).is_ok(), "a close is not stopped");
        self.live_for(Duration::from_secs(15)).unwrap_or_else(|Stopped| unreachable!());
        self.check_rest();
        let churn_lost = self.stats.churn_lost.iter().map(|figure| figure.get()).sum();
        let own = [
            ("churn_lost", churn_lost),
            ("swept_silent", self.swept_silent),
            ("stopped", u64::from(was_stopped)),
            ("stopped_churn", u64::from(self.stopped_churn)),
            ("tuples_taken", self.shard.end.driver.counts().tuples_taken),
        ];
        self.stats.numbers().chain(own).collect()
    }

    /// What `run` orders, plateau by plateau.
    fn play(&mut self) -> Result<(), Stopped> {
        for connections in self.plateaus.clone() {
            self.phase(Phase::Connect { connections })?;
            let census = self.shard.census();
            assert_eq!((census.to_start, census.connecting), (0, 0), "a connect is unanswered");
            self.live_for(Duration::from_millis(50))?;
            if self.config.message_count > 0 && census.connections > 0 {
                let verified = self.stats.messages_total.get();
                self.phase(Phase::Messages)?;
                self.check_messages(verified);
            }
            self.order(Phase::Traffic);
            self.live_for(self.hold)?;
            self.phase(Phase::Hold)?;
            let census = self.shard.census();
            assert_eq!((census.waiting, census.churning), (0, 0), "something is out: {census:?}");
            if self.sweeps {
                self.sweep()?;
            }
            if self.sheds {
                self.shed(connections)?;
            }
        }
        self.order(Phase::Hold);
        // A core that may not turn notices nothing.
        let stalls = std::mem::take(&mut self.stalls);
        self.live_for(Duration::from_millis(500))?;
        self.stalls = stalls;
        self.check_verdicts();
        Ok(())
    }

    /// Goes down by some, and up again, as a search does.
    fn shed(&mut self, connections: u64) -> Result<(), Stopped> {
        let keep = self.random.u64(..=connections);
        self.phase(Phase::Close { keep })?;
        let census = self.shard.census();
        assert!(census.connections <= keep, "{keep} were to be left: {census:?}");
        self.phase(Phase::Connect { connections })
    }

    fn sweep(&mut self) -> Result<(), Stopped> {
        let before = self.model.verified_by_peer();
        let lost = |world: &World| world.stats.lost.each_ref().map(|figure| figure.get());
        let lost_before = lost(self);
        self.phase(Phase::Sweep)?;
        self.check_sweep(&before);
        let silent = LostCause::Silent as usize;
        self.swept_silent += lost(self)[silent] - lost_before[silent];
        Ok(())
    }

    pub(super) fn order(&mut self, phase: Phase) -> u64 {
        self.orders += 1;
        let (now, before) = (self.now(), self.shard.census());
        self.model.end_schedules(now);
        self.shard.handle_command(Command::Do(PhaseCommand { number: self.orders, phase }));
        if let Phase::Connect { connections } = phase {
            self.asked += connections - self.asked_of_now;
            self.asked_of_now = connections;
        }
        if let Phase::Close { keep } = phase {
            // Connections that were lost are asked for again, when the count goes up.
            self.asked_of_now = (before.connections + u64::from(before.connecting)).min(keep);
            self.asked -= before.to_start;
        }
        self.phase = phase;
        self.model.after_order(&self.config, phase, self.shard.census().connections, now);
        self.orders
    }

    /// Turns until the phase is finished, as `run` waits for it.
    fn phase(&mut self, phase: Phase) -> Result<(), Stopped> {
        let number = self.order(phase);
        let until = self.now() + PHASE_MAX;
        loop {
            let turn = self.turn();
            if self.stats.order_finished.get() == number {
                return Ok(());
            }
            let goes_on = self.pass(turn)?;
            let census = self.shard.census();
            assert!(goes_on, "{phase:?} sleeps for ever, unfinished: {census:?}");
            assert!(self.now() < until, "{phase:?} takes longer than {PHASE_MAX:?}: {census:?}");
        }
    }

    fn live_for(&mut self, span: Duration) -> Result<(), Stopped> {
        let until = self.now() + span;
        while self.now() < until {
            let left = until - self.now();
            let turn = match self.turn() {
                Turn::Busy => Turn::Busy,
                Turn::Idle(limit) => Turn::Idle(Some(limit.map_or(left, |limit| limit.min(left)))),
            };
            self.pass(turn)?;
        }
        Ok(())
    }

    /// Lets time pass; `false` when nothing will ever happen again.
    fn pass(&mut self, turn: Turn) -> Result<bool, Stopped> {
        let goes_on = self.shard.end.driver.pass(turn);
        if self.stalls && self.random.u8(..) == 0 {
            // Up to a second and a half, mostly far less.
            let span = Duration::from_millis(1_500).mul_f64(self.random.f64().powi(3));
            self.shard.end.driver.stall(span);
        }
        // More often when they are all asked whether they live.
        let rarely = if self.phase == Phase::Sweep { 4 } else { 512 };
        if self.hang_up && self.random.u32(..rarely) == 0 {
            self.hang_up_one();
        }
        match self.stop_after {
            Some(turns) if self.turns >= turns => Err(Stopped),
            _ => Ok(goes_on),
        }
    }

    fn hang_up_one(&mut self) {
        // Connections that have something out have faults enough.
        let held = self.model.open.iter().filter(|(_, open)| !open.is_short && !open.owes_echo);
        let held: Vec<usize> = held.map(|(&number, _)| number).collect();
        if let Some(&number) = self.random.choice(&held) {
            let partings = [Parting::HalfClose, Parting::Reset, Parting::Stay];
            let parting = partings[self.random.usize(..3)];
            self.shard.end.driver.hang_up(number, parting);
        }
    }

    /// Memory is short from now on; open connections stay.
    fn open_no_more(&mut self) {
        let (now, before) = (self.now(), self.shard.census());
        self.stopped_churn = self.model.open_no_more(now);
        self.shard.handle_command(Command::OpenNoMore);
        let begun = [&self.stats.connect_started_total, &self.stats.churn_started_total];
        self.begun_until_short = Some(begun.map(|figure| figure.get()));
        let after = Census { to_start: before.to_start, ..self.shard.census() };
        assert_eq!(after, before, "open connections pay for the memory of those that do not come");
    }

    fn change_pace(&mut self, times: f64) {
        let (now, old) = (self.now(), self.config.client.pace);
        let pace = Pace {
            connects_per_s: old.connects_per_s.map(|rate| rate * times),
            schedule: match old.schedule {
                Schedule::PerSecond(rate) => Schedule::PerSecond(rate * times),
                other => other,
            },
            churn_per_s: old.churn_per_s * times,
            is_paused: false,
        };
        self.config.client.pace = pace;
        self.shard.handle_command(Command::Pace(pace));
        let connections = self.shard.census().connections;
        self.model.change_pace(&self.config, old, self.phase, connections, now);
    }

    fn now(&mut self) -> Duration {
        self.shard.end.driver.now()
    }

    fn turn(&mut self) -> Turn {
        if self.short_after.is_some_and(|turns| self.turns == turns) {
            self.open_no_more();
        }
        if let Some((_, times)) = self.paced_after.filter(|(turns, _)| self.turns == *turns) {
            self.change_pace(times);
        }
        let turn = self.shard.turn();
        let turn = self.shard.end.driver.prepare_to_sleep(turn);
        self.turns += 1;
        assert!(self.turns < TURNS_MAX, "the shard turns without end");
        self.model.after_turn(&mut self.shard, &self.config, &self.supply, self.phase);
        self.check_books();
        self.check_sleep(turn);
        turn
    }

    /// A core with nothing to do sleeps until its bell rings; one that waits for something looks at
    /// every tick; none turns for nothing.
    fn check_sleep(&mut self, turn: Turn) {
        let Turn::Idle(limit) = turn else { return };
        let census = self.shard.census();
        let in_time = limit.is_none_or(|limit| limit > Duration::ZERO && limit <= TICK);
        assert!(in_time, "the core sleeps for {limit:?}: {census:?}");
        let waits = census.connecting + census.waiting + census.ending > 0;
        let is_due = match self.phase {
            Phase::Connect { .. } | Phase::Fill { .. } => census.to_start > 0,
            Phase::Messages | Phase::Sweep | Phase::Hold | Phase::Close { .. } => false,
            Phase::Traffic => {
                let has_schedule = self.config.pace.schedule != Schedule::None;
                let churns = self.config.pace.churn_per_s > 0.0 && self.begun_until_short.is_none();
                churns || (has_schedule && census.connections > 0)
            }
        };
        let is_push = matches!(self.config.expect, Expect::Push(_)) && census.connections > 0;
        assert!(limit.is_some() || !waits, "the core sleeps, but something is out: {census:?}");
        let may_look = waits || is_due || is_push;
        assert!(limit.is_none() || may_look, "the core looks at nothing: {census:?}");
    }
}
