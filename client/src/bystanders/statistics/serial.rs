//! Neighbours in time are alike: what disturbs one ping disturbs the next one as well. Such
//! samples say less than as many independent ones; this says how many of them count as one.

/// Distances that are looked at, at most: 50 s of 20 tries a second. Work grows with it times the length
/// of a phase; what is alike for longer is a drift, which the recovery tells.
const DISTANCE_MAX: usize = 1_000;

/// How many samples count as one, at least 1: the integrated autocorrelation time, 1 + 2 * the sum of
/// the correlations at all distances in time. `series` is in order of time.
///
/// Correlations are added in pairs of distances until a pair is no longer positive (C. J. Geyer,
/// Statistical Science 7, 1992: the initial positive sequence), up to a quarter of the series. Two
/// things make that too small, and both are put right: the mean is the series' own, which hides
/// what is as long as the series, and chance may hide correlation: one standard error is added
/// (N. Madras and A. D. Sokal, J. Stat. Phys. 50, 1988). A series without any change has no
/// correlation to tell; 1.
pub(crate) fn inflation(series: &[f64]) -> f64 {
    let n = series.len() as f64;
    let mean = series.iter().sum::<f64>() / n;
    let centred: Vec<f64> = series.iter().map(|x| x - mean).collect();
    let covariance = |distance: usize| -> f64 {
        centred.iter().zip(&centred[distance..]).map(|(a, b)| a * b).sum()
    };
    let variance = covariance(0);
    // Also when there is none, and the mean is no number.
    if variance.is_nan() || variance <= f64::EPSILON * n {
        return 1.0;
    }
    let mut sum = -1.0;
    let mut window = 1.0;
    for distance in (0..=(series.len() / 4).min(DISTANCE_MAX)).step_by(2) {
        let pair = (covariance(distance) + covariance(distance + 1)) / variance;
        if pair <= 0.0 {
            break;
        }
        sum += 2.0 * pair;
        window = 2.0 * distance as f64 + 3.0;
    }
    let hidden = (1.0 - window / n).max(0.25);
    let error = (2.0 * window / n).sqrt();
    (sum.max(1.0) / hidden * (1.0 + error)).clamp(1.0, n)
}

/// The rank of each value among all of them, equal ones sharing theirs; in the order of `values`.
pub(crate) fn ranks(values: &[u32]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by_key(|&index| values[index]);
    let mut ranks = vec![0.0; values.len()];
    let mut below = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let shared = below as f64 + (equal.len() as f64 + 1.0) / 2.0;
        for &index in equal {
            ranks[index] = shared;
        }
        below += equal.len();
    }
    ranks
}

/// 1 for each that is so, else 0.
pub(crate) fn indicators(is_so: impl Iterator<Item = bool>) -> Vec<f64> {
    is_so.map(|so| f64::from(u8::from(so))).collect()
}
