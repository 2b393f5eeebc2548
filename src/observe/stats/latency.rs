//! Histograms of durations: recorded by a core, read by any thread, merged whole.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use histogram::{AtomicHistogram, Histogram, SparseHistogram};

/// Histograms resolve 2^-5 (3 %) of a value; the smallest step is 1 microsecond.
const GROUPING_POWER: u8 = 5;

/// Histograms reach 2^32 microseconds, 71 minutes.
const MAX_VALUE_POWER: u8 = 32;

const LEGAL: &str = "5 < 32 are legal powers";

/// A histogram of durations in which nothing is counted.
pub(crate) fn empty_histogram() -> Histogram {
    Histogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect(LEGAL)
}

/// A histogram of durations in microseconds, and the longest of them to the microsecond.
#[derive(Debug)]
pub struct Latency {
    histogram: AtomicHistogram,
    longest_us: AtomicU64,
}

/// What was recorded of durations, over all cores and from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durations {
    histogram: Histogram,
    /// None was longer. Of a part of the time it is that of all the time before as well.
    longest_us: u64,
}

impl Latency {
    /// Nothing is counted yet.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a histogram is made with a purpose")]
    pub fn new() -> Latency {
        let histogram = AtomicHistogram::new(GROUPING_POWER, MAX_VALUE_POWER).expect(LEGAL);
        Latency { histogram, longest_us: AtomicU64::new(0) }
    }

    /// Counts one duration; longer than 71 minutes counts as 71 minutes.
    pub fn record(&self, duration: Duration) {
        let longest = u32::MAX;
        let us = u64::from(u32::try_from(duration.as_micros()).unwrap_or(longest));
        self.histogram.increment(us).expect("32 bits are in range");
        // One core writes it, so a load and a store are enough.
        if us > self.longest_us.load(Ordering::Relaxed) {
            self.longest_us.store(us, Ordering::Relaxed);
        }
    }

    /// A copy.
    #[must_use]
    pub fn load(&self) -> Histogram {
        self.histogram.load()
    }

    /// A copy, with the longest.
    #[must_use]
    pub fn durations(&self) -> Durations {
        let histogram = self.load();
        Durations { histogram, longest_us: self.longest_us.load(Ordering::Relaxed) }
    }
}

impl Durations {
    /// Nothing was recorded.
    #[must_use]
    pub fn none() -> Durations {
        Durations { histogram: empty_histogram(), longest_us: 0 }
    }

    /// From its buckets; `None` of a histogram in another form.
    #[must_use]
    pub fn from_sparse(sparse: &SparseHistogram, longest_us: u64) -> Option<Durations> {
        let is_alike = sparse.config() == empty_histogram().config();
        is_alike.then(|| Durations { histogram: Histogram::from(sparse), longest_us })
    }

    /// Of both.
    #[must_use]
    pub fn and(&self, other: &Durations) -> Durations {
        let histogram = self.histogram.wrapping_add(&other.histogram).expect(ALIKE);
        Durations { histogram, longest_us: self.longest_us.max(other.longest_us) }
    }

    /// What came after `before`.
    pub(crate) fn since(&self, before: &Durations) -> Durations {
        let histogram = self.histogram.wrapping_sub(&before.histogram).expect(ALIKE);
        Durations { histogram, longest_us: self.longest_us }
    }

    /// The microseconds that this part of them did not exceed: to the width of a bucket, and never
    /// more than the longest. `None` when nothing was recorded.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let bucket = self.histogram.quantile_bucket(quantile).ok()??;
        Some(bucket.end().min(self.longest_us))
    }
}

/// Why histograms can be added and subtracted.
const ALIKE: &str = "all histograms have one form";

impl Deref for Durations {
    type Target = Histogram;

    fn deref(&self) -> &Histogram {
        &self.histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_figure_is_above_what_was_recorded() {
        let latency = Latency::new();
        assert_eq!(latency.durations().quantile_us(0.5), None);
        (0..100).for_each(|_| latency.record(Duration::from_millis(2_000)));
        // The bucket ends at 2,031,615 us.
        let all = [0.0, 0.5, 0.99, 1.0].map(|q| latency.durations().quantile_us(q));
        assert_eq!(all, [Some(2_000_000); 4]);
        let before = latency.durations();
        (0..100).for_each(|_| latency.record(Duration::from_millis(100)));
        let after = latency.durations().since(&before);
        assert_eq!(after.quantile_us(1.0), Some(100_351), "to the width of a bucket");
        let both = before.and(&after);
        assert_eq!(both.quantile_us(1.0), Some(2_000_000));
    }
}
