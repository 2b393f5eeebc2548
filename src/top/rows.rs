//! What a core did between two looks at it: one row of the table.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::side::Side;
use crate::observe::names::Names;
use crate::observe::snapshot::{Buckets, CoreSnapshot, Snapshot};

/// A process as it was seen at a time.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Since the view began.
    pub at: Duration,
    /// All that it said.
    pub view: Snapshot,
}

/// One core, or all of a side. What is `None` was not seen, or needs a second look.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The side it belongs to.
    pub side: Side,
    /// Which of the addresses, from 0; `None` is all of the side.
    pub target: Option<usize>,
    /// Its number and its CPU.
    pub core: Option<(u64, u16)>,
    /// Connections open.
    pub connections: Option<u64>,
    /// Connections accepted, or connected, short ones included, a second.
    pub new_per_s: Option<f64>,
    /// Messages received or verified, and pushes, a second.
    pub messages_per_s: Option<f64>,
    /// Bytes received and sent, a second.
    pub bytes_per_s: Option<f64>,
    /// The times that matter to it most, of those that it has just taken.
    pub latency: Option<Latency>,
    /// Part of the time that its thread ran.
    pub busy: Option<f64>,
    /// Part of the time that its thread could have run, and others did.
    pub waited: Option<f64>,
    /// Part of the time that its CPU was busy, with whatever.
    pub cpu_busy: Option<f64>,
    /// What waits, by the names of its figures.
    pub queues: Vec<(&'static str, u64)>,
    /// Segments of its arena.
    pub segments: Option<u64>,
}

/// What took how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// Messages, short connections, connects or pushes.
    pub of: &'static str,
    /// How many took less than what.
    pub buckets: Buckets,
}

/// Histograms by how much they matter, with a word for each.
const LATENCIES: [(&str, &str); 4] = [
    ("message_latency_us", "message"),
    ("churn_latency_us", "short"),
    ("connect_latency_us", "connect"),
    ("push_lateness_us", "push"),
];

/// Gauges of what waits, with a word for each, of a server and of a client.
const QUEUES: [(Side, &str, &str); 5] = [
    (Side::Server, "buffers_awaited", "starved"),
    (Side::Server, "sends_stalled", "stalled"),
    (Side::Client, "connects_in_flight", "connecting"),
    (Side::Client, "messages_in_flight", "echoes"),
    (Side::Client, "closes_in_flight", "closing"),
];

/// A row for each core of the process that is seen `now`. Rates need that it was seen `before`.
#[must_use]
pub fn of(target: usize, before: Option<&Seen>, now: &Seen) -> Vec<Row> {
    let side = now.view.side;
    let row = |core: &CoreSnapshot| {
        let before = before.and_then(|seen| {
            let same = seen.view.cores.iter().find(|other| other.core == core.core);
            Some((seen, same?))
        });
        let per_s = |names: &[&str]| {
            let (seen, then) = before?;
            rise_per_s(&then.figures, &core.figures, names, now.at.checked_sub(seen.at)?)
        };
        let part = |name: &str| per_s(&[name]).map(|us_per_s| us_per_s / 1e6);
        let gauge = |name: &str| core.figures.get(name).copied();
        let queues = QUEUES.iter().filter(|(of, ..)| *of == side);
        let new = match side {
            Side::Server => &["accepted_total"][..],
            Side::Client => &["connected_total", "churned_total"],
        };
        let messages = match side {
            Side::Server => &["messages_total", "pushes_total"][..],
            Side::Client => &["messages_total", "pushes_total", "churned_total"],
        };
        Row {
            side,
            target: Some(target),
            core: Some((core.core, core.cpu)),
            connections: gauge("connections"),
            new_per_s: per_s(new),
            messages_per_s: per_s(messages),
            bytes_per_s: per_s(&["recv_bytes_total", "send_bytes_total"]),
            latency: before.and_then(|(_, then)| latency(then, core)),
            busy: part("ran_us_total"),
            waited: part("waited_us_total"),
            cpu_busy: before.and_then(|(seen, _)| cpu_busy(core.cpu, &seen.view, &now.view)),
            queues: queues.filter_map(|(_, name, word)| Some((*word, gauge(name)?))).collect(),
            segments: gauge("segments"),
        }
    };
    now.view.cores.iter().map(row).collect()
}

