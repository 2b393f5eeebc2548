//! Tables of a run's own figures: a row for each plateau, and what a connection costs, layer by layer.

use maud::{Markup, html};

use crate::base::format;
use crate::report::points::LAYERS;
use crate::report::read::Run;
use crate::report::verdict::listed;
use crate::results::cost::Line;
use crate::results::lenient::{Figure, Maybe};
use crate::results::percentiles::Percentiles;
use crate::results::plateau::{Counts, Plateau, memory_back};
use crate::results::result::RunResult;

/// A column of the plateaus; `None` in a row where nothing of it was measured.
type Column = (&'static str, fn(&Plateau) -> Option<String>);

/// Groups of columns. Columns that no plateau has anything in are left out.
const COLUMNS: [(&str, &[Column]); 12] = [
    (
        "held",
        &[
            ("connections", |p| count(p.connections)),
            ("established", |p| count(p.established)),
            ("failed", |p| counts(&p.failed)),
            ("lost", |p| counts(&p.lost)),
            ("dropped", |p| count(p.dropped)),
            ("for", |p| p.hold_seconds.map(format::seconds)),
        ],
    ),
    (
        "closed down",
        &[
            ("connections", |p| count(p.closed.as_ref()?.connections)),
            ("in", |p| p.closed.as_ref()?.seconds.map(format::seconds)),
            ("rate", |p| p.closed.as_ref()?.rate_per_s.map(format::per_second)),
            ("kernel back", |p| memory_back(p.closed.as_ref()?.kernel_bytes_back)),
            ("server back", |p| memory_back(p.closed.as_ref()?.server_bytes_back)),
            ("client back", |p| memory_back(p.closed.as_ref()?.client_bytes_back)),
        ],
    ),
    (
        "opened",
        &[
            ("in", |p| {
                p.connect.seconds.filter(|_| *p.connections != Some(0)).map(format::seconds)
            }),
            ("rate", |p| p.connect.rate_per_s.map(format::per_second)),
            ("p50", |p| us(p.connect.latency_us, |us| us.p50)),
            ("p99", |p| us(p.connect.latency_us, |us| us.p99)),
            ("most", |p| us(p.connect.latency_us, |us| us.max)),
            ("agreed p50", |p| us(p.connect.opening_latency_us, |us| us.p50)),
            ("agreed p99", |p| us(p.connect.opening_latency_us, |us| us.p99)),
            ("full handshakes", |p| count(p.connect.handshakes.as_ref()?.full)),
            ("resumed", |p| count(p.connect.handshakes.as_ref()?.resumed)),
            ("handshakes", |p| p.connect.handshakes.as_ref()?.rate_per_s.map(format::per_second)),
        ],
    ),
    (
        "messages",
        &[
            ("sent", |p| unless_0(p.messages.sent)),
            ("verified", |p| unless_0(p.messages.received)),
            ("mismatched", |p| unless_0(p.messages.mismatched)),
            ("late", |p| unless_0(p.messages.late)),
            ("unsent", |p| unless_0(p.messages.unsent)),
            ("p50", |p| us(p.messages.latency_us, |us| us.p50)),
            ("p99", |p| us(p.messages.latency_us, |us| us.p99)),
            ("p99.9", |p| us(p.messages.latency_us, |us| us.p999)),
            ("most", |p| us(p.messages.latency_us, |us| us.max)),
        ],
    ),
    (
        "keepalives",
        &[
            ("sent", |p| count(p.keepalives.as_ref()?.sent)),
            ("answered", |p| count(p.keepalives.as_ref()?.answered)),
        ],
    ),
    (
        "pushes",
        &[
            ("received", |p| count(p.pushes.as_ref()?.received)),
            ("late", |p| count(p.pushes.as_ref()?.late)),
            ("missing", |p| count(p.pushes.as_ref()?.missing)),
            ("gap p50", |p| us(p.pushes.as_ref()?.gap_us, |us| us.p50)),
            ("gap p99", |p| us(p.pushes.as_ref()?.gap_us, |us| us.p99)),
        ],
    ),
    (
        "short connections",
        &[
            ("begun", |p| count(p.churn.as_ref()?.started)),
            ("completed", |p| count(p.churn.as_ref()?.completed)),
            ("failed", |p| counts(&p.churn.as_ref()?.failed)),
            ("lost", |p| counts(&p.churn.as_ref()?.lost)),
            ("rate", |p| p.churn.as_ref()?.rate_per_s.map(format::per_second)),
            ("p50", |p| us(p.churn.as_ref()?.latency_us, |us| us.p50)),
            ("p99", |p| us(p.churn.as_ref()?.latency_us, |us| us.p99)),
            ("most", |p| us(p.churn.as_ref()?.latency_us, |us| us.max)),
            ("full handshakes", |p| count(p.churn.as_ref()?.handshakes.as_ref()?.full)),
            ("resumed", |p| count(p.churn.as_ref()?.handshakes.as_ref()?.resumed)),
            ("handshakes", |p| {
                p.churn.as_ref()?.handshakes.as_ref()?.rate_per_s.map(format::per_second)
            }),
        ],
    ),
    (
        "slow readers",
        &[
            ("slow", |p| count(p.readers.as_ref()?.slow)),
            ("ended", |p| count(p.readers.as_ref()?.slow_ended)),
            ("silent", |p| count(p.readers.as_ref()?.silent)),
            ("ended", |p| count(p.readers.as_ref()?.silent_ended)),
        ],
    ),
    (
        "lifetimes",
        &[
            ("left", |p| count(p.lifetimes.as_ref()?.departures)),
            ("came", |p| count(p.lifetimes.as_ref()?.arrivals)),
            ("not filled", |p| count(p.lifetimes.as_ref()?.waiting)),
            ("failed", |p| counts(&p.lifetimes.as_ref()?.failed)),
            ("fewest", |p| count(p.lifetimes.as_ref()?.connections_min)),
            ("mean", |p| p.lifetimes.as_ref()?.mean_seconds.map(format::seconds)),
            ("p50", |p| us(p.lifetimes.as_ref()?.lived_us, |us| us.p50)),
            ("p99", |p| us(p.lifetimes.as_ref()?.lived_us, |us| us.p99)),
            ("filled p99", |p| us(p.lifetimes.as_ref()?.arrival_us, |us| us.p99)),
        ],
    ),
    (
        "lost, and back",
        &[
            ("back", |p| count(p.reconnect.as_ref()?.returned)),
            ("given up", |p| count(p.reconnect.as_ref()?.given_up)),
            ("not back", |p| count(p.reconnect.as_ref()?.waiting)),
            ("tries", |p| count(p.reconnect.as_ref()?.tries)),
            ("failed", |p| counts(&p.reconnect.as_ref()?.failed)),
            ("after p50", |p| us(p.reconnect.as_ref()?.back_us, |us| us.p50)),
            ("after p99", |p| us(p.reconnect.as_ref()?.back_us, |us| us.p99)),
            ("after most", |p| us(p.reconnect.as_ref()?.back_us, |us| us.max)),
        ],
    ),
    (
        "client's lag",
        &[
            ("p99", |p| us(p.schedule_lag_us, |us| us.p99)),
            ("most", |p| us(p.schedule_lag_us, |us| us.max)),
        ],
    ),
    (
        "sweep",
        &[
            ("asked", |p| count(p.sweep.as_ref()?.asked)),
            ("live", |p| count(p.sweep.as_ref()?.answered)),
        ],
    ),
];

fn count(n: Maybe<u64>) -> Option<String> {
    n.real().map(format::count)
}

fn counts(counts: &Counts) -> Option<String> {
    counts.by_name().map(|_| listed(counts))
}

fn us(latency: Maybe<Percentiles>, pick: fn(Percentiles) -> u64) -> Option<String> {
    latency.map(|latency| format::microseconds(pick(latency).real()))
}

/// `None` for 0: the run was not asked for it.
fn unless_0(n: Maybe<u64>) -> Option<String> {
    count(n.filter(|n| *n != 0).into())
}

/// A row for each plateau.
pub(crate) fn plateaus(run: &Run) -> Markup {
    let Some(result) = &run.result else { return no_result() };
    let plateaus: &[Plateau] = &result.plateaus;
    if plateaus.is_empty() {
        return html! { p.missing { "Not measured: no plateau was reached." } };
    }
    let is_used = |(_, cell): &&Column| plateaus.iter().any(|plateau| cell(plateau).is_some());
    let groups: Vec<(&str, Vec<&Column>)> = COLUMNS
        .iter()
        .map(|(group, columns)| (*group, columns.iter().filter(is_used).collect()))
        .filter(|(_, columns): &(_, Vec<_>)| !columns.is_empty())
        .collect();
    html! {
        div.scroll {
            table {
                thead {
                    tr { @for (group, columns) in &groups { th colspan=(columns.len()) { (group) } } }
                    tr {
                        @for (_, columns) in &groups {
                            @for (index, (name, _)) in columns.iter().enumerate() {
                                th.first[index == 0] { (name) }
                            }
                        }
                    }
                }
                tbody {
                    @for plateau in plateaus {
                        tr {
                            @for (_, columns) in &groups {
                                @for (index, (_, cell)) in columns.iter().enumerate() {
                                    td.first[index == 0] { (cell(plateau).unwrap_or("–".into())) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn no_result() -> Markup {
    html! { p.missing { "Not measured: there is no whole result.json." } }
}

/// What a connection costs.
pub(crate) fn cost(run: &Run) -> Markup {
    let Some(result) = &run.result else { return no_result() };
    let cost = &result.cost_per_connection;
    let all = [
        ("kernel", "kernel, all of it", cost.kernel_bytes),
        ("server_user", "server process", cost.server_user_bytes),
        ("client_user", "client process", cost.client_user_bytes),
    ];
    let layers = LAYERS.iter().filter(|(layer, ..)| !layer.ends_with("_user"));
    let layers =
        layers.filter_map(|(layer, name, _)| Some((*layer, *name, of_layer(result, layer)?)));
    let parts: Vec<_> = layers.collect();
    let line = |layer: &str| cost.fit.as_ref().and_then(|fit| fit.by_layer.get(layer));
    let by_slab = cost.by_slab.iter().flat_map(|by_slab| by_slab.iter());
    let by_slab: Vec<String> =
        by_slab.map(|(slab, bytes)| format!("{slab} {}", precise(*bytes))).collect();
    html! {
        div.scroll {
            table {
                thead { tr {
                    th { "bytes for each connection" } th { "bytes" } th { "± standard error" }
                    th { "fixed part" } th { "r²" }
                } }
                tbody {
                    @for (layer, name, bytes) in all {
                        tr.sum {
                            td { (name) }
                            td { (number(bytes, precise)) }
                            (of_line(line(layer)))
                        }
                        @for (part, name, bytes) in parts.iter().filter(|_| layer == "kernel") {
                            tr {
                                td.part { (name) }
                                td { (precise(*bytes)) }
                                (of_line(line(part)))
                            }
                        }
                    }
                }
            }
        }
        (others(result))
        p.quiet { (whose(result)) }
        @if !by_slab.is_empty() {
            p.quiet { "By slab cache: " (by_slab.join(", ")) "." }
        }
    }
}

/// Bytes of a layer for each connection: by the line, else the last plateau's growth, divided.
fn of_layer(result: &RunResult, layer: &str) -> Option<f64> {
    let fit = result.cost_per_connection.fit.as_ref();
    if let Some(line) = fit.and_then(|fit| fit.by_layer.get(layer)) {
        return line.slope_bytes;
    }
    let plateau = result.highest()?;
    let held = plateau.established.filter(|held| *held > 0)?;
    let bytes = plateau.memory.by_layer.get(layer).filter(|bytes| **bytes >= 0)?;
    Some(bytes.real() / held.real())
}

/// Which sockets are in the kernel's bytes, and how the bytes were calculated.
fn whose(result: &RunResult) -> String {
    let cost = &result.cost_per_connection;
    if !result.plateaus.iter().any(|plateau| plateau.established.is_some_and(|held| held > 0)) {
        return "No connection was held, so none has a cost.".into();
    }
    let sockets = match *cost.sockets_counted {
        Some(2) => {
            "Both ends are on this host: the kernel's bytes are of both sockets of a connection."
        }
        Some(1) => "The kernel's bytes are of the client's socket alone.",
        Some(_) => {
            "The kernel's bytes are of more sockets than a connection has ends: a proxy is on this \
             host."
        }
        None => "How many sockets of a connection the kernel's bytes are of is not recorded.",
    };
    let how = if cost.fit.as_ref().is_none_or(|fit| fit.by_layer.is_empty()) {
        "One plateau has no standard error: its growth over the empty state was divided."
    } else {
        "By a line through the empty state and every plateau."
    };
    format!("{sockets} {how}")
}

/// Sockets of other programs, where there are enough of them to matter.
fn others(result: &RunResult) -> Markup {
    let held = result.plateaus.iter().filter_map(|p| p.established.real()).fold(0.0, f64::max);
    let others = result.cost_per_connection.other_sockets.real();
    html! {
        @if let Some(others) = others.filter(|n| n.abs() * 100.0 > held) {
            p.fair {
                "Others on this host had " (format::count(others.abs())) " sockets "
                @if others > 0.0 { "more" } @else { "less" }
                " than before the run: their memory is in the kernel's bytes as well."
            }
        }
    }
}

fn of_line(line: Option<&Line>) -> Markup {
    let figure = |pick: fn(&Line) -> Option<f64>, form: fn(f64) -> String| {
        line.and_then(pick).map_or("–".into(), form)
    };
    html! {
        td { (figure(|line| Some(line.stderr_bytes), precise)) }
        td { (figure(|line| Some(line.fixed_bytes), format::bytes)) }
        td { (figure(|line| line.r2, |r2| format!("{r2:.5}"))) }
    }
}

fn precise(bytes: f64) -> String {
    if bytes.abs() < 100.0 { format!("{bytes:.1}") } else { format::count(bytes) }
}

/// A figure in its form; a dash when it was not measured.
pub(crate) fn number<T: Figure>(figure: Maybe<T>, form: fn(f64) -> String) -> String {
    figure.real().map_or("–".to_owned(), form)
}
