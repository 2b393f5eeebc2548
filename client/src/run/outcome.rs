//! How a run, or a watch, ended.

use megaconn::base::stdout::Undelivered;
use megaconn::runtime::signals::Stop;

/// What an exit status tells.
pub(crate) enum Outcome {
    /// Every gate was met.
    Met,
    /// Something was not reached.
    Missed,
    /// A signal ended it; the report is partial.
    Stopped(Stop),
    /// Every gate was met, and the reader of the summary had seen enough.
    Undelivered(Undelivered),
}
