//! What a run has come to, put together when it is over.

use megaconn::base::stderr::talk;
use megaconn::runtime::signals::Stop;
use megaconn::walls::diagnosis::diagnose;

use crate::measure::aftermath::TargetNow;
use crate::output::directory::write_json;
use crate::output::notes;
use crate::output::result::{RunResult, Verdict, by_cause, by_errno};
use crate::run::controller::Controller;
use crate::run::gates;

impl Controller<'_> {
    /// Fills in what is known only now.
    pub(super) fn finish(mut self, result: &mut RunResult, stop: Option<Stop>, ended_ms: u64) {
        self.figures.refresh_server();
        let totals = self.figures.totals();
        result.failed = by_errno(&totals.failed);
        result.lost = by_cause(&totals.lost);
        result.losses = self.losses.times();
        let target = self.plan.tuples.targets()[0];
        result.target_afterwards = result.losses.map(|_| TargetNow::ask(target));
        result.memory_reserve_met = self.memory.reserve_met().cloned();
        result.tuples_skipped = totals.tuples_skipped_total;
        result.per_core = self.figures.per_core();
        result.cost_per_connection = self.figures.book().cost(self.plan.demand.ends.count());
        result.established = totals
            .connected_total
            .saturating_sub(totals.lost.iter().sum::<u64>() + self.closed_early);
        let tried =
            result.established + totals.connect_failed_total + totals.lost.iter().sum::<u64>();
        result.untried = self.config.connections().saturating_sub(tried);
        let mut missed = gates::missed(result, self.config);
        if let Some(stop) = stop {
            missed.insert(0, format!("stopped by {stop}, the report is partial"));
        }
        result.verdict = Verdict { met: missed.is_empty(), missed, ..Verdict::default() };
        if let Some(evidence) = self.evidence.take().filter(|_| stop.is_none()) {
            let (run, moments) = evidence.run_facts(result, &mut self.figures, ended_ms);
            result.verdict.judged(diagnose(&run), &self.plan.rows);
            if let Some(Err(error)) = self
                .config
                .outputs
                .out
                .as_deref()
                .map(|dir| write_json(dir, "counters.json", &moments))
            {
                talk(&format!("warning: {error}"));
            }
        }
        result.notes = notes::of(result);
        if let Some(unseen) = self.figures.server_unseen() {
            result.notes.insert("server_metrics", unseen);
        }
    }
}
