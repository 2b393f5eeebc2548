//! `result.json` put together: from the cores' counters, the bystanders' account and the walls that
//! were met to the types of `results`.

use std::time::Duration;

use megaconn::base::clock::unix_time;
use megaconn::engine::protocol::expect::Expect;
use megaconn::observe::control::number;
use megaconn::observe::stats::ClientTotals;
use megaconn::results::RESULT;
use megaconn::results::bystanders::{Bystanders, SpanPhase};
use megaconn::results::cost::Memory;
use megaconn::results::lenient::{List, Maybe, Part};
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{
    Churn, Connect, Counts, Handshakes, Keepalives, Lifetimes, Messages, Plateau, PlateauBystander,
    Pushes, Reconnects, SlowReaders, Storm,
};
use megaconn::results::result::RunResult;
use megaconn::results::verdict::{Attribution, NextWall, Verdict};
use megaconn::walls::diagnosis::{self, Diagnosis};
use megaconn::walls::reading::{self, Row};
use megaconn::walls::symptom::Symptom;
use megaconn::walls::table;

/// What a run asks of each plateau, as far as its figures depend on it.
pub(crate) struct Asked<'a> {
    pub(crate) expect: &'a Expect,
    pub(crate) churn_per_s: Option<f64>,
    /// Whether some read slowly, or not at all.
    pub(crate) readers: bool,
    /// How long held connections live, in words.
    pub(crate) lifetime: Option<String>,
    /// Whether connections that are lost come back.
    pub(crate) reconnects: bool,
    /// Whether connections are dropped on purpose.
    pub(crate) drops: bool,
    /// Cores of the client.
    pub(crate) cores: usize,
}

/// A result in which nothing has happened yet.
pub(crate) fn begun(
    target_connections: u64,
    expect: &Expect,
    topology: Maybe<String>,
    seed: u64,
) -> RunResult {
    let expect = match expect {
        Expect::Echo(_) => "echo",
        Expect::Push(_) => "push",
        Expect::Broadcast(_) => "broadcast",
        Expect::Nothing => "nothing",
    };
    RunResult {
        schema: RESULT.schema.into(),
        version: megaconn::VERSION.into(),
        commit: Maybe(megaconn::COMMIT.map(str::to_owned)),
        started_at: unix_time().as_secs().into(),
        seconds: 0.0.into(),
        topology,
        target_connections: target_connections.into(),
        expect: expect.into(),
        seed: seed.into(),
        established: Maybe(Some(0)),
        failed: Counts::none(),
        lost: Counts::none(),
        untried: Maybe(Some(0)),
        tuples_skipped: Maybe(Some(0)),
        verdict: Part(verdict(Vec::new())),
        ..RunResult::default()
    }
}

/// A verdict in which no wall was looked for: met, when nothing was `missed`.
pub(crate) fn verdict(missed: Vec<String>) -> Verdict {
    Verdict { met: missed.is_empty().into(), missed: missed.into(), ..Verdict::default() }
}

/// A plateau of `connections` of which nothing has been measured yet.
pub(crate) fn plateau(connections: u64) -> Plateau {
    let none = Maybe(Some(0));
    let messages = Messages {
        sent: none,
        received: none,
        mismatched: none,
        late: none,
        unsent: none,
        ..Messages::default()
    };
    Plateau {
        connections: connections.into(),
        established: none,
        failed: Counts::none(),
        lost: Counts::none(),
        messages: Part(messages),
        ..Plateau::default()
    }
}

