//! The summary of a run for people: one screen of eighty columns, aligned, the verdict first. What has
//! no room on it is in `result.json` and the report.

use console::style;
use megaconn::base::format;
use megaconn::base::units::grouped;
use megaconn::results::answer;
use megaconn::results::broadcasts::{Broadcasts, ONE_CLOCK};
use megaconn::results::bystanders::Bystanders;
use megaconn::results::cost::Cost;
use megaconn::results::lenient::Maybe;
use megaconn::results::parts::PartOf;
use megaconn::results::result::{Changed, RunResult};
use megaconn::results::verdict::{Attribution, Verdict};

use crate::output::notes::FILES_PASSED;
use crate::output::summary::rows::{Row, count, listed, some_of};

mod bystanders;
mod plateaus;
mod rows;

/// Columns of the screen, and of the names before the text.
const COLUMNS: usize = 80;
const SCREEN_LINES: usize = 24;
const NAME_COLUMNS: usize = 16;

/// The screen: bystanders have a line each where there is room for them.
pub(crate) fn summary(result: &RunResult) -> String {
    let text = screen(result, bystanders::rows);
    if text.lines().count() <= SCREEN_LINES { text } else { screen(result, bystanders::folded) }
}

fn screen(result: &RunResult, of_bystanders: fn(&Bystanders) -> Vec<Row>) -> String {
    let mut rows: Vec<Row> =
        answer::sentence(result).into_iter().map(|text| ("answer", text)).collect();
    rows.extend(of_verdict(&result.verdict));
    rows.extend(result.part.as_ref().map(|part| of_part(part, result.run_id.as_deref())));
    rows.extend(result.safe_capacity.as_ref().map(bystanders::safe_capacity));
    let (established, target) = (count(result.established), count(result.target_connections));
    let is_done = |change: &&Changed| change.at_seconds.is_some();
    let changes = result.changes.iter().filter(is_done).count();
    rows.extend((changes > 0).then(|| ("changed", format!("{changes} times by --control"))));
    rows.extend(result.ended_early.as_ref().map(|why| ("ended early", why.clone())));
    rows.push(("established", format!("{established} of {target}")));
    rows.extend(result.notes.get(FILES_PASSED).map(|few| ("files", few.clone())));
    rows.push(("failed / lost", format!("{} / {}", listed(&result.failed), listed(&result.lost))));
    let dropped = result.dropped.filter(|dropped| *dropped > 0);
    rows.extend(dropped.map(|dropped| ("dropped", format!("{} by --storm", grouped(dropped)))));
    rows.extend(plateaus::rows(&result.plateaus, result.expect.as_deref().unwrap_or_default()));
    rows.extend(result.broadcasts.iter().flat_map(of_broadcasts));
    if result.target_connections.or_zero() > 0 {
        if let Some(close) = result.close.as_ref() {
            let pace = close.rate_per_s.map_or("no rate".into(), format::per_second);
            let server = close.server_seconds.map_or("unknown".into(), format::seconds);
            let took = format::seconds(close.seconds.or_zero());
            rows.push(("closed in", format!("{took} ({pace}), server empty after {server}")));
        }
        rows.extend(of_cost(&result.cost_per_connection, |note| result.notes.contains_key(note)));
    }
    rows.extend(result.bystanders.iter().flat_map(of_bystanders));
    let text: String = rows.iter().map(|(name, text)| line(name, text)).collect();
    coloured(&text, *result.verdict.met == Some(true))
}

/// Which part of which run this is.
fn of_part(part: &PartOf, run_id: Option<&str>) -> Row {
    let [number, of] = [part.number, part.of].map(count);
    let clock = part.clock.map_or("unknown".to_owned(), |clock| clock.to_string());
    ("part", format!("{number} of {of} of {}, server's clock {clock}", run_id.unwrap_or("a run")))
}

/// The first word of the verdict in its colour, on a terminal that wants any.
fn coloured(text: &str, is_met: bool) -> String {
    let (word, styled) = match is_met {
        true => (MET, style(MET).green().bold()),
        false => (MISSED, style(MISSED).red().bold()),
    };
    // The answer before it may have the word as well.
    text.replacen(&format!("verdict  {word}"), &format!("verdict  {styled}"), 1)
}

