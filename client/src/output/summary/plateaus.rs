//! The plateaus of a summary: a single one in a few lines, several as the columns of a table.

use megaconn::base::format;
use megaconn::base::units::{grouped, microseconds};

use super::{Row, listed};
use crate::output::result::{Churn, Percentiles, Plateau, Pushes};

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
                rows.push(("", format!("{left_out} smaller plateaus: see result.json")));
            }
            rows
        }
    }
}

fn single(plateau: &Plateau, expect: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let connect = &plateau.connect;
    if plateau.connections > 0 {
        let took = connect.seconds.map_or("unknown".into(), format::seconds);
        let pace = connect.rate_per_s.map_or("no rate".into(), format::per_second);
        rows.push(("opened in", format!("{took} ({pace})  {}", all_of(connect.latency_us))));
    }
    let m = &plateau.messages;
    if m.sent > 0 && expect == "nothing" {
        rows.push(("messages", format!("{} sent, no answer expected", grouped(m.sent))));
    } else if m.sent > 0 {
        let [received, sent, mismatched, late] =
            [m.received, m.sent, m.mismatched, m.late].map(grouped);
        let faults = format!("{mismatched} mismatched, {late} late");
        rows.push(("messages", format!("{received} of {sent} verified, {faults}")));
        rows.push(("", all_of(m.latency_us)));
    }
    rows.extend(plateau.pushes.iter().flat_map(of_pushes));
    rows.extend(plateau.churn.iter().flat_map(of_churn));
    rows.extend(plateau.schedule_lag_us.map(|lag| ("client lag", all_of(Some(lag)))));
    if let Some(sweep) = &plateau.sweep {
        let (answered, asked) = (grouped(sweep.answered), grouped(sweep.asked));
        let took = format::seconds(sweep.seconds);
        rows.push(("swept", format!("{answered} of {asked} live, in {took}")));
    }
    rows.push(("held for", plateau.hold_seconds.map_or("unknown".into(), format::seconds)));
    rows
}

fn of_pushes(pushes: &Pushes) -> [Row; 2] {
    let count = |n: Option<u64>| n.map_or("unknown".to_owned(), grouped);
    let (late, missing) = (count(pushes.late), count(pushes.missing));
    let received = grouped(pushes.received);
    let gap = format!("gap {}", all_of(pushes.gap_us));
    [("pushes", format!("{received} received, {late} late, {missing} missing")), ("", gap)]
}

fn of_churn(churn: &Churn) -> [Row; 2] {
    let (completed, started) = (grouped(churn.completed), grouped(churn.started));
    let pace = churn.rate_per_s.map_or("no rate".into(), format::per_second);
    let (failed, lost) = (listed(&churn.failed), listed(&churn.lost));
    let counts = format!("{completed} of {started} ({pace}), failed {failed}, lost {lost}");
    [("churn", counts), ("", all_of(churn.latency_us))]
}

fn all_of(latency: Option<Percentiles>) -> String {
    let Some(latency) = latency else { return "no latency measured".into() };
    let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(microseconds);
    format!("p50 {p50}  p99 {p99}  max {max}")
}

/// A row of the table: its name, and what it says of a plateau; `None` where there is nothing to say.
type Cell = (&'static str, fn(&Plateau) -> Option<String>);

const CELLS: [Cell; 22] = [
    ("plateau", |p| Some(grouped(p.connections))),
    ("established", |p| (p.established != p.connections).then(|| grouped(p.established))),
    ("failed", |p| unless_0(p.failed.values().sum())),
    ("lost", |p| unless_0(p.lost.values().sum())),
    ("opened in", |p| p.connect.seconds.filter(|_| p.connections > 0).map(format::seconds)),
    ("connects", |p| p.connect.rate_per_s.map(format::per_second)),
    ("connect p50", |p| Some(microseconds(p.connect.latency_us?.p50))),
    ("connect p99", |p| Some(microseconds(p.connect.latency_us?.p99))),
    ("verified", |p| unless_0(p.messages.received)),
    ("of sent", |p| (p.messages.sent != p.messages.received).then(|| grouped(p.messages.sent))),
    ("mismatched", |p| unless_0(p.messages.mismatched)),
    ("late", |p| unless_0(p.messages.late)),
    ("message p50", |p| Some(microseconds(p.messages.latency_us?.p50))),
    ("message p99", |p| Some(microseconds(p.messages.latency_us?.p99))),
    ("message max", |p| Some(microseconds(p.messages.latency_us?.max))),
    ("pushes", |p| Some(grouped(p.pushes.as_ref()?.received))),
    ("late, missing", |p| {
        let pushes = p.pushes.as_ref()?;
        Some(format!("{}, {}", grouped(pushes.late?), grouped(pushes.missing?)))
    }),
    ("churned", |p| {
        let churn = p.churn.as_ref()?;
        let all = churn.completed == churn.started;
        let of = if all { String::new() } else { format!(" of {}", grouped(churn.started)) };
        Some(grouped(churn.completed) + &of)
    }),
    ("churn p99", |p| Some(microseconds(p.churn.as_ref()?.latency_us?.p99))),
    ("client lag p99", |p| Some(microseconds(p.schedule_lag_us?.p99))),
    ("live at sweep", |p| Some(grouped(p.sweep.as_ref()?.answered))),
    ("held for", |p| p.hold_seconds.map(format::seconds)),
];

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