/// Takes into `plateau` what was counted while it lasted, or has lasted so far.
pub(crate) fn count(plateau: &mut Plateau, counted: &ClientTotals, asked: &Asked<'_>) {
    plateau.failed = Counts::by_errno(&counted.failed);
    plateau.lost = Counts::by_cause(&counted.lost);
    plateau.connect.latency_us = Percentiles::of(&counted.connect_latency_us).into();
    plateau.connect.opening_latency_us = Percentiles::of(&counted.opening_latency_us).into();
    plateau.connect.handshakes = handshakes(
        [counted.handshakes_full_total, counted.handshakes_resumed_total],
        plateau.connect.seconds.or_zero(),
    );
    let messages = &mut plateau.messages;
    messages.sent = counted.messages_sent_total.into();
    messages.received = counted.messages_total.into();
    messages.mismatched = counted.messages_mismatched_total.into();
    messages.late = counted.messages_late_total.into();
    messages.unsent = counted.messages_unsent_total.into();
    messages.latency_us = Percentiles::of(&counted.message_latency_us).into();
    let keepalives = Keepalives {
        sent: counted.keepalives_sent_total.into(),
        answered: counted.keepalives_answered_total.into(),
    };
    plateau.keepalives = Maybe((counted.keepalives_sent_total > 0).then_some(keepalives));
    plateau.schedule_lag_us = Percentiles::of(&counted.schedule_lag_us).into();
    if let Expect::Push(pushes) = asked.expect {
        let (late, overdue) = (counted.pushes_late_total, counted.pushes_overdue_total);
        plateau.pushes = Maybe(Some(Pushes {
            received: counted.pushes_total.into(),
            late: pushes.every.map(|_| late).into(),
            // One that was missing on the plateau before may have come on this one.
            missing: pushes.every.map(|_| overdue.saturating_sub(late)).into(),
            gap_us: Percentiles::of(&counted.push_gap_us).into(),
        }));
    }
    // Cores end the schedule each in its own time; one that is cut short has not ended it.
    let traffic_us = counted.traffic_us_total / asked.cores as u64;
    let seconds = match Duration::from_micros(traffic_us).as_secs_f64() {
        0.0 => plateau.hold_seconds.or_zero(),
        seconds => seconds,
    };
    plateau.readers = asked.readers.then(|| slow_readers(counted, seconds)).into();
    let lifetimes = |asked: &String| lifetimes(counted, asked, seconds);
    plateau.lifetimes = asked.lifetime.as_ref().map(lifetimes).into();
    plateau.dropped = asked.drops.then_some(counted.dropped_total).into();
    let storms = plateau.reconnect.0.take().map_or_else(List::default, |seen| seen.storms);
    plateau.reconnect = asked.reconnects.then(|| reconnects(counted, storms)).into();
    plateau.churn = asked.churn_per_s.map(|per_s| churn(counted, per_s, seconds)).into();
}

fn slow_readers(counted: &ClientTotals, seconds: f64) -> SlowReaders {
    let read = counted.reluctant_bytes_total;
    SlowReaders {
        slow: counted.slow_readers.into(),
        slow_ended: counted.slow_readers_ended_total.into(),
        bytes_per_s: per_s(read, Duration::from_secs_f64(seconds)).into(),
        silent: counted.silent_readers.into(),
        silent_ended: counted.silent_readers_ended_total.into(),
        sent: counted.reluctant_messages_total.into(),
    }
}

fn lifetimes(counted: &ClientTotals, asked: &str, seconds: f64) -> Lifetimes {
    let departures = counted.departures_total;
    let all_seconds = Duration::from_micros(counted.connection_us_total).as_secs_f64();
    let mean = |of: f64, by: f64| Maybe((of > 0.0 && by > 0.0).then(|| of / by));
    Lifetimes {
        asked: asked.to_owned().into(),
        departures: departures.into(),
        arrivals: counted.arrivals_total.into(),
        waiting: (counted.places_waiting + counted.arrivals_called_off_total).into(),
        tries: counted.arrival_tries_total.into(),
        failed: Counts::by_errno(&counted.arrival_failed),
        connections_min: counted.connections_least.into(),
        connections_mean: mean(all_seconds, seconds),
        mean_seconds: mean(all_seconds, departures as f64),
        lived_us: Percentiles::of(&counted.lifetime_us).into(),
        arrival_us: Percentiles::of(&counted.arrival_latency_us).into(),
    }
}

