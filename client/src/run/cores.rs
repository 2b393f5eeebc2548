//! What each core of the client is made of, from the config and the plan of the run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use megaconn::base::constants::BUFFERS_PER_CORE;
use megaconn::drivers::uring::{UringConfig, UringDriver};
use megaconn::engine::client::Client;
use megaconn::engine::client::config::{ClientConfig, Pace, Schedule};
use megaconn::engine::client::followed::Followed;
use megaconn::engine::client::phase::Command;
use megaconn::engine::client::tuple_allocator::TupleAllocator;
use megaconn::engine::driver::Driver;
use megaconn::engine::protocol::Expectation;
use megaconn::engine::protocol::broadcast::Clock;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::proxy::client::Announced;
use megaconn::engine::protocol::proxy::header::Version;
use megaconn::engine::protocol::script::Scripted;
use megaconn::engine::protocol::tls::client::Tls;
use megaconn::engine::protocol::tls::config::{ClientTls, ServerName};
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::worker::AnyWorker;
use megaconn::host::ports;
use megaconn::host::procfs::ProcFs;
use megaconn::observe::stats::{BroadcastLog, ClientStats, LossLog};
use megaconn::plan::tuples;
use megaconn::runtime::moment;
use megaconn::runtime::start_error::CoreStartError;
use megaconn::sys::doorbell::Doorbell;

use crate::run::config::{Config, Traffic};
use crate::run::preflight::RunPlan;
use crate::run::websocket::WebSocket;

/// What one core is made of.
pub(crate) struct Seed {
    driver: UringConfig,
    client: ClientConfig,
    expect: Expected,
    tls: InTls,
    header: Header,
    tuples: TupleAllocator,
    losses: Arc<LossLog>,
    texts: Arc<BroadcastLog>,
}

/// What its connections speak.
enum Expected {
    Bytes(Expect),
    WebSocket(Upgraded<Expect>),
    Script(Scripted),
    ScriptByMessage(Upgraded<Scripted>),
}

/// What they speak TLS by, and the names of targets.
type InTls = Option<(ClientTls, Vec<ServerName<'static>>)>;

/// The header of the PROXY protocol that comes before, and the targets that it names.
type Header = Option<(Version, Vec<SocketAddr>)>;

/// One seed for each core, with its own share of the tuples and its own logs of `losses` and `texts`.
pub(crate) fn seeds(
    config: &Config,
    plan: &RunPlan,
    losses: &[Arc<LossLog>],
    texts: &[Arc<BroadcastLog>],
) -> Vec<Seed> {
    let seed = |(core, (losses, texts)): (usize, (&Arc<LossLog>, &Arc<BroadcastLog>))| {
        let driver = UringConfig {
            listeners: Vec::new(),
            targets: plan.tuples.targets().to_vec(),
            ephemeral_ports: ports::ephemeral(&ProcFs::host()),
            buffers: (BUFFERS_PER_CORE, config.traffic.layers().buffer_bytes()),
            keepalive: config.traffic.keepalive,
            sends_at_once: config.traffic.opens(),
            keeps_peers: false,
        };
        Seed {
            driver,
            client: client_config(config, plan, core),
            expect: expected(&config.traffic, plan.tuples.targets()),
            tls: in_tls(&config.traffic, plan.tuples.targets()),
            header: (config.traffic.proxy_protocol)
                .map(|version| (version, plan.tuples.targets().to_vec())),
            tuples: allocator(plan, core),
            losses: Arc::clone(losses),
            texts: Arc::clone(texts),
        }
    };
    losses.iter().zip(texts).enumerate().map(seed).collect()
}

fn expected(traffic: &Traffic, targets: &[SocketAddr]) -> Expected {
    if let Some(script) = &traffic.script {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let began_ms = u64::try_from(now.as_millis()).unwrap_or(0);
        let script = Scripted::new(script.clone(), began_ms);
        return match &traffic.websocket {
            None => Expected::Script(script),
            Some(websocket) => Expected::ScriptByMessage(upgraded(websocket, targets, script)),
        };
    }
    let then = traffic.expect.clone();
    match &traffic.websocket {
        None => Expected::Bytes(then),
        Some(websocket) => Expected::WebSocket(upgraded(websocket, targets, then)),
    }
}

fn upgraded<E>(websocket: &WebSocket, targets: &[SocketAddr], then: E) -> Upgraded<E> {
    let WebSocket { request, asks_by_ping, kinds, hosts } = websocket;
    let host = |target: &SocketAddr| hosts.get(target).cloned().unwrap_or_default();
    let hosts = targets.iter().map(host).collect();
    let mut upgraded = Upgraded::new(request.clone(), hosts, then);
    (upgraded.asks_by_ping, upgraded.kinds) = (*asks_by_ping, *kinds);
    upgraded
}

/// Makes a core on the core itself, where `bell` wakes it.
pub(crate) fn make_core(
    seed: Seed,
    stats: Arc<ClientStats>,
    bell: &Doorbell,
) -> Result<AnyWorker<Command, UringDriver>, CoreStartError> {
    let Seed { driver, client, expect, tls, header, tuples, losses, texts } = seed;
    let driver = UringDriver::new(driver, bell).map_err(|e| CoreStartError::driver(&e))?;
    let followed = Followed { clock: Clock { epoch: moment::before(driver.now()) }, log: texts };
    let parts = (driver, client, tuples, stats, (losses, followed));
    Ok(match expect {
        Expected::Bytes(bytes) => in_layers(parts, header, tls, bytes),
        Expected::WebSocket(frames) => in_layers(parts, header, tls, frames),
        Expected::Script(script) => in_layers(parts, header, tls, script),
        Expected::ScriptByMessage(frames) => in_layers(parts, header, tls, frames),
    })
}

/// What a client is made of besides.
type Parts = (UringDriver, ClientConfig, TupleAllocator, Arc<ClientStats>, Logs);

/// What is noted of losses, and of texts to all.
type Logs = (Arc<LossLog>, Followed);

/// A client, with TLS under what it expects where there is TLS.
fn in_layers<E: Expectation + 'static>(
    parts: Parts,
    header: Header,
    tls: InTls,
    expect: E,
) -> AnyWorker<Command, UringDriver> {
    match tls {
        None => behind_header(parts, header, expect),
        Some((config, names)) => behind_header(parts, header, Tls::new(config, names, expect)),
    }
}

