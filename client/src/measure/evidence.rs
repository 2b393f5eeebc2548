//! What the client has seen of a run, as a case to be judged: the kernel's counters of its own host,
//! the server's figures as far as they reach it, and what became of the connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use histogram::{Bucket, Histogram};
use megaconn::base::errno::Errno;
use megaconn::host::counters::Counters;
use megaconn::host::cpu::CpuTime;
use megaconn::host::kernel_log::KernelLog;
use megaconn::host::procfs::ProcFs;
use megaconn::host::sockets::{self, Listener};
use megaconn::observe::snapshot::{CoreSnapshot, Snapshot};
use megaconn::observe::stats::{ClientTotals, LostCause};
use megaconn::plan::demand::{Demand, Ends};
use megaconn::plan::route;
use megaconn::results::COUNTERS;
use megaconn::results::counters::{Moment, Moments};
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{Counts, Plateau};
use megaconn::results::result::{RunResult, TargetNow};
use megaconn::walls::host::Host;
use megaconn::walls::pattern::Pattern;
use megaconn::walls::run_facts::{ClientFacts, End, NoMore, RunFacts};
use megaconn::walls::symptom::Symptom;

use crate::measure::aftermath;
use crate::measure::figures::Figures;

/// What the run is to do and on which host, as far as the verdict depends on it.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) host: Host,
    pub(crate) demand: Demand,
    pub(crate) targets: Vec<SocketAddr>,
    /// Messages and short connections above this latency are late.
    pub(crate) max_p99: Option<Duration>,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub(crate) writes_header: bool,
}

/// What there was before the first connection, and what has been seen since.
pub(crate) struct Evidence {
    asked: Asked,
    moments: Moments,
    server_before: Option<Snapshot>,
    /// A server that is gone by the end was seen before.
    server_last: Option<Snapshot>,
    log: Option<KernelLog>,
    /// Sockets in TIME_WAIT towards the targets.
    time_wait: Option<u64>,
    /// Silent connections, and messages received, before the first hold began.
    silent_before_hold: Option<u64>,
    received_before_hold: u64,
    /// Messages and short connections begun until the present hold began, and in all holds.
    begun_before_hold: u64,
    begun_in_holds: u64,
    /// The most that ever waited at the target's listeners while no connect was under way.
    listeners: Option<Vec<Listener>>,
    /// CPU time of the client and the server when the hold began.
    cpu_time: [Option<CpuTime>; 2],
    /// CPU time of each in its busiest hold.
    busiest: [Option<CpuTime>; 2],
    /// Of as many connections as there can be, why no more were opened.
    no_more: Option<NoMore>,
    /// And pushes that were overdue until then.
    overdue_at_wall: u64,
}

impl Evidence {
    /// What there is now.
    pub(crate) fn begin(asked: Asked, figures: &mut Figures) -> Evidence {
        let server = figures.server_view();
        let schema = COUNTERS.schema.into();
        let mut moments = Moments { schema, ..Moments::default() };
        add(&mut moments, "before".to_owned(), server.as_ref());
        Evidence {
            moments,
            server_before: server.clone(),
            server_last: server,
            log: KernelLog::open(),
            time_wait: sockets::time_wait_to(&asked.targets),
            asked,
            silent_before_hold: None,
            received_before_hold: 0,
            begun_before_hold: 0,
            begun_in_holds: 0,
            listeners: None,
            cpu_time: [None; 2],
            busiest: [None; 2],
            no_more: None,
            overdue_at_wall: 0,
        }
    }

    /// Looks at both ends, at the end of a plateau.
    pub(crate) fn look(&mut self, moment: String, figures: &mut Figures) {
        let server = figures.server_view();
        add(&mut self.moments, moment, server.as_ref());
        self.server_last = server.or(self.server_last.take());
    }

