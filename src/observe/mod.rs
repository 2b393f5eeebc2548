//! What the programs say of themselves: counters of each core, dumps of them, metrics, and a snapshot of
//! another process as its metrics address shows it.

pub mod control;
pub mod dump;
pub mod http;
pub mod metrics;
pub mod names;
pub mod process;
pub mod snapshot;
pub mod stats;
