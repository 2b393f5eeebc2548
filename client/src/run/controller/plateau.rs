//! One plateau of a run: closed down or opened, settled, measured, held, swept.

use std::time::{Duration, Instant};

use glommio::timer::Timer;
use megaconn::base::clock::unix_ms;
use megaconn::base::constants::{SETTLE, STOP_HEARD};
use megaconn::base::stderr::talk;
use megaconn::base::units::grouped;
use megaconn::engine::client::phase::{Command, Phase};
use megaconn::engine::storm::Storms;
use megaconn::observe::stats::{ClientStats, ClientTotals, Counter};
use megaconn::results::bystanders::SpanPhase;
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::plateau::{ClosedDown, Counts, Plateau, Reconnects, Sweep};
use megaconn::results::result::RunResult;
use megaconn::runtime::commands::Commands;

use crate::measure::storms::{Look, StormWatch};
use crate::output::histograms;
use crate::output::progress::Progress;
use crate::output::result::{self, per_s};
use crate::run::controller::{Controller, Stopped};
use crate::run::filling::Opened;
use crate::run::lifetime;
use crate::run::names::NameWatch;
use crate::run::stage::Stage;
use crate::run::steering::HoldClock;
use crate::run::stop_on_miss::MissWatch;

impl Controller<'_> {
    /// Takes the run to `connections` and through their hold; what was counted meanwhile is a plateau of the
    /// result.
    pub(super) async fn take_plateau(
        &mut self,
        commands: &Commands<Command>,
        connections: u64,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        let is_max = !std::mem::take(&mut self.steering.is_ordered) && self.is_max(connections);
        let mut plateau = result::plateau(connections);
        self.plateaus_taken += 1;
        if let Some(span) = self.span() {
            self.await_moment(commands, span.begins).await?;
        }
        let closed = self.close_down_to(commands, &mut plateau, result).await;
        let (before, paused) = (self.figures.totals(), self.steering.paused);
        let ended = match closed {
            Ok(()) => {
                self.steering.begin_plateau(connections);
                self.misses = self.watch_for_misses(is_max, &plateau, result, &before);
                self.plateau(commands, &mut plateau, is_max, result).await
            }
            stopped => stopped,
        };
        let ended = self.end_plateau(commands, ended).await;
        plateau.paused_seconds = (self.steering.paused - paused).as_secs_f64().into();
        plateau.cut_short = (ended.is_err() && plateau.hold_seconds.is_none()).into();
        let totals = self.figures.totals();
        let counted = self.count_plateau(&mut plateau, &totals, &before);
        if self.config.cut.part.is_some() {
            self.histograms.push(histograms::of(&counted));
        }
        if is_max {
            self.take_max(&mut plateau, result, &totals);
        }
        if matches!(ended, Err(Stopped::BySignal(_))) {
            self.counted_at_stop = Some(totals);
        }
        if let Some(evidence) = &mut self.evidence {
            let at = format!("plateau of {connections}");
            evidence.look(at, &mut self.figures);
        }
        result::take_back(&mut plateau, result.plateaus.last());
        result.plateaus.push(plateau);
        ended?;
        let established = self.figures.sum(|s| &s.connections);
        self.plateaus.seen(connections, established, &std::mem::take(&mut self.kept));
        result.safe_capacity = self.plateaus.safe_capacity().into();
        Ok(())
    }

    /// Ends what a plateau had the cores do, however it `ended`, so that what was due and not begun is
    /// counted.
    async fn end_plateau(
        &mut self,
        commands: &Commands<Command>,
        mut ended: Result<(), Stopped>,
    ) -> Result<(), Stopped> {
        if ended.is_ok() && self.plateaus.has_more() {
            // A gate that is broken at the end of a plateau stays broken.
            ended = self.look_for_miss(Duration::ZERO);
        }
        self.names.iter().for_each(|names| names.hold(false));
        (self.misses, self.steering.stage) = (None, Stage::Between);
        if matches!(ended, Err(Stopped::Early(_) | Stopped::Changed))
            && let Err(stopped) = self.phase(commands, Phase::Hold, 0).await
        {
            ended = Err(stopped);
        }
        self.steering.look();
        if matches!(ended, Err(Stopped::BySignal(_))) {
            self.command(commands, Phase::Hold).await;
            Timer::new(STOP_HEARD).await;
        }
        ended
    }

    /// Takes into the plateau what was counted in it, from `before` up to `totals`.
    fn count_plateau(
        &self,
        plateau: &mut Plateau,
        totals: &ClientTotals,
        before: &ClientTotals,
    ) -> ClientTotals {
        plateau.established = self.established(totals).into();
        let asked = result::Asked {
            expect: &self.config.traffic.expect,
            churn_per_s: self.config.traffic.churn_per_s(),
            readers: self.config.traffic.readers.is_some(),
            lifetime: self.config.traffic.lifetime.map(lifetime::in_words),
            reconnects: self.config.traffic.reconnect.is_some(),
            drops: !self.config.traffic.storms.is_empty(),
            cores: self.plan.cpus.len(),
        };
        let counted = totals.since(before);
        result::count(plateau, &counted, &asked);
        counted
    }

    /// With --stop-on-miss.
    fn watch_for_misses(
        &self,
        is_max: bool,
        plateau: &Plateau,
        result: &RunResult,
        before: &ClientTotals,
    ) -> Option<(Duration, MissWatch)> {
        let grace = self.config.gates.stop_on_miss?;
        // What was lost on a plateau is opened again only after some were closed.
        let open = self.figures.sum(|s| &s.connections);
        let asked = result.plateaus.last().map_or(0, |before| before.connections.or_zero());
        let missing = if plateau.closed.is_none() { asked.saturating_sub(open) } else { 0 };
        let can_be = (!is_max).then(|| plateau.connections.or_zero().saturating_sub(missing));
        Some((grace, MissWatch::begin(before.clone(), can_be)))
    }

    /// Closes what is open beyond the connections of `plateau`, when there were more before. After a plateau
    /// that was cut short it calls off the connects that have not begun.
    async fn close_down_to(
        &mut self,
        commands: &Commands<Command>,
        plateau: &mut Plateau,
        result: &RunResult,
    ) -> Result<(), Stopped> {
        let Some(before) = result.plateaus.last() else { return Ok(()) };
        let keep = plateau.connections.or_zero();
        let is_lower = before.connections.or_zero() > keep;
        if !is_lower && *before.cut_short != Some(true) {
            return Ok(());
        }
        let (open, lost) = (self.figures.sum(|s| &s.connections), self.figures.lost());
        self.watch(SpanPhase::Closing, open);
        let (began, beyond) = (Instant::now(), self.figures.beyond(keep));
        let closing = self.phase(commands, Phase::Close { keep }, beyond).await;
        if closing.is_err() {
            // What closes on after it is counted would be in no figure.
            self.command(commands, Phase::Hold).await;
            Timer::new(STOP_HEARD).await;
        }
        let took = closing.as_ref().map_or_else(|_| began.elapsed(), |took| *took);
        let left = self.figures.sum(|s| &s.connections) + (self.figures.lost() - lost);
        let closed = open.saturating_sub(left);
        self.closed_early += closed;
        plateau.closed = is_lower
            .then(|| ClosedDown {
                connections: closed.into(),
                seconds: took.as_secs_f64().into(),
                rate_per_s: per_s(closed, took).into(),
                ..ClosedDown::default()
            })
            .into();
        closing.map(drop)
    }

    /// One plateau: connected, settled, measured, held, swept.
    async fn plateau(
        &mut self,
        commands: &Commands<Command>,
        plateau: &mut Plateau,
        is_max: bool,
        result: &mut RunResult,
    ) -> Result<(), Stopped> {
        let connections = plateau.connections.or_zero();
        self.watch(SpanPhase::Connecting, connections);
        let new = connections.saturating_sub(self.figures.sum(|s| &s.connections));
        if is_max {
            self.steering.stage = Stage::Filling;
            self.fill(commands, plateau).await?;
        } else if plateau.closed.is_none() || new > 0 {
            let mut opened = Opened::default();
            let connect = Phase::Connect { connections };
            self.open(commands, (connect, new), &mut opened, plateau).await?;
        }
        let shown = if is_max { self.figures.sum(|s| &s.connections) } else { connections };
        if let Some(panel) = &mut self.panel {
            panel.came_to(shown);
        }
        self.wait(commands, SETTLE).await?;
        let in_hold = if self.config.traffic.is_any() {
            // Else bystanders would never see them at rest.
            self.watch(SpanPhase::Settled, shown);
            self.rest(commands).await?;
            SpanPhase::Messages
        } else {
            SpanPhase::Settled
        };

        let open = self.figures.sum(|s| &s.connections);
        let messages = open * u64::from(self.config.traffic.message_count);
        if messages > 0 {
            self.watch(SpanPhase::Messages, shown);
            let took = self.phase(commands, Phase::Messages, messages).await?;
            plateau.messages.seconds = took.as_secs_f64().into();
        }
        let connections = if is_max { self.filled() } else { connections };
        self.steering.stage = Stage::Plateau;
        if is_max {
            self.tell_most(connections);
        }

        let late = if is_max { None } else { self.await_hold(commands).await? };
        plateau.late_seconds = late.into();
        if let Some(evidence) = &mut self.evidence {
            evidence.hold_begins(&mut self.figures);
        }
        self.watch(in_hold, connections);
        let (began, began_ms) = (Instant::now(), unix_ms());
        plateau.hold_began_at_ms = began_ms.into();
        let held = self.hold(commands).await;
        plateau.hold_seconds = began.elapsed().as_secs_f64().into();
        plateau.sweep = self.swept.take().into();
        self.steering.stage = Stage::Between;
        if matches!(held, Ok(()) | Err(Stopped::Early(_) | Stopped::Changed)) {
            if let Some(evidence) = &mut self.evidence {
                evidence.hold_ends(&mut self.figures);
            }
            self.phase(commands, Phase::Hold, 0).await?;
            self.count_storms(plateau);
            self.await_server_tick(commands, began_ms).await?;
        }
        self.count_storms(plateau);
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

    /// Holds, with the traffic that was asked for, until the time is up, or there is nothing to hold.
    async fn hold(&mut self, commands: &Commands<Command>) -> Result<(), Stopped> {
        let hold = self.config.load.hold;
        let open = grouped(self.figures.sum(|s| &s.connections));
        talk(&format!("holding {open} for {} s", hold.as_secs_f64()));
        self.command(commands, Phase::Traffic).await;
        let mut progress = Progress::of_time("holding", hold);
        let clock = HoldClock { began: Instant::now(), paused: self.steering.paused };
        let churns = self.config.traffic.churn.is_some();
        let mut due = Storms::new(&self.config.traffic.storms);
        self.storms = self.watch_for_storms().map(|storms| (storms, clock));
        self.names.iter().for_each(|names| names.hold(true));
        loop {
            self.steering.look();
            // The time of a pause does not count.
            let passed = clock.passed(&self.steering);
            if self.hold_is_over(passed)
                || !churns
                    && self.figures.sum(|s| &s.connections)
                        + self.figures.sum(|s| &s.returns_waiting)
                        + self.figures.sum(|s| &s.places_waiting)
                        == 0
            {
                break;
            }
            progress.at(passed.as_secs(), self.steering.is_paused);
            while let Some(drop) = due.take_due(passed) {
                talk(&format!("storm: {drop}"));
                commands.broadcast(Command::Storm(drop)).await;
            }
            self.look(commands).await?;
            let look = self.storm_look(clock.passed(&self.steering));
            if let Some((storms, _)) = &mut self.storms {
                storms.look(look, || self.figures.totals());
            }
            if let Some(targets) = self.names.as_mut().and_then(NameWatch::take) {
                commands.broadcast(Command::Churn(targets)).await;
            }
            if self.take_sweep_orders() {
                self.steering.stage = Stage::Between;
                // Answers to messages of the schedule are none to the sweep.
                self.phase(commands, Phase::Hold, 0).await?;
                self.swept = Some(self.sweep(commands).await?);
                self.steering.stage = Stage::Plateau;
                self.command(commands, Phase::Traffic).await;
            }
        }
        progress.clear();
        Ok(())
    }

    /// Takes the storms of the hold into the plateau, once.
    fn count_storms(&mut self, plateau: &mut Plateau) {
        let Some((storms, clock)) = self.storms.take() else { return };
        let look = self.storm_look(clock.passed(&self.steering));
        let over = storms.finish(look, self.figures.totals());
        let reconnects = Reconnects { storms: over.into(), ..Reconnects::default() };
        plateau.reconnect = Maybe(Some(reconnects));
    }

    /// With --reconnect: storms of a hold that begins.
    fn watch_for_storms(&self) -> Option<StormWatch> {
        let comes_back = self.config.traffic.reconnect.is_some();
        comes_back
            .then(|| StormWatch::begin(self.storm_look(Duration::ZERO), self.figures.totals()))
    }

    /// What a storm is seen by, so long after the hold began.
    fn storm_look(&self, at: Duration) -> Look {
        let sum = |of: fn(&ClientStats) -> &Counter| self.figures.sum(of);
        let [dropped, again] = [sum(|s| &s.dropped_total), sum(|s| &s.lost_again_total)];
        Look {
            at,
            connections: self.figures.sum(|s| &s.connections),
            lost: (self.figures.lost() + dropped).saturating_sub(again),
            dropped,
            tries: sum(|s| &s.reconnect_tries_total),
            returned: sum(|s| &s.returned_total).saturating_sub(again),
            waiting: self.figures.sum(|s| &s.returns_waiting),
        }
    }

    async fn sweep(&mut self, commands: &Commands<Command>) -> Result<Sweep, Stopped> {
        let before = self.figures.totals();
        // Those that do not read have no answer.
        let aside = before.slow_readers + before.silent_readers;
        let asked = self.figures.sum(|s| &s.connections).saturating_sub(aside);
        let took = self.phase(commands, Phase::Sweep, asked).await?;
        let swept = self.figures.totals().since(&before);
        Ok(Sweep {
            asked: asked.into(),
            answered: swept.messages_total.into(),
            seconds: took.as_secs_f64().into(),
            lost: Counts::by_cause(&swept.lost),
        })
    }
}