    /// Connections are held from now on.
    pub(crate) fn hold_begins(&mut self, figures: &mut Figures) {
        let totals = figures.totals();
        if self.silent_before_hold.is_none() {
            self.silent_before_hold = Some(silent(&totals));
            self.received_before_hold = totals.messages_total + totals.pushes_total;
        }
        self.begun_before_hold = begun(&totals);
        self.cpu_time = cpu_time(figures);
        self.look_at_listeners();
    }

    /// Looks at the accept queues of a target on this host, where no connect is under way any more.
    fn look_at_listeners(&mut self) {
        if self.asked.demand.ends != Ends::Both {
            return;
        }
        let targets = &self.asked.targets;
        let is_target = |port| targets.iter().any(|target| target.port() == port);
        let Some(now) = sockets::listeners(is_target) else { return };
        let waiting = |listeners: &[Listener]| {
            listeners.iter().map(|one| u64::from(one.waiting)).sum::<u64>()
        };
        if self.listeners.as_deref().is_none_or(|before| waiting(&now) > waiting(before)) {
            self.listeners = Some(now);
        }
    }

    /// The time of the hold is up, and its traffic has ended.
    pub(crate) fn hold_ends(&mut self, figures: &mut Figures) {
        self.begun_in_holds += begun(&figures.totals()).saturating_sub(self.begun_before_hold);
        for (end, now) in cpu_time(figures).into_iter().enumerate() {
            let spent = now.zip(self.cpu_time[end]).map(|(now, before)| now.since(before));
            let spent = spent.filter(|time| time.lived_ms > 0);
            let is_busier = |time: &CpuTime| self.busiest[end].is_none_or(|b| time.ran() > b.ran());
            self.busiest[end] = spent.filter(is_busier).or(self.busiest[end]);
        }
    }

    /// As many as there can be were opened: why no more were, if no connect tells. What lifts a wall is
    /// to let twice as many through as the `held`. So many pushes were `overdue` until then.
    pub(crate) fn opened_no_more(&mut self, no_more: Option<NoMore>, held: u64, overdue: u64) {
        (self.no_more, self.overdue_at_wall) = (no_more, overdue);
        self.asked.demand.connections = held.saturating_mul(2).max(1);
    }

