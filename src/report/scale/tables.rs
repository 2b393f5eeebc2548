//! The tables of a scaling run: the constants of the law of scalability, and every figure with its
//! spread.

use std::collections::BTreeSet;

use maud::{Markup, html};

use crate::base::format;
use crate::report::scale::cells::{Cell, law};
use crate::report::scale::figures::{FIGURES, Ideal};
use crate::report::scale::law::{BEYOND, COUNTS_MIN, Constant, Law};

/// What goes by the law: rates.
fn rates() -> impl Iterator<Item = usize> {
    (0..FIGURES.len()).filter(|index| FIGURES[*index].by_cores == Ideal::Times)
}

/// The law of each rate, for each number of connections.
pub(crate) fn laws(cells: &[Cell]) -> Markup {
    let kinds: BTreeSet<(u32, bool)> =
        cells.iter().map(|cell| (cell.connections, cell.is_shared)).collect();
    let all = rates().flat_map(|rate| kinds.iter().map(move |kind| (rate, *kind)));
    let all: Vec<_> = all
        .map(|(rate, (n, is_shared))| (rate, n, is_shared, law(cells, rate, n, is_shared)))
        .collect();
    let most = all.iter().filter_map(|(.., law)| law.as_ref().err()).max();
    let found: Vec<_> = all
        .iter()
        .filter_map(|(rate, n, shared, law)| Some((rate, n, shared, law.as_ref().ok()?)))
        .collect();
    html! {
        @if found.is_empty() {
            p.missing {
                "No fit: it takes " (COUNTS_MIN) " numbers of cores of the same kind, which share CPUs or do not, and \
                 there are " (most.copied().unwrap_or(0)) " here."
            }
        } @else {
            div.scroll {
                table {
                    thead { tr {
                        th { "rate" } th { "connections" } th.word { "CPUs" } th { "one core, lambda" }
                        th { "contention, sigma" } th { "agreement, kappa" } th { "left over" }
                        th { "numbers of cores" } th { "most at" } th { "at twice the most cores" }
                    } }
                    tbody { @for (rate, n, is_shared, law) in &found {
                        tr {
                            td { (FIGURES[**rate].name) }
                            td { (format::count((**n).into())) }
                            td.word { (if **is_shared { "shared" } else { "apart" }) }
                            td { (with_error(law.lambda, &|x| format::per_second(x))) }
                            td { (with_error(law.sigma, &|x| format!("{x:.4}"))) }
                            td { (with_error(law.kappa, &|x| format!("{x:.6}"))) }
                            td { (format!("{:.1} %", 100.0 * law.residual)) }
                            td { (law.counts) }
                            td { (peak(law)) }
                            td { (twice(law)) }
                        }
                    } }
                }
            }
            p.quiet {
                "Rate of N cores = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)), by nonlinear least squares \
                 through every run, ± standard error. sigma: the share of the work that waits for others; \
                 kappa: what each pair of cores costs, to agree on something. One below 0 is better than \
                 the law knows: within two errors of 0, it is 0. Left over: root mean square of what the law does not \
                 say, of each rate. What is beyond the most cores was not measured; beyond " (BEYOND) " times as \
                 many the law is not asked. Source: N. J. Gunther, A General Theory of Computational \
                 Scalability Based on Rational Functions, arXiv 0808.1431."
            }
            @if found.iter().any(|(.., law)| law.counts == COUNTS_MIN) {
                p.quiet {
                    b.fair { "Three numbers of cores " }
                    "give the three constants and leave nothing that could tell whether the law holds: errors are of \
                     repeats alone."
                }
            }
            @if let Some(most) = most {
                p.missing {
                    "No fit of the others: it takes " (COUNTS_MIN) " numbers of cores of the same kind, and there are at \
                     most " (most) "."
                }
            }
        }
    }
}

fn with_error(constant: Constant, text: &dyn Fn(f64) -> String) -> String {
    let error = constant.stderr.map_or(String::new(), |error| format!(" ± {}", text(error)));
    text(constant.value) + &error
}

fn peak(law: &Law) -> String {
    match law.peak() {
        Some(cores) if cores > law.cores_most => format!("{cores:.0} cores, not measured"),
        Some(cores) => format!("{cores:.0} cores"),
        None => format!("beyond {:.0} cores, if at all", BEYOND * law.cores_most),
    }
}

fn twice(law: &Law) -> String {
    let cores = BEYOND * law.cores_most;
    law.at(cores)
        .map_or("–".into(), |rate| format!("{} with {cores:.0}", format::per_second(rate)))
}

/// Every figure of every kind of run: median, and least to most.
pub(crate) fn figures(cells: &[Cell]) -> Markup {
    let is_used = |index: &usize| cells.iter().any(|cell| !cell.figures[*index].is_empty());
    let used: Vec<usize> = (0..FIGURES.len()).filter(is_used).collect();
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "connections" } th { "cores" } th.word { "CPUs" } th { "runs" }
                    @for index in &used { th { (FIGURES[*index].name) } }
                } }
                tbody { @for cell in cells {
                    tr {
                        td { (format::count(cell.connections.into())) }
                        td { (cell.cores) }
                        td.word { (if cell.is_shared { "shared" } else { "apart" }) }
                        td { (cell.runs) }
                        @for index in &used { td { (spread(cell, *index)) } }
                    }
                } }
            }
        }
        p.quiet { "The median, and below it from the least to the most. A dash: not measured." }
    }
}

fn spread(cell: &Cell, index: usize) -> Markup {
    let text = FIGURES[index].text;
    html! {
        @match cell.spread(index) {
            None => "–",
            Some([least, median, most]) => {
                (text(median))
                @if cell.figures[index].len() > 1 {
                    br;
                    span.quiet { (text(least)) " – " (text(most)) }
                }
            }
        }
    }
}
