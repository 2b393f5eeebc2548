//! What the pump of a core drives: a server's shard or a client's.

use std::time::Duration;

/// One core's work, taken turn by turn.
pub trait Core {
    /// What the housekeeping thread may tell it.
    type Command: Send + 'static;

    /// Does what there is to do now, without ever waiting.
    fn turn(&mut self) -> Turn;

    /// Takes a command, between two turns.
    fn obey(&mut self, command: Self::Command);
}

/// What a turn found, and so what the core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There was work: turn again.
    Busy,
    /// There was none: sleep until the bell rings, or for so long.
    Idle(Option<Duration>),
}
