//! Why a server did not start, each with its fix.

use megaconn::base::constants::MEMORY_LEAST_BYTES;
use megaconn::base::service_error::ServiceError;
use megaconn::base::units::grouped;
use megaconn::drivers::uring::ProbeError;
use megaconn::observe::control::listen::ControlError;
use megaconn::runtime::process::ProcessError;
use megaconn::runtime::topology::CoreError;

use crate::commands::serve::config::FlagError;
use crate::commands::serve::sockets::SocketsError;
use crate::commands::serve::tls::TlsError;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Flags that contradict each other.
    #[error(transparent)]
    Flags(#[from] FlagError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The cores asked for.
    #[error(transparent)]
    Cores(#[from] CoreError),
    /// io_uring.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The listening sockets.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// What every process with cores has around them.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The address of the figures, or the bystander's.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Where broadcasts are ordered.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Its thread.
    #[error("--broadcast-on: no thread for it ({0}); fix: raise ulimit -u")]
    NoThread(#[source] std::io::Error),
    /// Less memory than any server takes.
    #[error(
        "cgroup-memory: a server needs {} bytes of memory at least, there are {} {place}; fix: \
         systemctl set-property UNIT MemoryMax={}; or: --memory-reserve, to start all the same",
        grouped(MEMORY_LEAST_BYTES), grouped(*total_bytes), 2 * MEMORY_LEAST_BYTES
    )]
    TooSmall {
        /// Where, in words.
        place: String,
        /// How much there is.
        total_bytes: u64,
    },
    /// A wall that stops the server before the first connection.
    #[error("{0}")]
    Short(String),
}
