//! What each core of a server is made of, from the config and what the host has for it.

use std::sync::Arc;

use megaconn::base::errno::Errno;
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::protocol::Protocol;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::proxy::Awaited;
use megaconn::engine::protocol::tls::server::Tls;
use megaconn::engine::protocol::websocket::WebSocket;
use megaconn::engine::server::allowance::Allowance;
use megaconn::engine::server::drain::{Accepting, Command};
use megaconn::engine::server::orders::SlowReader;
use megaconn::engine::server::sources::Sources;
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::engine::worker::AnyWorker;
use megaconn::observe::stats::ServerStats;
use megaconn::runtime::start_error::CoreStartError;
use megaconn::sys::doorbell::Doorbell;
use socket2::Socket;

use crate::commands::serve::config::{Config, Traffic, WebSocketConfig};
use crate::commands::serve::preflight::Prepared;

/// What one core is made of.
pub(crate) struct Seed {
    driver: UringConfig,
    server: ServerConfig,
    protocol: Spoken,
    /// Whether a header of the PROXY protocol comes before.
    awaits_header: bool,
}

/// What its connections speak.
enum Spoken {
    Bytes(Banner<Mode>),
    WebSocket(WebSocket),
    TlsBytes(Tls<Banner<Mode>>),
    TlsWebSocket(Tls<WebSocket>),
}

/// One seed for each core: its listeners, of `listeners`, and what it shares with the others, which is
/// how many connections are left, and how many cores are `accepting`.
pub(crate) fn seeds(
    config: &Config,
    prepared: &Prepared,
    listeners: Vec<Vec<Socket>>,
    accepting: &Accepting,
) -> Vec<Seed> {
    let traffic = &config.traffic;
    let most = config.connections.max_connections;
    let allowance = most.map_or(Allowance::default(), Allowance::of);
    let sources = config.connections.max_connections_per_source.map(Sources::of);
    let (keeps_peers, sources) = (sources.is_some(), sources.unwrap_or_default());
    #[expect(clippy::cast_precision_loss, reason = "cores are few")]
    let cores = listeners.len() as f64;
    let seed = |(core, listeners): (usize, Vec<Socket>)| {
        let server = ServerConfig {
            core,
            connections_max: most.and_then(|n| u32::try_from(n).ok()).unwrap_or(u32::MAX),
            allowance: allowance.clone(),
            accepting: accepting.clone(),
            sources: sources.clone(),
            accept_rate: config.connections.accept_rate.map(|rate| rate / cores),
            idle_timeout: traffic.idle_timeout,
            send_timeout: traffic.send_timeout,
            handshake_timeout: traffic.handshake_timeout,
            topics: traffic.broadcasts.as_ref().map_or(1, |broadcasts| broadcasts.topics),
            slow_reader: (traffic.broadcasts.as_ref())
                .map_or(SlowReader::Skip, |broadcasts| broadcasts.slow_reader),
            ..ServerConfig::new(listeners.len(), prepared.slots_per_segment)
        };
        let driver = UringConfig {
            buffers: prepared.buffers,
            keeps_peers,
            ..UringConfig::listening(listeners)
        };
        let protocol = match (spoken(traffic), prepared.tls.clone()) {
            (Spoken::Bytes(bytes), Some(tls)) => Spoken::TlsBytes(Tls::new(tls, bytes)),
            (Spoken::WebSocket(frames), Some(tls)) => Spoken::TlsWebSocket(Tls::new(tls, frames)),
            (spoken, _) => spoken,
        };
        Seed { driver, server, protocol, awaits_header: traffic.proxy_protocol }
    };
    listeners.into_iter().enumerate().map(seed).collect()
}

fn spoken(traffic: &Traffic) -> Spoken {
    let then = traffic.mode.clone();
    let Some(WebSocketConfig { subprotocol, banner, ping_every }) = &traffic.websocket else {
        return Spoken::Bytes(Banner { text: traffic.banner.clone(), then });
    };
    let (subprotocol, banner) = (subprotocol.clone(), banner.clone());
    Spoken::WebSocket(WebSocket { subprotocol, banner, ping_every: *ping_every, then })
}

/// Makes a core on the core itself, where `bell` wakes it.
pub(crate) fn make_core(
    seed: Seed,
    stats: Arc<ServerStats>,
    bell: &Doorbell,
) -> Result<AnyWorker<Command, UringDriver>, CoreStartError> {
    let Seed { driver, server, protocol, awaits_header } = seed;
    let driver = UringDriver::new(driver, bell).map_err(|e| CoreStartError::driver(&e))?;
    let parts = (driver, server, stats);
    let worker = match protocol {
        Spoken::Bytes(bytes) => behind_header(awaits_header, parts, bytes),
        Spoken::WebSocket(frames) => behind_header(awaits_header, parts, frames),
        Spoken::TlsBytes(records) => behind_header(awaits_header, parts, records),
        Spoken::TlsWebSocket(records) => behind_header(awaits_header, parts, records),
    };
    worker.map_err(CoreStartError::first_segment)
}

/// What a server is made of besides.
type Parts = (UringDriver, ServerConfig, Arc<ServerStats>);

/// A server, with the layer of a header where one is awaited.
fn behind_header<P: Protocol + 'static>(
    awaits_header: bool,
    parts: Parts,
    protocol: P,
) -> Result<AnyWorker<Command, UringDriver>, Errno> {
    match awaits_header {
        true => boxed(parts, Awaited::new(protocol)),
        false => boxed(parts, protocol),
    }
}

fn boxed<P: Protocol + 'static>(
    (driver, config, stats): Parts,
    protocol: P,
) -> Result<AnyWorker<Command, UringDriver>, Errno> {
    Server::new(driver, config, protocol, stats).map(|server| Box::new(server) as _)
}
