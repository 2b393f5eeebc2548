//! The head of a report: the run's target, whether it was reached, and the wall that stopped the run,
//! with evidence and fix.

use maud::{Markup, html};

use crate::base::format;
use crate::report::read::Run;
use crate::results::lenient::{Figure, Maybe};
use crate::results::plateau::{Churn, Counts};
use crate::results::result::RunResult;
use crate::results::verdict::{Attribution, NextWall};

/// The verdict of a run.
pub(crate) fn verdict(run: &Run) -> Markup {
    let Some(result) = &run.result else {
        return html! {
            section.verdict.unknown {
                h2 { "No verdict" }
                p {
                    "The run has left no whole result.json: it was killed, or is still going. What "
                    "its dumps show is below."
                }
            }
        };
    };
    let verdict = &result.verdict;
    let (class, word) = match *verdict.met {
        Some(true) => ("met", "Met"),
        Some(false) => ("missed", "Missed"),
        None => ("unknown", "No verdict"),
    };
    html! {
        section class=(format!("verdict {class}")) {
            h2 { (word) ": " (headline(result)) }
            @if !verdict.missed.is_empty() {
                ul { @for why in verdict.missed.iter() { li { (why) } } }
            }
            @if let Some(wall) = &*verdict.wall { (attribution(wall)) }
            @for wall in verdict.more_walls.iter() { (attribution(wall)) }
            @if !verdict.met_without_loss.is_empty() {
                h3 { "Met without loss" }
                ul { @for wall in verdict.met_without_loss.iter() { li { (in_a_line(wall)) } } }
            }
            @if let Some((id, at)) = verdict.next_wall.as_ref().and_then(known) {
                p { "Next wall, by arithmetic: " b { (id) } " at " (format::count(at)) " connections." }
            }
        }
    }
}

/// `1,000,000 of 1,000,000 connections established, 0 failed, 0 lost`, or the short connections
/// of a run without held ones.
pub(crate) fn headline(result: &RunResult) -> String {
    let number =
        |number: Maybe<u64>| number.real().map_or("an unknown number".to_owned(), format::count);
    if let (Some(0), Some(plateau)) = (*result.target_connections, result.plateaus.last()) {
        let of_churn = |pick: fn(&Churn) -> Maybe<u64>| {
            number(plateau.churn.as_ref().map_or(Maybe(None), pick))
        };
        let (completed, started) =
            (of_churn(|churn| churn.completed), of_churn(|churn| churn.started));
        return format!("{completed} of {started} short connections completed");
    }
    format!(
        "{} of {} connections established, {} failed, {} lost",
        number(result.established),
        number(result.target_connections),
        listed(&result.failed),
        listed(&result.lost)
    )
}

/// Counts by name: `0`, `15 (ECONNREFUSED 12, ETIMEDOUT 3)`; what was not measured is unknown.
pub(crate) fn listed(counts: &Counts) -> String {
    let Some(counts) = counts.by_name() else { return "an unknown number".into() };
    let each: Vec<String> =
        counts.iter().map(|(name, n)| format!("{name} {}", format::count(n.real()))).collect();
    let sum = format::count(counts.values().map(|n| n.real()).sum());
    if each.is_empty() { sum } else { format!("{sum} ({})", each.join(", ")) }
}

/// A wall that cost something, in full.
fn attribution(wall: &Attribution) -> Markup {
    html! {
        div.wall {
            h3 {
                "Wall: " (id(wall)) " " (place(wall))
                span.quiet {
                    " (" (wall.confidence.as_deref().unwrap_or("unknown")) "): "
                    (wall.toll())
                }
            }
            @if !wall.evidence.is_empty() {
                h4 { "Evidence" }
                ul { @for line in wall.evidence.iter() { li { (line) } } }
            }
            @if !wall.fix.is_empty() {
                h4 { "Fix" }
                pre { @for line in wall.fix.iter() { (line) "\n" } }
            }
            @if !wall.ruled_out.is_empty() {
                details {
                    summary { "What else it could have been (" (wall.ruled_out.len()) ")" }
                    ul { @for line in wall.ruled_out.iter() { li { (line) } } }
                }
            }
        }
    }
}

/// A wall that cost nothing.
fn in_a_line(wall: &Attribution) -> Markup {
    html! {
        b { (id(wall)) } " " (place(wall)) ": " (wall.evidence.join("; "))
        @if !wall.fix.is_empty() {
            span.quiet { "; lifted by " }
            code { (wall.fix.join("; ")) }
        }
    }
}

fn known(wall: &NextWall) -> Option<(&str, f64)> {
    Some((wall.id.as_deref()?, wall.at_connections.real()?))
}

fn id(wall: &Attribution) -> &str {
    wall.id.as_deref().unwrap_or("unknown")
}

fn place(wall: &Attribution) -> &'static str {
    match wall.side.as_deref() {
        Some("client") => "at the client",
        Some("server") => "at the server",
        Some("between") => "between the ends",
        _ => "at an unknown side",
    }
}
