//! The data path of both ends: slots, queues, timers, and what is done with a connection from its first
//! operation to its last. No files, no sockets of its own, no executor, no flags, no /proc.

pub mod arena;
pub mod client;
pub mod close_reason;
pub mod driver;
pub mod endpoint;
pub mod protocol;
pub mod queue;
pub mod server;
pub mod slot;
pub mod storm;
pub mod token;
pub mod wheel;
pub mod worker;
