//! Why a server did not start, each with its fix.

use std::io;
use std::path::PathBuf;

use megaconn::base::service_error::EndpointError;
use megaconn::drivers::uring::ProbeError;
use megaconn::observe::dump::ticker::NoThread;
use megaconn::runtime::listeners::ListenError;
use megaconn::runtime::start_error::LaunchError;
use megaconn::runtime::topology::CoreError;

use crate::commands::serve::config::FlagError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Flags that contradict each other.
    #[error(transparent)]
    Flags(#[from] FlagError),
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
    /// A wall that stops the server before the first connection.
    #[error("{0}")]
    Short(String),
    /// Too few connections for the cores.
    #[error("--max-connections {0}: fewer than the {1} cores; fix: --cores with fewer of them")]
    TooFew(u64, usize),
    /// Signals.
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
}
