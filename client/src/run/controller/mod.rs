//! The controller of a run: it commands the cores to one phase after the other, reads figures between
//! them, and puts the result together.

use std::time::{Duration, Instant};

use glommio::timer::Timer;
use megaconn::base::clock::unix_ms;
use megaconn::base::constants::{
    CLOSE_TIMEOUT, CONNECT_TIMEOUT, ECHO_TIMEOUT, LOOK_EVERY, SETTLE, STOP_HEARD,
};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::engine::client::phase::{Command, Phase, PhaseCommand};
use megaconn::observe::dump::ticker::Ticker;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::bystanders::SpanPhase;
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::plateau::{Counts, Plateau, Sweep};
use megaconn::results::result::{Close, RunResult};
use megaconn::runtime::commands::Commands;
use megaconn::runtime::signals::{Signals, Stop};

use crate::bystanders::account::ProbeAccount;
use crate::bystanders::runner::ProbeRunner;
use crate::measure::evidence::{self, Evidence};
use crate::measure::figures::Figures;
use crate::measure::monitor::{AnswerGap, LossTimeline, MemoryWatchdog};
use crate::output::progress::Progress;
use crate::output::result::{self, per_s};
use crate::run::config::Config;
use crate::run::filling::{Filling, Opened};
use crate::run::names::NameWatch;
use crate::run::plateaus::Plateaus;
use crate::run::preflight::RunPlan;

mod fill;
mod finish;
mod server;

