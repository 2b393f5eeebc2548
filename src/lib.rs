//! Holds millions of long-lived TCP connections on one host, and says what each one costs.
//!
//! ```text
//!            core 0                        core 1                 housekeeping (not pinned)
//!  +---------------------------+  +---------------------------+
//!  | glommio executor          |  | glommio executor          |   signals, dumps, phases
//!  |   pump                    |  |   pump                    |        |
//!  |     Server or Client      |  |     Server or Client      |        | reads counters,
//!  |       Endpoint            |  |       Endpoint            | <------+ never locks
//!  |         arena of slots    |  |         arena of slots    |
//!  |         driver            |  |         driver            |
//!  |           segment 0: ring |  |           segment 0 ...   |
//!  |             + file table  |  |                           |
//!  |           segment 1 ...   |  |                           |
//!  +---------------------------+  +---------------------------+
//!     SO_REUSEPORT listeners         SO_REUSEPORT listeners
//! ```
//!
//! A connection is a direct descriptor: a socket that lives in a ring's registered-file table and
//! nowhere else, so that the limit on open files does not count it. Its slot in the table is its
//! slot in the arena. An idle connection has one poll with the kernel and no buffer.
//!
//! To read it in order:
//!
//! | Folder | What it owns |
//! |---|---|
//! | [`engine`] | the life of a connection: [`engine::endpoint`], and its two ends [`engine::server`] and [`engine::client`]; [`engine::protocol`], what bytes mean; [`engine::driver`], what a world must do |
//! | [`drivers`] | the two worlds: the kernel, by io_uring, and a simulated one |
//! | [`sys`] | what no safe crate wraps: socket options, doorbell, mappings |
//! | [`runtime`] | how cores start, sleep and stop |
//! | [`host`] | what is read of the kernel, without an opinion |
//! | [`plan`], [`walls`] | the arithmetic before a run; what limits there are, which one stopped it, and what lifts it |
//! | [`observe`] | counters, dumps, metrics: what a running program says of itself |
//! | [`results`] | the files that a run leaves: written by the client, read by the report |
//! | [`report`], [`top`] | how it is shown |
//! | [`base`] | errors, constants with their reasons, units |
//!
//! The commands of the server program stand in `src/commands`; the client program in `client/src`.
//!
//! A *core* is a CPU with one pinned thread of ours. A *segment* is one ring with its table of files,
//! and a *slot* a place in that table: one connection. A *token* names an operation of one life of a
//! slot. A *driver* does operations; an *endpoint* asks for them. A *plan* fixes every 4-tuple before
//! the first SYN. A *wall* is a limit that stops a run.

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
