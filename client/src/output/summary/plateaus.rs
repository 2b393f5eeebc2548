//! The plateaus of a summary: a single one in a few lines, several as the columns of a table.

use megaconn::base::format;
use megaconn::base::units::{grouped, microseconds};
use megaconn::results::lenient::Maybe;
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{
    BackAfter, Churn, Handshakes, Lifetimes, Plateau, Pushes, Reconnects, SlowReaders, Storm,
    memory_back,
};

use crate::output::summary::rows::{Row, count, listed};

/// Plateaus that have room beside each other: the last ones.
const PLATEAUS_MAX: usize = 4;

/// Columns of each.
const WIDTH: usize = 15;

/// All plateaus, of a run that expects `echo`, `push` or `nothing`.
pub(super) fn rows(plateaus: &[Plateau], expect: &str) -> Vec<Row> {
    match plateaus {
        [] => Vec::new(),
        [only] => single(only, expect),
        several => {
            let left_out = several.len().saturating_sub(PLATEAUS_MAX);
            let mut rows = table(&several[left_out..]);
            if left_out > 0 {
                rows.push(("", format!("{left_out} plateaus before these: see result.json")));
            }
            rows
        }
    }
}

fn single(plateau: &Plateau, expect: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let connect = &plateau.connect;
    if plateau.connections.or_zero() > 0 {
        let took = connect.seconds.map_or("unknown".into(), format::seconds);
        let pace = connect.rate_per_s.map_or("no rate".into(), format::per_second);
        rows.push(("opened in", format!("{took} ({pace})  {}", all_of(connect.latency_us))));
        let opening = connect.opening_latency_us;
        rows.extend(opening.map(|_| ("agreed in", all_of(opening))));
        rows.extend(connect.handshakes.map(|done| ("handshakes", done.in_words())));
    }
    let m = &plateau.messages;
    let has_sent = m.sent.or_zero() > 0;
    if has_sent && expect == "nothing" {
        rows.push(("messages", format!("{} sent, no answer expected", count(m.sent))));
    } else if has_sent {
        let [received, sent, mismatched, late] =
            [m.received, m.sent, m.mismatched, m.late].map(count);
        let faults = format!("{mismatched} mismatched, {late} late");
        rows.push(("messages", format!("{received} of {sent} verified, {faults}")));
        rows.push(("", all_of(m.latency_us)));
    }
    if let Some(keepalives) = plateau.keepalives.as_ref() {
        let [sent, answered] = [keepalives.sent, keepalives.answered].map(count);
        rows.push(("keepalives", format!("{sent} sent, {answered} answered")));
    }
    rows.extend(plateau.pushes.iter().flat_map(of_pushes));
    rows.extend(plateau.churn.iter().flat_map(of_churn));
    rows.extend(plateau.readers.map(|readers| ("slow readers", of_readers(&readers))));
    rows.extend(plateau.lifetimes.iter().flat_map(of_lifetimes));
    rows.extend(plateau.reconnect.iter().flat_map(of_reconnects));
    let lag = plateau.schedule_lag_us;
    rows.extend(lag.map(|_| ("client lag", all_of(lag))));
    if let Some(sweep) = plateau.sweep.as_ref() {
        let (answered, asked) = (count(sweep.answered), count(sweep.asked));
        let took = format::seconds(sweep.seconds.or_zero());
        rows.push(("swept", format!("{answered} of {asked} live, in {took}")));
    }
    rows.push(("held for", plateau.hold_seconds.map_or("unknown".into(), format::seconds)));
    rows
}

fn of_pushes(pushes: &Pushes) -> [Row; 2] {
    let known = |n: Maybe<u64>| n.map_or("unknown".to_owned(), grouped);
    let (late, missing) = (known(pushes.late), known(pushes.missing));
    let received = count(pushes.received);
    let gap = format!("gap {}", all_of(pushes.gap_us));
    [("pushes", format!("{received} received, {late} late, {missing} missing")), ("", gap)]
}

fn of_churn(churn: &Churn) -> Vec<Row> {
    let (completed, started) = (count(churn.completed), count(churn.started));
    let pace = churn.rate_per_s.map_or("no rate".into(), format::per_second);
    let (failed, lost) = (listed(&churn.failed), listed(&churn.lost));
    let counts = format!("{completed} of {started} ({pace}), failed {failed}, lost {lost}");
    let mut rows = vec![("churn", counts), ("", all_of(churn.latency_us))];
    rows.extend(churn.handshakes.map(|done| ("", format!("handshakes {}", done.in_words()))));
    rows
}

