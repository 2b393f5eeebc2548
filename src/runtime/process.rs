//! What a process has around its cores, on either side: the signals, the figures of each core, the
//! metrics address, the dumps, and the run of the cores itself.

use std::fmt::Debug;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, set_parent_process_death_signal,
};

use crate::base::endpoints::Endpoints;
use crate::base::files::told;
use crate::base::service_error::ServiceError;
use crate::base::until::Until;
use crate::engine::worker::Worker;
use crate::host::cpu::own_thread;
use crate::observe::dump::place;
use crate::observe::dump::ticker::{NoThread, Ticker};
use crate::observe::metrics::{Metrics, http};
use crate::observe::stats::CoreStats;
use crate::runtime::commands::Commands;
use crate::runtime::launch;
use crate::runtime::signals::{HangUp, Signals};
use crate::runtime::start_error::{CoreStartError, LaunchError};
use crate::sys::doorbell::Doorbell;

/// Why a process did not come to run its cores.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Signals.
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(#[source] io::Error),
    /// The metrics address.
    #[error(transparent)]
    Metrics(#[from] ServiceError),
    /// The statistics' file.
    #[error("--stats {path}: {}", told(.1, "a path in a directory that you may write"), path = .0.display())]
    Stats(PathBuf, #[source] io::Error),
    /// Their writer.
    #[error(transparent)]
    Dumps(#[from] NoThread),
    /// The executors and the cores.
    #[error(transparent)]
    Launch(#[from] LaunchError),
}

/// A process before its cores run; `S` are the figures of one core.
pub struct Process<S> {
    cpus: Vec<u16>,
    stats: Vec<Arc<S>>,
    signals: Signals,
}

/// The environment variable that has the number of the process with which this one is to end. It is set by
/// `megaconn measure` for the ends that it starts, and by workers of Locust for their clients.
pub const PARENT: &str = "MEGACONN_PARENT";

/// Has the kernel end this process when the one that started it ends, if that one asked for it.
fn end_with_parent() {
    let parent = std::env::var(PARENT).ok().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    if parent.is_none() {
        return;
    }
    // A kernel that does not do it leaves us alone.
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    if getppid() != parent {
        // It ended before.
        let _ = kill_process(getpid(), Signal::TERM);
    }
}

/// Where the dumps go, and how often.
pub struct Dumps {
    /// The place; `None` is stdout, and only when a signal asks for one.
    pub out: Option<Box<dyn Write + Send>>,
    /// Time between two.
    pub every: Duration,
}

/// What housekeeping has while the cores run.
pub struct Controls<M: Send + 'static> {
    /// The way to the cores. They stop when it is dropped.
    pub commands: Commands<M>,
    /// What signals have asked for.
    pub signals: Signals,
    /// The dumps, to be ended by housekeeping.
    pub dumps: Ticker,
}

/// Where the dumps go that `--stats` asked for; `-` is stdout.
///
/// # Errors
/// When the file cannot be made.
pub fn open_stats(path: &Path) -> Result<Box<dyn Write + Send>, ProcessError> {
    place::open(path).map_err(|error| ProcessError::Stats(path.to_owned(), error))
}

/// What one core is made of.
struct CoreSeed<T, S, W> {
    seed: T,
    stats: Arc<S>,
    make: MakeCore<T, S, W>,
}

/// Makes a worker on its core, of its seed and its figures; the doorbell wakes it.
type MakeCore<T, S, W> = fn(T, Arc<S>, &Doorbell) -> Result<W, CoreStartError>;

impl<S: CoreStats + Debug + Default> Process<S> {
    /// Installs the handlers of signals, of which SIGHUP stops, and makes the figures of a core for each of `cpus`.
    ///
    /// # Errors
    /// When the kernel refuses a handler.
    pub fn begin(cpus: &[u16]) -> Result<Process<S>, ProcessError> {
        Process::begin_with(cpus, HangUp::Stops)
    }

    /// The same, with what SIGHUP asks for.
    ///
    /// # Errors
    /// As [`Process::begin`].
    pub fn begin_with(cpus: &[u16], hang_up: HangUp) -> Result<Process<S>, ProcessError> {
        let signals = Signals::install(hang_up).map_err(ProcessError::Signals)?;
        end_with_parent();
        let stats = cpus.iter().map(|_| Arc::default()).collect();
        Ok(Process { cpus: cpus.to_vec(), stats, signals })
    }

    /// The figures of each core.
    #[must_use]
    pub fn stats(&self) -> Vec<Arc<S>> {
        self.stats.clone()
    }

    /// Answers scrapers at `address`, if there is one, until the process ends; says where that is. A
    /// process that listens at `listen` gives its figures to programs of this host as well.
    ///
    /// # Errors
    /// When the address cannot be served.
    pub fn offer_metrics(
        &self,
        address: Option<SocketAddr>,
        listen: &[Endpoints],
    ) -> Result<Option<SocketAddr>, ProcessError> {
        Ok(http::offer(address, !listen.is_empty(), self.metrics(listen, &Until::default()))?)
    }

    /// The figures of a process that listens at `listen` `until` its time is over, for scrapers.
    #[must_use]
    pub fn metrics(&self, listen: &[Endpoints], until: &Until) -> Metrics {
        Metrics::listening_until(&self.cpus, &self.stats, listen, until.clone())
    }

    /// Makes a core of each seed, in the order of the CPUs, and runs `housekeeping` on this thread
    /// until it ends; then the cores are stopped and joined. What it gave, and the first core that
    /// died.
    ///
    /// # Errors
    /// The first core that did not start, or whatever else did not.
    ///
    /// # Panics
    /// When there is not one seed for each CPU.
    pub fn run<T, W, R>(
        self,
        seeds: Vec<T>,
        make: MakeCore<T, S, W>,
        dumps: Dumps,
        housekeeping: impl AsyncFnOnce(Controls<W::Command>) -> R,
    ) -> Result<(R, Option<LaunchError>), ProcessError>
    where
        T: Send + 'static,
        W: Worker<Command: Clone> + 'static,
    {
        let Process { cpus, stats, signals } = self;
        assert_eq!(seeds.len(), cpus.len(), "a core has one seed and one CPU");
        let seeds = seeds.into_iter().zip(&stats);
        let seeds = seeds.map(|(seed, stats)| CoreSeed { seed, stats: Arc::clone(stats), make });
        let cores = launch::start(cpus.iter().copied().zip(seeds).collect(), make_core)?;
        let dumps = Ticker::begin(&cpus, &stats, dumps.out, dumps.every)?;
        let housekeeping =
            async |commands| housekeeping(Controls { commands, signals, dumps }).await;
        Ok(cores.run(housekeeping)?)
    }
}

fn make_core<T, S: CoreStats, W>(
    core: CoreSeed<T, S, W>,
    bell: &Doorbell,
) -> Result<W, CoreStartError> {
    core.stats.thread.set(own_thread());
    (core.make)(core.seed, core.stats, bell)
}
