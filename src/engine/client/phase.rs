//! The phases of a run: commanded by the housekeeping thread, one after the other, on all cores.

use std::sync::Arc;

use crate::engine::client::config::Pace;
use crate::engine::client::tuple_allocator::ChurnTargets;
use crate::engine::storm::DropPart;

/// What all cores do at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Begin nothing; finished when nothing that was begun is out.
    Hold,
    /// Open connections until each core has tried its share of `connections`.
    Connect {
        /// Held connections of all cores since the start: each plateau adds to the one before.
        connections: u64,
    },
    /// The same until a wall is met, if that is before there are so many.
    Fill {
        /// Held connections of all cores since the start, at most.
        most: u64,
    },
    /// Send every connection's messages, as fast as they are answered.
    Messages,
    /// Send by the schedule, and open and close short connections by theirs, until told otherwise.
    Traffic,
    /// Ask every connection once for proof that it lives.
    Sweep,
    /// Close connections until `keep` of all cores are left.
    Close {
        /// Connections that stay; 0 at the end.
        keep: u64,
    },
}

/// What a core is told while it runs.
#[derive(Clone, Debug)]
pub enum Command {
    /// Do this from now on, and say when it is carried out.
    Do(PhaseCommand),
    /// Drop this part of the held connections now.
    Storm(DropPart),
    /// Open nothing more, whatever the phase; what has begun goes on. Memory is short.
    OpenNoMore,
    /// Begin things at this pace from now on.
    Pace(Pace),
    /// Short connections go to these targets from now on; those that have begun go on.
    Churn(Arc<ChurnTargets>),
}

/// A phase, and the number under which a core says that it has finished it.
#[derive(Clone, Copy, Debug)]
pub struct PhaseCommand {
    /// Its number; a core reports the number of the last command it has carried out.
    pub number: u64,
    /// What to do.
    pub phase: Phase,
}

impl Phase {
    /// What the progress line calls it.
    pub fn verb(self) -> &'static str {
        match self {
            Phase::Hold => "settling",
            Phase::Connect { .. } | Phase::Fill { .. } => "opening",
            Phase::Messages => "verifying",
            Phase::Traffic => "holding",
            Phase::Sweep => "sweeping",
            Phase::Close { .. } => "closing",
        }
    }
}