/// Whether the process `now` is the one `before`: what it counts has not fallen.
#[must_use]
pub fn is_same(before: &Snapshot, now: &Snapshot) -> bool {
    let names = Names::default();
    let falls = |(name, value): (&String, &u64)| {
        names.is_counter(name) && before.figures.get(name).is_some_and(|before| before > value)
    };
    before.side == now.side
        && before.cores.len() == now.cores.len()
        && !now.figures.iter().any(falls)
}

/// All rows of a side together.
#[must_use]
pub fn total(side: Side, rows: &[Row]) -> Option<Row> {
    let of_side: Vec<&Row> = rows.iter().filter(|row| row.side == side).collect();
    if of_side.is_empty() {
        return None;
    }
    let sum = |of: fn(&Row) -> Option<u64>| of_side.iter().map(|row| of(row)).sum();
    let rates =
        |of: fn(&Row) -> Option<f64>| of_side.iter().map(|row| of(row)).sum::<Option<f64>>();
    let mean = |of| rates(of).map(|sum| sum / of_side.len() as f64);
    let mut queues: Vec<(&'static str, u64)> = Vec::new();
    for (word, n) in of_side.iter().flat_map(|row| &row.queues) {
        match queues.iter_mut().find(|(known, _)| known == word) {
            Some((_, sum)) => *sum = sum.saturating_add(*n),
            None => queues.push((word, *n)),
        }
    }
    // Times of different things are not added up: those that matter most count.
    let latencies = of_side.iter().filter_map(|row| row.latency.as_ref());
    let rank = |of: &str| LATENCIES.iter().position(|(_, word)| *word == of);
    let first = latencies.clone().min_by_key(|latency| rank(latency.of)).cloned();
    let latency = first.map(|first| {
        let mut buckets = Buckets::default();
        latencies.filter(|one| one.of == first.of).for_each(|one| buckets.add(&one.buckets));
        Latency { of: first.of, buckets }
    });
    Some(Row {
        side,
        target: None,
        core: None,
        connections: sum(|row| row.connections),
        new_per_s: rates(|row| row.new_per_s),
        messages_per_s: rates(|row| row.messages_per_s),
        bytes_per_s: rates(|row| row.bytes_per_s),
        latency,
        busy: mean(|row| row.busy),
        waited: mean(|row| row.waited),
        cpu_busy: mean(|row| row.cpu_busy),
        queues,
        segments: sum(|row| row.segments),
    })
}

fn rise_per_s(
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    names: &[&str],
    time: Duration,
) -> Option<f64> {
    let rise = |name: &&str| now.get(*name)?.checked_sub(*before.get(*name)?);
    let rises = names.iter().map(rise).collect::<Option<Vec<u64>>>()?;
    let rise = rises.into_iter().try_fold(0, u64::checked_add)?;
    (!time.is_zero()).then(|| rise as f64 / time.as_secs_f64())
}

fn latency(before: &CoreSnapshot, now: &CoreSnapshot) -> Option<Latency> {
    LATENCIES.iter().find_map(|(name, of)| {
        let buckets = now.latencies.get(*name)?.since(before.latencies.get(*name)?)?;
        (buckets.count() > 0).then_some(Latency { of, buckets })
    })
}

/// Part of the time that a CPU of the process's host was busy.
fn cpu_busy(cpu: u16, before: &Snapshot, now: &Snapshot) -> Option<f64> {
    let (before, now) = (before.host.as_ref()?, now.host.as_ref()?);
    let all = now.rise(before, &format!("cpu{cpu}.ticks")).filter(|ticks| *ticks > 0)?;
    Some(now.rise(before, &format!("cpu{cpu}.busy_ticks"))? as f64 / all as f64)
}
