//! The universal scalability law through measured rates: X(N) = lambda N / (1 + sigma (N - 1) +
//! kappa N (N - 1)) for N cores, by nonlinear least squares, with standard errors.
//!
//! Of one core it takes lambda; sigma is the share of the work that is serial, kappa the cost of
//! agreement for each pair of cores. Source: Neil J. Gunther, "A General Theory of Computational
//! Scalability Based on Rational Functions", arXiv 0808.1431, and "Guerrilla Capacity Planning",
//! Springer 2007. The steps are Levenberg's and Marquardt's, from the line that the law is in N / X.

/// Different numbers of cores that the three constants need.
pub(crate) const COUNTS_MIN: usize = 3;

/// The law is evaluated up to this multiple of the most cores that were measured.
pub(crate) const BEYOND: f64 = 2.0;

/// Steps at most; from a fair beginning it takes ten.
const STEPS_MAX: usize = 200;

/// A constant of the law.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constant {
    pub(crate) value: f64,
    /// `None` where there are no more points than constants.
    pub(crate) stderr: Option<f64>,
}

/// The law with its constants.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    pub(crate) lambda: Constant,
    pub(crate) sigma: Constant,
    pub(crate) kappa: Constant,
    /// Root of the mean square of what is left over, as a part of each rate.
    pub(crate) residual: f64,
    /// Different numbers of cores that it is from. Three fix the constants and leave none to check the
    /// law with.
    pub(crate) counts: usize,
    pub(crate) cores_most: f64,
}

type Vector = [f64; 3];
type Matrix = [Vector; 3];

impl Law {
    /// The law through `points` of cores and rates, all positive; `None` for fewer than [`COUNTS_MIN`]
    /// numbers of cores, and when no law goes through them.
    pub(crate) fn fit(points: &[(f64, f64)]) -> Option<Law> {
        let mut counts: Vec<f64> = points.iter().map(|(cores, _)| *cores).collect();
        counts.sort_by(f64::total_cmp);
        counts.dedup();
        let (cores_most, scale) = (counts.last()?, points.first()?.1);
        if counts.len() < COUNTS_MIN || points.iter().any(|(n, x)| !(*n >= 1.0 && *x > 0.0)) {
            return None;
        }
        // In units of one of the rates: constants of like size are easier to find.
        let scaled: Vec<(f64, f64)> = points.iter().map(|(n, x)| (*n, x / scale)).collect();
        let found = descend(&scaled, beginning(&scaled)?)?;
        let covariance = inverse(&normal(&scaled, &found).0)?;
        let spare = points.len().checked_sub(3).filter(|spare| *spare > 0);
        let variance = spare.map(|spare| left_over(&scaled, &found) / spare as f64);
        let constant = |index: usize, scale: f64| Constant {
            value: found[index] * scale,
            stderr: variance.map(|variance| (variance * covariance[index][index]).sqrt() * scale),
        };
        let relative = |(n, x): &(f64, f64)| (1.0 - value(&found, *n) / x).powi(2);
        let residual = (scaled.iter().map(relative).sum::<f64>() / points.len() as f64).sqrt();
        Some(Law {
            lambda: constant(0, scale),
            sigma: constant(1, 1.0),
            kappa: constant(2, 1.0),
            residual,
            counts: counts.len(),
            cores_most: *cores_most,
        })
    }

    /// The rate of `cores`; `None` beyond [`BEYOND`] times those that were measured.
    pub(crate) fn at(&self, cores: f64) -> Option<f64> {
        let constants = [self.lambda, self.sigma, self.kappa].map(|constant| constant.value);
        let rate = value(&constants, cores);
        (cores <= BEYOND * self.cores_most && rate.is_finite() && rate > 0.0).then_some(rate)
    }

    /// The number of cores beyond which more cores make it slower; `None` when there is none within the
    /// range of the law.
    pub(crate) fn peak(&self) -> Option<f64> {
        let (sigma, kappa) = (self.sigma.value, self.kappa.value);
        let peak = ((1.0 - sigma) / kappa).sqrt();
        (kappa > 0.0 && sigma < 1.0 && peak <= BEYOND * self.cores_most).then_some(peak.max(1.0))
    }
}

fn denominator([_, sigma, kappa]: &Vector, n: f64) -> f64 {
    1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0)
}

