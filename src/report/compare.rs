//! Runs laid side by side: each figure of each, and its ratio to the first one's.

use maud::{Markup, html};

use crate::base::format;
use crate::report::bystanders::percent;
use crate::report::host;
use crate::report::read::Run;
use crate::report::verdict::listed;
use crate::results::bystanders::{Bystanders, SpanPhase};
use crate::results::lenient::{Figure, Maybe};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::{Churn, Plateau};
use crate::results::result::{Close, RunResult};

/// A figure of a run, by which runs are compared.
type Row = (&'static str, fn(&RunResult) -> Option<f64>, fn(f64) -> String);

fn last(result: &RunResult) -> Option<&Plateau> {
    result.plateaus.last()
}

fn churn(result: &RunResult) -> Option<&Churn> {
    last(result)?.churn.as_ref()
}

fn close(result: &RunResult) -> Option<&Close> {
    result.close.as_ref()
}

fn p50(latency: Maybe<Percentiles>) -> Option<f64> {
    Some(latency.0?.p50.real())
}

fn p99(latency: Maybe<Percentiles>) -> Option<f64> {
    Some(latency.0?.p99.real())
}

const ROWS: [Row; 24] = [
    ("connections asked for", |r| r.target_connections.real(), format::count),
    ("established", |r| r.established.real(), format::count),
    ("opened in", |r| last(r)?.connect.seconds.0, format::seconds),
    ("connect rate", |r| last(r)?.connect.rate_per_s.0, format::per_second),
    ("connect latency p50", |r| p50(last(r)?.connect.latency_us), format::microseconds),
    ("connect latency p99", |r| p99(last(r)?.connect.latency_us), format::microseconds),
    ("messages verified", |r| last(r)?.messages.received.real(), format::count),
    ("message latency p50", |r| p50(last(r)?.messages.latency_us), format::microseconds),
    ("message latency p99", |r| p99(last(r)?.messages.latency_us), format::microseconds),
    (
        "message latency, most",
        |r| Some(last(r)?.messages.latency_us.0?.max.real()),
        format::microseconds,
    ),
    ("pushes received", |r| last(r)?.pushes.as_ref()?.received.real(), format::count),
    ("short connections", |r| churn(r)?.rate_per_s.0, format::per_second),
    ("short connections p99", |r| p99(churn(r)?.latency_us), format::microseconds),
    ("client's lag p99", |r| p99(last(r)?.schedule_lag_us), format::microseconds),
    ("kernel, for each connection", |r| r.cost_per_connection.kernel_bytes.0, format::bytes),
    ("± standard error", |r| r.cost_per_connection.stderr_bytes.0, format::bytes),
    ("server process, each", |r| r.cost_per_connection.server_user_bytes.0, format::bytes),
    ("client process, each", |r| r.cost_per_connection.client_user_bytes.0, format::bytes),
    ("open files, server", |r| r.file_descriptors.server.real(), format::count),
    ("open files, client", |r| r.file_descriptors.client.real(), format::count),
    ("closed in", |r| close(r)?.seconds.0, format::seconds),
    ("close rate", |r| close(r)?.rate_per_s.0, format::per_second),
    ("server empty after", |r| close(r)?.server_seconds.0, format::seconds),
    ("whole run", |r| r.seconds.0, format::seconds),
];

/// The table of all runs.
pub(crate) fn side_by_side(runs: &[Run]) -> Markup {
    let of = |run: &Run, (_, figure, _): &Row| run.result.as_ref().and_then(*figure);
    let is_used = |row: &&Row| runs.iter().any(|run| of(run, row).is_some());
    html! {
        div.scroll {
            table.compared {
                thead { tr { th { "last plateau" } @for run in runs { th { (run.name) } } } }
                tbody {
                    @for (name, text) in WORDS {
                        tr { td { (name) } @for run in runs { td { (text(run)) } } }
                    }
                    @for row in ROWS.iter().filter(is_used) {
                        @let figures = runs.iter().map(|run| of(run, row));
                        tr { td { (row.0) } (cells(&figures.collect::<Vec<_>>(), row.2)) }
                    }
                }
            }
        }
        p.quiet { "Ratios are to the first run. A dash: not measured." }
    }
}

/// A figure of a bystander of a run.
type OfBystander = (&'static str, fn(&Bystanders, &str) -> Option<f64>, fn(f64) -> String);

const OF_BYSTANDERS: [OfBystander; 3] = [
    ("p99, idle host", |all, name| p99s(all, name, true).next(), format::microseconds),
    ("p99, worst phase", |all, name| p99s(all, name, false).reduce(f64::max), format::microseconds),
    ("lost", lost, percent),
];

/// The p99 of a bystander in each phase: of the idle host before the load, or of all other phases.
fn p99s<'a>(all: &'a Bystanders, name: &'a str, is_idle: bool) -> impl Iterator<Item = f64> + 'a {
    let spans = all.spans.iter();
    let spans = spans.filter(move |span| (span.phase.known() == Some(IDLE)) == is_idle);
    spans.filter_map(move |span| Some(span.of(name)?.latency_us.0?.p99.real()))
}

/// The phase that all other phases are held against.
const IDLE: SpanPhase = SpanPhase::Baseline;

/// The part that was lost, from the first connection on.
fn lost(all: &Bystanders, name: &str) -> Option<f64> {
    let spans = all.spans.iter().filter(|span| span.phase.known() != Some(IDLE));
    let probed = spans.filter_map(|span| span.of(name));
    let counts = probed.filter_map(|probed| Some((probed.sent.real()?, probed.lost.real()?)));
    let (sent, lost) = counts.fold((0.0, 0.0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    (sent > 0.0).then(|| lost / sent)
}

fn account(run: &Run) -> Option<&Bystanders> {
    run.result.as_ref()?.bystanders.as_ref()
}

/// Bystanders of all runs, if any had some.
pub(crate) fn bystanders_side_by_side(runs: &[Run]) -> Markup {
    let names = runs.iter().filter_map(account).flat_map(|all| all.probes.iter());
    let mut in_order: Vec<&str> = Vec::new();
    for name in names.filter_map(|probe| probe.name.as_deref()) {
        if !in_order.contains(&name) {
            in_order.push(name);
        }
    }
    let of = |run, figure: fn(&Bystanders, &str) -> Option<f64>, name: &str| {
        account(run).and_then(|all| figure(all, name))
    };
    html! {
        @if !in_order.is_empty() {
            div.scroll {
                table.compared {
                    thead { tr { th { "bystanders" } @for run in runs { th { (run.name) } } } }
                    tbody {
                        @for name in in_order {
                            @for (what, figure, form) in OF_BYSTANDERS {
                                @let figures = runs.iter().map(|run| of(run, figure, name));
                                tr {
                                    td { (name) " " (what) }
                                    (cells(&figures.collect::<Vec<_>>(), form))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A fact of a run that is no figure, in words.
type Words = (&'static str, fn(&Run) -> String);

const WORDS: [Words; 5] = [
    ("verdict", |run| match run.result.as_ref().and_then(|result| result.verdict.met.0) {
        Some(true) => "met".into(),
        Some(false) => "missed".into(),
        None => "none".into(),
    }),
    ("failed", |run| run.result.as_ref().map_or("–".into(), |result| listed(&result.failed))),
    ("lost", |run| run.result.as_ref().map_or("–".into(), |result| listed(&result.lost))),
    ("megaconn", |run| fact(run, "megaconn")),
    ("kernel", |run| fact(run, "kernel")),
];

fn fact(run: &Run, name: &str) -> String {
    let facts = run.environment.iter().flat_map(host::facts);
    facts.into_iter().find(|(found, _)| *found == name).map_or("–".into(), |(_, text)| text)
}

/// A figure of each run, and its ratio to the first one's.
fn cells(figures: &[Option<f64>], form: fn(f64) -> String) -> Markup {
    html! {
        @for (index, figure) in figures.iter().enumerate() {
            td {
                (figure.map_or("–".into(), form))
                @if index > 0 { " " span.quiet { (ratio(*figure, figures[0])) } }
            }
        }
    }
}

/// `×1.04`; nothing where there is no ratio.
fn ratio(figure: Option<f64>, first: Option<f64>) -> String {
    match (figure, first) {
        (Some(figure), Some(first)) if first != 0.0 => {
            let ratio = figure / first;
            match ratio.abs() {
                0.1..100.0 => format!("×{ratio:.2}"),
                100.0.. => format!("×{ratio:.0}"),
                _ => format!("×{ratio:.3}"),
            }
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_first() {
        assert_eq!(ratio(Some(26.0), Some(25.0)), "×1.04");
        assert_eq!(ratio(Some(1.0), Some(1_000.0)), "×0.001");
        assert_eq!(ratio(Some(334_778.0), Some(100.0)), "×3348");
        assert_eq!(
            (ratio(Some(1.0), Some(0.0)), ratio(None, Some(1.0))),
            (String::new(), String::new())
        );
    }
}
