//! The effective configuration of a server, one `key=value` a line, as it is printed at its start.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::server::orders::SlowReader;
use megaconn::observe::metrics::http;

use crate::commands::serve::config::{BroadcastConfig, Config, Traffic};
use crate::commands::serve::flags::Steer;
use crate::commands::serve::preflight::Prepared;

/// The lines; `metrics` and `bystander` are the addresses that were opened.
pub(crate) fn lines(
    config: &Config,
    prepared: &Prepared,
    metrics: Option<SocketAddr>,
    bystander: Option<SocketAddr>,
) -> Vec<String> {
    let Config { places, connections, .. } = config;
    let steer = match connections.steer {
        Steer::Cpu => "cpu",
        Steer::Hash => "hash",
    };
    let most = or_unlimited(connections.max_connections);
    let mut lines = vec![
        format!("version={}", megaconn::VERSION),
        format!("listen={}", list(&places.listen)),
        format!("cores={}", list(&prepared.cpus)),
        format!("take_over={}", or_none(places.take_over.as_ref().map(|path| path.display()))),
    ];
    lines.extend(of_traffic(&config.traffic));
    lines.push(format!("tls={}", if prepared.tls.is_some() { "on" } else { "off" }));
    lines.extend([
        format!("keepalive={}", time(connections.keepalive)),
        format!("drain={}", time(Some(connections.drain).filter(|drain| !drain.is_zero()))),
        format!(
            "storm={}",
            or_none(Some(list(&connections.storm)).filter(|list| !list.is_empty()))
        ),
        format!("steer={steer}"),
        format!("backlog={}", connections.backlog),
        format!("max_connections={most}"),
        format!(
            "max_connections_per_source={}",
            or_unlimited(connections.max_connections_per_source)
        ),
        format!(
            "accept_rate={}",
            or_unlimited(connections.accept_rate.map(|rate| format!("{rate}/s")))
        ),
        format!("nofile={}", prepared.nofile),
        format!("slots_per_segment={}", prepared.slots_per_segment),
        format!("metrics={}", http::url(metrics)),
        format!("bystander={}", or_none(bystander)),
        format!("memory_reserve={}", prepared.memory_reserve),
    ]);
    lines
}

fn of_traffic(traffic: &Traffic) -> Vec<String> {
    let mut lines = match &traffic.mode {
        Mode::Echo => vec!["mode=echo".to_owned()],
        Mode::Sink if traffic.broadcasts.is_some() => vec!["mode=push".to_owned()],
        Mode::Sink => vec!["mode=sink".to_owned()],
        Mode::Push(Push { every, text }) => vec![
            "mode=push".to_owned(),
            format!("push_every={every:?}"),
            format!("push_text={text}"),
        ],
    };
    if let Some(BroadcastConfig { is_raw, topics, slow_reader, .. }) = &traffic.broadcasts {
        let slow_reader = match slow_reader {
            SlowReader::Skip => "skip",
            SlowReader::Close => "close",
        };
        lines.extend([
            format!("broadcast_raw={}", if *is_raw { "on" } else { "off" }),
            format!("topics={topics}"),
            format!("slow_reader={slow_reader}"),
        ]);
    }
    let websocket = traffic.websocket.as_ref();
    let subprotocol = websocket.and_then(|websocket| websocket.subprotocol.as_ref());
    lines.extend([
        format!("websocket={}", if websocket.is_some() { "on" } else { "off" }),
        format!("subprotocol={}", or_none(subprotocol)),
        format!("ping_every={}", time(websocket.and_then(|websocket| websocket.ping_every))),
        format!("banner={}", or_none(traffic.banner.as_ref())),
        format!("proxy_protocol={}", if traffic.proxy_protocol { "on" } else { "off" }),
        format!("idle_timeout={}", time(traffic.idle_timeout)),
        format!("handshake_timeout={:?}", traffic.handshake_timeout),
        format!("send_timeout={:?}", traffic.send_timeout),
    ]);
    lines
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A time as `{:?}` has it: `1.5s`, `500ms`.
fn time(time: Option<Duration>) -> String {
    or_none(time.map(|time| format!("{time:?}")))
}

fn or_unlimited(value: Option<impl Display>) -> String {
    value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string())
}

fn or_none(value: Option<impl Display>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}