    /// All of it, now that the run is over, which it was at `ended_ms`; of a partial one what was not
    /// tried was not asked for.
    pub(crate) fn case(
        mut self,
        result: &RunResult,
        figures: &mut Figures,
        ended_ms: u64,
        patterns: Vec<Pattern>,
        unanswered: Option<(Duration, Duration)>,
        is_partial: bool,
    ) -> (RunFacts, Moments) {
        self.look("after".to_owned(), figures);
        let totals = figures.totals();
        let counters = first_and_last(&self.moments);
        // With both ends on one host, in one namespace, the kernel counts for both.
        let shared = counters.clone().filter(|_| self.asked.demand.ends == Ends::Both);
        let server = match &self.server_last {
            Some(last) => {
                let end = End::of_server(self.server_before.as_ref(), last);
                let is_of_the_end = figures.server_is_of(ended_ms);
                let end = if is_of_the_end { end } else { end.seen_early() };
                let end = if figures.server_was_replaced() { end.of_others() } else { end };
                let counters = match shared {
                    Some(shared) => Some(of_server(shared, end.counters.as_ref())),
                    None => end.counters,
                };
                Some(End { counters, ..end })
            }
            None => shared.map(|shared| {
                let counters = Some(of_server(shared, None));
                End { counters, ..End::default() }
            }),
        };
        let [of_client, of_server] = self.busiest;
        let server = server.map(|end| End { cpu_time: of_server, ..end });
        let lines = self.log.as_mut().map(KernelLog::lines_since);
        let silent_after_hold =
            self.silent_before_hold.map_or(0, |before| silent(&totals).saturating_sub(before));
        let held_seconds = result.plateaus.iter().filter_map(|p| *p.hold_seconds).sum();
        let Asked { host, demand, max_p99, targets, writes_header } = self.asked;
        let mut symptoms = symptoms(max_p99, result, &totals, is_partial);
        symptoms.extend(self.no_more.as_ref().map(|_| (Symptom::NoMore, 1)));
        if self.overdue_at_wall > 0 {
            symptoms.entry(Symptom::Late).or_insert(self.overdue_at_wall);
        }
        let case = RunFacts {
            demand,
            host,
            symptoms,
            shares_kernel: demand.ends == Ends::Both,
            client: End {
                counters,
                cpu_time: of_client,
                ..client_end(figures.own_cores(), &totals)
            },
            server,
            log: lines.map(|lines| lines.into_iter().map(|line| line.text).collect()),
            facts: ClientFacts {
                target: targets.first().copied(),
                writes_header,
                lost_when: result.losses.map(|losses| losses.to_string()),
                listeners: self.listeners,
                refusing_targets: (totals.failed[Errno::ECONNREFUSED.index()] > 0)
                    .then(|| aftermath::refusing(&targets))
                    .flatten(),
                has_one_target_host: targets.iter().all(|target| target.ip() == targets[0].ip()),
                received_before_hold: self.received_before_hold,
                idle_seconds: idle_seconds(held_seconds, demand.connections, self.begun_in_holds),
                time_wait: self.time_wait,
                lag_p99_us: worst(result, |plateau| plateau.schedule_lag_us),
                connect_p50_us: result
                    .plateaus
                    .iter()
                    .filter_map(|plateau| *plateau.connect.latency_us)
                    .map(|percentiles| percentiles.p50)
                    .max(),
                opening_p99_us: worst(result, |plateau| plateau.connect.opening_latency_us),
                latency_p99_us: worst(result, |plateau| plateau.messages.latency_us),
                silent_after_hold,
                target_gone: aftermath::server_gone(*result.target_afterwards, *result.losses),
                target_is_silent: *result.target_afterwards == Some(TargetNow::Silent),
                no_way: targets.first().and_then(|target| route::no_way(*target)),
                patterns,
                unexpected_bytes: result.unexpected_bytes.0.clone(),
                opening_failure: result.opening_failure.0.clone(),
                unanswered,
                no_more: self.no_more,
                reserve_met: result.memory_reserve_met.as_ref().map(ToString::to_string),
                held_seconds,
            },
        };
        (case, self.moments)
    }
}

/// Adds what both kernels count now.
fn add(moments: &mut Moments, at: String, server: Option<&Snapshot>) {
    let client = Part(Counters::read_with_cards(&ProcFs::host()));
    let server = server.and_then(|server| server.host.clone());
    moments.moments.push(Moment { at: at.into(), client, server: server.into() });
}

/// The client's.
/// What the kernel that both ends share has counted for the server, whose control groups are its own.
fn of_server(
    (before, now): (Counters, Counters),
    own: Option<&(Counters, Counters)>,
) -> (Counters, Counters) {
    let own = own.map_or((None, None), |(before, now)| (Some(before), Some(now)));
    (before.with_groups_of(own.0), now.with_groups_of(own.1))
}

fn first_and_last(moments: &Moments) -> Option<(Counters, Counters)> {
    let of = |moment: &Moment| moment.client.0.clone();
    Some((moments.moments.first().map(of)?, moments.moments.last().map(of)?))
}

/// Of the client and of the server.
fn cpu_time(figures: &mut Figures) -> [Option<CpuTime>; 2] {
    let server = figures.server_view();
    [CpuTime::read(), server.and_then(|server| server.cpu_time())]
}

/// Messages and short connections that have begun.
fn begun(totals: &ClientTotals) -> u64 {
    totals.messages_sent_total + totals.churn_started_total + totals.pushes_total
}

/// Seconds between two things that a connection had to do in holds of so many seconds.
fn idle_seconds(held_seconds: f64, connections: u64, begun: u64) -> f64 {
    if begun == 0 { held_seconds } else { held_seconds * connections as f64 / begun as f64 }
}

