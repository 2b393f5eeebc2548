//! `megaconn serve`: flags to config, config to cores, cores to an exit status.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use crate::commands::serve::bystander;
use megaconn::base::constants::{BUFFER_BYTES, BUFFERS_PER_CORE, DRAIN_SLACK, LOOK_EVERY};
use megaconn::base::errno::Errno;
use megaconn::base::service_error::EndpointError;
use megaconn::base::stderr::talk;
use megaconn::base::units::{Endpoints, Text, grouped};
use megaconn::drivers::uring::{self, ProbeError, UringConfig, UringDriver};
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;
use megaconn::engine::server::drain::{Command, MemoryLeft};
use megaconn::engine::server::{Server, ServerConfig};
use megaconn::host::cpu::own_thread;
use megaconn::host::headroom::HOST;
use megaconn::host::rlimit;
use megaconn::observe::dump::Side;
use megaconn::observe::dump::ticker::{self, NoThread, Ticker};
use megaconn::observe::metrics::Metrics;
use megaconn::observe::metrics::http;
use megaconn::observe::stats::CoreStats;
use megaconn::plan;
use megaconn::runtime::launch::{self, Commands, LaunchError};
use megaconn::runtime::listeners::{self, ListenError, Steer};
use megaconn::runtime::memory_reserve::{self, Change, Teller, Watch};
use megaconn::runtime::signals::{Signals, Stop};
use megaconn::runtime::topology::{CoreError, CoreList};
use megaconn::sys::doorbell::Doorbell;
use megaconn::walls::host::Host;
use megaconn::walls::of_server::{Begun, short_at_start};

