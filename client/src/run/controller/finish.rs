//! What a run has come to, put together when it is over.

use std::time::Duration;

use megaconn::base::stderr::talk;
use megaconn::engine::protocol::expect::Expect;
use megaconn::observe::control::Change;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::histograms::Histograms;
use megaconn::results::lenient::{List, Maybe, Part};
use megaconn::results::max::Max;
use megaconn::results::plateau::{Counts, Plateau};
use megaconn::results::result::{Changed, RunResult};
use megaconn::results::{COUNTERS, HISTOGRAMS};
use megaconn::runtime::signals::Stop;
use megaconn::walls::diagnosis::diagnose;
use megaconn::walls::pattern::Pattern;

use crate::measure::{aftermath, losses};
use crate::output::directory::write_json;
use crate::output::{notes, result};
use crate::run::controller::Controller;
use crate::run::filling::Filling;
use crate::run::gates;

impl Controller<'_> {
    /// Fills in what is known only now.
    pub(super) fn finish(mut self, result: &mut RunResult, stop: Option<Stop>, ended_ms: u64) {
        self.figures.refresh_server();
        let totals = self.counted_at_stop.take().unwrap_or_else(|| self.figures.totals());
        self.take_totals(result, &totals);
        let patterns = self.take_losses(result);
        self.take_asked(result, &totals);
        let not_back = self.not_back(result, &totals);
        self.judge(result, stop, not_back);
        self.attribute(result, stop, patterns, ended_ms);
        self.note(result);
        self.keep_histograms();
    }

    /// Of a part, for those who merge it.
    fn keep_histograms(&mut self) {
        let plateaus = std::mem::take(&mut self.histograms);
        let Some(dir) =
            self.config.outputs.out.as_deref().filter(|_| self.config.cut.part.is_some())
        else {
            return;
        };
        let all = Histograms { schema: HISTOGRAMS.schema.to_owned(), plateaus };
        if let Err(error) = write_json(dir, HISTOGRAMS.name, &all) {
            talk(&format!("warning: {error}"));
        }
    }

    /// What was counted over all plateaus.
    fn take_totals(&self, result: &mut RunResult, totals: &ClientTotals) {
        let none = Max::default();
        let of_max = result.max.as_ref().unwrap_or(&none);
        result.failed = Counts::by_errno(&totals.failed).without(&of_max.failed);
        result.lost = Counts::by_cause(&totals.lost).without(&of_max.lost);
        result.memory_reserve_met = self.memory.reserve_met().cloned().into();
        result.tuples_skipped = totals.tuples_skipped_total.into();
        let expects = matches!(self.config.traffic.expect, Expect::Broadcast(_));
        result.broadcasts = Maybe(expects.then(|| self.figures.broadcasts()));
        result.per_core = self.figures.per_core();
        let ends = self.plan.demand.ends.count();
        result.cost_per_connection = Part(self.figures.memory_samples().cost(ends));
        if self.config.cut.part.is_some_and(|part| part.of() > 1) {
            // The server's memory grows by the connections of all parts.
            result.cost_per_connection.server_user_bytes = Maybe(None);
        }
        let mut established = self.established(totals);
        if self.closed_early > 0 && self.config.keep().is_none() {
            // What was closed on the way down had been asked for, and was there.
            let most = result.plateaus.iter().filter_map(|plateau| *plateau.established).max();
            established = most.unwrap_or(established);
        }
        result.established = established.into();
        if !self.config.traffic.storms.is_empty() {
            result.dropped = totals.dropped_total.into();
        }
    }

    /// What is known of the connections that were lost; what they have in common.
    fn take_losses(&self, result: &mut RunResult) -> Vec<Pattern> {
        result.losses = self.losses.times().into();
        let target = self.plan.tuples.targets()[0];
        result.target_afterwards = result.losses.map(|_| aftermath::ask(target)).into();
        let first_at = self.losses.times().map(|times| Duration::from_millis(times.first_ms));
        let losses = self.figures.losses(&self.plan.tuples, first_at);
        let patterns = losses.patterns();
        result.loss_patterns = patterns.iter().map(losses::row).collect();
        result.unexpected_bytes = losses.first_bytes().into();
        result.opening_failure = losses.opening_failure().into();
        result.targets = losses.targets(&self.plan.tuples, result.established.or_zero());
        if self.config.traffic.lifetime.is_some() && result.targets.len() > 1 {
            // A place may be filled at another target than that of the connection before.
            result.targets.iter_mut().for_each(|row| row.established = Maybe(None));
        }
        patterns
    }

    /// What was asked for, by flags and orders, and how much of it was not tried.
    fn take_asked(&self, result: &mut RunResult, totals: &ClientTotals) {
        if self.steering.has_changed_connections {
            // What was asked for by the orders is what was to be held.
            let last = result.plateaus.len().saturating_sub(1);
            let is_off =
                |at: usize, plateau: &Plateau| *plateau.cut_short == Some(true) && at < last;
            let plateaus = result.plateaus.iter().enumerate();
            let asked = plateaus.filter(|(at, plateau)| !is_off(*at, plateau));
            let most = asked.filter_map(|(_, plateau)| *plateau.connections).max();
            result.target_connections = most.into();
        }
        result.changes = self.changes();
        let of_max = result.max.as_ref().and_then(|max| *max.connections);
        let most = of_max.unwrap_or(result.target_connections.or_zero());
        if self.config.traffic.reconnect.is_none() {
            // They were there until the client closed them, as it was told.
            let there = result.established.or_zero() + result.dropped.or_zero();
            result.established = there.min(most.max(result.established.or_zero())).into();
        }
        let gone = totals.connect_failed_total + self.not_back(result, totals);
        let tried = result.established.or_zero() + gone;
        let asked = result.target_connections.or_zero();
        result.untried = asked.saturating_sub(tried).into();
    }

    /// Connections that were lost, or were dropped to come back, and are not back; but for those that were not wanted any
    /// more.
    fn not_back(&self, result: &RunResult, totals: &ClientTotals) -> u64 {
        let comes_back = self.config.traffic.reconnect.is_some();
        let dropped = if comes_back { totals.dropped_total } else { 0 };
        let gone = result.lost.sum() + dropped;
        gone.saturating_sub(totals.returned_total + totals.closed_away_total)
    }

    /// The verdict by the gates.
    fn judge(&mut self, result: &mut RunResult, stop: Option<Stop>, not_back: u64) {
        let least = self.least_established(result);
        let mut missed = gates::missed(result, self.config, least, not_back);
        if missed.is_empty() {
            // It may have held again by the end, and still it ended the run.
            missed.extend(self.broken.take());
        }
        if let Some(stop) = stop {
            missed.insert(0, format!("stopped by {stop}, the report is partial"));
        }
        result.verdict = Part(result::verdict(missed));
    }

    /// The walls that explain what was lost, or what ended the opening; their evidence is written down.
    fn attribute(
        &mut self,
        result: &mut RunResult,
        stop: Option<Stop>,
        patterns: Vec<Pattern>,
        ended_ms: u64,
    ) {
        let Some(mut evidence) = self.evidence.take() else { return };
        if let Some(filling) = &self.filling {
            let is_reserve_met = self.memory.reserve_met().is_some();
            let no_more = filling.no_more(is_reserve_met, self.plan.connections());
            let established = result.established.or_zero();
            evidence.opened_no_more(no_more, established, filling.overdue_at_wall());
        }
        let (case, moments) = evidence.case(
            result,
            &mut self.figures,
            ended_ms,
            patterns,
            self.answers.longest(),
            stop.is_some() || result.ended_early.is_some(),
        );
        if result.max.is_some() {
            result::take_end_of_opening(result, diagnose(&case), &self.plan.rows);
        } else {
            result::take_walls(&mut result.verdict, diagnose(&case), &self.plan.rows);
        }
        let out = self.config.outputs.out.as_deref();
        if let Some(Err(error)) = out.map(|dir| write_json(dir, COUNTERS.name, &moments)) {
            talk(&format!("warning: {error}"));
        }
    }

    /// What is to be said beside the figures.
    fn note(&mut self, result: &mut RunResult) {
        result.notes = notes::of(result);
        if let Some(unseen) = self.figures.server_unseen() {
            result.notes.insert("server_metrics".to_owned(), unseen);
        }
        if let Some(few) = self.filling.as_ref().and_then(Filling::files_passed) {
            result.notes.insert(notes::FILES_PASSED.to_owned(), few.to_owned());
        }
        if let Some(names) = self.names.take() {
            names.tell(result);
        }
    }

    /// The gate of established connections: a number that was changed on the way is what is wanted.
    fn least_established(&self, result: &RunResult) -> u64 {
        let least = self.config.gates.min_established;
        let target = result.target_connections.or_zero();
        match self.steering.has_changed_connections {
            true if self.config.gates.wants_all => target,
            true => least.min(target),
            false => least,
        }
    }

    /// What was changed by control.
    fn changes(&self) -> List<Changed> {
        let control = self.steering.control.as_ref();
        let changes = control.map_or_else(Vec::new, |control| control.changes());
        let changed = |Change { what, at_seconds, .. }| Changed {
            what: what.into(),
            at_seconds: Maybe(at_seconds),
        };
        changes.into_iter().map(changed).collect()
    }
}
