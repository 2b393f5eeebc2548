//! megaconn
#![allow(missing_docs)]
/// Version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
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
pub mod token;
pub mod topology;
pub mod units;
#[allow(unsafe_code)]
pub mod uring;