/// What `serve` was told.
#[derive(Clone, Debug)]
pub(crate) struct ServeConfig {
    /// Where to listen.
    pub listen: Vec<Endpoints>,
    /// CPUs to run on.
    pub cores: CoreList,
    /// Connections at most, over all cores.
    pub connections_max: Option<u64>,
    /// How connections are spread over cores.
    pub steer: Steer,
    /// Length of each accept queue.
    pub backlog: i32,
    /// What becomes of bytes that arrive, and what is sent unasked.
    pub mode: Mode,
    /// What every connection is sent first.
    pub banner: Option<Text>,
    /// Time after which a peer that sends nothing is closed.
    pub idle_timeout: Option<Duration>,
    /// Time after which a peer that takes nothing is closed.
    pub send_timeout: Duration,
    /// Time after which the kernel asks a silent peer whether it is there.
    pub keepalive: Option<Duration>,
    /// Time that connections have to end after SIGTERM; none at all when zero.
    pub drain: Duration,
    /// Where per-core statistics go; `-` is stdout.
    pub stats: Option<PathBuf>,
    /// Time between two ticks.
    pub stats_every: Duration,
    /// Where scrapers are answered.
    pub metrics: Option<SocketAddr>,
    /// Where an unrelated small service answers.
    pub bystander: Option<SocketAddr>,
    /// Bytes of memory that are left to everybody else; `None` is by what there is.
    pub memory_reserve: Option<u64>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The cores asked for.
    #[error(transparent)]
    Cores(#[from] CoreError),
    /// io_uring.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The addresses.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The executors.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The statistics' file.
    #[error("--stats {0}: {1}; fix: a path in a directory that you may write")]
    Stats(PathBuf, io::Error),
    /// Their writer.
    #[error(transparent)]
    Dumps(#[from] NoThread),
    /// The metrics address, or the bystander's.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// A wall, before anybody has come.
    #[error("{0}")]
    Short(String),
    /// Too few connections for the cores.
    #[error("--max-connections {0}: fewer than the {1} cores; fix: --cores with fewer of them")]
    TooFew(u64, usize),
    /// Signals.
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
}

/// Why a server that had started ended.
#[derive(Debug)]
pub(crate) enum Served {
    /// A signal asked it to.
    Stopped(Stop),
    /// A core died: our bug.
    Died(LaunchError),
}

/// Serves until a signal stops it.
///
/// # Errors
/// Whatever kept it from starting, each with its fix.
pub(crate) fn serve(config: &ServeConfig) -> Result<Served, ServeError> {
    uring::probe()?;
    let cpus = config.cores.resolve()?;
    let signals = Signals::install().map_err(ServeError::Signals)?;
    let nofile = rlimit::raise_nofile();
    let slots_per_segment = rlimit::slots_per_segment(nofile);
    let memory_reserve = memory_reserve::bytes(Side::Server, config.memory_reserve);
    let host = Host::read(nofile, memory_reserve);
    if let Some(reason) = short_at_start(&host, cpus.len()) {
        return Err(ServeError::Short(reason));
    }
    let shares = connections_per_core(config.connections_max, cpus.len())?;
    let opened =
        listeners::open(&config.listen, &cpus, config.backlog, config.steer, config.keepalive)?;
    let open = |path| ticker::open(path).map_err(|error| ServeError::Stats(path.into(), error));
    let out = config.stats.as_deref().map(open).transpose()?;
    let stats: Vec<Arc<CoreStats>> = cpus.iter().map(|_| Arc::default()).collect();
    let metrics = http::offer(config.metrics, Metrics::new(Side::Server, &cpus, &stats))?;
    let bystander = bystander::offer(config.bystander)?;
    print_config(config, &cpus, slots_per_segment, nofile);
    talk(&format!("metrics={}", http::url(metrics)));
    let bystander = bystander.map_or("none".to_owned(), |address| address.to_string());
    talk(&format!("bystander={bystander}"));
    talk(&format!("memory_reserve={memory_reserve}"));
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let per_core: Vec<_> = opened.per_core.into_iter().map(|l| Mutex::new(Some(l))).collect();
    let per_core = Arc::new(per_core);
    let make = {
        let (stats, config) = (stats.clone(), config.clone());
        move |core: usize, bell: &Doorbell| {
            stats[core].thread.set(own_thread());
            let listeners = per_core[core].lock().ok().and_then(|mut l| l.take());
            let listeners = listeners.ok_or("its listeners were taken twice")?;
            let server = ServerConfig {
                listeners: listeners.len(),
                slots_per_segment,
                connections_max: shares[core],
                idle_timeout: config.idle_timeout,
                send_timeout: config.send_timeout,
            };
            let driver = UringConfig {
                listeners,
                targets: Vec::new(),
                ephemeral_ports: plan::ephemeral_ports(),
                buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
                keepalive: None,
            };
            let driver = UringDriver::new(driver, bell)
                .map_err(|error| launch::short_of_something(&error))?;
            let protocol = Banner { text: config.banner.clone(), then: config.mode.clone() };
            Server::new(driver, server, protocol, Arc::clone(&stats[core])).map_err(ring_refused)
        }
    };
    let begun = Begun::now(host);
    let cores = launch::start(&cpus, make)?;
    let dumps = Ticker::begin(Side::Server, &cpus, &stats, out, config.stats_every)?;
    let of_cores = stats.clone();
    let (stop, died) = cores.run(async move |commands| {
        let mut memory = Watch::new(memory_reserve);
        for endpoints in &config.listen {
            talk(&format!("listening on {endpoints}"));
        }
        let stop = housekeep(&signals, &commands, &dumps, &mut memory).await;
        if stop == Some(Stop::Terminate) && !config.drain.is_zero() {
            drain(&signals, &commands, &stats, &dumps, config).await;
        }
        dumps.end();
        stop
    })?;
    for wall in begun.met_since(&cpus, &of_cores, config.backlog.unsigned_abs().into()) {
        talk(&format!(
            "met {}: {}; fix: {}",
            wall.id,
            wall.evidence.join("; "),
            wall.fix.join("; or: ")
        ));
    }
    Ok(match (died, stop) {
        (None, Some(stop)) => Served::Stopped(stop),
        (died, _) => Served::Died(died.unwrap_or(LaunchError::Died { core: 0 })),
    })
}

/// What the first ring of a core was refused for.
fn ring_refused(errno: Errno) -> String {
    match rlimit::memlock_bytes() {
        Some(limit) if errno == Errno::ENOMEM => format!(
            "no ring: {errno}, all rings of this user share RLIMIT_MEMLOCK ({limit} bytes); \
             fix: ulimit -l unlimited, or end other io_uring programs of this user"
        ),
        _ if errno == Errno::EMFILE => {
            format!("no ring: {errno}; fix: more open files by `ulimit -n`")
        }
        _ => format!("no ring: {errno}; fix: see `dmesg`, and man 2 io_uring_setup"),
    }
}

/// Watches memory and waits for a signal; `None` when a core has died.
async fn housekeep(
    signals: &Signals,
    commands: &Commands<Command>,
    dumps: &Ticker,
    memory: &mut Watch,
) -> Option<Stop> {
    let mut teller = Teller::default();
    loop {
        if let Some(change) = memory.look() {
            let (left, room, then) = match &change {
                Change::Enough(room) => (MemoryLeft::Enough, room, "enough again: accepting"),
                Change::Short(room) => {
                    let is_of_host = &*room.limit == HOST;
                    let short = [MemoryLeft::ShortInCgroup, MemoryLeft::ShortOnHost];
                    (short[usize::from(is_of_host)], room, "short: who comes is refused")
                }
            };
            if teller.tells(&change, Instant::now()) {
                talk(&format!("memory is {then} ({})", memory.describe(room)));
            }
            commands.tell(Command::Memory(left)).await;
        }
        let stop = signals.stop();
        if signals.take_dump_request() {
            dumps.tick();
        }
        if stop.is_some() || !commands.all_run() {
            return stop;
        }
        Timer::new(memory.rest()).await;
    }
}

/// Has the cores let their connections go, until none is left or the time is up; a second signal
/// ends the process meanwhile.
async fn drain(
    signals: &Signals,
    commands: &Commands<Command>,
    stats: &[Arc<CoreStats>],
    dumps: &Ticker,
    config: &ServeConfig,
) {
    let sum = |figure: fn(&CoreStats) -> u64| stats.iter().map(|core| figure(core)).sum::<u64>();
    let began = Instant::now();
    let closed_before = sum(|core| core.closed_total.get());
    talk(&format!("draining within {:?}; a second signal ends at once", config.drain));
    commands.tell(Command::Drain(config.drain)).await;
    while commands.all_run() && began.elapsed() < config.drain + DRAIN_SLACK {
        // A core that has just accepted somebody, and has not said so, is looked at again.
        Timer::new(LOOK_EVERY).await;
        if sum(|core| core.connections.get()) == 0 {
            break;
        }
        if signals.take_dump_request() {
            dumps.tick();
        }
    }
    let left = sum(|core| core.connections.get());
    let gone = sum(|core| core.closed_total.get()) - closed_before + left;
    // Who is left now is cut with the process, if its core has not begun to cut it.
    let cut = sum(|core| core.drain_cut_total.get()).max(left);
    talk(&format!(
        "drained {} connections in {:.1} s, cut {}",
        grouped(gone.saturating_sub(cut)),
        began.elapsed().as_secs_f64(),
        grouped(cut)
    ));
}

fn connections_per_core(most: Option<u64>, cores: usize) -> Result<Vec<u32>, ServeError> {
    let Some(most) = most else { return Ok(vec![u32::MAX; cores]) };
    if most < cores as u64 {
        return Err(ServeError::TooFew(most, cores));
    }
    let share = |core| u32::try_from(plan::share(most, cores, core)).unwrap_or(u32::MAX);
    Ok((0..cores).map(share).collect())
}

fn print_config(config: &ServeConfig, cpus: &[u16], slots_per_segment: u32, nofile: u64) {
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let cores: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let most = config.connections_max.map_or("unlimited".into(), |n| n.to_string());
    let steer = match config.steer {
        Steer::Cpu => "cpu",
        Steer::Hash => "hash",
    };
    talk(&format!("version={}", megaconn::VERSION));
    talk(&format!("listen={}", listen.join(",")));
    talk(&format!("cores={}", cores.join(",")));
    print_mode(config);
    talk(&format!("steer={steer}\nbacklog={}", config.backlog));
    talk(&format!("max_connections={most}"));
    talk(&format!("nofile={nofile}\nslots_per_segment={slots_per_segment}"));
}

/// Times as `{:?}` has them: `1.5s`, `500ms`.
fn print_mode(config: &ServeConfig) {
    let none = || "none".to_owned();
    let time = |time: Option<Duration>| time.map_or_else(none, |time| format!("{time:?}"));
    match &config.mode {
        Mode::Echo => talk("mode=echo"),
        Mode::Sink => talk("mode=sink"),
        Mode::Push(Push { every, text }) => {
            talk(&format!("mode=push\npush_every={every:?}\npush_text={text}"));
        }
    }
    let banner = config.banner.as_ref().map_or_else(none, ToString::to_string);
    talk(&format!("banner={banner}\nidle_timeout={}", time(config.idle_timeout)));
    talk(&format!("send_timeout={:?}\nkeepalive={}", config.send_timeout, time(config.keepalive)));
    talk(&format!("drain={}", time(Some(config.drain).filter(|drain| !drain.is_zero()))));
}
