//! The arithmetic of bystanders: what chance alone may do. It knows numbers, and nothing of probes,
//! phases or words. All of it is free of any assumption on how latencies are distributed; that
//! neighbours are alike is `serial`'s, which says as how few samples they count.

use megaconn::results::bystanders::Interval;

pub(crate) mod serial;
pub(crate) mod shift;
pub(crate) mod tail;
#[cfg(test)]
mod tests;

/// Part of runs that may have a false alarm, all comparisons of a run together.
pub(crate) const ALARMS_MAX: f64 = 0.05;

/// What chance may do in one of the `comparisons` of a run: Bonferroni's share. It holds however the
/// comparisons hang together, and under it a claim is an interval that leaves out 0.
pub(crate) fn level(comparisons: usize) -> f64 {
    ALARMS_MAX / comparisons.max(1) as f64
}

/// How many standard deviations a normal variable exceeds with `chance`, at most a half: by Hastings'
/// approximation (Abramowitz and Stegun, 26.2.23), which is 0.00045 wrong at most.
pub(crate) fn deviations(chance: f64) -> f64 {
    assert!(chance > 0.0 && chance <= 0.5, "half of the normal curve is enough for an interval");
    let t = (-2.0 * chance.ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

/// `count` out of `of`. Both may be fractions: burstiness makes few of many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) count: f64,
    pub(crate) of: f64,
}

impl Part {
    /// `inflation` samples that hang together count as one.
    pub(crate) fn new(count: u64, of: u64, inflation: f64) -> Part {
        Part { count: count as f64 / inflation, of: of as f64 / inflation }
    }

    fn fraction(self) -> f64 {
        self.count / self.of
    }
}

/// Wilson's interval around a fraction of `z` standard deviations (E. B. Wilson, J. Am. Stat. Assoc.
/// 22, 1927); of none at all, everything is possible.
pub(crate) fn wilson(part: Part, z: f64) -> Interval {
    if part.of <= 0.0 {
        return Interval { estimate: 0.0, low: 0.0, high: 1.0 };
    }
    let (p, n, zz) = (part.fraction(), part.of, z * z);
    let middle = p + zz / (2.0 * n);
    let width = z * (p * (1.0 - p) / n + zz / (4.0 * n * n)).sqrt();
    let at = |x: f64| (x / (1.0 + zz / n)).clamp(0.0, 1.0);
    // At the ends of the scale the sum is exact in theory, and one digit off in floating point.
    let low = if part.count <= 0.0 { 0.0 } else { at(middle - width) };
    let high = if part.count >= part.of { 1.0 } else { at(middle + width) };
    Interval { estimate: p, low, high }
}

/// By how much the fraction `now` is above `before`: Newcombe's interval out of two of Wilson's
/// (R. G. Newcombe, Statistics in Medicine 17, 1998, 873-890, method 10).
pub(crate) fn newcombe(now: Part, before: Part, z: f64) -> Interval {
    let (a, b) = (wilson(now, z), wilson(before, z));
    let estimate = a.estimate - b.estimate;
    let down = (a.estimate - a.low).hypot(b.high - b.estimate);
    let up = (a.high - a.estimate).hypot(b.estimate - b.low);
    Interval { estimate, low: estimate - down, high: estimate + up }
}
