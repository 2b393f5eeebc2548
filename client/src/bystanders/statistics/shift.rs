//! By how much latencies have moved: the median of all differences between one now and one before
//! (J. L. Hodges and E. L. Lehmann, Ann. Math. Stat. 34, 1963), and the interval that is the other
//! face of Mann and Whitney's rank test.
//!
//! There are as many differences as pairs, a hundred million of ten thousand samples each. They are
//! never listed: latencies are whole microseconds, so the k-th smallest difference is found by
//! halving the range of values, and pairs below a value are counted by one walk through both sorted
//! slices. That is O((m + n) log range), exact, and without any draw.

use megaconn::results::bystanders::Interval;

/// Latencies of one stretch of time.
pub(crate) struct Seen<'a> {
    /// Not empty.
    pub(crate) sorted: &'a [u32],
    /// The number of them that count as one.
    pub(crate) inflation: f64,
}

/// How far `now` is above `before`: estimate and interval of `z` standard deviations of the rank
/// statistic. It leaves out 0 exactly when the test by ranks would claim a difference, and ties make
/// it wider, never narrower. Both sides have [`fewest`] independent samples or more.
pub(crate) fn shift(now: &Seen<'_>, before: &Seen<'_>, z: f64) -> Interval {
    let pairs = now.sorted.len() as u64 * before.sorted.len() as u64;
    let at = |k: u64| difference(now.sorted, before.sorted, k) as f64;
    let k = outer(now, before, z);
    let estimate = f64::midpoint(at(pairs.div_ceil(2)), at(pairs / 2 + 1));
    Interval { estimate, low: at(k), high: at(pairs + 1 - k) }
}

/// Independent samples on each side before even a shift of everything could be claimed. With fewer,
/// no difference at all is as far from chance as `z` standard deviations.
pub(crate) fn fewest(z: f64) -> f64 {
    let zz = z * z;
    (zz + (zz * zz + 3.0 * zz).sqrt()) / 3.0
}

/// Which of the sorted differences, from either end, bounds the interval. The statistic of m and n
/// independent samples has the variance m n (m + n + 1) / 12; the tails of the normal curve are
/// heavier than its own, so that few samples claim too little, not too much.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 1 to half the number of pairs"
)]
fn outer(now: &Seen<'_>, before: &Seen<'_>, z: f64) -> u64 {
    let [m, n] = [now, before].map(|side| side.sorted.len() as f64);
    let [few_m, few_n] = [m / now.inflation, n / before.inflation];
    let deviation = ((few_m + few_n + 1.0) / (12.0 * few_m * few_n)).sqrt();
    (m * n * (0.5 - z * deviation)).max(1.0) as u64
}

/// The `k`-th smallest of all differences of one of `now` and one of `before`, from 1.
pub(crate) fn difference(now: &[u32], before: &[u32], k: u64) -> i64 {
    let [first, last] = [now[0], now[now.len() - 1]].map(i64::from);
    let mut low = first - i64::from(before[before.len() - 1]);
    let mut high = last - i64::from(before[0]);
    while low < high {
        let middle = low + (high - low) / 2;
        if pairs_up_to(now, before, middle) < k {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Differences that are `limit` at most.
fn pairs_up_to(now: &[u32], before: &[u32], limit: i64) -> u64 {
    let mut below = 0;
    let mut pairs = 0;
    for &x in now {
        // Of each in `now`, those before that are further down than the limit allows.
        while below < before.len() && i64::from(x) - i64::from(before[below]) > limit {
            below += 1;
        }
        pairs += (before.len() - below) as u64;
    }
    pairs
}
