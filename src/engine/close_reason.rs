//! Why a server ends a connection, and where that is counted.

use crate::observe::stats::{Counter, ServerStats};

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer has ended its stream and has had all that it was owed for it.
    Finished,
    /// The peer or the network broke it.
    Reset,
    /// Its bytes made no sense to the protocol.
    Malformed,
    /// It took no bytes for too long.
    SendTimeout,
    /// Too many pushes came due behind one that it did not take.
    Backlog,
    /// It had not taken what was sent before when a text went to all.
    SlowReader,
    /// It took no bytes, or did not go on with its message, while others waited for its buffer.
    Evicted,
    /// It sent nothing for too long.
    Idle,
    /// Its handshake was not done in time.
    HandshakeTimeout,
    /// A ping was not answered, and nothing else came.
    PingTimeout,
    /// The server holds as many as it may: it was accepted beyond them.
    Refused,
    /// A storm took it.
    Storm,
    /// A storm took it that resets.
    StormReset,
    /// Its source address has as many as it may: it was accepted beyond them.
    RefusedPerSource,
    /// The server goes, and it was at rest.
    Drained,
    /// The server goes, and its time is up.
    DrainCut,
}

impl CloseReason {
    /// Whether it ends by a reset: what the peer does not take is not kept by the kernel either.
    #[must_use]
    pub fn is_hard(self) -> bool {
        use CloseReason::{
            Backlog, DrainCut, Evicted, Refused, RefusedPerSource, SendTimeout, SlowReader,
            StormReset,
        };
        matches!(
            self,
            Refused
                | RefusedPerSource
                | SendTimeout
                | Backlog
                | SlowReader
                | Evicted
                | StormReset
                | DrainCut
        )
    }

    /// Whether a handshake that is not done has failed by it: those that the server refuses or sends away have not.
    #[must_use]
    pub fn ends_handshake(self) -> bool {
        use CloseReason::{DrainCut, Drained, Refused, RefusedPerSource, Storm, StormReset};
        !matches!(self, Refused | RefusedPerSource | Storm | StormReset | Drained | DrainCut)
    }

    /// Whether it ends a connection that may be at rest: a protocol that says farewell does so.
    #[must_use]
    pub fn has_farewell(self) -> bool {
        use CloseReason::{Drained, Idle, PingTimeout, Storm};
        matches!(self, Storm | Drained | Idle | PingTimeout)
    }

    /// The counter of such ends; a peer that has finished needs none.
    #[must_use]
    pub fn counter(self, stats: &ServerStats) -> Option<&Counter> {
        match self {
            CloseReason::Finished => None,
            CloseReason::Reset => Some(&stats.reset_total),
            CloseReason::Malformed => Some(&stats.malformed_total),
            CloseReason::SendTimeout => Some(&stats.send_timeout_total),
            CloseReason::Backlog => Some(&stats.backlog_total),
            CloseReason::SlowReader => Some(&stats.broadcast_closed_total),
            CloseReason::Evicted => Some(&stats.evicted_total),
            CloseReason::Idle => Some(&stats.idle_timeout_total),
            CloseReason::HandshakeTimeout => Some(&stats.handshake_timeout_total),
            CloseReason::PingTimeout => Some(&stats.ping_timeout_total),
            CloseReason::Refused => Some(&stats.refused_total),
            CloseReason::Storm | CloseReason::StormReset => Some(&stats.dropped_total),
            CloseReason::RefusedPerSource => Some(&stats.refused_per_source_total),
            CloseReason::Drained => Some(&stats.drained_total),
            CloseReason::DrainCut => Some(&stats.drain_cut_total),
        }
    }
}