fn of_readers(readers: &SlowReaders) -> String {
    let [slow, slow_ended, silent, silent_ended] =
        [readers.slow, readers.slow_ended, readers.silent, readers.silent_ended].map(count);
    format!("{slow}, {slow_ended} ended by the server; silent {silent}, {silent_ended} ended")
}

fn of_lifetimes(lifetimes: &Lifetimes) -> [Row; 2] {
    let [left, came, waiting, least] =
        [lifetimes.departures, lifetimes.arrivals, lifetimes.waiting, lifetimes.connections_min]
            .map(count);
    let mean = lifetimes.connections_mean.map_or("unknown".into(), format::count);
    let lived = lifetimes.mean_seconds.map_or("unknown".into(), format::seconds);
    let places = format!("{left} left, {came} came, {waiting} places not filled");
    let lives = format!("lifetime {lived} on the average, {}", all_of(lifetimes.lived_us));
    [("came and went", format!("{places}; connections {least} to mean {mean}")), ("", lives)]
}

/// Storms that are said of a plateau.
const STORMS: usize = 3;

/// Nothing where nothing was lost.
fn of_reconnects(reconnect: &Reconnects) -> Vec<Row> {
    let [returned, given_up, waiting] =
        [reconnect.returned, reconnect.given_up, reconnect.waiting].map(|n| n.or_zero());
    if returned + given_up + waiting == 0 {
        return Vec::new();
    }
    let [returned, given_up, waiting] = [returned, given_up, waiting].map(grouped);
    let tries = format!("{} tries, failed {}", count(reconnect.tries), listed(&reconnect.failed));
    let came =
        format!("{returned} of those gone, {given_up} given up, {waiting} not back; {tries}");
    let mut rows = vec![("came back", came), ("", format!("after {}", all_of(reconnect.back_us)))];
    rows.extend(reconnect.storms.iter().take(STORMS).flat_map(of_storm));
    let more = reconnect.storms.len().saturating_sub(STORMS);
    rows.extend((more > 0).then(|| ("", format!("{more} more storms in result.json"))));
    rows
}

/// When so many were back, and what it was to those that stayed.
fn of_storm(storm: &Storm) -> Vec<Row> {
    let at = storm.at_seconds.map_or("unknown".into(), format::seconds);
    let gone = format!("{} of {} gone at {at}", count(storm.lost), count(storm.connections));
    let after = |seconds: Maybe<f64>| seconds.map_or("not".into(), format::seconds);
    let BackAfter { p50, p90, p99, all } = *storm.back;
    let [half, ninety, ninety_nine, all] = [p50, p90, p99, all].map(after);
    let back = format!("back: half {half}, 90 % {ninety}, 99 % {ninety_nine}, all {all}");
    let mut rows = vec![("storm", gone), ("", back)];
    let p99 = |latency: Maybe<Percentiles>| Some(microseconds(latency.0?.p99));
    if let Some(stayed) = p99(storm.stayed_latency_us) {
        let calm = p99(storm.calm_latency_us).unwrap_or("unknown".into());
        rows.push(("", format!("messages of those that stayed p99 {stayed}, calm {calm}")));
    }
    rows
}

fn all_of(latency: Maybe<Percentiles>) -> String {
    let Some(latency) = *latency else { return "no latency measured".into() };
    let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(microseconds);
    format!("p50 {p50}  p99 {p99}  max {max}")
}