/// The same, with a header before it where there is one.
fn behind_header<E: Expectation + 'static>(
    parts: Parts,
    header: Header,
    then: E,
) -> AnyWorker<Command, UringDriver> {
    match header {
        None => boxed(parts, then),
        Some((version, targets)) => boxed(parts, Announced { version, targets, then }),
    }
}

fn boxed<E: Expectation + 'static>(
    (driver, client, tuples, stats, (losses, followed)): Parts,
    expect: E,
) -> AnyWorker<Command, UringDriver> {
    Box::new(Client::new(driver, client, expect, tuples, stats, losses).following(followed))
}

fn in_tls(traffic: &Traffic, targets: &[SocketAddr]) -> InTls {
    let (tls, names) = traffic.tls.as_ref()?;
    let name = |target: &SocketAddr| {
        names.get(target).cloned().unwrap_or_else(|| ServerName::IpAddress(target.ip().into()))
    };
    Some((tls.clone(), targets.iter().map(name).collect()))
}

/// What every core is told.
fn client_config(config: &Config, plan: &RunPlan, core: usize) -> ClientConfig {
    let (load, traffic, cores) = (&config.load, &config.traffic, plan.cpus.len());
    ClientConfig {
        reconnect: traffic.reconnect,
        readers: traffic.readers,
        lifetime: traffic.lifetime,
        seed: config.cut.seed(config.seed),
        slots_per_segment: plan.slots_per_segment,
        connects_in_flight: load.connects_in_flight,
        message_bytes: traffic.message_bytes,
        message_count: traffic.message_count,
        pace: pace(load.rate_per_s, traffic.schedule, traffic.churn_per_s(), cores),
        turn: config.cut.turn(core, cores),
        close: traffic.close,
        run: plan.run_id,
    }
}

/// How fast each of `cores` begins things, for all of them to begin so many.
pub(crate) fn pace(
    connects_per_s: Option<f64>,
    schedule: Schedule,
    churn_per_s: Option<f64>,
    cores: usize,
) -> Pace {
    let of_one = |rate: f64| rate / cores as f64;
    Pace {
        connects_per_s: connects_per_s.map(of_one),
        schedule,
        churn_per_s: churn_per_s.map_or(0.0, of_one),
        is_paused: false,
    }
}

/// The tuples of `core`, which has its even share of the connections.
pub(crate) fn allocator(plan: &RunPlan, core: usize) -> TupleAllocator {
    let cores = plan.cpus.len();
    let held = plan.set_aside.saturating_add(plan.demand.lifetime_tuples);
    let share = tuples::share(held, cores, core);
    let churn = plan.demand.churn_tuples.div_ceil(cores as u64);
    TupleAllocator::new(Arc::clone(&plan.tuples), core, share, churn, plan.run_id)
}
