//! How cores start, sleep, are told things and stop: executors, listeners, CPUs, signals, and the memory
//! that is left to others.

pub mod launch;
pub mod listeners;
pub mod memory_reserve;
pub mod signals;
mod sleep;
pub mod topology;