fn reconnects(counted: &ClientTotals, storms: List<Storm>) -> Reconnects {
    Reconnects {
        returned: counted.returned_total.into(),
        given_up: counted.given_up_total.into(),
        waiting: (counted.returns_waiting + counted.called_off_total).into(),
        tries: counted.reconnect_tries_total.into(),
        failed: Counts::by_errno(&counted.reconnect_failed),
        back_us: Percentiles::of(&counted.return_latency_us).into(),
        storms,
    }
}

fn churn(counted: &ClientTotals, asked_per_s: f64, seconds: f64) -> Churn {
    // Of a core that runs on, the figures are not of one moment.
    let unfinished = counted
        .churn_started_total
        .saturating_sub(counted.churned_total)
        .saturating_sub(counted.churn_failed_total)
        .saturating_sub(counted.churn_lost.iter().sum());
    Churn {
        asked_per_s: Maybe(number(asked_per_s)),
        seconds: seconds.into(),
        started: counted.churn_started_total.into(),
        completed: counted.churned_total.into(),
        rate_per_s: per_s(counted.churned_total, Duration::from_secs_f64(seconds)).into(),
        failed: Counts::by_errno(&counted.churn_failed),
        lost: Counts::by_cause(&counted.churn_lost),
        unfinished: unfinished.into(),
        unstarted: counted.churn_unstarted_total.into(),
        connect_latency_us: Percentiles::of(&counted.churn_connect_latency_us).into(),
        latency_us: Percentiles::of(&counted.churn_latency_us).into(),
        handshakes: handshakes(
            [counted.churn_handshakes_full_total, counted.churn_handshakes_resumed_total],
            seconds,
        ),
    }
}

/// Those that were full and those that were resumed, in this time; nothing where there was none.
fn handshakes([full, resumed]: [u64; 2], seconds: f64) -> Maybe<Handshakes> {
    let rate_per_s = per_s(full + resumed, Duration::from_secs_f64(seconds)).into();
    let any = Handshakes { full: full.into(), resumed: resumed.into(), rate_per_s };
    Maybe((full + resumed > 0).then_some(any))
}

/// Takes into `plateau`, to which connections were closed down, the memory that came back since the one
/// `before`.
pub(crate) fn take_back(plateau: &mut Plateau, before: Option<&Plateau>) {
    let (Some(closed), Some(before)) = (&mut *plateau.closed, before) else { return };
    let (before, now) = (&before.memory, &plateau.memory);
    let back = |of: fn(&Memory) -> Maybe<i64>| Maybe(of(before).zip(*of(now)).map(|(b, n)| b - n));
    closed.kernel_bytes_back = back(|memory| memory.kernel_bytes);
    closed.server_bytes_back = back(|memory| memory.server_user_bytes);
    closed.client_bytes_back = back(|memory| memory.client_user_bytes);
}

/// Takes into `connect` that `n` connections were opened in `time`.
pub(crate) fn opened(connect: &mut Connect, n: u64, time: Duration) {
    connect.seconds = time.as_secs_f64().into();
    connect.rate_per_s = per_s(n, time).into();
}

/// Takes what became of bystanders into `result`, and gives each plateau its own.
pub(crate) fn take_bystanders(result: &mut RunResult, account: Bystanders) {
    for plateau in result.plateaus.iter_mut() {
        let is_of_plateau = |phase| {
            matches!(phase, SpanPhase::Connecting | SpanPhase::Settled | SpanPhase::Messages)
        };
        let spans = account.spans.iter().filter(|span| {
            span.connections == plateau.connections && span.phase.known().is_some_and(is_of_plateau)
        });
        let probes = spans.flat_map(|span| {
            span.probes.iter().map(|probe| PlateauBystander {
                name: probe.name.clone(),
                phase: span.phase.clone(),
                sent: probe.sent,
                lost: probe.lost,
                latency_us: probe.latency_us,
            })
        });
        plateau.bystanders = Maybe(Some(probes.collect()));
    }
    result.bystanders = account.into();
}

