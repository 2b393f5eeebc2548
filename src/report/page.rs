//! The page: its head, its style, and the order of its parts.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::compare::side_by_side;
use crate::report::figures::charts;
use crate::report::host::{command, environment, walls};
use crate::report::read::Run;
use crate::report::tables::{cost, number, plateaus};
use crate::report::verdict::verdict;
use crate::shown;

const STYLE: &str = include_str!("style.css");

/// The whole page.
pub(crate) fn page(runs: &[Run]) -> Markup {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = format!("megaconn: {}", names.join(", "));
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
                    @if let [run] = runs {
                        (one(run))
                    } @else {
                        h2 { "Side by side" }
                        (side_by_side(runs))
                        (charts(runs))
                        @for run in runs {
                            h1.run { (run.name) }
                            (details(run))
                        }
                    }
                }
                footer { "megaconn " (crate::VERSION) @if let Some(commit) = crate::COMMIT { " (" (commit) ")" } }
            }
        }
    }
}

fn one(run: &Run) -> Markup {
    let runs = std::slice::from_ref(run);
    html! {
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
        section { h2 { "Plateaus" } (plateaus(run)) }
        section { h2 { "Cost of a connection" } (cost(run)) }
        section { h2 { "Walls of this host, before the run" } (walls(run)) }
        section { h2 { "Environment" } (environment(run)) }
        section { h2 { "To repeat it" } (command(run)) }
        (what_is_missing(run))
    }
}

/// The figures that are asked for first.
fn tiles(run: &Run) -> Markup {
    let Some(result) = &run.result else { return html! {} };
    let last = result.plateaus.last();
    let cost = &result.cost_per_connection;
    let error = cost.stderr_bytes.map(|error| format!(" ± {}", shown::count(error.ceil())));
    let kernel = number(cost.kernel_bytes, shown::bytes) + &error.unwrap_or_default();
    let tiles = [
        ("established", number(result.established, shown::count)),
        ("opened in", last.map_or("–".into(), |p| number(p.connect.seconds, shown::seconds))),
        (
            "messages p99",
            last.map_or("–".into(), |p| number(p.messages.latency_us.p99, shown::microseconds)),
        ),
        ("kernel, each connection", kernel),
        ("server, each connection", number(cost.server_user_bytes, shown::bytes)),
        ("closed in", number(result.close.seconds, shown::seconds)),
    ];
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
