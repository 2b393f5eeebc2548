//! What the client has seen of a run, as a case to be judged: the kernel's counters of its own host,
//! the server's figures as far as they reach it, and what became of the connections.

use std::collections::BTreeMap;

use megaconn::errno::Errno;
use megaconn::plan::Ends;
use megaconn::stats::{LostCause, Totals};
use megaconn::walls::Symptom;
use megaconn::walls::case::{Case, CoreShare, End, Facts};
use megaconn::walls::counters::Counters;
use megaconn::walls::host::Host;
use megaconn::walls::tree::Tree;

use crate::config::Config;
use crate::figures::Figures;
use crate::result::{Percentiles, Plateau, RunResult};
use crate::server_stats::Seen;

/// What there was before the first connection.
pub(crate) struct Evidence {
    host: Host,
    counters: Counters,
    server: Option<Seen>,
    time_wait: Option<u64>,
    /// Silent connections before the first hold began.
    silent_before_hold: Option<u64>,
}

impl Evidence {
    /// What there is now.
    pub(crate) fn begin(config: &Config, figures: &Figures) -> Evidence {
        Evidence {
            counters: Counters::read(&config.host.tree),
            server: figures.server_seen(),
            time_wait: config.host.sockstat("TCP", "tw"),
            host: config.host.clone(),
            silent_before_hold: None,
        }
    }

    /// Connections are held from now on.
    pub(crate) fn hold_begins(&mut self, totals: &Totals) {
        self.silent_before_hold.get_or_insert(silent(totals));
    }

    /// All of it, now that the run is over.
    pub(crate) fn case(&self, config: &Config, result: &RunResult, figures: &Figures) -> Case {
        let totals = figures.totals();
        let counters = Some((self.counters.clone(), Counters::read(&Tree::host())));
        let server = figures.server_seen().map(|now| {
            let before = self.server.clone().unwrap_or_default();
            // With both ends on one host, in one namespace, the kernel counts for both.
            let counters = counters.clone().filter(|_| config.demand.ends == Ends::Both);
            now.end_since(&before, counters)
        });
        let server = server.or_else(|| {
            let is_here = config.demand.ends == Ends::Both;
            is_here.then(|| End { counters: counters.clone(), ..End::default() })
        });
        let silent_after_hold =
            self.silent_before_hold.map_or(0, |before| silent(&totals).saturating_sub(before));
        Case {
            demand: config.demand,
            host: self.host.clone(),
            symptoms: symptoms(result, &totals),
            client: End { counters, ..client_end(result, &totals) },
            server,
            log: None,
            facts: Facts {
                time_wait: self.time_wait,
                lag_p99_us: worst(result, |plateau| plateau.schedule_lag_us),
                latency_p99_us: worst(result, |plateau| plateau.messages.latency_us),
                silent_after_hold,
                held_seconds: result.plateaus.iter().filter_map(|p| p.hold_seconds).sum(),
                ..Facts::default()
            },
        }
    }
}

fn silent(totals: &Totals) -> u64 {
    [LostCause::Silent, LostCause::Timeout].iter().map(|cause| totals.lost[*cause as usize]).sum()
}

/// The highest p99 of all plateaus.
fn worst(result: &RunResult, pick: fn(&Plateau) -> Option<Percentiles>) -> Option<u64> {
    result.plateaus.iter().filter_map(pick).map(|percentiles| percentiles.p99).max()
}

/// Everything that became of connections and messages but what was asked for.
fn symptoms(result: &RunResult, totals: &Totals) -> BTreeMap<Symptom, u64> {
    let mut symptoms = BTreeMap::new();
    let mut add = |symptom, n: u64| {
        if n > 0 {
            *symptoms.entry(symptom).or_insert(0) += n;
        }
    };
    for failed in [&totals.failed, &totals.churn_failed] {
        for (errno, n) in (0..).zip(failed) {
            add(Symptom::Failed(Errno(errno)), *n);
        }
    }
    for lost in [&totals.lost, &totals.churn_lost] {
        for (cause, n) in LostCause::ALL.iter().zip(lost) {
            add(Symptom::Lost(*cause), *n);
        }
    }
    let gone = result.failed.values().sum::<u64>() + result.lost.values().sum::<u64>();
    add(Symptom::Untried, result.target_connections.saturating_sub(result.established + gone));
    add(
        Symptom::Late,
        totals.messages_late_total
            + totals.messages_unsent_total
            + totals.churn_unstarted_total
            + totals.pushes_overdue_total,
    );
    add(Symptom::NotEnded, totals.close_timeout_total);
    symptoms
}

fn client_end(result: &RunResult, totals: &Totals) -> End {
    let figures = [
        ("tuples_skipped_total", totals.tuples_skipped_total),
        ("grow_failed_total", totals.grow_failed_total),
        ("messages_unsent_total", totals.messages_unsent_total),
        ("churn_unstarted_total", totals.churn_unstarted_total),
    ];
    let cores = result.per_core.iter().filter(|core| core.side == "client");
    End {
        counters: None,
        figures: figures.map(|(name, n)| (name.to_owned(), n)).into(),
        failed: crate::result::by_errno(&totals.failed),
        cores: cores
            .map(|core| CoreShare {
                cpu: core.cpu,
                connections_peak: core.connections_peak,
                messages: core.messages_total,
            })
            .collect(),
    }
}
