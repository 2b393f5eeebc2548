//! Why an established connection was lost.

use crate::base::errno::Errno;

/// Why an established connection was lost, in the order of [`crate::observe::stats::ClientStats::lost`].
pub const LOST_CAUSES: [&str; 6] = ["fin", "reset", "timeout", "silent", "mismatch", "local"];

/// A cause in [`LOST_CAUSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum LostCause {
    /// The peer ended it in order, unasked.
    Fin,
    /// The peer or the network reset it.
    Reset,
    /// The network gave up on it.
    Timeout,
    /// It did not answer.
    Silent,
    /// It answered with something else.
    Mismatch,
    /// This host ended it.
    Local,
}

impl LostCause {
    /// Every cause, in the order of [`LOST_CAUSES`].
    pub const ALL: [LostCause; LOST_CAUSES.len()] = [
        LostCause::Fin,
        LostCause::Reset,
        LostCause::Timeout,
        LostCause::Silent,
        LostCause::Mismatch,
        LostCause::Local,
    ];

    /// Its name in [`LOST_CAUSES`].
    #[must_use]
    pub fn name(self) -> &'static str {
        LOST_CAUSES[self as usize]
    }

    /// What an error of an established connection says of its end.
    #[must_use]
    pub fn of(errno: Errno) -> LostCause {
        match errno {
            Errno::ECONNRESET | Errno::EPIPE => LostCause::Reset,
            Errno::ETIMEDOUT | Errno::EHOSTUNREACH | Errno::ENETUNREACH => LostCause::Timeout,
            _ => LostCause::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_connection_has_its_cause() {
        for (errno, cause) in [
            (Errno::ECONNRESET, "reset"),
            (Errno::EPIPE, "reset"),
            (Errno::ETIMEDOUT, "timeout"),
            (Errno::EHOSTUNREACH, "timeout"),
            (Errno::ENETUNREACH, "timeout"),
            (Errno::ENOMEM, "local"),
            (Errno::ENOBUFS, "local"),
        ] {
            assert_eq!(LOST_CAUSES[LostCause::of(errno) as usize], cause, "{errno}");
        }
    }
}