/// Takes the walls that were met into `verdict`; `rows` are those of before the run.
pub(crate) fn take_walls(verdict: &mut Verdict, diagnosis: Diagnosis, rows: &[Row]) {
    let mut walls = diagnosis.walls.into_iter().map(attribution);
    verdict.wall = walls.next().into();
    verdict.more_walls = walls.collect();
    verdict.met_without_loss = diagnosis.met_without_loss.into_iter().map(attribution).collect();
    let next = reading::next_wall(rows).filter(|_| verdict.wall.is_none());
    verdict.next_wall = next.map(|(id, at)| next_wall(id, at.into())).into();
}

/// Takes what ended the opening of as many connections as there can be, and what would end it next.
pub(crate) fn take_end_of_opening(result: &mut RunResult, mut diagnosis: Diagnosis, rows: &[Row]) {
    let Some(max) = result.max.as_mut() else { return };
    let held = max.connections.or_zero();
    let at_wall = max.failed.sum() + max.lost.sum();
    // A limit that ended it by itself, unless far more became of the connections at another one.
    let ends = |wall: &diagnosis::Attribution| {
        wall.became.iter().any(|(symptom, _)| *symptom == Symptom::NoMore)
    };
    let by_itself = diagnosis.walls.iter().position(ends).filter(|_| at_wall <= held / 10);
    if let Some(index) = by_itself {
        diagnosis.walls[..=index].rotate_right(1);
    }
    let ended_by = diagnosis.walls.first().map(|wall| wall.id);
    max.stopped_by = ended_by.map(str::to_owned).into();
    take_walls(&mut result.verdict, diagnosis, &[]);
    let is_next = |row: &&Row| {
        Some(row.id) != ended_by && row.allows_connections.is_some_and(|allows| allows > held)
    };
    let next = rows.iter().find(is_next);
    result.verdict.next_wall =
        next.map(|row| next_wall(row.id, row.allows_connections.into())).into();
    if max.connections.is_some() && ended_by.is_none_or(|id| id == diagnosis::UNKNOWN) {
        result.verdict.met = false.into();
        result.verdict.missed.push("what ended the opening is not known".to_owned());
    }
}

fn next_wall(id: &str, at_connections: Maybe<u64>) -> NextWall {
    NextWall { id: id.to_owned().into(), limits: limits(id), at_connections }
}

/// What a wall limits, as the table of walls has it.
fn limits(id: &str) -> Maybe<String> {
    table::find(id).map(|wall| wall.limits.to_owned()).into()
}

fn attribution(of: diagnosis::Attribution) -> Attribution {
    let connections = of.became.iter().filter(|(symptom, _)| symptom.is_of_connections());
    let connections = connections.map(|(_, n)| n);
    Attribution {
        id: of.id.into(),
        limits: limits(of.id),
        side: of.side.name().into(),
        lost: connections.sum::<u64>().into(),
        became: of.became.iter().map(|(symptom, n)| (symptom.to_string(), *n)).collect(),
        evidence: of.evidence.into(),
        ruled_out: of.ruled_out.into(),
        fix: of.fix.into(),
        confidence: of.confidence.name().into(),
    }
}

/// Items per second; `None` when there was none, or no time.
pub(crate) fn per_s(n: u64, took: Duration) -> Option<f64> {
    let seconds = took.as_secs_f64();
    (n > 0 && seconds > 0.0).then(|| n as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use megaconn::observe::stats::LostCause;
    use megaconn::walls::evidence::Confidence;
    use megaconn::walls::place::Place;
    use megaconn::walls::symptom::Symptom;

    use super::*;

    #[test]
    fn late_messages_and_lost_connections_are_never_added() {
        let wall = attribution(diagnosis::Attribution {
            id: "unknown",
            side: Place::Between,
            lost: 57_545,
            became: vec![(Symptom::Lost(LostCause::Reset), 545), (Symptom::Late, 57_000)],
            evidence: Vec::new(),
            ruled_out: Vec::new(),
            fix: Vec::new(),
            confidence: Confidence::Possible,
        });
        assert_eq!(*wall.lost, Some(545));
        let each = "545 connections lost (reset), 57,000 late or not begun in time";
        assert_eq!(wall.toll(), each);
    }
}
