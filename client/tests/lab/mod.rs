//! The lab: situations in which a run meets one wall, made on purpose with real sockets, and taken
//! away again, also when a test panics. What a host does not permit is skipped, and said.

pub(crate) mod foreign;
pub(crate) mod host;
pub(crate) mod netns;
pub(crate) mod network;
pub(crate) mod scenes;
