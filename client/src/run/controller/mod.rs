//! The controller of a run: it commands the cores to one phase after the other, reads figures between
//! them, and puts the result together.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use glommio::timer::Timer;
use megaconn::base::clock::unix_ms;
use megaconn::base::constants::{CLOSE_TIMEOUT, CONNECT_TIMEOUT, ECHO_TIMEOUT, LOOK_EVERY};
use megaconn::base::stderr::talk;
use megaconn::engine::client::phase::{Command, Phase, PhaseCommand};
use megaconn::observe::dump::ticker::Ticker;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::bystanders::SpanPhase;
use megaconn::results::histograms::Recorded;
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::plateau::Sweep;
use megaconn::results::result::{Close, RunResult};
use megaconn::runtime::commands::Commands;
use megaconn::runtime::signals::{Signals, Stop};

use crate::bystanders::account::ProbeAccount;
use crate::bystanders::runner::ProbeRunner;
use crate::measure::evidence::{self, Evidence};
use crate::measure::figures::Figures;
use crate::measure::monitor::{AnswerGap, LossTimeline, MemoryWatchdog};
use crate::measure::storms::StormWatch;
use crate::output::progress::Progress;
use crate::output::result::{self, per_s};
use crate::run::config::Config;
use crate::run::control::Control;
use crate::run::filling::Filling;
use crate::run::names::NameWatch;
use crate::run::parts;
use crate::run::plateaus::Plateaus;
use crate::run::preflight::RunPlan;
use crate::run::stage::Stage;
use crate::run::steering::{HoldClock, Steering};
use crate::run::stop_on_miss::MissWatch;

mod clock;
mod fill;
mod finish;
mod plateau;
mod server;
mod steer;

/// A run while it goes on.
pub(crate) struct Controller<'a> {
    config: &'a Config,
    plan: &'a RunPlan,
    signals: Signals,
    figures: Figures,
    /// Until the last one is written.
    dumps: Option<Ticker>,
    /// Plateaus that were begun.
    plateaus_taken: u64,
    /// Of each plateau, with --part.
    histograms: Vec<BTreeMap<String, Recorded>>,
    /// Phases commanded so far.
    phases: u64,
    /// From before the first connection on.
    evidence: Option<Evidence>,
    memory: MemoryWatchdog,
    losses: LossTimeline,
    answers: AnswerGap,
    /// Until it is over; with --bystanders.
    panel: Option<ProbeRunner>,
    /// What became of bystanders in the last hold, where a search wants to know.
    kept: Vec<ProbeAccount>,
    /// Held connections that were closed before the end, on the way to a lower plateau.
    closed_early: u64,
    /// What is ahead.
    plateaus: Plateaus,
    /// With --stop-on-miss, while a plateau goes on.
    misses: Option<(Duration, MissWatch)>,
    /// With --control.
    steering: Steering,
    /// With --reconnect, while a hold goes on.
    storms: Option<(StormWatch, HoldClock)>,
    /// What a sweep by control came to in the present plateau.
    swept: Option<Sweep>,
    /// The gate for which the run ended early.
    broken: Option<String>,
    /// What had been counted when a signal ended a plateau: what comes later is in no figure.
    counted_at_stop: Option<ClientTotals>,
    /// From when as many are opened as there can be.
    filling: Option<Filling>,
    /// With --resolve-every.
    names: Option<NameWatch>,
}

/// The run ends here; the report is made of what there is.
enum Stopped {
    BySignal(Stop),
    /// A core died.
    ByDeath,
    /// Another number of connections is to be held from here on.
    Changed,
    /// For a reason that ends it in order: what is open is closed.
    Early(String),
}

