//! What goes out on a connection and is no message; and what is known of a short connection that opens.

use std::net::SocketAddr;
use std::time::Duration;

use crate::observe::stats::LostCause;

/// Bytes that go out and are no message, by the number of their buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Aside {
    /// They are on their way.
    pub(super) is_out: bool,
    /// What stands behind them, and is to be looked at when they are gone.
    pub(super) rest: (u16, u16),
    /// What stood in the slot's `start`, see [`crate::engine::client::unasked`].
    pub(super) start: u16,
    /// The connection is lost when they are gone, by this cause.
    pub(super) ends: Option<LostCause>,
    /// It counts as a connection when they are gone.
    pub(super) is_open: bool,
}

/// A short connection, from its connect on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Short {
    /// When it was due.
    pub(super) due: Duration,
    /// The number of its target.
    pub(super) target: usize,
    /// Its source address and port.
    pub(super) source: SocketAddr,
}
