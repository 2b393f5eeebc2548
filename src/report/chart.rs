//! Charts as inline SVG: lines over a number, bars over a few names. They know axes, colours and
//! room for labels, and nothing of runs.
//!
//! A chart is drawn for half the width of a wide page or the whole of a narrow one, and scales with
//! the page. Its text takes the colour of the page's; its other colours stand out from a light page and
//! from a dark one. No text of a file goes into a chart.

use plotters::chart::DualCoordChartContext;
use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Coordinates for each CSS pixel: the library rounds them, and lines would be seen to step.
const SCALE: i32 = 4;

/// What a chart takes, in CSS pixels at its natural size.
struct Frame {
    width: i32,
    height: i32,
    above: i32,
    right: i32,
    /// Labels of a second axis.
    second: i32,
}

const PLAIN: Frame = Frame { width: 400, height: 230, above: 14, right: 16, second: 0 };

/// With names above the plot and a second axis on its right.
const PANEL: Frame = Frame { width: 400, height: 262, above: 58, right: 4, second: 52 };

/// Width of a line, in coordinates.
const LINE: u32 = 8;

/// Size of letters to request: the library draws them smaller by 1.24.
const FONT_PX: f64 = 11.5 * 1.24;

/// Colours of series, in this order.
pub(crate) const COLORS: [RGBColor; 9] = [
    RGBColor(0x2f, 0x7e, 0xc7),
    RGBColor(0xd0, 0x6a, 0x08),
    RGBColor(0x2b, 0x96, 0x55),
    RGBColor(0xd4, 0x4a, 0x4a),
    RGBColor(0x8a, 0x6b, 0xd1),
    RGBColor(0xa3, 0x6f, 0x49),
    RGBColor(0xcb, 0x50, 0x9a),
    RGBColor(0x1a, 0x90, 0x9e),
    RGBColor(0x7d, 0x84, 0x91),
];

const GRID: RGBColor = RGBColor(0x80, 0x86, 0x92);

/// One axis: from `low` to `high`, a line at about every tick.
pub(crate) struct Axis<'a> {
    pub(crate) name: &'static str,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Ticks at most.
    pub(crate) ticks: usize,
    pub(crate) label: &'a dyn Fn(f64) -> String,
}

/// Something drawn, and what a legend calls it.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) color: RGBColor,
    pub(crate) look: Look,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    /// The same, over an axis that is scaled by `times`.
    pub(crate) fn scaled(&self, times: f64) -> Series {
        let points = self.points.iter().map(|(x, y)| (x * times, *y)).collect();
        Series { name: self.name.clone(), points, ..*self }
    }
}

/// How a series is drawn.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Look {
    Line,
    Dashes,
    /// A line with a mark at each point.
    Marks,
    /// A cross at each point, and no line.
    Crosses,
}

/// A stretch of the horizontal axis that has a colour of its own.
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) color: RGBColor,
    /// Stands above it where it has room.
    pub(crate) name: &'static str,
}

impl Band {
    /// The same, over an axis that is scaled by `times`.
    pub(crate) fn scaled(&self, times: f64) -> Band {
        Band { from: self.from * times, to: self.to * times, ..*self }
    }
}

/// What is behind the lines of a panel: bands, and an area over an axis of its own on the right.
pub(crate) struct Behind<'a> {
    pub(crate) bands: &'a [Band],
    pub(crate) area: &'a [(f64, f64)],
    pub(crate) axis: Axis<'a>,
}

/// How much of their colour bands and areas have: lines stand out from them.
pub(crate) const BAND_OPACITY: f64 = 0.18;
const AREA_OPACITY: f64 = 0.32;
pub(crate) const AREA: RGBColor = COLORS[8];

/// Width of a band that has room for a name, which is written upwards, in CSS pixels.
const NAME_PX: i32 = 11;

/// A bar of parts on top of each other, or beside others of its name.
pub(crate) struct Bar {
    /// Left and right end on the axis.
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Colour and height of each part, from the bottom.
    pub(crate) parts: Vec<(RGBColor, f64)>,
    /// What stands above it.
    pub(crate) label: String,
}

/// Lines over a number.
pub(crate) fn lines(x: &Axis, y: &Axis, series: &[Series]) -> String {
    draw(&PLAIN, (x, y, None), &|chart| draw_series(chart, series))
}

/// Lines over time, and what there was meanwhile behind them.
pub(crate) fn panel(x: &Axis, y: &Axis, behind: &Behind, series: &[Series]) -> String {
    draw(&PANEL, (x, y, Some(&behind.axis)), &|chart| {
        draw_bands(chart, y, behind.bands)?;
        draw_area(chart, behind.area)?;
        draw_series(chart, series)
    })
}