/// A row of the table: its name, and what it says of a plateau; `None` where there is nothing to say.
type Cell = (&'static str, fn(&Plateau) -> Option<String>);

const CELLS: [Cell; 39] = [
    ("plateau", |p| Some(count(p.connections))),
    ("established", |p| (p.established != p.connections).then(|| count(p.established))),
    ("failed", |p| unless_0(p.failed.sum())),
    ("lost", |p| unless_0(p.lost.sum())),
    ("closed down", |p| Some(count(p.closed.as_ref()?.connections))),
    ("down in", |p| p.closed.as_ref()?.seconds.map(format::seconds)),
    ("kernel back", |p| memory_back(p.closed.as_ref()?.kernel_bytes_back)),
    ("server back", |p| memory_back(p.closed.as_ref()?.server_bytes_back)),
    ("client back", |p| memory_back(p.closed.as_ref()?.client_bytes_back)),
    ("opened in", |p| {
        p.connect.seconds.filter(|_| p.connections.or_zero() > 0).map(format::seconds)
    }),
    ("connects", |p| p.connect.rate_per_s.map(format::per_second)),
    ("connect p50", |p| Some(microseconds(p.connect.latency_us.0?.p50))),
    ("connect p99", |p| Some(microseconds(p.connect.latency_us.0?.p99))),
    ("agreed p99", |p| Some(microseconds(p.connect.opening_latency_us.0?.p99))),
    ("resumed", |p| resumed(*p.connect.handshakes)),
    ("verified", |p| unless_0(p.messages.received.or_zero())),
    ("of sent", |p| (p.messages.sent != p.messages.received).then(|| count(p.messages.sent))),
    ("mismatched", |p| unless_0(p.messages.mismatched.or_zero())),
    ("late", |p| unless_0(p.messages.late.or_zero())),
    ("message p50", |p| Some(microseconds(p.messages.latency_us.0?.p50))),
    ("message p99", |p| Some(microseconds(p.messages.latency_us.0?.p99))),
    ("message max", |p| Some(microseconds(p.messages.latency_us.0?.max))),
    ("keepalives", |p| Some(count(p.keepalives.as_ref()?.sent))),
    ("pushes", |p| Some(count(p.pushes.as_ref()?.received))),
    ("late, missing", |p| {
        let pushes = p.pushes.as_ref()?;
        Some(format!("{}, {}", grouped(pushes.late.0?), grouped(pushes.missing.0?)))
    }),
    ("churned", |p| {
        let churn = p.churn.as_ref()?;
        let all = churn.completed == churn.started;
        let of = if all { String::new() } else { format!(" of {}", count(churn.started)) };
        Some(count(churn.completed) + &of)
    }),
    ("churn p99", |p| Some(microseconds(p.churn.as_ref()?.latency_us.0?.p99))),
    ("churn resumed", |p| resumed(*p.churn.as_ref()?.handshakes)),
    ("slow, silent", |p| {
        let readers = p.readers.as_ref()?;
        Some(format!("{}, {}", count(readers.slow), count(readers.silent)))
    }),
    ("of them ended", |p| {
        let readers = p.readers.as_ref()?;
        Some(grouped(readers.slow_ended.or_zero() + readers.silent_ended.or_zero()))
    }),
    ("left", |p| Some(count(p.lifetimes.as_ref()?.departures))),
    ("came", |p| Some(count(p.lifetimes.as_ref()?.arrivals))),
    ("fewest", |p| Some(count(p.lifetimes.as_ref()?.connections_min))),
    ("dropped", |p| unless_0(p.dropped.or_zero())),
    ("came back", |p| Some(count(p.reconnect.as_ref()?.returned))),
    ("back p99", |p| Some(microseconds(p.reconnect.as_ref()?.back_us.0?.p99))),
    ("client lag p99", |p| Some(microseconds(p.schedule_lag_us.0?.p99))),
    ("live at sweep", |p| Some(count(p.sweep.as_ref()?.answered))),
    ("held for", |p| p.hold_seconds.map(format::seconds)),
];

/// `80 of 100` handshakes.
fn resumed(done: Option<Handshakes>) -> Option<String> {
    let Handshakes { full, resumed, .. } = done?;
    Some(format!("{} of {}", count(resumed), grouped(full.or_zero() + resumed.or_zero())))
}

fn unless_0(n: u64) -> Option<String> {
    (n > 0).then(|| grouped(n))
}

/// A column for each plateau; rows in which there is nothing to say are left out.
fn table(plateaus: &[Plateau]) -> Vec<Row> {
    let row = |(name, cell): &Cell| {
        let cells: Vec<Option<String>> = plateaus.iter().map(cell).collect();
        let text = cells.iter().map(|cell| {
            let text = cell.as_deref().unwrap_or("-");
            format!("{text:>WIDTH$}")
        });
        cells.iter().any(Option::is_some).then(|| (*name, text.collect::<String>()))
    };
    CELLS.iter().filter_map(row).collect()
}
