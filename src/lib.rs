//! megaconn
/// Version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Commit the programs were built from, with `-dirty` when the tree had changes.
pub const COMMIT: Option<&str> = option_env!("MEGACONN_COMMIT");
pub mod arena;
pub mod conn;
pub mod core;
pub mod driver;
pub mod dump;
pub mod errno;
pub mod launch;
pub mod limits;
pub mod listener;
pub mod memory;
pub mod plan;
pub mod rlimits;
pub mod server;
pub mod shard;
pub mod signals;
pub mod stats;
pub mod talk;
pub mod token;
pub mod topology;
pub mod units;
#[expect(unsafe_code, reason = "the ring module alone talks to the kernel in pointers")]
pub mod uring;
pub mod wire;