fn draw_series<'b>(chart: &mut Plot<'_, 'b>, series: &[Series]) -> Drawn<'b> {
    for series in series {
        let stroke = series.color.stroke_width(LINE);
        let points = series.points.iter().copied();
        match series.look {
            Look::Dashes => {
                let dashes = DashedLineSeries::new(points, px(6), px(5), stroke);
                chart.draw_series(dashes).map(drop)?;
            }
            Look::Line | Look::Marks => {
                chart.draw_series(LineSeries::new(points, stroke)).map(drop)?;
            }
            Look::Crosses => {
                chart
                    .draw_series(points.map(|point| Cross::new(point, px(4), stroke)))
                    .map(drop)?;
            }
        }
        let is_dot = series.look == Look::Line && series.points.len() == 1;
        if series.look == Look::Marks || is_dot {
            let mark = |point: &(f64, f64)| Circle::new(*point, px(3), series.color.filled());
            chart.draw_series(series.points.iter().map(mark)).map(drop)?;
        }
    }
    Ok(())
}

fn draw_bands<'b>(chart: &mut Plot<'_, 'b>, y: &Axis, bands: &[Band]) -> Drawn<'b> {
    let label = ("sans-serif", FONT_PX * f64::from(SCALE) * 0.86).into_font().color(&BLACK);
    let label = label.transform(FontTransform::Rotate270).pos(Pos::new(HPos::Left, VPos::Center));
    for band in bands {
        let color = band.color.mix(BAND_OPACITY).filled();
        let corners = [(band.from, y.low), (band.to, y.high)];
        chart.draw_series([Rectangle::new(corners, color)]).map(drop)?;
        let at = |x: f64| chart.backend_coord(&(x, y.high)).0;
        if at(band.to) - at(band.from) >= px(NAME_PX) {
            let middle = ((band.from + band.to) / 2.0, y.high);
            let name = EmptyElement::at(middle) + Text::new(band.name, (0, -px(4)), label.clone());
            chart.draw_series([name]).map(drop)?;
        }
    }
    Ok(())
}

fn draw_area<'b>(chart: &mut Plot<'_, 'b>, points: &[(f64, f64)]) -> Drawn<'b> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
    let edge = [(first.0, 0.0)].into_iter().chain(points.iter().copied()).chain([(last.0, 0.0)]);
    let filled = Polygon::new(edge.collect::<Vec<_>>(), AREA.mix(AREA_OPACITY).filled());
    chart.draw_secondary_series([filled]).map(drop)
}

/// Bars over names.
pub(crate) fn bars(x: &Axis, y: &Axis, bars: &[Bar]) -> String {
    let label = ("sans-serif", FONT_PX * f64::from(SCALE) * 0.92).into_font().color(&BLACK);
    let label = label.pos(Pos::new(HPos::Center, VPos::Bottom));
    draw(&PLAIN, (x, y, None), &|chart| {
        for bar in bars {
            let mut bottom = 0.0;
            for (color, height) in &bar.parts {
                let corners = [(bar.from, bottom), (bar.to, bottom + height)];
                bottom += height;
                chart.draw_series([Rectangle::new(corners, color.filled())]).map(drop)?;
            }
            let above = EmptyElement::at(((bar.from + bar.to) / 2.0, bottom))
                + Text::new(bar.label.clone(), (0, -px(3)), label.clone());
            chart.draw_series([above]).map(drop)?;
        }
        Ok(())
    })
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Coords = Cartesian2d<RangedCoordf64, RangedCoordf64>;
type Plot<'a, 'b> = DualCoordChartContext<'a, SVGBackend<'b>, Coords, Coords>;
type Failed<'b> = DrawingAreaErrorKind<<SVGBackend<'b> as DrawingBackend>::ErrorType>;
type Drawn<'b> = Result<(), Failed<'b>>;

/// The horizontal axis, the vertical one, and the one on the right.
type Axes<'a> = (&'a Axis<'a>, &'a Axis<'a>, Option<&'a Axis<'a>>);

/// The axes, and what `fill` draws on them.
fn draw(
    frame: &Frame,
    axes_of: Axes,
    fill: &dyn for<'a, 'b> Fn(&mut Plot<'a, 'b>) -> Drawn<'b>,
) -> String {
    let mut svg = String::new();
    let [width, height] = [frame.width, frame.height].map(|size| px(size).unsigned_abs());
    {
        let backend = SVGBackend::with_string(&mut svg, (width, height));
        let area: Area = backend.into_drawing_area();
        let drawn = axes(&area, frame, axes_of).and_then(|mut plot| fill(&mut plot));
        drawn.and_then(|()| area.present()).expect("a string takes whatever is drawn");
    }
    // It scales with the page; what it shows is said in words beside it.
    let head = svg.find('>').map_or(0, |end| end + 1);
    let view = format!("viewBox=\"0 0 {width} {height}\"");
    format!("<svg class=\"plot\" {view} aria-hidden=\"true\">{}", &svg[head..])
}

fn axes<'a, 'b>(
    area: &'a Area<'b>,
    frame: &Frame,
    (x, y, second): Axes,
) -> Result<Plot<'a, 'b>, Failed<'b>> {
    let mut plot = ChartBuilder::on(area)
        .margin(px(4))
        .margin_top(px(frame.above))
        .margin_right(px(frame.right))
        .x_label_area_size(px(38))
        .y_label_area_size(px(58))
        .right_y_label_area_size(px(frame.second))
        .build_cartesian_2d(x.low..x.high, y.low..y.high)?
        .set_secondary_coord(x.low..x.high, second.map_or(0.0..1.0, |axis| axis.low..axis.high));
    let font = ("sans-serif", FONT_PX * f64::from(SCALE));
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.mix(0.35).stroke_width(LINE / 2))
        .axis_style(GRID.stroke_width(LINE / 2))
        .set_all_tick_mark_size(px(4))
        .label_style(font)
        .axis_desc_style(font)
        .x_desc(x.name)
        .y_desc(y.name)
        .x_labels(x.ticks)
        .y_labels(y.ticks)
        .x_label_formatter(&|value| (x.label)(*value))
        .y_label_formatter(&|value| (y.label)(*value))
        .draw()?;
    if let Some(axis) = second {
        plot.configure_secondary_axes()
            .axis_style(GRID.stroke_width(LINE / 2))
            .set_all_tick_mark_size(px(4))
            .label_style(font)
            .axis_desc_style(font)
            .y_desc(axis.name)
            .y_labels(axis.ticks)
            .y_label_formatter(&|value| (axis.label)(*value))
            .draw()?;
    }
    Ok(plot)
}

