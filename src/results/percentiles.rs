//! The percentiles of a latency.

use serde::{Deserialize, Serialize};

use crate::observe::stats::Durations;

/// Upper edges of histogram buckets, in microseconds, or the longest where that is less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: u64,
    /// 90 of 100 are not above it.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Percentiles {
    /// `None` when nothing was recorded. Resolution 3 %.
    #[must_use]
    pub fn of(all: &Durations) -> Option<Percentiles> {
        let at = |quantile: f64| all.quantile_us(quantile);
        Some(Percentiles {
            p50: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: at(1.0)?,
        })
    }
}