const MET: &str = "met";
const MISSED: &str = "missed";

/// What the run came to, and the walls that it met: the one that cost most in full, the others in a
/// line each.
fn of_verdict(verdict: &Verdict) -> Vec<Row> {
    let mut rows = Vec::new();
    if *verdict.met == Some(true) {
        rows.push(("verdict", MET.to_owned()));
    } else {
        let why = verdict.missed.first().map_or_else(String::new, |why| format!(": {why}"));
        rows.push(("verdict", format!("{MISSED}{why}")));
        rows.extend(some_of("", verdict.missed.iter().skip(1).cloned()));
    }
    if let Some(wall) = verdict.wall.as_ref() {
        rows.push(("wall", named(wall)));
        rows.extend(some_of("evidence", wall.evidence.iter().cloned()));
        rows.extend(some_of("fix", wall.fix.iter().cloned()));
    }
    rows.extend(some_of("more walls", verdict.more_walls.iter().map(named)));
    let met = |wall: &Attribution| format!("{}: {}", id(wall), wall.evidence.join("; "));
    rows.extend(some_of("met, no loss", verdict.met_without_loss.iter().map(met)));
    if let Some(next) = verdict.next_wall.as_ref() {
        let (id, at) = (next.id.as_deref().unwrap_or_default(), count(next.at_connections));
        rows.push(("next wall", format!("{id} at {at} connections")));
    }
    rows
}

fn named(wall: &Attribution) -> String {
    let side = match wall.side.as_deref() {
        Some("client") => "at the client",
        Some("server") => "at the server",
        _ => "between the ends",
    };
    let sure = wall.confidence.as_deref().unwrap_or_default();
    format!("{} {side} ({sure}): {}", id(wall), wall.toll())
}

fn id(wall: &Attribution) -> &str {
    wall.id.as_deref().unwrap_or_default()
}

/// The last texts to all.
fn of_broadcasts(broadcasts: &Broadcasts) -> Vec<Row> {
    let (received, missed) = (count(broadcasts.received), count(broadcasts.missed));
    let texts = count((broadcasts.texts.len() as u64).into());
    let mut rows =
        vec![("broadcasts", format!("{texts} texts, {received} receipts, {missed} missed"))];
    let shown = broadcasts.texts.len().saturating_sub(BROADCASTS_SHOWN);
    rows.extend(
        broadcasts.texts[shown..]
            .iter()
            .map(|text| ("", format!("{}: {}", count(text.number), text.in_words()))),
    );
    let clock = broadcasts.clock.as_deref().filter(|clock| *clock != ONE_CLOCK);
    rows.extend(clock.map(|clock| ("", format!("times by the clocks of {clock}"))));
    rows
}

/// Texts that have a line each.
const BROADCASTS_SHOWN: usize = 3;

/// What a connection costs; `has_note` is whether the result has a note of this name.
fn of_cost(cost: &Cost, has_note: impl Fn(&str) -> bool) -> Vec<Row> {
    let bytes = |bytes: Maybe<f64>| bytes.map_or("unknown".into(), format::bytes);
    let error = cost.stderr_bytes.filter(|_| cost.kernel_bytes.is_some());
    let error = error.map_or(String::new(), |error| format!(" ± {}", format::count(error.ceil())));
    let both = match *cost.sockets_counted {
        Some(1) => String::new(),
        Some(n) => format!(" ({n} sockets)"),
        None if cost.kernel_bytes.is_some() => " (unknown sockets)".to_owned(),
        None => String::new(),
    };
    let [kernel, server, client] =
        [cost.kernel_bytes, cost.server_user_bytes, cost.client_user_bytes].map(bytes);
    let text = format!("kernel {kernel}{error}{both}, server {server}, client {client}");
    let mut rows = vec![("per connection", text)];
    let others = cost.other_sockets.filter(|_| has_note(OTHERS_ARE_SEEN));
    rows.extend(others.map(|others| {
        let (with, did) = if others > 0 { ("with", "opened") } else { ("without", "closed") };
        let others = grouped(others.unsigned_abs());
        ("", format!("{with} {others} sockets that others {did} meanwhile"))
    }));
    let ended = cost.time_wait.filter(|n| *n < 0 && has_note(TIME_WAIT_IS_SEEN));
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
