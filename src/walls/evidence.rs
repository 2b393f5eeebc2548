//! A sign of a wall that was found in a run, and how sure it makes.

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It fits, and something else may fit as well.
    Possible,
    /// The kernel counted it during the run. The counter does not tell whether it was for this run.
    Likely,
    /// The programs themselves met it.
    Certain,
}

impl Confidence {
    /// `"possible"`, `"likely"` or `"certain"`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Confidence::Possible => "possible",
            Confidence::Likely => "likely",
            Confidence::Certain => "certain",
        }
    }
}