/// Coordinates of a length in CSS pixels.
const fn px(pixels: i32) -> i32 {
    pixels * SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance, by the Web Content Accessibility Guidelines 2.2.
    fn luminance(color: RGBColor) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.0) + 0.7152 * linear(color.1) + 0.0722 * linear(color.2)
    }

    fn contrast(one: RGBColor, other: RGBColor) -> f64 {
        let (a, b) = (luminance(one), luminance(other));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// Both pages of `style.css`.
    #[test]
    fn every_colour_stands_out_from_a_light_page_and_a_dark_one() {
        let style = include_str!("style.css");
        for (page, hex) in [(RGBColor(255, 255, 255), "#ffffff"), (RGBColor(20, 23, 28), "#14171c")]
        {
            assert!(style.contains(&format!("--page: {hex}")), "the page is another colour now");
            for color in COLORS {
                let contrast = contrast(color, page);
                assert!(contrast >= 3.0, "{color:?} has {contrast:.2} on {hex}");
            }
        }
    }

    #[test]
    fn a_chart_is_a_drawing_that_scales() {
        let label = |value: f64| format!("{value}");
        let axis = || Axis { name: "n", low: 0.0, high: 10.0, ticks: 5, label: &label };
        let series = |look, points: &[(f64, f64)]| Series {
            name: "a".into(),
            color: COLORS[0],
            look,
            points: points.to_vec(),
        };
        let points = [(0.0, 1.0), (5.0, 9.0), (10.0, 3.0)];
        let all = [Look::Line, Look::Dashes, Look::Marks].map(|look| series(look, &points));
        let drawn = lines(&axis(), &axis(), &all);
        assert!(drawn.starts_with("<svg class=\"plot\" viewBox=\"0 0 "), "{drawn}");
        assert_eq!((drawn.matches("<svg").count(), drawn.matches("</svg>").count()), (1, 1));
        assert_eq!(drawn.matches("<circle").count(), 3, "marks");
        let single = lines(&axis(), &axis(), &[series(Look::Line, &points[..1])]);
        assert_eq!(single.matches("<circle").count(), 1, "a point alone is seen");
        let parts = vec![(COLORS[0], 4.0), (COLORS[1], 2.0)];
        let bar = Bar { from: 1.0, to: 2.0, parts, label: "6".into() };
        assert_eq!(bars(&axis(), &axis(), &[bar]).matches("<rect").count(), 2);
    }

    #[test]
    fn a_panel_has_bands_with_names_where_there_is_room_and_an_area_behind_its_lines() {
        let label = |value: f64| format!("{value}");
        let axis = |name| Axis { name, low: 0.0, high: 10.0, ticks: 5, label: &label };
        let band = |from, to, name| Band { from, to, color: COLORS[2], name };
        let bands = [band(0.0, 5.0, "wide"), band(5.0, 5.1, "narrow")];
        let area = [(0.0, 0.0), (5.0, 9.0), (10.0, 9.0)];
        let crosses = Series {
            name: String::new(),
            color: COLORS[3],
            look: Look::Crosses,
            points: vec![(1.0, 9.0), (2.0, 9.0)],
        };
        let behind = Behind { bands: &bands, area: &area, axis: axis("behind") };
        let drawn = panel(&axis("x"), &axis("y"), &behind, std::slice::from_ref(&crosses));
        assert!(drawn.contains("wide") && drawn.contains("behind"), "{drawn}");
        assert!(!drawn.contains("narrow"), "a name that has no room: {drawn}");
        assert_eq!((drawn.matches("<polygon").count(), drawn.matches("<rect").count()), (1, 2));
        let without = Behind { bands: &[], area: &[], axis: axis("behind") };
        let drawn = panel(&axis("x"), &axis("y"), &without, &[crosses]);
        assert!(!drawn.contains("<polygon") && !drawn.contains("<rect"), "{drawn}");
    }
}
