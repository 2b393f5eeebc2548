//! A sign of a wall that was found in a run, and how sure it makes.

use serde::Serialize;

/// A sign that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The figures, before and after.
    pub text: String,
    /// The loss that it can explain; `None` when it has no count.
    pub count: Option<u64>,
    /// How sure it makes.
    pub confidence: Confidence,
}

/// How sure a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It fits, and something else may fit as well.
    Possible,
    /// The kernel counted it during the run. The counter does not tell whether it was for this run.
    Likely,
    /// The programs themselves met it.
    Certain,
}
