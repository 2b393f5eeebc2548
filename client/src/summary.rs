//! The summary of a run for people: one screen, aligned, the verdict first.

use std::collections::BTreeMap;

use megaconn::units::{grouped, microseconds};
use megaconn::walls::Side;
use megaconn::walls::verdict::Charge;

use crate::result::{Churn, Percentiles, Plateau, Pushes, RunResult, Verdict};

/// The screen.
pub(crate) fn summary(result: &RunResult) -> String {
    let mut rows: Vec<(&str, String)> = Vec::new();
    let verdict = &result.verdict;
    rows.push(("verdict", if verdict.met { "met".into() } else { verdict.missed.join("; ") }));
    describe_walls(verdict, &mut rows);
    let (established, target) = (grouped(result.established), grouped(result.target_connections));
    rows.push(("established", format!("{established} of {target}")));
    rows.push(("failed / lost", format!("{} / {}", listed(&result.failed), listed(&result.lost))));
    for plateau in &result.plateaus {
        if result.plateaus.len() > 1 {
            let (established, of) = (grouped(plateau.established), grouped(plateau.connections));
            rows.push(("plateau", format!("{established} of {of} established")));
        }
        describe(plateau, result.expect, &mut rows);
    }
    if result.target_connections == 0 {
        return aligned(&rows);
    }
    if let Some(close) = &result.close {
        let pace = per_second(close.rate_per_s);
        let server = seconds(close.server_seconds);
        let text = format!("{:.1} s ({pace}), server empty after {server}", close.seconds);
        rows.push(("closed in", text));
    }
    let cost = &result.cost_per_connection;
    let bytes = |b: Option<f64>| b.map_or("unknown".into(), |b| format!("{b:.0} B"));
    let [kernel, server, client] =
        [cost.kernel_bytes, cost.server_user_bytes, cost.client_user_bytes].map(bytes);
    rows.push(("per connection", format!("kernel {kernel}, server {server}, client {client}")));
    aligned(&rows)
}

/// The wall that cost most in full, the others in a line each.
fn describe_walls(verdict: &Verdict, rows: &mut Vec<(&str, String)>) {
    if let Some(wall) = &verdict.wall {
        rows.push(("wall", named(wall)));
        wall.evidence.iter().for_each(|line| rows.push(("evidence", line.clone())));
        wall.fix.iter().for_each(|line| rows.push(("fix", line.clone())));
    }
    verdict.more_walls.iter().for_each(|wall| rows.push(("wall", named(wall))));
    for wall in &verdict.met_without_loss {
        rows.push(("met, no loss", format!("{}: {}", wall.id, wall.evidence.join("; "))));
    }
    if let Some(next) = &verdict.next_wall {
        let at = grouped(next.at_connections);
        rows.push(("next wall", format!("{} at {at} connections", next.id)));
    }
}

fn named(wall: &Charge) -> String {
    let side = match wall.side {
        Side::Client => "at the client",
        Side::Server => "at the server",
        Side::Between => "between the ends",
    };
    let sure = format!("{:?}", wall.confidence).to_lowercase();
    format!("{} {side} ({sure}): {} lost to it", wall.id, grouped(wall.lost))
}

fn aligned(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, text)| format!("{name:>16}  {text}\n")).collect()
}

fn describe(plateau: &Plateau, expect: &str, rows: &mut Vec<(&str, String)>) {
    let connect = &plateau.connect;
    if plateau.connections > 0 {
        let (took, pace) = (seconds(connect.seconds), per_second(connect.rate_per_s));
        rows.push(("opened in", format!("{took} ({pace})  {}", shown(connect.latency_us))));
    }
    let m = &plateau.messages;
    if m.sent > 0 {
        let (received, sent) = (grouped(m.received), grouped(m.sent));
        let faults = format!("{} mismatched, {} late", grouped(m.mismatched), grouped(m.late));
        rows.push((
            "messages",
            match expect {
                "nothing" => format!("{sent} sent, no answer expected"),
                _ => format!("{received} of {sent} verified, {faults}  {}", shown(m.latency_us)),
            },
        ));
    }
    if let Some(pushes) = &plateau.pushes {
        rows.push(("pushes", of_pushes(pushes)));
    }
    if let Some(churn) = &plateau.churn {
        rows.push(("churn", of_churn(churn)));
    }
    if let Some(lag) = plateau.schedule_lag_us {
        rows.push(("client lag", lag.to_string()));
    }
    if let Some(sweep) = &plateau.sweep {
        let (answered, asked) = (grouped(sweep.answered), grouped(sweep.asked));
        rows.push(("swept", format!("{answered} of {asked} live, in {:.1} s", sweep.seconds)));
    }
    rows.push(("held for", seconds(plateau.hold_seconds)));
}

fn of_pushes(pushes: &Pushes) -> String {
    let count = |n: Option<u64>| n.map_or("unknown".to_owned(), grouped);
    let (late, missing) = (count(pushes.late), count(pushes.missing));
    let received = grouped(pushes.received);
    format!("{received} received, {late} late, {missing} missing, gap {}", shown(pushes.gap_us))
}

fn of_churn(churn: &Churn) -> String {
    let (completed, started) = (grouped(churn.completed), grouped(churn.started));
    let pace = per_second(churn.rate_per_s);
    let (failed, lost) = (listed(&churn.failed), listed(&churn.lost));
    let latency = shown(churn.latency_us);
    format!("{completed} of {started} ({pace}), failed {failed}, lost {lost}  {latency}")
}

impl std::fmt::Display for Percentiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, max] = [self.p50, self.p99, self.max].map(microseconds);
        write!(f, "p50 {p50}  p99 {p99}  max {max}")
    }
}

fn shown(latency: Option<Percentiles>) -> String {
    latency.map_or("no latency measured".to_owned(), |percentiles| percentiles.to_string())
}

fn seconds(seconds: Option<f64>) -> String {
    seconds.map_or("unknown".into(), |seconds| format!("{seconds:.1} s"))
}

fn per_second(rate: Option<f64>) -> String {
    rate.map_or("no rate".into(), |rate| match rate {
        ..1e3 => format!("{rate:.0}/s"),
        _ => format!("{:.1}k/s", rate / 1e3),
    })
}

fn listed<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    if counts.is_empty() {
        return "0".into();
    }
    let each = counts.iter().map(|(name, n)| format!("{} {}", name.as_ref(), grouped(*n)));
    each.collect::<Vec<_>>().join(", ")
}
