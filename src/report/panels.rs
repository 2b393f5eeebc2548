//! A panel for each bystander: its latency and losses over time, with the connections that were open
//! and the phases of the run behind them. All panels of a run have the same time.

use std::collections::BTreeMap;

use maud::{Markup, PreEscaped, html};
use plotters::style::RGBColor;

use crate::base::format;
use crate::report::chart::{self, AREA, Axis, BAND_OPACITY, Band, Behind, COLORS};
use crate::report::chart::{Look, Series};
use crate::report::figures::{key_of_block, key_of_line, power_of_ten, powers, time_unit};
use crate::report::points::log;
use crate::report::read::Run;
use crate::report::seconds::{Point, Seconds};
use crate::report::ticks::Ticks;
use crate::results::bystanders::{BystanderSpan, Bystanders, Probe, SpanPhase};
use crate::results::lenient::Figure;

/// Phases of a run: the name on the page, the colour.
pub(crate) const PHASES: [(SpanPhase, &str, RGBColor); 7] = [
    (SpanPhase::Baseline, "baseline", COLORS[8]),
    (SpanPhase::Connecting, "opening", COLORS[2]),
    (SpanPhase::Settled, "settled", COLORS[7]),
    (SpanPhase::Messages, "messages", COLORS[4]),
    (SpanPhase::Closing, "closing", COLORS[5]),
    (SpanPhase::Recovery, "recovery", COLORS[8]),
    (SpanPhase::Watched, "watched", COLORS[7]),
];

const MEDIAN: RGBColor = COLORS[0];
const MOST: RGBColor = COLORS[1];
const LOST: RGBColor = COLORS[3];

/// A part of the height that is above the highest latency: losses are marked there.
const HEADROOM: f64 = 0.12;

/// What all panels of a run have behind their lines; times are in seconds since the panel began.
struct Scene {
    began_ms: f64,
    bands: Vec<Band>,
    connections: Vec<(f64, f64)>,
    seconds: f64,
}

/// The panels of a run, or why there are none.
pub(crate) fn panels(run: &Run) -> Markup {
    let Some(seconds) = &run.bystanders else {
        return html! { p.missing { "No panels: there is no whole bystanders.ndjson." } };
    };
    let none = Bystanders::default();
    let account = run.result.as_ref().and_then(|result| result.bystanders.as_ref());
    let account = account.unwrap_or(&none);
    let scene = Scene::of(account, seconds, run.client.as_ref());
    let named =
        |name: &str| account.probes.iter().find(|probe| probe.name.as_deref() == Some(name));
    let in_order = account.probes.iter().filter_map(|probe| probe.name.as_deref());
    // A run that was killed has left the names alone.
    let others = seconds.names().filter(|name| named(name).is_none());
    html! {
        (legend(&scene))
        div.charts {
            @for name in in_order.chain(others) { (panel(name, named(name), seconds, &scene)) }
        }
    }
}

fn panel(name: &str, probe: Option<&Probe>, seconds: &Seconds, scene: &Scene) -> Markup {
    let points = seconds.of(name).unwrap_or_default();
    let lost: u64 = points.iter().map(|point| point.lost).sum();
    html! {
        figure {
            h3 {
                (name)
                @if let Some(target) = probe.and_then(|probe| probe.target.as_deref()) {
                    span.quiet { " " (target) }
                }
            }
            @if points.is_empty() {
                p.missing { "Not measured: nothing of it is in bystanders.ndjson." }
            } @else {
                (PreEscaped(scene.draw(&points)))
                @if lost > 0 { figcaption.bad { (format::count(lost as f64)) " lost" } }
            }
        }
    }
}

/// What the colours stand for, once for all panels.
fn legend(scene: &Scene) -> Markup {
    let lines = [
        (Look::Line, MEDIAN, "median of a second"),
        (Look::Line, MOST, "longest of a second"),
        (Look::Crosses, LOST, "some were lost"),
    ];
    let mut seen: Vec<(&str, RGBColor)> = Vec::new();
    for band in &scene.bands {
        if !seen.iter().any(|(name, _)| *name == band.name) {
            seen.push((band.name, band.color));
        }
    }
    html! {
        ul.legend {
            @for (look, color, name) in lines { li { (key_of_line(look, color)) (name) } }
            @if !scene.connections.is_empty() {
                li { (key_of_block(AREA, 1.0)) "open connections, on the right" }
            }
            @for (name, color) in seen { li { (key_of_block(color, BAND_OPACITY * 3.0)) (name) } }
        }
    }
}

