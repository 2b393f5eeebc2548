//! Holds millions of long-lived TCP connections on one host, and says what each one costs.
//!
//! ```text
//!             core 0                        core 1                 housekeeping (not pinned)
//!   +---------------------------+  +---------------------------+
//!   | glommio LocalExecutor     |  | glommio LocalExecutor     |   signals, dumps, phases
//!   |   pump task               |  |   pump task               |        |
//!   |     Shard (sync, no alloc)|  |     Shard                 |        | reads counters,
//!   |       Arena of slots      |  |       Arena               | <------+ never locks
//!   |       Driver              |  |       Driver              |
//!   |         segment 0: ring   |  |         segment 0 ...     |
//!   |           + file table    |  |                           |
//!   |         segment 1 ...     |  |                           |
//!   +---------------------------+  +---------------------------+
//!      SO_REUSEPORT listeners         SO_REUSEPORT listeners
//! ```
//!
//! A connection is a direct descriptor: a socket that lives in a ring's registered-file table and
//! nowhere else, so that the limit on open files does not count it. Its slot in the table is its
//! slot in the arena. An idle connection has one poll with the kernel and no buffer.
//!
//! To read it in order: [`shard`], the life of a connection, with its [`traffic`] and its [`drain`];
//! [`conn`], [`arena`] and [`token`], its
//! record, its place and its name; [`wheel`], what comes due; [`driver`], what a shard asks of the world, with its two answers
//! [`uring`] and [`sim`]; [`launch`], how cores start, sleep and stop; [`plan`], the arithmetic
//! before a run.

pub mod shard;

pub mod drain;
pub mod ending;
pub mod traffic;

pub mod arena;
pub mod conn;
pub mod token;
pub mod wheel;

pub mod driver;
pub mod sim;
#[expect(unsafe_code, reason = "the ring module alone talks to the kernel in pointers")]
pub mod uring;

pub mod core;
pub mod launch;
pub mod listener;
pub mod topology;

pub mod doctor;
pub mod plan;
pub mod walls;
pub mod wire;

pub mod bystander;
pub mod cgroup;
pub mod cpu;
pub mod dump;
pub mod endpoint;
pub mod memory;
pub mod metrics;
pub mod report;
pub mod reserve;
pub mod rlimits;
pub mod room;
pub mod stats;
pub mod top;
pub mod view;

pub mod errno;
pub mod limits;
pub mod server;
pub mod shown;
pub mod signals;
pub mod talk;
pub mod units;
pub mod usage;

/// Version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit the programs were built from, with `-dirty` when the tree had changes.
pub const COMMIT: Option<&str> = option_env!("MEGACONN_COMMIT");
