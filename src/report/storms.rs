//! What the report shows of storms: how many were back after what time, the connects that it took, and a table.

use maud::{Markup, html};

use crate::base::format;
use crate::report::chart::{COLORS, Look, Series};
use crate::report::points::{Drawing, Missing};
use crate::report::read::Run;
use crate::report::verdict::listed;
use crate::results::lenient::{Figure, Maybe};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::{Plateau, Storm, StormPoint};

/// Storms that have a line each: those in which the most were lost.
const LINES_MAX: usize = 6;

/// Storms that have a row each.
const ROWS_MAX: usize = 64;

/// The percentage of those lost that was back, over time.
pub(crate) fn back(run: &Run) -> Result<Drawing, Missing> {
    let part = |storm: &Storm| {
        let lost = storm.lost.real().filter(|lost| *lost > 0.0)?;
        Some(points(storm, |point| Some(100.0 * point.returned.real()? / lost)))
    };
    let has_several = run.result.as_ref().is_some_and(|result| result.plateaus.len() > 1);
    let named = greatest(run).into_iter().zip(COLORS).filter_map(|((plateau, storm), color)| {
        let at = if has_several { plateau.connections.real() } else { None };
        let name = at.map_or(name(storm), |at| format!("{} of {}", name(storm), format::count(at)));
        Some(Series { name, color, look: Look::Line, points: part(storm)? })
    });
    drawn(named.collect())
}

/// Connects a second, offered and come back, of the storm in which the most were lost.
pub(crate) fn connects(run: &Run) -> Result<Drawing, Missing> {
    let Some((_, storm)) = greatest(run).first().copied() else { return drawn(Vec::new()) };
    let tries = rates(&points(storm, |point| point.tries.real()));
    let returned = rates(&points(storm, |point| point.returned.real()));
    drawn(vec![
        Series { name: "tried".into(), color: COLORS[1], look: Look::Dashes, points: tries },
        Series { name: "came back".into(), color: COLORS[0], look: Look::Line, points: returned },
    ])
}

/// A row for each storm; nothing where there was none.
pub(crate) fn table(run: &Run) -> Markup {
    let storms: Vec<(&Plateau, &Storm)> = storms(run).take(ROWS_MAX).collect();
    let seconds = |seconds: Maybe<f64>| seconds.map_or(String::new(), format::seconds);
    let count = |n: Maybe<u64>| n.map_or(String::new(), |n| format::count(n.real()));
    let p99 = |latency: Maybe<Percentiles>| {
        latency.map_or(String::new(), |latency| format::microseconds(latency.p99.real()))
    };
    html! {
        @if !storms.is_empty() {
            section {
                h2 { "Storms" }
                table {
                    thead { tr {
                        th { "plateau" } th { "at" } th { "gone" } th { "dropped" } th { "of" } th { "half back" }
                        th { "90 %" } th { "99 %" } th { "all" } th { "returned" } th { "tries" }
                        th { "most in a second" } th { "failed" }
                        th { "p99 of those that stayed" } th { "before" }
                    } }
                    tbody { @for (plateau, storm) in storms { tr {
                        td.first { (count(plateau.connections)) } td { (seconds(storm.at_seconds)) }
                        td { (count(storm.lost)) } td { (count(storm.dropped)) } td { (count(storm.connections)) }
                        td { (seconds(storm.back.p50)) } td { (seconds(storm.back.p90)) }
                        td { (seconds(storm.back.p99)) } td { (seconds(storm.back.all)) }
                        td { (count(storm.returned)) } td { (count(storm.tries)) } td { (count(storm.tries_in_a_second)) }
                        td { (listed(&storm.failed)) }
                        td { (p99(storm.stayed_latency_us)) } td { (p99(storm.calm_latency_us)) }
                    } } }
                }
            }
        }
    }
}

fn storms(run: &Run) -> impl Iterator<Item = (&Plateau, &Storm)> {
    let plateaus = run.result.iter().flat_map(|result| result.plateaus.iter());
    plateaus.flat_map(|plateau| {
        let all = plateau.reconnect.iter().flat_map(|all| all.storms.iter());
        all.map(move |storm| (plateau, storm))
    })
}

/// Those in which the most were lost, the greatest first.
fn greatest(run: &Run) -> Vec<(&Plateau, &Storm)> {
    let mut all: Vec<(&Plateau, &Storm)> = storms(run).collect();
    all.sort_by_key(|(_, storm)| std::cmp::Reverse(*storm.lost));
    all.truncate(LINES_MAX);
    all
}

fn name(storm: &Storm) -> String {
    let lost = storm.lost.real().map_or("some".into(), format::count);
    let at = storm.at_seconds.map_or("an unknown time".into(), format::seconds);
    format!("{lost} gone at {at}")
}

fn points(storm: &Storm, value: impl Fn(&StormPoint) -> Option<f64>) -> Vec<(f64, f64)> {
    storm
        .course
        .iter()
        .filter_map(|point| Some((*point.seconds.as_ref()?, value(point)?)))
        .collect()
}

/// The rise from one point to the next by the time between them, in the middle of it. Points that are closer than
/// a twentieth of all the time, or a quarter of a second, are one step.
fn rates(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let all = points.last().map_or(0.0, |(seconds, _)| *seconds);
    let least = (all / 20.0).max(0.25);
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for point in points {
        if steps.last().is_none_or(|(seconds, _)| point.0 - seconds >= least) {
            steps.push(*point);
        }
    }
    if let (Some(last), Some(end)) = (points.last(), steps.last())
        && last != end
    {
        steps.push(*last);
    }
    let rate = |pair: &[(f64, f64)]| {
        let ((from, before), (to, after)) = (pair[0], pair[1]);
        (to > from).then(|| (f64::midpoint(from, to), (after - before).max(0.0) / (to - from)))
    };
    steps.windows(2).filter_map(rate).collect()
}

fn drawn(lines: Vec<Series>) -> Result<Drawing, Missing> {
    if lines.iter().all(|line| line.points.is_empty()) {
        return Err(Missing::NotAsked);
    }
    Ok(Drawing { lines, ..Drawing::default() })
}
