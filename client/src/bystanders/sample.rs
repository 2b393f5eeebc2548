//! What is collected while a run goes on: one small record for each thing that was tried, and the
//! spans of time that the run's phases took. Which sample belongs to which phase is asked afterwards.

use megaconn::results::bystanders::SpanPhase;

/// One thing that was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// When it was due, in microseconds since the panel began.
    pub(crate) due_us: u64,
    /// From when it was due to its answer; of one that is lost, to when it was given up.
    pub(crate) latency_us: u32,
    /// Which bystander, by its place in the panel.
    pub(crate) probe: u8,
    pub(crate) outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    #[default]
    Answered,
    /// Answered, after one that was sent later.
    Reordered,
    /// No answer within a second.
    TimedOut,
    /// An error, such as a refused connect.
    Failed,
}

impl Outcome {
    pub(crate) fn is_answer(self) -> bool {
        matches!(self, Outcome::Answered | Outcome::Reordered)
    }
}

/// A stretch of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) phase: SpanPhase,
    /// Held connections that it is about: of the plateau, of what is closed; 0 of an idle host.
    pub(crate) connections: u64,
    /// In microseconds since the panel began.
    pub(crate) from_us: u64,
    pub(crate) to_us: u64,
}

const _: () = assert!(size_of::<Sample>() == 16, "an hour of eight bystanders is nine megabytes");