impl Scene {
    fn of(account: &Bystanders, seconds: &Seconds, client: Option<&Ticks>) -> Scene {
        let began_ms = account.began_at_ms.unwrap_or(seconds.first_ms()).real();
        let since = |ms: f64| (ms - began_ms).max(0.0) / 1e3;
        let band = |span: &BystanderSpan| {
            let phase = span.phase.known()?;
            let (_, name, color) = PHASES.iter().find(|(known, ..)| *known == phase)?;
            let (from, to) = (span.from_ms.real()? / 1e3, span.to_ms.real()? / 1e3);
            (from < to).then_some(Band { from, to, color: *color, name })
        };
        let bands: Vec<Band> = account.spans.iter().filter_map(band).collect();
        let connections: Vec<(f64, f64)> = client
            .map_or_else(Vec::new, of_all_cores)
            .into_iter()
            .map(|(ms, n)| (since(ms), n))
            .collect();
        let points = seconds.names().filter_map(|name| seconds.of(name)?.last().map(|p| p.at_ms));
        let ends = points.map(since).chain(bands.iter().map(|band| band.to));
        let ends = ends.chain(connections.last().map(|(at, _)| *at));
        let seconds = ends.fold(1.0, f64::max);
        Scene { began_ms, bands, connections, seconds }
    }

    fn draw(&self, points: &[Point]) -> String {
        let (unit, unit_name) = time_unit(self.seconds);
        let at = |point: &Point| (point.at_ms - self.began_ms).max(0.0) / 1e3 / unit;
        let pick =
            |of: fn((f64, f64)) -> f64| move |point: &Point| point.latency_us.map(of).and_then(log);
        let line = |color, of: fn((f64, f64)) -> f64| {
            let value = pick(of);
            // A line breaks where nothing was answered.
            let answered = points.split(|point| point.latency_us.is_none());
            let answered = answered.filter(|part| !part.is_empty());
            let series = answered.map(move |part| Series {
                name: String::new(),
                color,
                look: Look::Line,
                points: part.iter().filter_map(|point| Some((at(point), value(point)?))).collect(),
            });
            series.collect::<Vec<_>>()
        };
        let mut series = line(MOST, |(_, most)| most);
        series.extend(line(MEDIAN, |(median, _)| median));
        let heights = || series.iter().flat_map(|series| &series.points).map(|(_, y)| *y);
        let low = heights().fold(f64::INFINITY, f64::min).floor();
        let low = if low.is_finite() { low } else { 0.0 };
        let top = heights().fold(low + 2.0, f64::max).ceil();
        let high = top + (top - low) * HEADROOM;
        let lost = points.iter().filter(|point| point.lost > 0);
        let lost = lost.map(|point| (at(point), (top + high) / 2.0)).collect();
        series.push(Series { name: String::new(), color: LOST, look: Look::Crosses, points: lost });
        let x = Axis {
            name: unit_name,
            low: 0.0,
            high: self.seconds / unit,
            ticks: 7,
            label: &format::short,
        };
        let y = Axis { name: "", low, high, ticks: powers(low, high), label: &power_of_ten };
        let most = self.connections.iter().map(|(_, n)| *n).fold(1.0, f64::max);
        let axis = Axis {
            name: "connections",
            low: 0.0,
            high: most * 1.06,
            ticks: 5,
            label: &format::short,
        };
        let bands: Vec<Band> = self.bands.iter().map(|band| band.scaled(1.0 / unit)).collect();
        let area: Vec<_> = self.connections.iter().map(|(at, n)| (at / unit, *n)).collect();
        chart::panel(&x, &y, &Behind { bands: &bands, area: &area, axis }, &series)
    }
}

/// Open connections of all cores together over milliseconds since 1970, at the times at which each core
/// has a line.
fn of_all_cores(ticks: &Ticks) -> Vec<(f64, f64)> {
    let mut at: BTreeMap<u64, (usize, f64)> = BTreeMap::new();
    for (ms, n) in ticks.connections().flat_map(|(_, points)| points) {
        let (cores, sum) = at.entry(*ms).or_default();
        *cores += 1;
        *sum += n;
    }
    let cores = ticks.connections().count();
    let whole = at.into_iter().filter(|(_, (told, _))| *told == cores);
    whole.map(|(ms, (_, sum))| (ms as f64, sum)).collect()
}
