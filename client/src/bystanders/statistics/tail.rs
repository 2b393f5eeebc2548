//! Whether more answers are slow than chance would have it. The bound is a high value of the baseline,
//! and what counts is how many are beyond it now: an exceedance test, free of any distribution
//! (E. J. Gumbel and H. von Schelling, Ann. Math. Stat. 21, 1950).

/// The chance that at least `count` of `of` are beyond the value that `above` of `before` exceed, if
/// now is as before and `inflation` samples count as one.
///
/// With independent samples it is exact: the part beyond the value is itself a matter of chance, by
/// the beta distribution of `above` + 1 and `before` - `above`, and the count is binomial with it.
/// Together that is the negative hypergeometric distribution. Fewer samples make both parameters
/// smaller in proportion, and counts are rounded so that chance is never made less than it is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts that are made smaller"
)]
pub(crate) fn chance(count: u64, of: u64, above: u64, before: u64, inflation: f64) -> f64 {
    let (count, of) = ((count as f64 / inflation) as u64, (of as f64 / inflation).ceil() as u64);
    let beyond = (above + 1) as f64 / inflation;
    let within = before.saturating_sub(above) as f64 / inflation;
    if count == 0 || within <= 0.0 {
        return 1.0;
    }
    // Logarithms: of ten thousand samples the first terms are too small for a number.
    let none = |i: u64| ((within + i as f64) / (beyond + within + i as f64)).ln();
    let mut term: f64 = (0..of).map(none).sum();
    let mut chance = 0.0;
    for k in 0..of {
        let (k, left) = (k as f64, (of - k) as f64);
        term += ((beyond + k) / (k + 1.0) * left / (within + left - 1.0)).ln();
        if k + 1.0 >= count as f64 {
            chance += term.exp();
        }
    }
    chance.min(1.0)
}
