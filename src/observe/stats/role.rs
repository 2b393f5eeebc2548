//! What a reader needs of the figures of one core, whichever side it is of.

use std::ops::Deref;

use crate::base::side::Side;
use crate::observe::stats::common::CommonStats;
use crate::observe::stats::figure::Listed;

/// All figures of one core of a side.
pub trait CoreStats: Listed + Deref<Target = CommonStats> + Send + Sync + 'static {
    /// The side.
    const SIDE: Side;
}
