//! The page: its head, its style, and the order of its parts.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::base::format;
use crate::report::broadcasts;
use crate::report::bystanders::{bystanders, capacity};
use crate::report::compare::{bystanders_side_by_side, side_by_side};
use crate::report::figures::charts;
use crate::report::host::{command, environment, walls};
use crate::report::parts_table;
use crate::report::read::Run;
use crate::report::storms;
use crate::report::tables::{cost, plateaus};
use crate::report::verdict::verdict;
use crate::results::answer;
use crate::results::lenient::{Figure, Maybe};
use crate::results::percentiles::Percentiles;

const STYLE: &str = include_str!("style.css");

/// The whole page of runs.
pub(crate) fn page(runs: &[Run]) -> Markup {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let body = html! {
        @if let [run] = runs {
            (one(run))
        } @else {
            h2 { "Side by side" }
            (side_by_side(runs))
            (bystanders_side_by_side(runs))
            (charts(runs))
            @for run in runs {
                h1.run { (run.name) }
                (details(run))
            }
        }
    };
    sheet(&format!("megaconn: {}", names.join(", ")), &body)
}

/// A page with its head, its style and its foot.
pub(crate) fn sheet(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    h1 { (title) }
                    (body)
                }
                footer { "megaconn " (crate::VERSION) @if let Some(commit) = crate::COMMIT { " (" (commit) ")" } }
            }
        }
    }
}

fn one(run: &Run) -> Markup {
    let runs = std::slice::from_ref(run);
    html! {
        @if let Some(answer) = run.result.as_ref().and_then(answer::sentence) {
            p.answer { (answer) }
        }
        (verdict(run))
        (tiles(run))
        (charts(runs))
        (below_verdict(run))
    }
}

fn details(run: &Run) -> Markup {
    html! { (verdict(run)) (below_verdict(run)) }
}

fn below_verdict(run: &Run) -> Markup {
    html! {
        (parts_table::section(run))
        (bystanders(run))
        section { h2 { "Plateaus" } (plateaus(run)) }
        (storms::table(run))
        section { h2 { "Cost of a connection" } (cost(run)) }
        section { h2 { "Walls of this host, before the run" } (walls(run)) }
        (broadcasts::section(run))
        (changes(run))
        section { h2 { "Environment" } (environment(run)) }
        section { h2 { "To repeat it" } (command(run)) }
        (what_is_missing(run))
    }
}

/// What was changed by control while the run went on.
fn changes(run: &Run) -> Markup {
    let changes = run.result.iter().flat_map(|result| result.changes.iter());
    let rows: Vec<(String, &str)> = changes
        .map(|change| {
            let at = change.at_seconds.map_or("not carried out".into(), format::seconds);
            (at, change.what.as_deref().unwrap_or("unknown"))
        })
        .collect();
    html! {
        @if !rows.is_empty() {
            section {
                h2 { "Changed by control" }
                table {
                    thead { tr { th { "after" } th { "to" } } }
                    tbody { @for (at, what) in rows { tr { td.first { (at) } td.first { (what) } } } }
                }
            }
        }
    }
}

/// The figures that are asked for first, as far as there are any.
fn tiles(run: &Run) -> Markup {
    let Some(result) = &run.result else { return html! {} };
    let last = result.highest();
    let cost = &result.cost_per_connection;
    let error = cost.stderr_bytes.map(|error| format!(" ± {}", format::count(error.ceil())));
    let kernel = cost.kernel_bytes.map(|n| format::bytes(n) + &error.unwrap_or_default());
    let us = |latency: Maybe<Percentiles>| Some(format::microseconds(latency.0?.p99.real()));
    let churn = last.and_then(|p| p.churn.as_ref());
    let safe = result.safe_capacity.as_ref().filter(|safe| safe.expression.is_some());
    let held = result.target_connections.filter(|n| *n > 0);
    let tiles = [
        ("established", held.and(result.established.real()).map(format::count)),
        ("opened in", held.and(last.and_then(|p| p.connect.seconds.map(format::seconds)))),
        ("messages p99", last.and_then(|p| us(p.messages.latency_us))),
        ("short connections", churn.and_then(|churn| churn.rate_per_s.map(format::per_second))),
        ("short connections p99", churn.and_then(|churn| us(churn.latency_us))),
        ("safe capacity", safe.map(capacity)),
        ("kernel, each connection", kernel),
        ("server, each connection", cost.server_user_bytes.map(format::bytes)),
        (
            "closed in",
            held.and(result.close.as_ref().and_then(|close| close.seconds.map(format::seconds))),
        ),
    ];
    let tiles = tiles.into_iter().filter_map(|(name, text)| Some((name, text?)));
    html! {
        dl.tiles {
            @for (name, text) in tiles { div { dt { (name) } dd { (text) } } }
        }
    }
}

fn what_is_missing(run: &Run) -> Markup {
    let notes = run.result.iter().flat_map(|result| result.notes.iter());
    html! {
        @if !run.missing.is_empty() {
            section {
                h2 { "Missing in the run directory" }
                ul { @for line in &run.missing { li { (line) } } }
            }
        }
        @if run.result.as_ref().is_some_and(|result| !result.notes.is_empty()) {
            section {
                h2 { "Notes on the figures" }
                dl { @for (figure, why) in notes { dt { code { (figure) } } dd { (why) } } }
            }
        }
    }
}
