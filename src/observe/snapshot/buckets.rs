//! A histogram as a metrics address has it: how many took no longer than each of some times.

use std::collections::BTreeMap;

/// Counts up to each bound, in microseconds; the last bound is above everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets(BTreeMap<u64, u64>);

/// The bound above everything.
const INFINITY_US: u64 = u64::MAX;

impl Buckets {
    /// A bound as the text has it, in seconds, and the count up to it; `None` when it cannot be, or
    /// was there before.
    pub(super) fn add_bound(&mut self, seconds: &str, count: u64) -> Option<()> {
        let seconds = seconds.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0)?;
        let us = if seconds.is_infinite() {
            INFINITY_US
        } else {
            // Of a whole number as text, as a float has no way to one that loses nothing.
            format!("{:.0}", seconds * 1e6).parse().ok()?
        };
        self.0.insert(us, count).is_none().then_some(())
    }

    /// All that was counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.get(&INFINITY_US).copied().unwrap_or(0)
    }

    /// What has been counted since `before`; `None` when it is not what went on from there.
    #[must_use]
    pub fn since(&self, before: &Buckets) -> Option<Buckets> {
        let rise =
            |(bound, now): (&u64, &u64)| Some((*bound, now.checked_sub(*before.0.get(bound)?)?));
        self.0.iter().map(rise).collect::<Option<_>>().map(Buckets)
    }

    /// Adds what another core counted.
    pub fn add(&mut self, other: &Buckets) {
        for (bound, count) in &other.0 {
            let sum = self.0.entry(*bound).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    /// A time in microseconds that such a part of all took less than: the bound of the bucket it falls
    /// into. `None` when nothing was counted; above all bounds it is `u64::MAX`.
    #[must_use]
    pub fn below_us(&self, part: f64) -> Option<u64> {
        let rank = match self.count() {
            0 => return None,
            count => part * count as f64,
        };
        self.0.iter().find(|(_, up_to)| **up_to as f64 >= rank).map(|(bound, _)| *bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(counts: &[(&str, u64)]) -> Buckets {
        let mut buckets = Buckets::default();
        for (bound, count) in counts {
            buckets.add_bound(bound, *count).expect("bounds that can be");
        }
        buckets
    }

    #[test]
    fn a_part_is_below_the_bound_of_its_bucket() {
        let all = buckets(&[("0.000016", 50), ("3.2e-05", 90), ("0.5", 99), ("+Inf", 100)]);
        let below = [0.5, 0.51, 0.9, 0.99, 1.0].map(|part| all.below_us(part));
        assert_eq!(below, [Some(16), Some(32), Some(32), Some(500_000), Some(INFINITY_US)]);
        assert_eq!(buckets(&[("0.000016", 0), ("+Inf", 0)]).below_us(0.5), None);
        assert_eq!(Buckets::default().below_us(0.5), None);
    }

    #[test]
    fn what_was_counted_in_between_is_the_difference() {
        let before = buckets(&[("0.000016", 5), ("+Inf", 7)]);
        let now = buckets(&[("0.000016", 5), ("+Inf", 10)]);
        assert_eq!(now.since(&before), Some(buckets(&[("0.000016", 0), ("+Inf", 3)])));
        assert_eq!(before.since(&now), None, "a counter that falls is another process's");
        assert_eq!(now.since(&buckets(&[("+Inf", 7)])), None, "other bounds are another version's");
        let mut both = before.clone();
        both.add(&now);
        assert_eq!((both.count(), both.below_us(0.5)), (17, Some(16)));
    }

    #[test]
    fn bounds_that_cannot_be_are_none() {
        let mut buckets = Buckets::default();
        for bound in ["", "NaN", "-1", "x", "-Inf"] {
            assert_eq!(buckets.add_bound(bound, 1), None, "{bound}");
        }
        assert_eq!(buckets.add_bound("0.5", 1), Some(()));
        assert_eq!(buckets.add_bound("0.5", 1), None, "said twice");
    }
}
