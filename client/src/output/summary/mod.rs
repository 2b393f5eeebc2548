//! The summary of a run for people: one screen of eighty columns, aligned, the verdict first. What has
//! no room on it is in `result.json` and the report.

use std::collections::BTreeMap;

use console::style;
use megaconn::base::format;
use megaconn::base::units::grouped;
use megaconn::walls::diagnosis::Attribution;
use megaconn::walls::side::Side;

use crate::bystanders::account::Account;
use crate::measure::cost::Cost;
use crate::output::result::{RunResult, Verdict};

mod bystanders;
mod plateaus;

/// Columns of the screen, and of the names before the text.
const COLUMNS: usize = 80;
const SCREEN_LINES: usize = 24;
const NAME_COLUMNS: usize = 16;

/// Lines that evidence, fixes and walls that cost nothing may take each.
const LINES_MAX: usize = 3;

/// A line: its name, and its text, which is wrapped.
type Row = (&'static str, String);

/// The screen: bystanders have a line each where there is room for them.
pub(crate) fn summary(result: &RunResult) -> String {
    let text = screen(result, bystanders::rows);
    if text.lines().count() <= SCREEN_LINES { text } else { screen(result, bystanders::folded) }
}

fn screen(result: &RunResult, of_bystanders: fn(&Account) -> Vec<Row>) -> String {
    let mut rows = of_verdict(&result.verdict);
    rows.extend(result.safe_capacity.as_ref().map(bystanders::safe_capacity));
    let (established, target) = (grouped(result.established), grouped(result.target_connections));
    rows.push(("established", format!("{established} of {target}")));
    rows.push(("failed / lost", format!("{} / {}", listed(&result.failed), listed(&result.lost))));
    rows.extend(plateaus::rows(&result.plateaus, result.expect));
    if result.target_connections > 0 {
        if let Some(close) = &result.close {
            let pace = close.rate_per_s.map_or("no rate".into(), format::per_second);
            let server = close.server_seconds.map_or("unknown".into(), format::seconds);
            let took = format::seconds(close.seconds);
            rows.push(("closed in", format!("{took} ({pace}), server empty after {server}")));
        }
        rows.extend(of_cost(&result.cost_per_connection, result.notes.keys().copied()));
    }
    rows.extend(result.bystanders.iter().flat_map(of_bystanders));
    let text: String = rows.iter().map(|(name, text)| line(name, text)).collect();
    coloured(&text, result.verdict.met)
}

/// The first word of the verdict in its colour, on a terminal that wants any.
fn coloured(text: &str, is_met: bool) -> String {
    let (word, styled) = match is_met {
        true => (MET, style(MET).green().bold()),
        false => (MISSED, style(MISSED).red().bold()),
    };
    text.replacen(word, &styled.to_string(), 1)
}

const MET: &str = "met";
const MISSED: &str = "missed";

/// What the run came to, and the walls that it met: the one that cost most in full, the others in a
/// line each.
fn of_verdict(verdict: &Verdict) -> Vec<Row> {
    let mut rows = Vec::new();
    if verdict.met {
        rows.push(("verdict", MET.to_owned()));
    } else {
        let why = verdict.missed.first().map_or_else(String::new, |why| format!(": {why}"));
        rows.push(("verdict", format!("{MISSED}{why}")));
        rows.extend(some_of("", verdict.missed.iter().skip(1).cloned()));
    }
    if let Some(wall) = &verdict.wall {
        rows.push(("wall", named(wall)));
        rows.extend(some_of("evidence", wall.evidence.iter().cloned()));
        rows.extend(some_of("fix", wall.fix.iter().cloned()));
    }
    rows.extend(some_of("more walls", verdict.more_walls.iter().map(named)));
    let met = |wall: &Attribution| format!("{}: {}", wall.id, wall.evidence.join("; "));
    rows.extend(some_of("met, no loss", verdict.met_without_loss.iter().map(met)));
    if let Some(next) = &verdict.next_wall {
        let at = grouped(next.at_connections);
        rows.push(("next wall", format!("{} at {at} connections", next.id)));
    }
    rows
}

/// As many as have room, and how many more there are; the first one has the name.
fn some_of(name: &'static str, texts: impl Iterator<Item = String>) -> Vec<Row> {
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    let mut rows: Vec<Row> = names.zip(texts).collect();
    if rows.len() > LINES_MAX {
        let more = rows.len() - (LINES_MAX - 1);
        rows.truncate(LINES_MAX - 1);
        rows.push(("", format!("and {more} more, see result.json")));
    }
    rows
}

fn named(wall: &Attribution) -> String {
    let side = match wall.side {
        Side::Client => "at the client",
        Side::Server => "at the server",
        Side::Between => "between the ends",
    };
    let sure = format!("{:?}", wall.confidence).to_lowercase();
    format!("{} {side} ({sure}): {} lost to it", wall.id, grouped(wall.lost))
}

fn of_cost(cost: &Cost, notes: impl Iterator<Item = &'static str>) -> Vec<Row> {
    let bytes = |bytes: Option<f64>| bytes.map_or("unknown".into(), format::bytes);
    let error = cost.stderr_bytes.filter(|_| cost.kernel_bytes.is_some());
    let error = error.map_or(String::new(), |error| format!(" ± {}", format::count(error.ceil())));
    let both = if cost.sockets_counted > 1 { " (2 sockets)" } else { "" };
    let [kernel, server, client] =
        [cost.kernel_bytes, cost.server_user_bytes, cost.client_user_bytes].map(bytes);
    let text = format!("kernel {kernel}{error}{both}, server {server}, client {client}");
    let mut rows = vec![("per connection", text)];
    let notes: Vec<&str> = notes.collect();
    let others = cost.other_sockets.filter(|_| notes.contains(&OTHERS_ARE_SEEN));
    rows.extend(others.map(|others| {
        let (with, did) = if others > 0 { ("with", "opened") } else { ("without", "closed") };
        let others = grouped(others.unsigned_abs());
        ("", format!("{with} {others} sockets that others {did} meanwhile"))
    }));
    let ended = cost.time_wait.filter(|n| *n < 0 && notes.contains(&TIME_WAIT_IS_SEEN));
    rows.extend(ended.map(|ended| {
        let ended = grouped(ended.unsigned_abs());
        ("", format!("without {ended} sockets in TIME_WAIT that ended meanwhile"))
    }));
    rows
}

/// The note of a result in which the sockets of others are too many to be passed over.
const OTHERS_ARE_SEEN: &str = "cost_per_connection.other_sockets";

/// And the one in which sockets of an earlier run gave back so much that it is seen.
const TIME_WAIT_IS_SEEN: &str = "cost_per_connection.time_wait";

/// Counts by name: `0`, `ECONNREFUSED 12, ETIMEDOUT 3`.
fn listed<K: AsRef<str>>(counts: &BTreeMap<K, u64>) -> String {
    if counts.is_empty() {
        return "0".into();
    }
    let each = counts.iter().map(|(name, n)| format!("{} {}", name.as_ref(), grouped(*n)));
    each.collect::<Vec<_>>().join(", ")
}

/// A row, in as many lines as it takes: cut between words, never between the two spaces of columns.
fn line(name: &str, text: &str) -> String {
    let indent = NAME_COLUMNS + 2;
    let mut lines = format!("{name:>NAME_COLUMNS$}  ");
    let mut column = indent;
    for (index, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if index > 0 && column + 1 + width > COLUMNS && !word.is_empty() {
            lines = lines.trim_end().to_owned() + &format!("\n{:indent$}", "");
            column = indent;
        } else if index > 0 {
            lines.push(' ');
            column += 1;
        }
        lines += word;
        column += width;
    }
    lines + "\n"
}

#[cfg(test)]
mod tests;
