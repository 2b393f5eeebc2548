//! The doctor's report as text: a screen of at most 100 columns, what stops the plan at the top.

use std::fmt::Write;

use crate::base::units::grouped;
use crate::plan::demand::Ends;
use crate::walls::doctor::Report;
use crate::walls::obsolete::setting::{Kind, Setting};
use crate::walls::reading::{Row, Verdict};

/// Columns of a line at most.
const COLUMNS: usize = 100;

/// What stands before the lines below a row.
const INDENT: &str = "      ";

/// The report, with a line end behind each line.
#[must_use]
pub fn text(report: &Report) -> String {
    let mut text = heading(report);
    _ = writeln!(text, "\n{INDENT}{:<17} {:>20} {:>20}  unit", "wall", "have", "need");
    let (read, unread): (Vec<&Row>, Vec<&Row>) =
        report.rows.iter().partition(|row| row.verdict != Verdict::NotApplicable);
    read.iter().for_each(|row| add_row(&mut text, row));
    if read.iter().any(|row| row.verdict == Verdict::Unknown) {
        let why = "unknown: not shown by this kernel, container or network namespace";
        text += &wrapped("?     ", why);
    }
    if !unread.is_empty() {
        let count = unread.len();
        let line = format!("{count} walls are only met in a run, not read: --format json has them");
        text += &wrapped("n/a   ", &line);
    }
    text.push('\n');
    text += &binding(report);
    for setting in &report.settings {
        add_setting(&mut text, setting);
    }
    text
}

fn heading(report: &Report) -> String {
    let ends = match report.side {
        Ends::Both => "both ends on this host",
        Ends::Client => "the client on this host",
        Ends::Server => "the server on this host",
    };
    let fits = if report.fits { "it fits" } else { "it does NOT fit" };
    format!(
        "{} connections, {ends}: {fits}\n{} segments of {} slots on each end here\n",
        grouped(report.connections),
        grouped(report.segments),
        grouped(report.slots_per_segment)
    )
}

fn add_row(text: &mut String, row: &Row) {
    let verdict = match row.verdict {
        Verdict::Fail => "FAIL",
        Verdict::Warn => "WARN",
        Verdict::Unknown => "?",
        Verdict::Ok => "ok",
        Verdict::NotApplicable => "n/a",
    };
    let have = match (row.have, row.verdict) {
        (Some(have), _) => grouped(have),
        (None, Verdict::Unknown) => "unknown".to_owned(),
        (None, _) => "no limit".to_owned(),
    };
    let need = row.need.map_or(String::new(), grouped);
    _ = writeln!(text, "{verdict:<4}  {:<17} {have:>20} {need:>20}  {}", row.id, row.unit);
    // Each fix has its own line, so that it can be copied.
    for (index, fix) in row.fix.iter().enumerate() {
        let start = if index == 0 { "fix: " } else { " or: " };
        text.push_str(&wrapped(&format!("{INDENT}{start}"), &fix.to_string()));
    }
    // The limit on open files is often believed to be the wall, so its row says that it is none.
    if row.verdict < Verdict::Unknown || row.id == "nofile" {
        text.push_str(&wrapped(&format!("{INDENT}note: "), row.remark));
    }
}

fn binding(report: &Report) -> String {
    let mut text = String::new();
    for (when, bound) in [("first", report.binds_first), ("next", report.binds_next)] {
        if let Some(bound) = bound {
            let n = grouped(bound.at_connections);
            text += &format!("{:<13}{} at {n} connections\n", format!("binds {when}:"), bound.id);
        }
    }
    let is_short = |row: &Row| row.lasts.iter().any(|lasts| lasts.contains("for good"));
    if report.rows.iter().any(is_short) {
        text += "for good:    --fix print writes the files that make sysctls and limits last\n";
    }
    text
}

fn add_setting(text: &mut String, setting: &Setting) {
    let Setting { key, value, kind, reason, instead, .. } = setting;
    text.push('\n');
    let places = setting.places.join(", ");
    let line = match (kind, value.as_str()) {
        (Kind::Unread, _) => format!("unread file: {key}"),
        // It is no assignment, or it is one of nothing.
        (_, "") => format!("{} setting: {key} ({places})", kind.name()),
        _ => format!("{} setting: {key} = {value} ({places})", kind.name()),
    };
    *text += &wrapped("", &line);
    *text += &wrapped(INDENT, reason);
    if let Some(running) = &setting.running {
        let now = format!("now it is {running}: the line has its effect at the next boot");
        *text += &wrapped(INDENT, &now);
    }
    *text += &wrapped(&format!("{INDENT}instead: "), instead);
}

/// `words` wrapped into lines: the first after `start`, the others indented as far.
#[must_use]
pub fn wrapped(start: &str, words: &str) -> String {
    let mut text = start.to_owned();
    let mut column = start.len();
    for word in words.split(' ') {
        let width = word.chars().count();
        if column > start.len() && column + 1 + width > COLUMNS {
            _ = write!(text, "\n{:indent$}", "", indent = start.len());
            column = start.len();
        } else if column > start.len() {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
    text
}
