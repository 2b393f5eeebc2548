//! Histograms of durations: recorded by a core, read by any thread, merged whole.

use std::time::Duration;

use histogram::{AtomicHistogram, Histogram};

/// Histograms resolve 2^-5 (3 %) of a value; the smallest step is 1 microsecond.
const GROUPING_POWER: u8 = 5;

/// Histograms reach 2^32 microseconds, 71 minutes.
const MAX_VALUE_POWER: u8 = 32;

const LEGAL: &str = "5 < 32 are legal powers";

/// A histogram of durations in which nothing is counted.
pub(crate) fn empty_histogram() -> Histogram {
    Histogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect(LEGAL)
}

/// A histogram of durations in microseconds.
#[derive(Debug)]
pub struct Latency(AtomicHistogram);

impl Latency {
    /// Nothing is counted yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a histogram is made with a purpose")]
    pub fn new() -> Latency {
        Latency(AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect(LEGAL))
    }

    /// Counts one duration; longer than 71 minutes counts as 71 minutes.
    pub fn record(&self, duration: Duration) {
        let longest = u32::MAX;
        let us = u32::try_from(duration.as_micros()).unwrap_or(longest);
        self.0.increment(u64::from(us)).expect("32 bits are in range");
    }

    /// A copy.
    #[must_use]
    pub fn load(&self) -> Histogram {
        self.0.load()
    }
}
