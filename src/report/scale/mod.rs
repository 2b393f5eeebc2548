//! The report of a scaling run: the directory that `bench-scripts/scale.sh` wrote, as curves against
//! cores and against connections, with spread, the ideal, and the law of scalability where there are
//! cores enough.
//!
//! `figures` is the table of what is in the file, `csv` reads it, `cells` puts runs of one kind
//! together, `law` is the arithmetic, `curves` and `tables` are the parts of the page.

use std::collections::BTreeSet;
use std::path::Path;

use maud::{Markup, html};

use crate::base::format;
use crate::report::host::environment;
use crate::report::page::sheet;
use crate::report::read::{ReportError, Run, name};
use crate::report::scale::csv::{Row, Table};

mod cells;
mod csv;
mod curves;
mod figures;
mod law;
mod tables;

/// The file that makes a directory one of a scaling run.
pub(crate) const FILE: &str = "scale.csv";

/// The page of the scaling run in `dir`.
///
/// # Errors
/// When its file has no whole run.
pub(crate) fn page(dir: &Path) -> Result<Markup, ReportError> {
    let file = dir.join(FILE);
    let table = csv::read(&file).map_err(|why| ReportError::Scale(file, why))?;
    let cells = cells::cells(&table.rows);
    let body = html! {
        (head(&table.rows))
        (curves::curves(&cells))
        section { h2 { "The law of scalability" } (tables::laws(&cells)) }
        section { h2 { "All figures" } (tables::figures(&cells)) }
        (missed(&table.rows))
        @if let Some(run) = any_run(dir, &table.rows) {
            section { h2 { "Environment, of one run" } (environment(&run)) }
        }
        (said(&table))
    };
    Ok(sheet(&format!("megaconn: scaling, {}", name(dir)), &body))
}

/// What was run.
fn head(rows: &[Row]) -> Markup {
    let counts = |of: fn(&Row) -> u32| {
        let counts: BTreeSet<u32> = rows.iter().map(of).collect();
        counts.into_iter().map(|n| format::short(n.into())).collect::<Vec<_>>().join(", ")
    };
    let commits: BTreeSet<&str> =
        rows.iter().map(|row| &*row.commit).filter(|c| !c.is_empty()).collect();
    let met = rows.iter().filter(|row| row.verdict == "met").count();
    let shared: BTreeSet<u32> =
        rows.iter().filter(|row| row.is_shared).map(|row| row.cores).collect();
    let shared: Vec<String> = shared.into_iter().map(|n| n.to_string()).collect();
    html! {
        dl.tiles {
            div { dt { "runs" } dd { (rows.len()) } }
            div { dt { "met their target" } dd { (met) } }
            div { dt { "cores of each end" } dd { (counts(|row| row.cores)) } }
            div { dt { "connections" } dd { (counts(|row| row.connections)) } }
        }
        p {
            "Lines go through the medians of repeated runs; a stroke at each point goes from the least run to \
             the most. Ideal: as many times as much with as many times the cores, and the same for each \
             message and connection, however many there are."
        }
        @if !shared.is_empty() {
            p {
                b.fair { "Shared CPUs: " }
                "with " (shared.join(", ")) " cores both ends ran on the same CPUs and took turns. That \
                 is another machine than one with as many CPUs for each, and no step on from fewer cores \
                 apart."
            }
        }
        @if commits.len() > 1 {
            p {
                b.fair { "Several commits: " }
                (commits.iter().copied().collect::<Vec<_>>().join(", "))
                ". What differs may be the program."
            }
        }
    }
}

/// Runs that missed their target. Their figures are shown all the same.
fn missed(rows: &[Row]) -> Markup {
    let missed = || rows.iter().filter(|row| row.verdict != "met");
    let count = |n: Option<f64>| n.map_or("–".into(), format::count);
    html! {
        @if missed().next().is_some() {
            section {
                h2 { "Runs that missed their target" }
                div.scroll {
                    table {
                        thead { tr {
                            th { "cores" } th { "connections" } th { "repeat" } th { "established" } th { "lost" }
                            th.word { "verdict" }
                        } }
                        tbody { @for row in missed() {
                            tr {
                                td { (row.cores) } td { (format::count(row.connections.into())) }
                                td { (row.repeat) } td { (count(row.established)) } td { (count(row.lost)) }
                                td.word { (if row.verdict.is_empty() { "–" } else { &*row.verdict }) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

/// A run whose directory is still there.
fn any_run(dir: &Path, rows: &[Row]) -> Option<Run> {
    let named = |row: &Row| {
        let Row { cores, connections, repeat, .. } = row;
        dir.join(format!("cores-{cores}-connections-{connections}-repeat-{repeat}"))
    };
    let run = rows.iter().map(named).find(|run| run.is_dir())?;
    Run::read(&run).ok().filter(|run| run.environment.is_some())
}

fn said(table: &Table) -> Markup {
    let said = &table.said;
    html! {
        @if !said.lines.is_empty() {
            section {
                h2 { "Not whole in " (FILE) }
                ul {
                    @for line in &said.lines { li { (line) } }
                    @if said.more > 0 { li { "and " (said.more) " things more" } }
                }
            }
        }
    }
}
