//! The charts of a scaling run: each figure against cores, a line for each number of connections, and
//! against connections, a line for each number of cores. Lines go through medians; a stroke at each
//! point goes from the least run to the most.

use maud::{Markup, PreEscaped, html};

use crate::base::format;
use crate::report::chart::{self, Axis, COLORS, Look, Series};
use crate::report::figures::{legend, powers};
use crate::report::points::Drawing;
use crate::report::scale::cells::{Cell, law};
use crate::report::scale::figures::{FIGURES, Figure, Ideal};

/// Lines of a chart: the last colour is the ideal's.
const LINES_MAX: usize = COLORS.len() - 1;

/// Points at which the curve of a law is calculated.
const CURVE_STEPS: u32 = 60;

/// The horizontal axis of a chart.
#[derive(Clone, Copy, PartialEq)]
enum Against {
    Cores,
    Connections,
}

impl Against {
    fn x(self, cell: &Cell) -> f64 {
        match self {
            Against::Cores => f64::from(cell.cores),
            Against::Connections => f64::from(cell.connections).log10(),
        }
    }

    /// What the cells of one line have in common.
    fn line(self, cell: &Cell) -> (u32, bool) {
        match self {
            Against::Cores => (cell.connections, cell.is_shared),
            Against::Connections => (cell.cores, cell.is_shared),
        }
    }

    fn name(self, (n, is_shared): (u32, bool)) -> String {
        let n = format::short(n.into());
        let of = match (self, n.as_str()) {
            (Against::Cores, "1") => "1 connection".into(),
            (Against::Cores, n) => format!("{n} connections"),
            (Against::Connections, "1") => "1 core".into(),
            (Against::Connections, n) => format!("{n} cores"),
        };
        if is_shared { format!("{of}, shared CPUs") } else { of }
    }

    fn ideal(self, figure: &Figure) -> Ideal {
        match self {
            Against::Cores => figure.by_cores,
            Against::Connections => figure.by_connections,
        }
    }
}

/// What is drawn of a figure: with a place in the legend, and without.
#[derive(Default)]
struct Lines {
    named: Vec<Series>,
    unnamed: Vec<Series>,
    /// Lines for which there was no room.
    left_out: usize,
}

/// All charts of `cells`.
pub(crate) fn curves(cells: &[Cell]) -> Markup {
    html! {
        div.charts {
            @for (index, figure) in FIGURES.iter().enumerate() {
                @if let Some(caption) = figure.caption {
                    @for against in [Against::Cores, Against::Connections] {
                        (curve(cells, index, against, caption))
                    }
                }
            }
        }
    }
}

fn curve(cells: &[Cell], figure: usize, against: Against, caption: &str) -> Markup {
    let lines = lines(cells, figure, against);
    let left_out = lines.left_out;
    let drawing = Drawing { lines: lines.named, ..Drawing::default() };
    let of = match against {
        Against::Cores => "cores",
        Against::Connections => "connections",
    };
    html! {
        figure {
            h3 { (FIGURES[figure].name) " against " (of) }
            @if drawing.lines.is_empty() {
                p.missing { "Not measured." }
            } @else {
                (PreEscaped(drawn(&drawing.lines, lines.unnamed, figure, against)))
                (legend(&drawing))
                figcaption {
                    (caption)
                    @if left_out > 0 { " " (left_out) " more lines are in the table alone." }
                }
            }
        }
    }
}

