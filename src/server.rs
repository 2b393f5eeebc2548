//! `megaconn serve`: flags to config, config to cores, cores to an exit status.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

use crate::dump::{Dump, Side};
use crate::errno::Errno;
use crate::launch::{self, LaunchError};
use crate::limits::{BUFFER_BYTES, BUFFERS_PER_CORE};
use crate::listener::{self, ListenError, Steer};
use crate::shard::{Shard, ShardConfig};
use crate::signals::{Signals, Stop};
use crate::stats::CoreStats;
use crate::talk::talk;
use crate::topology::{CoreError, CoreList};
use crate::units::Endpoints;
use crate::uring::{self, Doorbell, ProbeError, UringConfig, UringDriver};
use crate::{plan, rlimits};

/// What `serve` was told.
#[derive(Clone, Debug)]
pub struct ServeConfig {
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
    /// Where per-core statistics go; `-` is stdout.
    pub stats: Option<PathBuf>,
    /// Time between two ticks.
    pub stats_every: Duration,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
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
    /// Too few connections for the cores.
    #[error("--max-connections {0}: fewer than the {1} cores; fix: --cores with fewer of them")]
    TooFew(u64, usize),
    /// Signals.
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
}

/// Serves until a signal stops it; which one.
///
/// # Errors
/// Whatever kept it from starting, each with its fix.
pub fn serve(config: &ServeConfig) -> Result<Stop, ServeError> {
    uring::probe()?;
    let cpus = config.cores.resolve()?;
    let signals = Signals::install().map_err(ServeError::Signals)?;
    let nofile = rlimits::raise_nofile();
    let slots_per_segment = rlimits::slots_per_segment(nofile);
    let shares = connections_per_core(config.connections_max, cpus.len())?;
    let opened = listener::open(&config.listen, &cpus, config.backlog, config.steer)?;
    let out = config.stats.as_deref().map(open_stats).transpose()?;
    print_config(config, &cpus, slots_per_segment, nofile);
    if let Some(error) = &opened.unsteered {
        talk(&format!("warning: --steer cpu is off, connections are spread by hash: {error}"));
    }

    let stats: Vec<Arc<CoreStats>> = cpus.iter().map(|_| Arc::default()).collect();
    let per_core: Vec<_> = opened.per_core.into_iter().map(|l| Mutex::new(Some(l))).collect();
    let per_core = Arc::new(per_core);
    let make = {
        let stats = stats.clone();
        move |core: usize, bell: &Doorbell| {
            let listeners = per_core[core].lock().ok().and_then(|mut l| l.take());
            let listeners = listeners.ok_or("its listeners were taken twice")?;
            let shard = ShardConfig {
                listeners: listeners.len(),
                slots_per_segment,
                connections_max: shares[core],
            };
            let driver = UringConfig {
                listeners,
                targets: Vec::new(),
                ephemeral_ports: plan::ephemeral_ports(),
                buffers: (BUFFERS_PER_CORE, BUFFER_BYTES),
            };
            let driver = UringDriver::new(driver, bell)
                .map_err(|error| launch::short_of_something(&error))?;
            Shard::new(driver, shard, Arc::clone(&stats[core])).map_err(ring_refused)
        }
    };
    let cores = launch::start(&cpus, make)?;
    for endpoints in &config.listen {
        talk(&format!("listening on {endpoints}"));
    }
    let mut dump = out.map(|out| Dump::new(Side::Server, &cpus, &stats, out));
    let stats_every = config.stats_every;
    Ok(cores.run(async move |_commands| housekeep(&signals, dump.as_mut(), stats_every).await)?)
}

/// What the first ring of a core was refused for.
fn ring_refused(errno: Errno) -> String {
    match rlimits::memlock_bytes() {
        Some(limit) if errno == Errno::ENOMEM => format!(
            "no ring: {errno}, all rings of this user share RLIMIT_MEMLOCK ({limit} bytes); \
             fix: ulimit -l unlimited, or end other io_uring programs of this user"
        ),
        _ if errno == crate::errno::Errno::EMFILE => {
            format!("no ring: {errno}; fix: more open files by `ulimit -n`")
        }
        _ => format!("no ring: {errno}; fix: see `dmesg`, and man 2 io_uring_setup"),
    }
}

/// Ticks the dumps and waits for a signal.
async fn housekeep(signals: &Signals, mut dump: Option<&mut Dump>, every: Duration) -> Stop {
    let mut tick_at = Instant::now();
    loop {
        let asked = signals.take_dump_request();
        if let Some(dump) = &mut dump
            && (asked || Instant::now() >= tick_at)
        {
            if let Err(error) = dump.tick() {
                talk(&format!("warning: --stats cannot be written any more: {error}"));
            }
            tick_at = Instant::now() + every;
        }
        if let Some(stop) = signals.stop() {
            if let Some(dump) = &mut dump {
                // The last line is a courtesy; the counters before it are on disk.
                let _ = dump.tick();
            }
            return stop;
        }
        Timer::new(SIGNALS_EVERY).await;
    }
}

/// Time between two looks at the signals.
const SIGNALS_EVERY: Duration = Duration::from_millis(20);

fn connections_per_core(most: Option<u64>, cores: usize) -> Result<Vec<u32>, ServeError> {
    let Some(most) = most else { return Ok(vec![u32::MAX; cores]) };
    let n = cores as u64;
    if most < n {
        return Err(ServeError::TooFew(most, cores));
    }
    let share = |core| u32::try_from(most / n + u64::from(core < most % n)).unwrap_or(u32::MAX);
    Ok((0..n).map(share).collect())
}

fn open_stats(path: &Path) -> Result<Box<dyn Write>, ServeError> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let file = File::create(path).map_err(|error| ServeError::Stats(path.to_owned(), error))?;
    Ok(Box::new(io::BufWriter::new(file)))
}

fn print_config(config: &ServeConfig, cpus: &[u16], slots_per_segment: u32, nofile: u64) {
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    let cores: Vec<String> = cpus.iter().map(ToString::to_string).collect();
    let most = config.connections_max.map_or("as many as fit".into(), |n| n.to_string());
    talk(&format!("version={}", crate::VERSION));
    talk(&format!("listen={}", listen.join(",")));
    talk(&format!("cores={}", cores.join(",")));
    talk(&format!("mode=echo\nsteer={:?}\nbacklog={}", config.steer, config.backlog));
    talk(&format!("max_connections={most}"));
    talk(&format!("slots_per_segment={slots_per_segment} (open files: {nofile})"));
}