/// A run while it goes on.
pub(crate) struct Controller<'a> {
    config: &'a Config,
    plan: &'a RunPlan,
    signals: Signals,
    figures: Figures,
    /// Until the last one is written.
    dumps: Option<Ticker>,
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
    /// Held connections that a search closed before the end.
    closed_early: u64,
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
    ) -> Controller<'a> {
        Controller {
            config,
            plan,
            signals,
            figures,
            dumps: Some(dumps),
            phases: 0,
            evidence: None,
            memory: MemoryWatchdog::new(plan.host.reserve_bytes),
            losses: LossTimeline::new(),
            answers: AnswerGap::new(),
            panel,
            kept: Vec::new(),
            closed_early: 0,
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
        let started = Instant::now();
        let mut result =
            result::begun(self.config.connections(), &self.config.traffic.expect, topology);
        let stop = match self.phases(commands, &mut result).await {
            Err(Stopped::BySignal(stop)) => Some(stop),
            Err(Stopped::ByDeath) | Ok(()) => None,
        };
        if let Some(mut panel) = self.panel.take() {
            panel.stop();
            result::take_bystanders(&mut result, panel.account());
        }
        if let Some(dumps) = self.dumps.take() {
            dumps.end();
        }
        result.seconds = started.elapsed().as_secs_f64().into();
        let ended_ms = unix_ms();
        if stop.is_none() && (self.filling.is_some() || self.figures.totals().is_anything_amiss()) {
            // The verdict is also about what the server saw. A signal ends the wait, and the verdict
            // is made without it.
            let _ = self.await_server_tick(commands, ended_ms).await;
        }
        self.finish(&mut result, stop, ended_ms);
        (result, stop)
    }

    async fn phases(
        &mut self,
        commands: &Commands<Command>,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        self.watch(SpanPhase::Baseline, 0);
        self.rest(commands).await?;
        self.figures.mark_empty();
        result.memory_before = Part(self.figures.memory_samples().empty());
        self.evidence = Some(Evidence::begin(self.asked(), &mut self.figures));
        let mut plateaus = Plateaus::new(&self.plan.plateaus, self.config.keep().cloned());
        while let Some(connections) = plateaus.next() {
            self.close_down_to(commands, connections, result.plateaus.last()).await?;
            let before = self.figures.totals();
            let mut plateau = result::plateau(connections);
            let ended = self.plateau(commands, &mut plateau, result).await;
            if matches!(ended, Err(Stopped::BySignal(_))) {
                // It ends the schedules, so that what was due and not begun is counted.
                self.command(commands, Phase::Hold).await;
                Timer::new(STOP_HEARD).await;
            }
            let totals = self.figures.totals();
            let counted = totals.since(&before);
            plateau.established = self.established(&totals).into();
            let asked = result::Asked {
                expect: &self.config.traffic.expect,
                churn_per_s: self.config.traffic.churn_per_s(),
                cores: self.plan.cpus.len(),
            };
            result::count(&mut plateau, &counted, &asked);
            if self.is_max(connections) {
                self.take_max(&mut plateau, result, &totals);
            }
            if matches!(ended, Err(Stopped::BySignal(_))) {
                self.counted_at_stop = Some(totals);
            }
            if let Some(evidence) = &mut self.evidence {
                let at = format!("plateau of {connections}");
                evidence.look(at, &mut self.figures);
            }
            result.plateaus.push(plateau);
            ended?;
            let established = self.figures.sum(|s| &s.connections);
            plateaus.seen(connections, established, &std::mem::take(&mut self.kept));
            result.safe_capacity = plateaus.safe_capacity().into();
            if self.memory.reserve_met().is_some() {
                break;
            }
        }
        let open = self.figures.sum(|s| &s.connections);
        self.watch(SpanPhase::Closing, open);
        let (close, began_ms) = self.close(commands).await?;
        let close = result.close.insert(close);
        if open > 0 {
            close.server_seconds = self.server_emptied(commands, began_ms).await?.into();
        }
        self.watch(SpanPhase::Recovery, 0);
        self.rest(commands).await
    }

    /// Connections that were established, and neither lost nor closed by a search, by `totals`.
    fn established(&self, totals: &ClientTotals) -> u64 {
        let lost: u64 = totals.lost.iter().sum();
        let gone = totals.connect_undone_total + lost + self.closed_early;
        totals.connected_total.saturating_sub(gone)
    }

    /// Closes what is open beyond `connections`, when a search goes down.
    async fn close_down_to(
        &mut self,
        commands: &Commands<Command>,
        connections: u64,
        before: Option<&Plateau>,
    ) -> Result<(), Stopped> {
        if before.is_none_or(|before| before.connections.or_zero() <= connections) {
            return Ok(());
        }
        let (open, lost) = (self.figures.sum(|s| &s.connections), self.figures.lost());
        self.watch(SpanPhase::Closing, open);
        let beyond = open.saturating_sub(connections);
        let closed = self.phase(commands, Phase::Close { keep: connections }, beyond).await;
        let left = self.figures.sum(|s| &s.connections) + (self.figures.lost() - lost);
        self.closed_early += open.saturating_sub(left);
        closed.map(drop)
    }

    /// What the verdict depends on.
    fn asked(&self) -> evidence::Asked {
        evidence::Asked {
            host: self.plan.host.clone(),
            demand: self.plan.demand,
            targets: self.plan.tuples.targets().to_vec(),
            max_p99: self.config.gates.max_p99,
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

    /// One plateau: connected, settled, measured, held, swept.
    async fn plateau(
        &mut self,
        commands: &Commands<Command>,
        plateau: &mut Plateau,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        let connections = plateau.connections.or_zero();
        self.watch(SpanPhase::Connecting, connections);
        let is_max = self.is_max(connections);
        if is_max {
            self.fill(commands, plateau).await?;
        } else {
            let new = connections.saturating_sub(self.figures.sum(|s| &s.connections));
            let mut opened = Opened::default();
            let connect = Phase::Connect { connections };
            self.open(commands, (connect, new), &mut opened, plateau).await?;
        }
        self.wait(commands, SETTLE).await?;
        let in_hold = if self.config.traffic.is_any() {
            // Else bystanders would never see them at rest.
            self.watch(SpanPhase::Settled, connections);
            self.rest(commands).await?;
            SpanPhase::Messages
        } else {
            SpanPhase::Settled
        };

        let open = self.figures.sum(|s| &s.connections);
        let messages = open * u64::from(self.config.traffic.message_count);
        if messages > 0 {
            self.watch(SpanPhase::Messages, connections);
            let took = self.phase(commands, Phase::Messages, messages).await?;
            plateau.messages.seconds = took.as_secs_f64().into();
        }
        let connections = if is_max { self.filled() } else { connections };

        if let Some(evidence) = &mut self.evidence {
            evidence.hold_begins(&mut self.figures);
        }
        self.watch(in_hold, connections);
        let (began, began_ms) = (Instant::now(), unix_ms());
        let held = self.hold(commands).await;
        plateau.hold_seconds = began.elapsed().as_secs_f64().into();
        if held.is_ok() {
            if let Some(evidence) = &mut self.evidence {
                evidence.hold_ends(&mut self.figures);
            }
            self.phase(commands, Phase::Hold, 0).await?;
            self.await_server_tick(commands, began_ms).await?;
        }
        let open = self.figures.sum(|s| &s.connections);
        plateau.memory = Part(self.figures.memory(open, began_ms));
        result.file_descriptors = Part(self.figures.descriptors());
        held?;
        if let Some(panel) = self.panel.as_ref().filter(|_| self.config.keep().is_some()) {
            self.kept = panel.so_far();
        }
        if self.config.traffic.sweep {
            self.watch(SpanPhase::Messages, connections);
            plateau.sweep = self.sweep(commands).await?.into();
        }
        Ok(())
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
            progress.at(done);
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
        self.answers.enter(matches!(phase, Phase::Messages));
        commands.broadcast(Command::Do(PhaseCommand { number: self.phases, phase })).await;
        self.phases
    }

    /// Holds, with the traffic that was asked for, until the time is up, or there is nothing to hold.
    async fn hold(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        let hold = self.config.load.hold;
        let open = grouped(self.figures.sum(|s| &s.connections));
        talk(&format!("holding {open} for {} s", hold.as_secs_f64()));
        self.command(commands, Phase::Traffic).await;
        let (began, mut progress) = (Instant::now(), Progress::of_time("holding", hold));
        let churns = self.config.traffic.churn.is_some();
        self.names.iter().for_each(|names| names.hold(true));
        while began.elapsed() < hold && (churns || self.figures.sum(|s| &s.connections) > 0) {
            progress.at(began.elapsed().as_secs());
            self.look(commands).await?;
            if let Some(targets) = self.names.as_mut().and_then(NameWatch::take) {
                commands.broadcast(Command::Churn(targets)).await;
            }
        }
        self.names.iter().for_each(|names| names.hold(false));
        progress.clear();
        Ok(())
    }

    async fn sweep(&mut self, commands: &Commands<Command>) -> Result<Sweep, Stopped> {
        let (asked, before) = (self.figures.sum(|s| &s.connections), self.figures.totals());
        let took = self.phase(commands, Phase::Sweep, asked).await?;
        let swept = self.figures.totals().since(&before);
        Ok(Sweep {
            asked: asked.into(),
            answered: swept.messages_total.into(),
            seconds: took.as_secs_f64().into(),
            lost: Counts::by_cause(&swept.lost),
        })
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
            None => Ok(()),
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
