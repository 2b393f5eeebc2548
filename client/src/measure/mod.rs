//! What is measured of a run: figures of the cores, of the kernel and of the server, and what a
//! connection costs.

pub(crate) mod aftermath;
pub(crate) mod clock;
pub(crate) mod cost;
pub(crate) mod environment;
pub(crate) mod evidence;
pub(crate) mod figures;
pub(crate) mod files;
pub(crate) mod fit;
pub(crate) mod losses;
pub(crate) mod monitor;
pub(crate) mod server;
pub(crate) mod server_metrics;
pub(crate) mod storms;
