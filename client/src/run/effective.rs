//! The effective configuration of a run, one `key=value` a line, as it is printed at its start.

use std::fmt::Display;
use std::time::Duration;

use megaconn::engine::client::config::{Reconnect, Schedule};
use megaconn::engine::driver::ShutdownMode;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::tls::config::ClientTls;
use megaconn::plan::timetable::Span;

use crate::run::config::{Config, Load, Traffic};
use crate::run::lifetime;
use crate::run::preflight::RunPlan;
use crate::run::readers;

/// The lines of `config`, with what `plan` made of it on this host.
pub(crate) fn lines(config: &Config, plan: &RunPlan) -> Vec<String> {
    let tuples = &plan.tuples;
    let targets = tuples.targets();
    let addresses = plan.demand.connections.div_ceil(tuples.per_source().max(1));
    let Config { load, traffic, gates, .. } = config;
    let bystanders = config.bystanders.as_ref();
    let mut lines = vec![
        format!("version={}", megaconn::VERSION),
        format!("targets={} (first {})", targets.len(), targets[0]),
        format!("cores={}", list(&plan.cpus)),
        format!("connections={}", connections(load)),
        format!("source_addresses={addresses} ({} tuples each)", tuples.per_source()),
        format!("tuples={}", tuples.capacity()),
    ];
    lines.extend(of_traffic(load, traffic));
    let cut = &config.cut;
    let moment = |at: Duration| format!("{:.3} s since 1970", at.as_secs_f64());
    lines.push(format!("part={}", or(cut.part, "whole run")));
    lines.push(format!("run_id={}", or(cut.run_id.as_ref(), "none")));
    lines.push(format!(
        "start_at={}",
        or(cut.timetable.as_ref().map(|at| moment(at.start)), "once ready")
    ));
    lines.push(format!("seed={}", config.seed));
    lines.push(format!("resolve_every={}", time(config.targets.resolve_every)));
    lines.extend([
        format!("hold={:?}", load.hold),
        format!("min_established={}", gates.min_established),
        format!("max_lost={}", gates.max_lost),
        format!("max_p99={}", time(gates.max_p99)),
        format!("stop_on_miss={}", time(gates.stop_on_miss)),
        format!("memory_reserve={}", plan.host.reserve_bytes),
        format!("slots_per_segment={}", plan.slots_per_segment),
        format!("bystanders={}", or(bystanders.map(|plan| &plan.whom), "off")),
    ]);
    lines
}

/// What all parts of a run are asked to do, by name: what is not alike is of another run. Rates are those of one part.
pub(crate) fn plan(config: &Config, plan: &RunPlan) -> Vec<(String, String)> {
    let Config { load, traffic, whole_gates: gates, .. } = config;
    let targets = plan.tuples.targets();
    let table = config.cut.timetable.as_ref();
    let holds: Option<Vec<String>> = table.map(|table| {
        let since_start = |span: &Span| format!("{:?}", span.holds.saturating_sub(table.start));
        table.plateaus.iter().map(since_start).collect()
    });
    let mut lines = vec![
        format!("targets={} (first {})", targets.len(), targets[0]),
        format!("connections={}", list(&config.cut.whole)),
        format!("hold={:?}", load.hold),
        format!("holds_begin={}", or(holds.map(|holds| list(&holds)), "not by the clock")),
        format!("seed={}", config.seed),
        format!("min_established={}", gates.min_established),
        format!("max_lost={}", gates.max_lost),
        format!("max_p99={}", time(gates.max_p99)),
        format!("bystanders={}", if config.bystanders.is_some() { "on" } else { "off" }),
    ];
    lines.push(format!("said={:014x}", lifetime::of_name(&said(traffic))));
    lines.extend(of_traffic(load, traffic));
    let pair = |line: String| {
        line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    lines.into_iter().filter_map(pair).collect()
}

/// All that is typed of what connections say.
fn said(traffic: &Traffic) -> String {
    let upgrade = traffic.websocket.as_ref();
    let upgrade = upgrade.map(|ws| (&ws.request, ws.asks_by_ping, &ws.kinds));
    format!("{:?} {upgrade:?}", traffic.script)
}

fn of_traffic(load: &Load, traffic: &Traffic) -> Vec<String> {
    let per_s = |rate: Option<f64>, none| or(rate.map(|rate| format!("{rate}/s")), none);
    let schedule = match traffic.schedule {
        Schedule::None => "none".to_owned(),
        Schedule::Every(interval) => format!("every {interval:?} on each connection"),
        Schedule::Exponential(mean) => format!("exponential, mean {mean:?}, on each connection"),
        Schedule::PerSecond(rate) => format!("{rate}/s over all connections"),
    };
    let expect = match &traffic.expect {
        Expect::Echo(_) => "echo".to_owned(),
        Expect::Push(pushes) => pushes.to_string(),
        Expect::Broadcast(_) => "broadcast".to_owned(),
        Expect::Nothing => "nothing".to_owned(),
    };
    vec![
        format!("rate={}", per_s(load.rate_per_s, "unlimited")),
        format!("connects_in_flight={}", load.connects_in_flight),
        format!("message_bytes={}", traffic.message_bytes),
        format!("message_count={}", traffic.message_count),
        format!("message_schedule={schedule}"),
        format!("expect={expect}"),
        format!("proxy_protocol={}", or(traffic.proxy_protocol, "off")),
        format!("tls={}", or(traffic.tls.as_ref().map(|(tls, _)| in_words(tls)), "off")),
        format!("script={}", if traffic.script.is_some() { "on" } else { "off" }),
        format!("websocket={}", or(traffic.websocket.as_ref().map(|ws| &ws.request.path), "off")),
        format!("churn={}", per_s(traffic.churn_per_s(), "off")),
        format!("readers={}", or(traffic.readers.map(readers::in_words), "all")),
        format!("lifetime={}", or(traffic.lifetime.map(lifetime::in_words), "off")),
        format!("reconnect={}", or(traffic.reconnect.map(comes_back), "off")),
        format!("storm={}", or(Some(list(&traffic.storms)).filter(|all| !all.is_empty()), "off")),
        format!("close={}", if traffic.close == ShutdownMode::Reset { "reset" } else { "fin" }),
        format!("sweep={}", traffic.sweep),
        format!("keepalive={}", time(traffic.keepalive)),
    ]
}

fn comes_back(reconnect: Reconnect) -> String {
    let Reconnect { first, most, jitter, tries } = reconnect;
    let tries = if tries == u32::MAX { "any".to_owned() } else { tries.to_string() };
    format!("{first:?}-{most:?} jitter={:.0}% tries={tries}", 100.0 * jitter)
}

fn in_words(tls: &ClientTls) -> &'static str {
    if tls.resumes() { "resumed" } else { "on" }
}

fn connections(load: &Load) -> String {
    let max = load.to_max.then(|| "max".to_owned());
    let all: Vec<String> = load.plateaus.iter().map(ToString::to_string).chain(max).collect();
    all.join(",")
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A time as `{:?}` has it: `1.5s`, `500ms`.
fn time(time: Option<Duration>) -> String {
    or(time.map(|time| format!("{time:?}")), "off")
}

fn or(value: Option<impl Display>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
}
