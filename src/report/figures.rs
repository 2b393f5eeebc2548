//! The charts of a report: what each is of, and its points in a run. Runs that are laid side by side
//! have the same axes.

use maud::{Markup, PreEscaped, html};
use plotters::style::RGBColor;

use crate::base::format;
use crate::report::chart::{self, Axis, Bar, Look, Series};
use crate::report::parts;
use crate::report::points::{self, Drawing, Missing};
use crate::report::read::Run;
use crate::report::storms;

/// One chart of the table [`CHARTS`].
struct Chart {
    title: &'static str,
    /// How to read it.
    caption: &'static str,
    x: Scale,
    y: Scale,
    /// The points of a run, or why it has none.
    points: fn(&Run) -> Result<Drawing, Missing>,
}

/// What an axis is of.
#[derive(Clone, Copy)]
enum Scale {
    /// Seconds, or minutes or hours where those are many.
    Time,
    /// A number from 0, of this.
    Linear(&'static str),
    /// Microseconds by powers of ten; the points are logarithms.
    LogTime,
    /// The drawing's names, at 0, 1, 2, ..., of this.
    Names(&'static str),
}

const CHARTS: [Chart; 11] = [
    Chart {
        title: "Connections over time",
        caption: "Open connections of each core, once a second. Lines: the client's cores; \
                  dashes: the server's.",
        x: Scale::Time,
        y: Scale::Linear("connections"),
        points: points::over_time,
    },
    Chart {
        title: "Connect rate",
        caption: "Connections a second, while so many were already open. Flat steps: the average of \
                  a plateau; marks: between two ticks.",
        x: Scale::Linear("connections"),
        y: Scale::Linear("connects/s"),
        points: points::connect_rate,
    },
    Chart {
        title: "Connect latency",
        caption: "From the connect to the connection, while so many were already open: of a plateau, \
                  and between two ticks where there are several.",
        x: Scale::Linear("connections"),
        y: Scale::LogTime,
        points: points::connect_latency,
    },
    Chart {
        title: "Message latency",
        caption: "From when a message was due to having verified its echo, at each plateau. Without a \
                  schedule it was due when it was sent.",
        x: Scale::Names("connections"),
        y: Scale::LogTime,
        points: points::message_latency,
    },
    Chart {
        title: "Latency of short connections",
        caption: "From when a short connection was due to having verified its message's echo, at each \
                  plateau.",
        x: Scale::Names("connections held meanwhile"),
        y: Scale::LogTime,
        points: points::churn_latency,
    },
    Chart {
        title: "Back after a storm",
        caption: "Of the connections that were lost or dropped together, those that were back so long after the first \
                  one was.",
        x: Scale::Time,
        y: Scale::Linear("% of those gone"),
        points: storms::back,
    },
    Chart {
        title: "Connects of a storm",
        caption: "Connects a second of those that were to come back, since the first one was gone: tried, and come \
                  back. Of the storm in which the most were gone.",
        x: Scale::Time,
        y: Scale::Linear("connects/s"),
        points: storms::connects,
    },
    Chart {
        title: "Memory of a connection",
        caption: "Growth over the empty state at each plateau, divided by its connections. What is \
                  there once, for any number of them, weighs on small plateaus.",
        x: Scale::Names("connections"),
        y: Scale::Linear("bytes"),
        points: points::memory,
    },
    Chart {
        title: "Balance of the parts",
        caption: "What each part of the run did, in messages, or connections where there were none: 100 % is an even \
                  share. A host has a colour. Of more than 32 parts those with the least and the most.",
        x: Scale::Names("part"),
        y: Scale::Linear("% of an even share"),
        points: parts::balance,
    },
    Chart {
        title: "Message latency of the parts",
        caption: "The p99 of messages of each part, at the highest plateau.",
        x: Scale::Names("part"),
        y: Scale::Linear("ms"),
        points: parts::latency,
    },
    Chart {
        title: "Balance of the cores",
        caption: "Most connections at once, and messages, of each core: 100 % is an even share of its \
                  side's.",
        x: Scale::Names("core"),
        y: Scale::Linear("% of an even share"),
        points: points::balance,
    },
];

/// All charts of all runs. The charts of one run stand beside each other; several runs have a row for
/// each kind of chart. A kind without points in any run is only named.
pub(crate) fn charts(runs: &[Run]) -> Markup {
    type Drawn<'a> = Vec<(&'a Run, Result<Drawing, Missing>)>;
    let of_runs = |chart: &Chart| runs.iter().map(|run| (run, (chart.points)(run))).collect();
    let all = CHARTS.iter().map(|chart| (chart, of_runs(chart)));
    let is_drawn = |(_, drawings): &(&Chart, Drawn)| drawings.iter().any(|(_, d)| d.is_ok());
    let (drawn, not): (Vec<_>, Vec<_>) = all.partition(is_drawn);
    let why = |(chart, drawings): &(&Chart, Drawn)| {
        let (_, Err(Missing::Because(why))) = drawings.first()? else { return None };
        Some(format!("{} ({why})", chart.title))
    };
    let not_drawn: Vec<String> = not.iter().filter_map(why).collect();
    html! {
        @if runs.len() == 1 {
            div.charts { @for (chart, drawings) in &drawn { (figures(chart, drawings)) } }
        } @else {
            @for (chart, drawings) in &drawn { div.charts { (figures(chart, drawings)) } }
        }
        @if !not_drawn.is_empty() {
            p.missing { "Not measured: " (not_drawn.join(", ")) "." }
        }
    }
}

/// One kind of chart, of each run.
fn figures(chart: &Chart, drawings: &[(&Run, Result<Drawing, Missing>)]) -> Markup {
    let axes = Axes::of(chart, drawings.iter().filter_map(|(_, drawing)| drawing.as_ref().ok()));
    html! {
        @for (run, drawing) in drawings {
            figure {
                h3 { (chart.title) @if drawings.len() > 1 { ", " (run.name) } }
                @match drawing {
                    Ok(drawing) => {
                        (PreEscaped(axes.draw(chart, drawing)))
                        (legend(drawing))
                        figcaption { (chart.caption) }
                    }
                    Err(Missing::Because(why)) => p.missing { "Not measured: " (why) "." },
                    Err(Missing::NotAsked) => p.missing { "Not asked for." },
                }
            }
        }
    }
}

/// What the colours stand for.
pub(crate) fn legend(drawing: &Drawing) -> Markup {
    html! {
        ul.legend {
            @for line in &drawing.lines { li { (key_of_line(line.look, line.color)) (line.name) } }
            @for (name, color) in &drawing.legend { li { (key_of_block(*color, 1.0)) (name) } }
        }
    }
}

/// A line as a legend shows it.
pub(crate) fn key_of_line(look: Look, color: RGBColor) -> Markup {
    html! {
        svg viewBox="0 0 22 10" aria-hidden="true" {
            @if look == Look::Crosses {
                path d="M7 1 L15 9 M7 9 L15 1" stroke=(hex(color)) stroke-width="2.5";
            } @else {
                line x1="0" y1="5" x2="22" y2="5" stroke=(hex(color)) stroke-width="3"
                    stroke-dasharray=[(look == Look::Dashes).then_some("6 4")];
            }
            @if look == Look::Marks { circle cx="11" cy="5" r="4.5" fill=(hex(color)); }
        }
    }
}

/// A bar, a band or an area as a legend shows it.
pub(crate) fn key_of_block(color: RGBColor, opacity: f64) -> Markup {
    html! {
        svg viewBox="0 0 10 10" aria-hidden="true" {
            rect width="10" height="10" fill=(hex(color))
                fill-opacity=[(opacity < 1.0).then_some(opacity)];
        }
    }
}

fn hex(color: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", color.0, color.1, color.2)
}

/// Ends of the axes of one kind of chart, over all runs.
struct Axes {
    x_high: f64,
    y_low: f64,
    y_high: f64,
}

impl Axes {
    fn of<'a>(chart: &Chart, drawings: impl Iterator<Item = &'a Drawing>) -> Axes {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for drawing in drawings {
            let points = drawing.lines.iter().flat_map(|series| &series.points);
            x.extend(points.clone().map(|(x, _)| *x));
            y.extend(points.map(|(_, y)| *y));
            let heights = |bar: &Bar| bar.parts.iter().map(|(_, height)| height).sum::<f64>();
            y.extend(drawing.bars.iter().map(heights));
        }
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        // An axis of next to nothing has no ticks.
        let above_0 = |high: f64| if high > 1e-3 { high } else { 1.0 };
        let (y_low, y_high) = match chart.y {
            Scale::LogTime => {
                let low = if y.is_empty() { 0.0 } else { least(&y).floor() };
                (low, most(&y).ceil().max(low + 2.0))
            }
            _ => (0.0, above_0(most(&y) * 1.06)),
        };
        Axes { x_high: above_0(most(&x)), y_low, y_high }
    }

