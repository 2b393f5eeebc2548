//! What the charts show of a run, point by point, and why a chart has none.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

use crate::base::format;
use crate::report::chart::{Bar, COLORS, Look, Series};
use crate::report::read::Run;
use crate::report::ticks::{Rising, Ticks};
use crate::results::cost::{ALL_SLABS, NO_SLAB, OTHER_SLABS};
use crate::results::lenient::{Figure, Maybe};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::Plateau;
use crate::results::result::PerCore;

/// The points of one run.
#[derive(Default)]
pub(crate) struct Drawing {
    pub(crate) lines: Vec<Series>,
    pub(crate) bars: Vec<Bar>,
    /// What the colours of bars stand for.
    pub(crate) legend: Vec<(String, RGBColor)>,
    pub(crate) names: Vec<String>,
}

/// Why a chart has no points.
#[derive(Clone, Copy)]
pub(crate) enum Missing {
    /// There is a reason, which the page says.
    Because(&'static str),
    /// The run was not asked for it.
    NotAsked,
}

const NO_RESULT: Missing = Missing::Because("there is no whole result.json");

/// Layers of memory, from the bottom: the name in the files, the name on the page, its colour.
pub(crate) const LAYERS: [(&str, &str, RGBColor); 10] = [
    ("tcp", "TCP socket", COLORS[0]),
    (ALL_SLABS, "kernel slabs, not told apart", COLORS[0]),
    ("inode", "inode", COLORS[1]),
    ("filp", "file (filp)", COLORS[2]),
    ("dentry", "dentry", COLORS[3]),
    ("io_uring", "io_uring", COLORS[4]),
    (OTHER_SLABS, "other slabs", COLORS[5]),
    (NO_SLAB, "kernel, no slab", COLORS[8]),
    ("server_user", "server process", COLORS[6]),
    ("client_user", "client process", COLORS[7]),
];

/// Cores that have a line each. With more cores the least, the median and the most are drawn.
const CORES_MAX: usize = 8;

/// Rises from tick to tick that make a curve.
const RISINGS_MIN: usize = 3;

pub(crate) fn over_time(run: &Run) -> Result<Drawing, Missing> {
    let sides = [("client", &run.client, Look::Line), ("server", &run.server, Look::Dashes)];
    let seen =
        || sides.iter().filter_map(|(name, ticks, look)| Some((*name, ticks.as_ref()?, *look)));
    let began_ms = seen().map(|(_, ticks, _)| ticks.span().first_ms).next();
    let began_ms = began_ms.ok_or(Missing::Because("there are no dumps of either side"))?;
    let lines = seen().flat_map(|(name, ticks, look)| cores(name, ticks, look, began_ms)).collect();
    Ok(Drawing { lines, ..Drawing::default() })
}

fn cores(side: &str, ticks: &Ticks, look: Look, began_ms: u64) -> Vec<Series> {
    let line = |name: String, color: usize, points: Vec<(u64, f64)>| {
        let at = |(ms, n): (u64, f64)| (ms.saturating_sub(began_ms) as f64 / 1e3, n);
        let points = points.into_iter().map(at).collect();
        Series { name, color: COLORS[color % COLORS.len()], look, points }
    };
    if ticks.connections().count() <= CORES_MAX {
        let each = (0..).zip(ticks.connections());
        let each = each.map(|(index, (core, n))| line(format!("{side} {core}"), index, n.to_vec()));
        return each.collect();
    }
    let mut at: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (ms, n) in ticks.connections().flat_map(|(_, points)| points) {
        at.entry(*ms).or_default().push(*n);
    }
    at.values_mut().for_each(|of_cores| of_cores.sort_by(f64::total_cmp));
    let of = |name: &str, color, pick: fn(&[f64]) -> f64| {
        let points = at.iter().map(|(ms, of_cores)| (*ms, pick(of_cores))).collect();
        line(format!("{side}, {name} of {} cores", ticks.connections().count()), color, points)
    };
    vec![
        of("least", 0, |of_cores| of_cores[0]),
        of("median", 1, |of_cores| of_cores[of_cores.len() / 2]),
        of("most", 2, |of_cores| of_cores[of_cores.len() - 1]),
    ]
}

pub(crate) fn connect_rate(run: &Run) -> Result<Drawing, Missing> {
    let averages = steps(run, |plateau| plateau.connect.rate_per_s.0);
    let between = between_ticks(run, |rising| rising.rate_per_s);
    let lines = vec![
        Series {
            name: "average of a plateau".into(),
            color: COLORS[0],
            look: Look::Line,
            points: averages,
        },
        Series {
            name: "between two ticks".into(),
            color: COLORS[1],
            look: Look::Marks,
            points: between,
        },
    ];
    drawn(lines, without(run, Missing::Because("nothing was connected")))
}

pub(crate) fn connect_latency(run: &Run) -> Result<Drawing, Missing> {
    type Of = (&'static str, fn(&Percentiles) -> u64, fn(&Rising) -> Option<f64>);
    let of: [Of; 2] = [("p50", |p| p.p50, |r| r.p50_us), ("p99", |p| p.p99, |r| r.p99_us)];
    let line = |((name, of_plateau, of_rising), color): (Of, RGBColor)| {
        let between = between_ticks(run, |rising| log(of_rising(rising)?));
        if between.len() >= RISINGS_MIN {
            let name = format!("{name} between two ticks");
            return Series { name, color, look: Look::Marks, points: between };
        }
        let value =
            |plateau: &Plateau| log(of_plateau(plateau.connect.latency_us.as_ref()?).real());
        let points = steps(run, value);
        Series { name: format!("{name} of a plateau"), color, look: Look::Line, points }
    };
    let lines = of.into_iter().zip(COLORS).map(line).collect();
    drawn(lines, without(run, Missing::Because("nothing was connected")))
}

/// Between two ticks, at the connections that there were by then.
fn between_ticks(run: &Run, value: impl Fn(&Rising) -> Option<f64>) -> Vec<(f64, f64)> {
    let risings = run.client.iter().flat_map(Ticks::risings);
    risings.filter_map(|rising| Some((rising.connected, value(rising)?))).collect()
}

/// A value of each plateau, from the connections of the one before it to its own.
fn steps(run: &Run, value: impl Fn(&Plateau) -> Option<f64>) -> Vec<(f64, f64)> {
    let (mut from, mut points) = (0.0, Vec::new());
    for plateau in plateaus(run) {
        let Some(to) = plateau.connections.real() else { continue };
        points.extend(value(plateau).into_iter().flat_map(|value| [(from, value), (to, value)]));
        from = to;
    }
    points
}

pub(crate) fn message_latency(run: &Run) -> Result<Drawing, Missing> {
    let missing = without(run, Missing::Because("no message was verified"));
    by_plateau(run, |plateau| *plateau.messages.latency_us, missing)
}

pub(crate) fn churn_latency(run: &Run) -> Result<Drawing, Missing> {
    let started = |plateau: &Plateau| *plateau.churn.as_ref()?.started;
    let churned = plateaus(run).any(|plateau| started(plateau).is_some());
    let why = Missing::Because("no short connection was completed");
    let missing = without(run, if churned { why } else { Missing::NotAsked });
    by_plateau(run, |plateau| *plateau.churn.as_ref()?.latency_us, missing)
}

/// Percentiles of a latency at each plateau.
fn by_plateau(
    run: &Run,
    latency: fn(&Plateau) -> Option<Percentiles>,
    missing: Missing,
) -> Result<Drawing, Missing> {
    type Of = (&'static str, fn(Percentiles) -> u64);
    let of: [Of; 5] = [
        ("p50", |p| p.p50),
        ("p90", |p| p.p90),
        ("p99", |p| p.p99),
        ("p99.9", |p| p.p999),
        ("most", |p| p.max),
    ];
    let line = |((name, pick), color): (Of, RGBColor)| {
        let at = |(index, plateau): (u32, &Plateau)| {
            Some((f64::from(index), log(pick(latency(plateau)?).real())?))
        };
        let points = (0..).zip(plateaus(run)).filter_map(at).collect();
        Series { name: name.into(), color, look: Look::Marks, points }
    };
    let lines = of.into_iter().zip(COLORS).map(line).collect();
    Ok(Drawing { names: sizes(run), ..drawn(lines, missing)? })
}

/// The reason of a run that has a result.
fn without(run: &Run, missing: Missing) -> Missing {
    if run.result.is_some() { missing } else { NO_RESULT }
}

pub(crate) fn memory(run: &Run) -> Result<Drawing, Missing> {
    let result = run.result.as_ref().ok_or(NO_RESULT)?;
    let mut names = Vec::new();
    let mut stacks: Vec<Vec<(&str, f64)>> = Vec::new();
    for (plateau, size) in plateaus(run).zip(sizes(run)) {
        let Some(held) = plateau.established.filter(|held| *held > 0) else { continue };
        let layers = of_plateau(plateau);
        if !layers.is_empty() {
            names.push(size);
            stacks.push(
                layers.into_iter().map(|(layer, bytes)| (layer, bytes / held.real())).collect(),
            );
        }
    }
    let fit = result.cost_per_connection.fit.as_ref();
    if let Some(fit) = fit.filter(|fit| !fit.by_layer.is_empty()) {
        let slope = |(layer, ..): &(&'static str, &str, RGBColor)| {
            Some((*layer, fit.by_layer.get(*layer)?.slope_bytes?))
        };
        names.push("fit".into());
        stacks.push(LAYERS.iter().filter_map(slope).collect());
    }
    if stacks.is_empty() {
        return Err(Missing::Because("no plateau was held long enough to be measured"));
    }
    let is_used =
        |layer: &str| stacks.iter().flatten().any(|(name, n)| *name == layer && *n >= 0.5);
    let legend = LAYERS.iter().filter(|(layer, ..)| is_used(layer));
    let legend = legend.map(|(_, name, color)| ((*name).to_owned(), *color)).collect();
    let bars =
        (0_u32..).map(f64::from).zip(&stacks).map(|(at, stack)| stacked(at, stack)).collect();
    Ok(Drawing { bars, legend, names, ..Drawing::default() })
}

/// Bytes of each layer of a plateau, in the order of [`LAYERS`]. A result without layers has all of the
/// kernel's in one.
fn of_plateau(plateau: &Plateau) -> Vec<(&'static str, f64)> {
    let memory = &plateau.memory;
    let bytes = |layer: &str| match layer {
        "server_user" => memory.server_user_bytes.real(),
        "client_user" => memory.client_user_bytes.real(),
        ALL_SLABS if memory.by_layer.is_empty() => memory.kernel_bytes.real(),
        _ => Some(memory.by_layer.get(layer)?.real()),
    };
    LAYERS.iter().filter_map(|(layer, ..)| Some((*layer, bytes(layer)?))).collect()
}

/// One bar; what has shrunk has no height.
fn stacked(at: f64, stack: &[(&str, f64)]) -> Bar {
    let color =
        |layer: &str| LAYERS.iter().find(|(name, ..)| *name == layer).map(|(.., color)| *color);
    let parts = stack.iter().filter_map(|(layer, n)| Some((color(layer)?, n.max(0.0)))).collect();
    let sum: f64 = stack.iter().map(|(_, bytes)| bytes).sum();
    // Others on the host gave back more than connections took.
    let label = if sum < 0.0 { "unknown".to_owned() } else { format::count(sum) };
    Bar { from: at - 0.35, to: at + 0.35, parts, label }
}

pub(crate) fn balance(run: &Run) -> Result<Drawing, Missing> {
    type Of = (&'static str, &'static str, fn(&PerCore) -> Maybe<u64>);
    let of: [Of; 4] = [
        ("client, connections", "client", |core| core.connections_peak),
        ("server, connections", "server", |core| core.connections_peak),
        ("client, messages", "client", |core| core.messages_total),
        ("server, messages", "server", |core| core.messages_total),
    ];
    let result = run.result.as_ref().ok_or(NO_RESULT)?;
    if !result.parts.is_empty() {
        // Those of all hosts are too many for a picture: each has its own.
        return Err(Missing::NotAsked);
    }
    let of_side = |side: &'static str| {
        result.per_core.iter().filter(move |core| core.side.as_deref() == Some(side))
    };
    let (mut bars, mut legend) = (Vec::new(), Vec::new());
    for ((name, side, pick), color) in of.into_iter().zip(COLORS) {
        let counts: Vec<f64> = of_side(side).filter_map(|core| pick(core).real()).collect();
        let even = counts.iter().sum::<f64>() / counts.len().max(1) as f64;
        if even <= 0.0 {
            continue;
        }
        // Four bars have the room of one name.
        let from = -0.4 + 0.2 * legend.len() as f64;
        legend.push((name.to_owned(), color));
        let share = counts.iter().map(|n| 100.0 * n / even);
        bars.extend((0_u32..).map(f64::from).zip(share).map(|(at, share)| Bar {
            from: at + from,
            to: at + from + 0.18,
            parts: vec![(color, share)],
            label: String::new(),
        }));
    }
    let most = of_side("client").count().max(of_side("server").count());
    let names = (0..most).map(|core| core.to_string()).collect();
    if bars.is_empty() {
        Err(Missing::Because("no core had anything"))
    } else {
        Ok(Drawing { bars, legend, names, ..Drawing::default() })
    }
}

fn plateaus(run: &Run) -> impl Iterator<Item = &Plateau> {
    run.result.iter().flat_map(|result| result.plateaus.iter())
}

/// What each plateau is called.
fn sizes(run: &Run) -> Vec<String> {
    plateaus(run)
        .map(|plateau| plateau.connections.real().map_or("?".into(), format::short))
        .collect()
}

/// Logarithm of a time of a microsecond or more.
pub(crate) fn log(us: f64) -> Option<f64> {
    us.is_finite().then(|| us.max(1.0).log10())
}

/// The lines that have points.
fn drawn(lines: Vec<Series>, missing: Missing) -> Result<Drawing, Missing> {
    let lines: Vec<Series> = lines.into_iter().filter(|line| !line.points.is_empty()).collect();
    if lines.is_empty() { Err(missing) } else { Ok(Drawing { lines, ..Drawing::default() }) }
}
