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
//! To read it in order: [`engine`], the life of a connection, of which [`engine::server`] is one end;
//! [`drivers`], the world of the kernel and a simulated one; [`runtime`], how cores start, sleep and
//! stop; [`host`], what is read of the kernel; [`plan`] and [`walls`], the arithmetic before a run and
//! what stops it; [`observe`], what the programs say of themselves; [`results`], the files that
//! a run leaves; [`report`] and [`top`], how it is shown.

pub mod engine;

#[expect(unsafe_code, reason = "socket options that no safe crate wraps are set through pointers")]
pub mod sys;

#[expect(unsafe_code, reason = "a ring talks to the kernel in pointers")]
pub mod drivers;

pub mod runtime;

pub mod host;

pub mod observe;

pub mod plan;

pub mod walls;

pub mod results;

pub mod report;

pub mod top;

pub mod base;

/// Version of both programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit the programs were built from, with `-dirty` when the tree had changes.
pub const COMMIT: Option<&str> = option_env!("MEGACONN_COMMIT");
