//! The phases of a run: told to all cores by the housekeeping thread, one after the other.

/// What all cores do at one time. A core that has finished says so in `phase_finished`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Hold what there is.
    Hold = 0,
    /// Open connections until every one wanted is open or has failed.
    Connect = 1,
    /// Send every connection's messages and verify the echoes.
    Messages = 2,
    /// Close every connection.
    Close = 3,
}

impl Phase {
    /// What the progress line calls it.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Phase::Hold => "holding",
            Phase::Connect => "opening",
            Phase::Messages => "verifying",
            Phase::Close => "closing",
        }
    }
}
