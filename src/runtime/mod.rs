//! How cores start, turn, sleep, take commands and stop: executors, listeners, CPUs, signals, and the
//! memory that is left to the host.

mod alarm;
pub mod commands;
mod doorbell;
pub mod footprint;
pub mod given;
pub mod hand_over;
pub mod launch;
pub mod listeners;
pub mod memory_reserve;
pub mod moment;
pub mod process;
mod pump;
pub mod signals;
mod sleep;
pub mod start_error;
pub mod topology;
