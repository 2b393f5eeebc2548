//! How a run, or a watch, ended.

use megaconn::runtime::signals::Stop;

/// What an exit status tells.
pub(crate) enum Outcome {
    /// Every gate was met.
    Met,
    /// Something was not reached.
    Missed,
    /// A signal ended it; the report is partial.
    Stopped(Stop),
}