fn value(constants: &Vector, n: f64) -> f64 {
    constants[0] * n / denominator(constants, n)
}

/// What the law's value changes by with each of its constants.
fn slopes(constants: &Vector, n: f64) -> Vector {
    let below = denominator(constants, n);
    let by_denominator = -constants[0] * n / (below * below);
    [n / below, by_denominator * (n - 1.0), by_denominator * n * (n - 1.0)]
}

fn left_over(points: &[(f64, f64)], constants: &Vector) -> f64 {
    let positive = points.iter().all(|(n, _)| denominator(constants, *n) > 0.0);
    let squares = points.iter().map(|(n, x)| (x - value(constants, *n)).powi(2));
    if positive { squares.sum() } else { f64::INFINITY }
}

/// The matrix and the right side of the normal equations of `rows`: slopes and targets.
fn equations(rows: impl Iterator<Item = (Vector, f64)>) -> (Matrix, Vector) {
    let (mut matrix, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (slopes, wanted) in rows {
        for i in 0..3 {
            right[i] += slopes[i] * wanted;
            for j in 0..3 {
                matrix[i][j] += slopes[i] * slopes[j];
            }
        }
    }
    (matrix, right)
}

fn normal(points: &[(f64, f64)], constants: &Vector) -> (Matrix, Vector) {
    let row = |(n, x): &(f64, f64)| (slopes(constants, *n), x - value(constants, *n));
    equations(points.iter().map(row))
}

/// N / X is a line in N - 1 and N (N - 1); where that has no sense, no core disturbs another.
fn beginning(points: &[(f64, f64)]) -> Option<Vector> {
    let rows = points.iter().map(|(n, x)| ([1.0, n - 1.0, n * (n - 1.0)], n / x));
    let (matrix, right) = equations(rows);
    let [each, by_one, by_pair] = times(&inverse(&matrix)?, &right);
    let constants = [1.0 / each, by_one / each, by_pair / each];
    let mean = points.iter().map(|(n, x)| x / n).sum::<f64>() / points.len() as f64;
    let is_fair = each > 0.0 && left_over(points, &constants).is_finite();
    Some(if is_fair { constants } else { [mean, 0.0, 0.0] })
}

/// From `at` downhill, as long as it goes down.
fn descend(points: &[(f64, f64)], mut at: Vector) -> Option<Vector> {
    let (mut best, mut damping) = (left_over(points, &at), 1e-3);
    for _ in 0..STEPS_MAX {
        let (mut matrix, right) = normal(points, &at);
        for (i, row) in matrix.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let step = times(&inverse(&matrix)?, &right);
        let next = [at[0] + step[0], at[1] + step[1], at[2] + step[2]];
        let left = left_over(points, &next);
        if left < best {
            let gain = best - left;
            (at, best, damping) = (next, left, damping / 10.0);
            if gain <= 1e-14 * best {
                break;
            }
        } else if damping > 1e12 {
            break;
        } else {
            damping *= 10.0;
        }
    }
    at.iter().all(|constant| constant.is_finite()).then_some(at)
}

fn times(matrix: &Matrix, vector: &Vector) -> Vector {
    matrix.map(|row| row.iter().zip(vector).map(|(a, b)| a * b).sum())
}

/// By cofactors, after its rows and columns are brought to one size; `None` where there is none.
fn inverse(matrix: &Matrix) -> Option<Matrix> {
    let size = [0, 1, 2].map(|i| matrix[i][i].sqrt());
    let unit: Matrix = [0, 1, 2].map(|i| [0, 1, 2].map(|j| matrix[i][j] / (size[i] * size[j])));
    let cofactor = |i: usize, j: usize| {
        let (a, b, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
        unit[a][c] * unit[b][d] - unit[a][d] * unit[b][c]
    };
    let determinant: f64 = (0..3).map(|j| unit[0][j] * cofactor(0, j)).sum();
    let inverse =
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| cofactor(j, i) / determinant / (size[i] * size[j])));
    let is_one = determinant.abs() > 1e-13 && inverse.iter().flatten().all(|x| x.is_finite());
    is_one.then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rates by the law, each times one more factor.
    fn rates(constants: Vector, cores: &[f64], noise: &mut dyn FnMut() -> f64) -> Vec<(f64, f64)> {
        cores.iter().map(|n| (*n, value(&constants, *n) * noise())).collect()
    }

    fn is_near(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() <= within, "{found} is not {expected}");
    }

    #[test]
    fn constants_that_are_known_are_found_again() {
        let powers = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];
        for constants in [
            [150_000.0, 0.03, 1e-4],
            [150_000.0, 0.0, 0.0],
            [42.0, 0.5, 0.02],
            [1e6, 0.0, 1e-3],
            [7.0, -0.02, 5e-4],
            [1e5, 0.9, 0.0],
        ] {
            for cores in [&powers[..], &powers[..3], &powers[1..5]] {
                let law = Law::fit(&rates(constants, cores, &mut || 1.0)).unwrap();
                is_near(law.lambda.value, constants[0], 1e-6 * constants[0]);
                is_near(law.sigma.value, constants[1], 1e-6);
                is_near(law.kappa.value, constants[2], 1e-7);
                assert!(law.residual < 1e-6, "{law:?}");
                assert_eq!((law.counts, law.cores_most), (cores.len(), cores[cores.len() - 1]));
            }
        }
    }

    #[test]
    fn standard_errors_hold_what_they_promise() {
        let cores: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0].repeat(3);
        let constants = [100_000.0, 0.04, 2e-4];
        let random = std::cell::RefCell::new(fastrand::Rng::with_seed(7));
        // Twelve uniform numbers are all but normal, with a variance of one.
        let normal = || (0..12).map(|_| random.borrow_mut().f64()).sum::<f64>() - 6.0;
        let (mut within, worlds) = ([0; 3], 400);
        for _ in 0..worlds {
            let mut points = rates(constants, &cores, &mut || 1.0);
            points.iter_mut().for_each(|(_, x)| *x += 20_000.0 * normal());
            let law = Law::fit(&points).unwrap();
            let found = [law.lambda, law.sigma, law.kappa];
            for (index, (found, expected)) in found.iter().zip(constants).enumerate() {
                let error = found.stderr.unwrap();
                within[index] += i32::from((found.value - expected).abs() <= 2.0 * error);
            }
        }
        // Of a normal error 95 % are within two; the law is no line, so not quite.
        for within in within {
            let share = f64::from(within) / f64::from(worlds);
            assert!((0.90..=0.99).contains(&share), "{share} within two standard errors");
        }
    }

    #[test]
    fn it_is_not_asked_for_more_than_it_knows() {
        let law = Law::fit(&rates([100.0, 0.05, 1e-3], &[1.0, 8.0, 20.0], &mut || 1.0)).unwrap();
        assert!(law.lambda.stderr.is_none(), "three points leave nothing over");
        is_near(law.at(40.0).unwrap(), 100.0 * 40.0 / (1.0 + 0.05 * 39.0 + 1e-3 * 1560.0), 1e-4);
        assert_eq!(law.at(40.5), None);
        is_near(law.peak().unwrap(), (0.95_f64 / 1e-3).sqrt(), 1e-3);
        let far = Law::fit(&rates([100.0, 0.05, 1e-6], &[1.0, 2.0, 4.0], &mut || 1.0)).unwrap();
        assert_eq!(far.peak(), None, "it peaks at 975, of which not the half was seen");
    }

    #[test]
    fn what_has_no_law_has_none() {
        assert!(Law::fit(&[]).is_none());
        assert!(Law::fit(&[(1.0, 5.0), (2.0, 9.0), (2.0, 9.5)]).is_none(), "two numbers of cores");
        assert!(Law::fit(&[(1.0, 5.0), (2.0, 0.0), (4.0, 9.0)]).is_none());
        assert!(Law::fit(&[(1.0, f64::NAN), (2.0, 1.0), (4.0, 9.0)]).is_none());
        let random = &mut fastrand::Rng::with_seed(11);
        for _ in 0..2_000 {
            // Whatever rates there are, it ends, with numbers or with nothing.
            let any = |random: &mut fastrand::Rng| 10.0_f64.powf(random.f64() * 30.0 - 15.0);
            let points: Vec<(f64, f64)> = (0..random.usize(0..12))
                .map(|_| (f64::from(random.u32(1..200)), any(random)))
                .collect();
            if let Some(law) = Law::fit(&points) {
                let all = [law.lambda.value, law.sigma.value, law.kappa.value, law.residual];
                assert!(all.iter().all(|number| number.is_finite()), "{points:?}: {law:?}");
            }
        }
    }
}