fn silent(totals: &ClientTotals) -> u64 {
    [LostCause::Silent, LostCause::Timeout].iter().map(|cause| totals.lost[*cause as usize]).sum()
}

/// The highest p99 of all plateaus.
fn worst(result: &RunResult, pick: fn(&Plateau) -> Maybe<Percentiles>) -> Option<u64> {
    result
        .plateaus
        .iter()
        .filter_map(|plateau| *pick(plateau))
        .map(|percentiles| percentiles.p99)
        .max()
}

/// Everything that became of connections and messages but what was asked for. What was late is such
/// only when a gate was missed.
fn symptoms(
    max_p99: Option<Duration>,
    result: &RunResult,
    totals: &ClientTotals,
    is_partial: bool,
) -> BTreeMap<Symptom, u64> {
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
    let gone = result.failed.sum() + result.lost.sum();
    let tried = result.established.or_zero() + gone;
    if !is_partial {
        add(Symptom::Untried, result.target_connections.or_zero().saturating_sub(tried));
    }
    add(Symptom::NotEnded, totals.close_timeout_total);
    let missed = result.verdict.missed.len() as u64;
    if missed > 0 {
        let unbegun = totals.messages_unsent_total + totals.churn_unstarted_total;
        let slow = max_p99.map_or(0, |most| {
            slower(&totals.message_latency_us, most) + slower(&totals.churn_latency_us, most)
        });
        let late = totals.messages_late_total.max(slow);
        add(Symptom::Late, late + unbegun + totals.pushes_overdue_total);
    }
    if symptoms.is_empty() && missed > 0 && !is_partial {
        symptoms.insert(Symptom::Missed, missed);
    }
    symptoms
}

/// How many of `latencies` are above `most`, to the width of a bucket.
fn slower(latencies: &Histogram, most: Duration) -> u64 {
    let above = |bucket: &Bucket| Duration::from_micros(bucket.start()) > most;
    latencies.into_iter().filter(above).map(|bucket| bucket.count()).sum()
}

fn client_end(cores: Vec<CoreSnapshot>, totals: &ClientTotals) -> End {
    let figures = [
        (
            "connected_total",
            totals.connected_total - totals.connect_undone_total + totals.churned_total,
        ),
        ("opening_failed_total", totals.opening_failed_total),
        ("in_flight_bound_us_total", totals.in_flight_bound_us_total),
        ("tuples_skipped_total", totals.tuples_skipped_total),
        ("grow_failed_total", totals.grow_failed_total),
        ("held_up_us_total", totals.held_up_us_total),
        ("messages_unsent_total", totals.messages_unsent_total),
        ("churn_unstarted_total", totals.churn_unstarted_total),
    ];
    End {
        counters: None,
        cpu_time: None,
        is_early: false,
        figures: figures.map(|(name, n)| (name.to_owned(), n)).into(),
        failed: failed(totals),
        cores,
    }
}

/// Connects that failed, of held connections and short ones, by the name of the error.
fn failed(totals: &ClientTotals) -> BTreeMap<String, u64> {
    let both = totals.failed.iter().zip(&totals.churn_failed);
    let counts = Counts::by_errno(&both.map(|(held, short)| held + short).collect::<Vec<u64>>());
    counts.by_name().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use megaconn::observe::stats::ClientStats;

    use super::*;

    #[test]
    fn what_short_connections_met_was_met() {
        let core = ClientStats::default();
        core.failed[Errno::ENFILE.index()].add(2);
        core.churn_failed[Errno::ENFILE.index()].add(3);
        core.churn_failed[Errno::EADDRNOTAVAIL.index()].add(4);
        let expected = [("EADDRNOTAVAIL".to_owned(), 4), ("ENFILE".to_owned(), 5)];
        assert_eq!(failed(&ClientTotals::of([&core].into_iter())), expected.into());
    }
}
