//! What a connection costs in memory, in `result.json`.

use serde::{Deserialize, Serialize};

pub use crate::host::meminfo::{ALL_SLABS, NO_SLAB, OTHER_SLABS};
use crate::host::sockets::Sockstat;
use crate::results::lenient::{List, Map, Maybe, Part};

/// Memory at one time: in full before the first connection, else growth since then. The sums of
/// `sockstat` are always of their time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// Slab and other memory of the kernel, of the whole host.
    pub kernel_bytes: Maybe<i64>,
    /// Resident bytes of the server.
    pub server_user_bytes: Maybe<i64>,
    /// Resident bytes of the client.
    pub client_user_bytes: Maybe<i64>,
    /// Of the kernel's, by what it is for; see `notes/measuring.md`.
    pub by_layer: Map<i64>,
    /// Of the kernel's, by slab cache; `null` where `/proc/slabinfo` may not be read.
    pub by_slab: Maybe<Map<i64>>,
    /// Sockets of the host.
    pub sockstat: Part<Sockstat>,
}

/// Bytes for each held connection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cost {
    /// Of the kernel.
    pub kernel_bytes: Maybe<f64>,
    /// Of the server's process.
    pub server_user_bytes: Maybe<f64>,
    /// Of the client's process.
    pub client_user_bytes: Maybe<f64>,
    /// Standard error of `kernel_bytes`.
    pub stderr_bytes: Maybe<f64>,
    /// Kernel bytes by slab cache; caches below one byte are left out.
    pub by_slab: Maybe<Map<f64>>,
    /// Sockets of each connection that are in the kernel's bytes: 2 with both ends on this host, more
    /// with a proxy on it; `null` where the host's sockets are no multiple of the connections.
    pub sockets_counted: Maybe<u64>,
    /// TCP sockets that the host has got, or lost, beside the connections' since the empty state, at
    /// the plateau where they were most: their memory is in the kernel's bytes as well.
    pub other_sockets: Maybe<i64>,
    /// Sockets in TIME_WAIT that have come, or gone, since the empty state, at the plateau where they
    /// were most: short connections leave them, and those of a run before end meanwhile.
    pub time_wait: Maybe<i64>,
    /// `null` with too few plateaus for a line: the figures are the last plateau's growth, divided.
    pub fit: Maybe<Fit>,
}

impl Cost {
    /// Without bytes below 0, which an older version wrote: memory that others gave back meanwhile
    /// is no cost of a connection.
    #[must_use]
    pub fn without_negatives(mut self) -> Cost {
        let known = |bytes: Maybe<f64>| Maybe(bytes.filter(|bytes| *bytes >= 0.0));
        self.kernel_bytes = known(self.kernel_bytes);
        self.server_user_bytes = known(self.server_user_bytes);
        self.client_user_bytes = known(self.client_user_bytes);
        if let Some(by_slab) = self.by_slab.as_mut() {
            by_slab.retain(|_, bytes| *bytes >= 0.0);
        }
        if let Some(fit) = self.fit.as_mut() {
            for line in fit.by_layer.values_mut() {
                line.slope_bytes = line.slope_bytes.filter(|bytes| *bytes >= 0.0);
            }
        }
        self
    }
}

/// The lines through the empty state and the plateaus.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Fit {
    /// Held connections at each point; the empty state is the first.
    pub connections: List<u64>,
    /// `kernel`, `server_user` and `client_user`, and the layers of the kernel's.
    pub by_layer: Map<Line>,
}

/// A line: bytes = `fixed_bytes` + `slope_bytes` * connections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Of each connection; `null` where it fell while connections were opened, which is the doing of
    /// others on the host.
    pub slope_bytes: Option<f64>,
    /// Standard error of the slope.
    pub stderr_bytes: f64,
    /// Where the line meets no connection: growth over the empty state that no connection explains.
    pub fixed_bytes: f64,
    /// Share of the variance that the line explains; `null` where there is none to explain.
    pub r2: Option<f64>,
}
