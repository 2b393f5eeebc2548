//! Whether a gate is broken while a plateau goes on, and has been for so long that the run is to end.

use std::time::{Duration, Instant};

use megaconn::base::constants::{MISS_ANSWERS_LEAST, MISS_LOOK_EVERY};
use megaconn::base::units::grouped;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::percentiles::Percentiles;

use crate::run::config::Config;

/// The gates of a plateau that goes on.
pub(crate) struct MissWatch {
    /// What was counted when the plateau began.
    before: ClientTotals,
    /// Connections that can be established by then, when none fails; `None` when no number was asked for.
    can_be: Option<u64>,
    looked_at: Instant,
    broken_since: Option<Instant>,
}

impl MissWatch {
    /// From now on, when so much has been counted and so many connections can be established.
    pub(crate) fn begin(before: ClientTotals, can_be: Option<u64>) -> MissWatch {
        MissWatch { before, can_be, looked_at: Instant::now(), broken_since: None }
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self) -> bool {
        self.looked_at.elapsed() >= MISS_LOOK_EVERY
    }

    /// Which gate has been broken for longer than `grace`, when so much has been counted.
    pub(crate) fn look(
        &mut self,
        totals: &ClientTotals,
        config: &Config,
        grace: Duration,
    ) -> Option<String> {
        self.looked_at = Instant::now();
        let why = self.broken(totals, config);
        self.broken_since = why.as_ref().map(|_| self.broken_since.unwrap_or(self.looked_at));
        let since = self.broken_since?;
        why.filter(|_| since.elapsed() >= grace)
    }

    /// The first gate that is broken by what was counted, before the plateau and in it.
    fn broken(&self, totals: &ClientTotals, config: &Config) -> Option<String> {
        let gates = config.gates;
        // Those that may come back are not lost yet.
        let gone = |totals: &ClientTotals| {
            let comes_back = config.traffic.reconnect.is_some();
            let dropped = if comes_back { totals.dropped_total } else { 0 };
            totals.lost.iter().sum::<u64>() + dropped
        };
        let not_back = |totals: &ClientTotals| {
            let back = totals.returned_total + totals.returns_waiting;
            // Those that were not wanted any more count as closed.
            gone(totals).saturating_sub(back + totals.closed_away_total)
        };
        let lost = not_back(totals);
        if lost > gates.max_lost {
            let (lost, most) = (grouped(lost), grouped(gates.max_lost));
            return Some(format!("{lost} connections lost, {most} allowed"));
        }
        let counted = totals.since(&self.before);
        let failed = counted.connect_failed_total;
        let lost = not_back(&counted);
        // A plateau that was never to have as many tells nothing of the gate.
        if let Some(most) = self.can_be.filter(|most| *most >= gates.min_established)
            && most.saturating_sub(failed + lost) < gates.min_established
        {
            let can_be = grouped(most.saturating_sub(failed + lost));
            let [failed, lost, least] = [failed, lost, gates.min_established].map(grouped);
            return Some(format!(
                "{can_be} can still be established of {least} wanted: {failed} connects failed, \
                 {lost} connections lost"
            ));
        }
        let most = gates.max_p99?;
        let latencies = [
            ("messages", &counted.message_latency_us, counted.messages_total),
            ("short connections", &counted.churn_latency_us, counted.churned_total),
        ];
        latencies.into_iter().find_map(|(what, latency, answers)| {
            let p99 = Duration::from_micros(Percentiles::of(latency)?.p99);
            let is_over = answers >= MISS_ANSWERS_LEAST && p99 > most;
            is_over.then(|| format!("p99 of {what} {p99:?}, {most:?} allowed"))
        })
    }
}
