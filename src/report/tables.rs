//! Tables of a run's own figures: a row for each plateau, and what a connection costs, layer by layer.

use maud::{Markup, html};

use crate::base::format;
use crate::report::lenient::Number;
use crate::report::points::LAYERS;
use crate::report::read::Run;
use crate::report::schema::{Line, Plateau, RunResult};
use crate::report::verdict::listed;

/// A column of the plateaus; `None` in a row where nothing of it was measured.
type Column = (&'static str, fn(&Plateau) -> Option<String>);

/// Groups of columns. Columns that no plateau has anything in are left out.
const COLUMNS: [(&str, &[Column]); 7] = [
    (
        "held",
        &[
            ("connections", |p| p.connections.map(format::count)),
            ("established", |p| p.established.map(format::count)),
            ("failed", |p| p.failed.as_ref().map(|_| listed(&p.failed))),
            ("lost", |p| p.lost.as_ref().map(|_| listed(&p.lost))),
            ("for", |p| p.hold_seconds.map(format::seconds)),
        ],
    ),
    (
        "opened",
        &[
            ("in", |p| {
                p.connect.seconds.filter(|_| *p.connections != Some(0.0)).map(format::seconds)
            }),
            ("rate", |p| p.connect.rate_per_s.map(format::per_second)),
            ("p50", |p| us(p.connect.latency_us.p50)),
            ("p99", |p| us(p.connect.latency_us.p99)),
            ("most", |p| us(p.connect.latency_us.max)),
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
            ("p50", |p| us(p.messages.latency_us.p50)),
            ("p99", |p| us(p.messages.latency_us.p99)),
            ("p99.9", |p| us(p.messages.latency_us.p999)),
            ("most", |p| us(p.messages.latency_us.max)),
        ],
    ),
    (
        "pushes",
        &[
            ("received", |p| p.pushes.received.map(format::count)),
            ("late", |p| p.pushes.late.map(format::count)),
            ("missing", |p| p.pushes.missing.map(format::count)),
            ("gap p50", |p| us(p.pushes.gap_us.p50)),
            ("gap p99", |p| us(p.pushes.gap_us.p99)),
        ],
    ),
    (
        "short connections",
        &[
            ("begun", |p| p.churn.started.map(format::count)),
            ("completed", |p| p.churn.completed.map(format::count)),
            ("failed", |p| p.churn.failed.as_ref().map(|_| listed(&p.churn.failed))),
            ("lost", |p| p.churn.lost.as_ref().map(|_| listed(&p.churn.lost))),
            ("rate", |p| p.churn.rate_per_s.map(format::per_second)),
            ("p50", |p| us(p.churn.latency_us.p50)),
            ("p99", |p| us(p.churn.latency_us.p99)),
            ("most", |p| us(p.churn.latency_us.max)),
        ],
    ),
    (
        "client's lag",
        &[("p99", |p| us(p.schedule_lag_us.p99)), ("most", |p| us(p.schedule_lag_us.max))],
    ),
    (
        "sweep",
        &[
            ("asked", |p| p.sweep.asked.map(format::count)),
            ("live", |p| p.sweep.answered.map(format::count)),
        ],
    ),
];

fn us(number: Number) -> Option<String> {
    number.map(format::microseconds)
}

/// Of what was not asked for there is nothing to say.
fn unless_0(number: Number) -> Option<String> {
    number.filter(|n| *n != 0.0).map(format::count)
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
    let line = |layer: &str| cost.fit.by_layer.get(layer);
    let by_slab =
        cost.by_slab.iter().map(|(slab, bytes)| format!("{slab} {}", number(*bytes, precise)));
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
        @if !cost.by_slab.is_empty() {
            p.quiet { "By slab cache: " (by_slab.collect::<Vec<_>>().join(", ")) "." }
        }
    }
}

/// Bytes of a layer for each connection: by the line, else the last plateau's growth, divided.
fn of_layer(result: &RunResult, layer: &str) -> Option<f64> {
    let slope = result.cost_per_connection.fit.by_layer.get(layer).map(|line| line.slope_bytes.0);
    slope.unwrap_or_else(|| {
        let plateau = result.plateaus.last()?;
        let held = plateau.established.filter(|held| *held > 0.0)?;
        Some(plateau.memory.by_layer.get(layer)?.0? / held)
    })
}

/// What the kernel's bytes are of, and how they were come by.
fn whose(result: &RunResult) -> String {
    let cost = &result.cost_per_connection;
    if !result.plateaus.iter().any(|plateau| plateau.established.is_some_and(|held| held > 0.0)) {
        return "No connection was held, so none has a cost.".into();
    }
    let sockets = match *cost.sockets_counted {
        Some(2.0) => {
            "Both ends are on this host: the kernel's bytes are of both sockets of a connection."
        }
        Some(1.0) => "The kernel's bytes are of the client's socket alone.",
        _ => "How many sockets of a connection the kernel's bytes are of is not recorded.",
    };
    let how = if cost.fit.by_layer.is_empty() {
        "One plateau has no standard error: its growth over the empty state was divided."
    } else {
        "By a line through the empty state and every plateau."
    };
    format!("{sockets} {how}")
}

/// Sockets of others, where they are enough to be seen.
fn others(result: &RunResult) -> Markup {
    let held = result.plateaus.iter().filter_map(|p| p.established.0).fold(0.0, f64::max);
    let others = result.cost_per_connection.other_sockets;
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
    let figure = |pick: fn(&Line) -> Number, form: fn(f64) -> String| {
        line.map_or("–".into(), |line| number(pick(line), form))
    };
    html! {
        td { (figure(|line| line.stderr_bytes, precise)) }
        td { (figure(|line| line.fixed_bytes, format::bytes)) }
        td { (figure(|line| line.r2, |r2| format!("{r2:.5}"))) }
    }
}

fn precise(bytes: f64) -> String {
    if bytes.abs() < 100.0 { format!("{bytes:.1}") } else { format::count(bytes) }
}

/// A figure in its form; a dash when it was not measured.
pub(crate) fn number(number: Number, form: fn(f64) -> String) -> String {
    number.map_or("–".to_owned(), form)
}
