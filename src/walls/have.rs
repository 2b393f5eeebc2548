//! What a wall has on this host, and what a plan needs of it.

use crate::host::limit::Limit;

/// What a wall has and what a plan needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What there is.
    pub have: Have,
    /// What the plan needs; `None` when nothing can be said before a run.
    pub need: Option<u64>,
    /// Connections that it allows; `None` when it bounds none.
    pub allows: Option<u64>,
    /// Whether too little of it stops a run, or only disturbs it.
    pub stops: bool,
}

/// What there is of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Have {
    /// This number.
    Some(u64),
    /// It does not bind this process.
    Unlimited,
    /// It could not be read.
    Unknown,
    /// It is nothing that is counted on a host.
    Nothing,
}

impl Have {
    /// The number, where there is one.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        match self {
            Have::Some(number) => Some(number),
            Have::Unlimited | Have::Unknown | Have::Nothing => None,
        }
    }
}

impl From<Limit<u64>> for Have {
    fn from(limit: Limit<u64>) -> Have {
        match limit {
            Limit::None => Have::Unlimited,
            Limit::Left(left) => Have::Some(left),
            Limit::Unknown => Have::Unknown,
        }
    }
}

impl From<Option<u64>> for Have {
    fn from(number: Option<u64>) -> Have {
        number.map_or(Have::Unknown, Have::Some)
    }
}

impl Reading {
    /// A wall of which nothing can be read before it is met.
    pub const NOTHING: Reading =
        Reading { have: Have::Nothing, need: None, allows: None, stops: false };

    /// A wall that stops a run above `allows` connections. `u64::MAX` says that it bounds something
    /// else than connections.
    #[must_use]
    pub fn stops(have: Have, need: u64, allows: impl Fn(u64) -> u64) -> Reading {
        let allows = match have {
            Have::Some(have) => Some(allows(have)).filter(|allowed| *allowed != u64::MAX),
            _ => None,
        };
        Reading { have, need: Some(need), allows, stops: true }
    }

    /// A wall that only disturbs.
    #[must_use]
    pub fn disturbs(have: Have, need: u64) -> Reading {
        Reading { have, need: Some(need), allows: None, stops: false }
    }
}