impl<'a> Controller<'a> {
    /// A run that has not begun.
    pub(crate) fn new(
        config: &'a Config,
        plan: &'a RunPlan,
        signals: Signals,
        figures: Figures,
        dumps: Ticker,
        panel: Option<ProbeRunner>,
        control: Option<Control>,
    ) -> Controller<'a> {
        let (rate, schedule) = (config.load.rate_per_s, config.traffic.schedule);
        Controller {
            config,
            plan,
            signals,
            figures,
            dumps: Some(dumps),
            plateaus_taken: 0,
            histograms: Vec::new(),
            phases: 0,
            evidence: None,
            memory: MemoryWatchdog::new(plan.host.reserve_bytes),
            losses: LossTimeline::new(),
            answers: AnswerGap::new(),
            panel,
            kept: Vec::new(),
            closed_early: 0,
            plateaus: Plateaus::new(&[], None),
            misses: None,
            steering: Steering::new(control, rate, schedule),
            storms: None,
            swept: None,
            broken: None,
            counted_at_stop: None,
            filling: None,
            names: NameWatch::begin(config, plan),
        }
    }

    /// Does all of it, and says what came of it.
    pub(crate) async fn all(
        mut self,
        commands: &Commands<Command>,
        topology: Maybe<String>,
    ) -> (RunResult, Option<Stop>) {
        let mut part = parts::begun(self.config, self.plan, &self.figures);
        let waited = self.await_start(commands).await;
        let started = Instant::now();
        self.losses = LossTimeline::new();
        let mut result = result::begun(
            self.config.connections(),
            &self.config.traffic.expect,
            topology,
            self.config.seed,
        );
        let ended = match waited {
            Ok(()) => self.phases(commands, &mut result).await,
            stopped => stopped,
        };
        let stop = match ended {
            Err(Stopped::BySignal(stop)) => Some(stop),
            Err(Stopped::ByDeath | Stopped::Changed | Stopped::Early(_)) | Ok(()) => None,
        };
        if let Some(mut panel) = self.panel.take() {
            panel.stop();
            result::take_bystanders(&mut result, panel.account());
        }
        if let Some(dumps) = self.dumps.take() {
            dumps.end();
        }
        self.ends(Stage::Over);
        result.seconds = started.elapsed().as_secs_f64().into();
        let ended_ms = unix_ms();
        if stop.is_none() && (self.filling.is_some() || self.figures.totals().is_anything_amiss()) {
            // The verdict is also about what the server saw. A signal ends the wait, and the verdict
            // is made without it.
            let _ = self.await_server_tick(commands, ended_ms).await;
        }
        parts::ended(&mut part, &self.figures);
        parts::take(&mut result, self.config, part);
        self.finish(&mut result, stop, ended_ms);
        (result, stop)
    }

    async fn phases(
        &mut self,
        commands: &Commands<Command>,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        self.watch(SpanPhase::Baseline, 0);
        self.steering.stage = Stage::Idle;
        let rested = self.rest(commands).await;
        self.steering.stage = Stage::Between;
        self.figures.mark_empty();
        result.memory_before = Part(self.figures.memory_samples().empty());
        self.evidence = Some(Evidence::begin(self.asked(), &mut self.figures));
        let ended = match rested {
            Ok(()) => self.take_plateaus(commands, result).await,
            stopped => stopped,
        };
        match ended {
            Ok(()) => {}
            Err(Stopped::Early(why)) => {
                talk(&format!("the run ends here: {why}"));
                result.ended_early = why.into();
            }
            Err(other) => return Err(other),
        }
        self.ends(Stage::Ending);
        let open = self.figures.sum(|s| &s.connections);
        self.watch(SpanPhase::Closing, open);
        let (close, began_ms) = self.close(commands).await?;
        let close = result.close.insert(close);
        if open > 0 {
            // Those that have vanished are with the server still.
            if !self.config.traffic.vanishes() {
                close.server_seconds = self.server_emptied(commands, began_ms).await?.into();
            }
        }
        if result.plateaus.is_empty() {
            // Bystanders had nothing to recover from.
            return Ok(());
        }
        self.watch(SpanPhase::Recovery, 0);
        self.rest(commands).await
    }

    /// Takes the run through its plateaus, and those that are asked for on the way.
    async fn take_plateaus(
        &mut self,
        commands: &Commands<Command>,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        self.plateaus = Plateaus::new(&self.plan.plateaus, self.config.keep().cloned());
        while let Some(connections) = self.plateaus.next().or_else(|| self.waiting_connections()) {
            match self.take_plateau(commands, connections, result).await {
                Ok(()) | Err(Stopped::Changed) => {}
                stopped => return stopped,
            }
            if self.memory.reserve_met().is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Connections that were established, and neither lost nor closed on the way, by `totals`.
    fn established(&self, totals: &ClientTotals) -> u64 {
        let lost: u64 = totals.lost.iter().sum();
        let closed = self.closed_early + totals.departures_total + totals.dropped_total;
        let gone = totals.connect_undone_total + lost + closed;
        totals.connected_total.saturating_sub(gone)
    }

    /// What the verdict depends on.
    fn asked(&self) -> evidence::Asked {
        evidence::Asked {
            host: self.plan.host.clone(),
            demand: self.plan.demand,
            targets: self.plan.tuples.targets().to_vec(),
            max_p99: self.config.gates.max_p99,
            writes_header: self.config.traffic.proxy_protocol.is_some(),
        }
    }

    /// What bystanders see goes by this name from now on.
    fn watch(&mut self, phase: SpanPhase, connections: u64) {
        if let Some(panel) = &mut self.panel {
            panel.enter(phase, connections);
        }
    }

    /// Waits for as long as bystanders are to see an idle host.
    async fn rest(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        match self.panel.as_ref().map(ProbeRunner::idle) {
            Some(idle) => self.wait(commands, idle).await,
            None => Ok(()),
        }
    }

    /// Commands the cores to a phase and waits until all have ended it; how long the slowest took.
    async fn phase(
        &mut self,
        commands: &Commands<Command>,
        phase: Phase,
        total: u64,
    ) -> Result<Duration, Stopped> {
        let mut progress = Progress::new(phase.verb(), total, patience(phase));
        let before = self.done(phase);
        let number = self.command(commands, phase).await;
        loop {
            let done = self.done(phase).abs_diff(before);
            progress.at(done, self.steering.is_paused);
            if let Some(took) = self.figures.took(number) {
                progress.done(done, took);
                return Ok(took);
            }
            self.look(commands).await?;
        }
    }

    /// What moves while a phase goes on.
    fn done(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Connect { .. } | Phase::Fill { .. } => self.figures.sum(|s| &s.connected_total),
            Phase::Messages | Phase::Sweep => self.figures.sum(|s| &s.messages_total),
            Phase::Close { .. } => self.figures.sum(|s| &s.connections),
            Phase::Hold | Phase::Traffic => 0,
        }
    }

    /// Commands the cores to a phase; its number.
    async fn command(&mut self, commands: &Commands<Command>, phase: Phase) -> u64 {
        self.phases += 1;
        self.steering.phase = phase.verb();
        self.answers.enter(matches!(phase, Phase::Messages));
        commands.broadcast(Command::Do(PhaseCommand { number: self.phases, phase })).await;
        self.phases
    }

    async fn wait(&mut self, commands: &Commands<Command>, time: Duration) -> Result<(), Stopped> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.look(commands).await?;
        }
        Ok(())
    }

    /// Closes all; with the figures comes when it began.
    async fn close(&mut self, commands: &Commands<Command>) -> Result<(Close, u64), Stopped> {
        let open = self.figures.sum(|s| &s.connections);
        let began_ms = unix_ms();
        let took = self.phase(commands, Phase::Close { keep: 0 }, open).await?;
        let close = Close {
            seconds: took.as_secs_f64().into(),
            rate_per_s: per_s(open, took).into(),
            server_seconds: Maybe(None),
            timeouts: self.figures.sum(|s| &s.close_timeout_total).into(),
        };
        Ok((close, began_ms))
    }

    /// With --stop-on-miss: whether a gate has been broken for longer than `grace`.
    fn look_for_miss(&mut self, grace: Duration) -> Result<(), Stopped> {
        let Some((_, misses)) = self.misses.as_mut() else { return Ok(()) };
        let why = misses.look(&self.figures.totals(), self.config, grace);
        self.broken = why.clone();
        why.map_or(Ok(()), |why| Err(Stopped::Early(format!("--stop-on-miss: {why}"))))
    }

    /// Waits a moment; looks at memory, losses, signals, and whether all cores run.
    async fn look(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        Timer::new(LOOK_EVERY).await;
        self.losses.look(self.figures.lost());
        let answers =
            self.figures.sum(|s| &s.messages_total) + self.figures.sum(|s| &s.churned_total);
        let begun = self.figures.sum(|s| &s.messages_sent_total)
            + self.figures.sum(|s| &s.churn_started_total);
        self.answers.look(begun, answers, self.figures.sum(|s| &s.messages_in_flight));
        let is_short = self.memory.look(self.figures.sum(|s| &s.connections));
        if is_short || self.has_met_wall() {
            commands.broadcast(Command::OpenNoMore).await;
        }
        if let Some(dumps) = self.dumps.as_ref().filter(|_| self.signals.take_dump_request()) {
            dumps.tick();
        }
        match self.signals.stop() {
            Some(stop) => Err(Stopped::BySignal(stop)),
            None if !commands.all_run() => Err(Stopped::ByDeath),
            None => {
                self.steer(commands).await?;
                let due = self.misses.as_ref().filter(|(_, misses)| misses.is_due());
                let grace = due.map(|(grace, _)| *grace);
                grace.map_or(Ok(()), |grace| self.look_for_miss(grace))
            }
        }
    }
}

/// How long an answer may take in a phase before its connection is given up.
fn patience(phase: Phase) -> Duration {
    match phase {
        Phase::Connect { .. } | Phase::Fill { .. } => CONNECT_TIMEOUT,
        Phase::Messages | Phase::Sweep => ECHO_TIMEOUT,
        // A short connection is connected first.
        Phase::Hold | Phase::Traffic => CONNECT_TIMEOUT + ECHO_TIMEOUT,
        Phase::Close { .. } => CLOSE_TIMEOUT,
    }
}