    fn draw(&self, chart: &Chart, drawing: &Drawing) -> String {
        let names = || (0_u32..).map(f64::from).zip(&drawing.names);
        let name_of =
            |at: f64| names().filter(|(index, _)| *index == at).map(|(_, name)| &**name).collect();
        let power = |at: f64| power_of_ten(at);
        let (unit, time) = time_unit(self.x_high);
        let axis = |scale, low: f64, high: f64| match scale {
            Scale::Time => {
                Axis { name: time, low, high: high / unit, ticks: 7, label: &format::short }
            }
            Scale::Linear(name) => Axis { name, low, high, ticks: 6, label: &format::short },
            Scale::LogTime => {
                // One for each power of ten.
                let ticks = powers(low, high);
                Axis { name: "", low, high, ticks, label: &power }
            }
            Scale::Names(name) => {
                let (low, high) = (-0.5, drawing.names.len().max(1) as f64 - 0.5);
                Axis { name, low, high, ticks: drawing.names.len().clamp(1, 16), label: &name_of }
            }
        };
        let (x, y) = (axis(chart.x, 0.0, self.x_high), axis(chart.y, self.y_low, self.y_high));
        let unit = if matches!(chart.x, Scale::Time) { unit } else { 1.0 };
        let in_unit = |series: &Series| series.scaled(1.0 / unit);
        if drawing.bars.is_empty() {
            chart::lines(&x, &y, &drawing.lines.iter().map(in_unit).collect::<Vec<_>>())
        } else {
            chart::bars(&x, &y, &drawing.bars)
        }
    }
}

/// The unit for an axis of `seconds`: its length in seconds, and its name.
pub(crate) fn time_unit(seconds: f64) -> (f64, &'static str) {
    match seconds {
        ..300.0 => (1.0, "seconds"),
        300.0..18_000.0 => (60.0, "minutes"),
        _ => (3_600.0, "hours"),
    }
}

/// `1 us` for 0, `10 ms` for 4.
pub(crate) fn power_of_ten(of_us: f64) -> String {
    let (unit, name) = match of_us {
        ..3.0 => (0.0, "us"),
        3.0..6.0 => (3.0, "ms"),
        _ => (6.0, "s"),
    };
    format!("{:.0} {name}", 10.0_f64.powf(of_us - unit))
}

/// Whole numbers from `low` to `high`.
pub(crate) fn powers(low: f64, high: f64) -> usize {
    (0..=20).filter(|step| low + f64::from(*step) <= high).count()
}
