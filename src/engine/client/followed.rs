//! Where a client's core notes the texts that a server sends to all.

use std::sync::Arc;

use crate::engine::protocol::broadcast::Clock;
use crate::observe::stats::BroadcastLog;

/// Where it is noted.
#[derive(Clone, Debug, Default)]
pub struct Followed {
    /// What the core's clock is to others.
    pub clock: Clock,
    /// The texts.
    pub log: Arc<BroadcastLog>,
}