fn lines(cells: &[Cell], figure: usize, against: Against) -> Lines {
    let measured = || cells.iter().filter(|cell| cell.spread(figure).is_some());
    let mut kinds: Vec<(u32, bool)> = measured().map(|cell| against.line(cell)).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let counts: Vec<u32> = {
        let mut counts: Vec<u32> = kinds.iter().map(|(n, _)| *n).collect();
        counts.dedup();
        counts
    };
    let shown = spread_out(&counts, LINES_MAX);
    let has_apart = |n: u32| kinds.contains(&(n, false));
    let mut lines = Lines { left_out: counts.len() - shown.len(), ..Lines::default() };
    for &kind in &kinds {
        let Some(color) = shown.iter().position(|n| *n == kind.0).map(|at| COLORS[at]) else {
            continue;
        };
        let of_kind = || measured().filter(move |cell| against.line(cell) == kind);
        // A negative figure, such as memory that has shrunk, stands at 0, where the axis begins.
        let height = |cell: &Cell| cell.spread(figure).unwrap_or_default().map(|y| y.max(0.0));
        let at = |cell: &Cell| (against.x(cell), height(cell));
        let mut points: Vec<(f64, [f64; 3])> = of_kind().map(at).collect();
        points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let series =
            |name: &str, look, points| Series { name: name.to_owned(), color, look, points };
        for (x, [least, _, most]) in &points {
            lines.unnamed.push(series("", Look::Line, vec![(*x, *least), (*x, *most)]));
        }
        let (name, look) = (against.name(kind), if kind.1 { Look::Dashes } else { Look::Marks });
        let medians: Vec<(f64, f64)> =
            points.iter().map(|(x, [_, median, _])| (*x, *median)).collect();
        let is_rate = FIGURES[figure].by_cores == Ideal::Times && against == Against::Cores;
        match law(cells, figure, kind.0, kind.1).ok().filter(|_| is_rate) {
            Some(law) => {
                // One point alone is a mark.
                let marks = medians.iter().map(|point| series("", Look::Line, vec![*point]));
                lines.unnamed.extend(marks);
                let (from, to) = (medians[0].0, medians[medians.len() - 1].0);
                let step = |step| from + (to - from) * f64::from(step) / f64::from(CURVE_STEPS);
                let curve = (0..=CURVE_STEPS).map(step).filter_map(|n| Some((n, law.at(n)?)));
                lines.named.push(series(
                    &format!("{name}, by the law"),
                    Look::Line,
                    curve.collect(),
                ));
            }
            // On one host the number of cores decides whether runs share CPUs.
            None if against == Against::Cores && kind.1 && has_apart(kind.0) => {
                lines.unnamed.push(series("", look, medians));
            }
            None => lines.named.push(series(&name, look, medians)),
        }
    }
    lines.named.extend(ideal(cells, figure, against));
    lines
}

/// From the best median of the fewest cores, or connections, on.
fn ideal(cells: &[Cell], figure: usize, against: Against) -> Option<Series> {
    let ideal = against.ideal(&FIGURES[figure]);
    let points =
        || cells.iter().filter_map(|cell| Some((against.x(cell), cell.spread(figure)?[1])));
    let first = points().map(|(x, _)| x).min_by(f64::total_cmp)?;
    let last = points().map(|(x, _)| x).max_by(f64::total_cmp)?;
    let at_first = points().filter(|(x, _)| *x == first).map(|(_, y)| y);
    // Of rates the most is best, of costs the least.
    let best = match FIGURES[figure].by_cores {
        Ideal::Times => at_first.max_by(f64::total_cmp)?,
        _ => at_first.min_by(f64::total_cmp)?,
    };
    let end = match ideal {
        Ideal::Times => best * last / first,
        Ideal::Same => best,
        Ideal::None => return None,
    };
    let points = vec![(first, best), (last, end)];
    let color = COLORS[LINES_MAX];
    let is_line = last > first;
    is_line.then(|| Series { name: "ideal".into(), color, look: Look::Dashes, points })
}

/// At most `most` elements of a list, its ends among them.
fn spread_out(all: &[u32], most: usize) -> Vec<u32> {
    if all.len() <= most {
        return all.to_vec();
    }
    (0..most).map(|index| all[index * (all.len() - 1) / (most - 1)]).collect()
}

fn drawn(named: &[Series], unnamed: Vec<Series>, figure: usize, against: Against) -> String {
    let copied = named.iter().map(|series| series.scaled(1.0));
    let all: Vec<Series> = unnamed.into_iter().chain(copied).collect();
    let points = || all.iter().flat_map(|series| &series.points);
    let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let least_x = points().map(|(x, _)| *x).fold(f64::INFINITY, f64::min);
    let (x_high, y_high) = (most(|(x, _)| *x), most(|(_, y)| *y) * 1.06);
    let whole = |x: f64| if x.fract() == 0.0 { format::short(x) } else { String::new() };
    let power = |x: f64| {
        if x.fract() == 0.0 { format::short(10.0_f64.powf(x)) } else { String::new() }
    };
    let x = match against {
        Against::Cores => {
            Axis { name: "cores", low: 0.0, high: x_high * 1.06, ticks: 8, label: &whole }
        }
        Against::Connections => {
            // A mark at the edge of the plot would be half a mark.
            let (low, high) =
                (least_x.floor() - 0.15, x_high.ceil().max(least_x.floor() + 1.0) + 0.15);
            Axis { name: "connections", low, high, ticks: powers(low, high), label: &power }
        }
    };
    let high = if y_high > 1e-9 { y_high } else { 1.0 };
    let y = Axis { name: FIGURES[figure].unit, low: 0.0, high, ticks: 6, label: &format::short };
    chart::lines(&x, &y, &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_many_lines_are_drawn() {
        let all: Vec<u32> = (0..100).collect();
        let some = spread_out(&all, LINES_MAX);
        assert_eq!((some.len(), some[0], some[LINES_MAX - 1]), (LINES_MAX, 0, 99));
        assert_eq!(spread_out(&all[..3], LINES_MAX), [0, 1, 2]);
    }
}
