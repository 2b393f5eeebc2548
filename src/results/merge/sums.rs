//! How two figures of different parts make one of the whole. A figure that one of them has not is not known of the whole.

use std::collections::BTreeMap;

use crate::results::lenient::{Map, Maybe};
use crate::results::plateau::Counts;

/// Adds `other` to `sum`.
pub(super) fn add(sum: &mut Maybe<u64>, other: Maybe<u64>) {
    sum.0 = sum.zip(*other).map(|(a, b)| a.saturating_add(b));
}

/// The same of what may be below 0.
pub(super) fn add_signed(sum: &mut Maybe<i64>, other: Maybe<i64>) {
    sum.0 = sum.zip(*other).map(|(a, b)| a.saturating_add(b));
}

/// The same of a measurement.
pub(super) fn add_real(sum: &mut Maybe<f64>, other: Maybe<f64>) {
    sum.0 = sum.zip(*other).map(|(a, b)| a + b);
}

/// The larger one.
pub(super) fn raise<T: Copy + PartialOrd>(most: &mut Maybe<T>, other: Maybe<T>) {
    most.0 = most.zip(*other).map(|(a, b)| if b > a { b } else { a });
}

/// The smaller one.
pub(super) fn lower<T: Copy + PartialOrd>(least: &mut Maybe<T>, other: Maybe<T>) {
    least.0 = least.zip(*other).map(|(a, b)| if b < a { b } else { a });
}

/// What both did at once at these rates, which is done when the slower one is.
pub(super) fn both_rates(
    (seconds, rate): (&mut Maybe<f64>, &mut Maybe<f64>),
    (other_seconds, other_rate): (Maybe<f64>, Maybe<f64>),
) {
    // Without a rate nothing was done in that time.
    let done = |seconds: Maybe<f64>, rate: Maybe<f64>| Some((*seconds)? * rate.unwrap_or(0.0));
    let all = done(*seconds, *rate).zip(done(other_seconds, other_rate)).map(|(a, b)| a + b);
    raise(seconds, other_seconds);
    rate.0 =
        all.zip(**seconds).and_then(|(all, time)| (all > 0.0 && time > 0.0).then(|| all / time));
}

/// Counts of both, name by name.
pub(super) fn add_counts(sum: &mut Counts, other: &Counts) {
    let Some((ours, theirs)) = sum.by_name().zip(other.by_name()) else {
        *sum = Counts::default();
        return;
    };
    let mut all = ours.clone();
    add_names(&mut all, theirs);
    *sum = Counts::named(all);
}

/// Adds what stands under each name.
pub(super) fn add_names(sum: &mut BTreeMap<String, u64>, other: &BTreeMap<String, u64>) {
    for (name, n) in other {
        let of_name = sum.entry(name.clone()).or_default();
        *of_name = of_name.saturating_add(*n);
    }
}

/// The same of bytes.
pub(super) fn add_bytes(sum: &mut Map<i64>, other: &Map<i64>) {
    for (name, n) in other.iter() {
        let of_name = sum.entry(name.clone()).or_default();
        *of_name = of_name.saturating_add(*n);
    }
}

/// Takes what `other` has into what may not be there: there is something of the whole where both have it, or where
/// `is_none_nothing`, one.
pub(super) fn take<T: Clone>(
    sum: &mut Maybe<T>,
    other: &Maybe<T>,
    is_none_nothing: bool,
    absorb: impl FnOnce(&mut T, &T),
) {
    match (&mut sum.0, &other.0) {
        (Some(sum), Some(other)) => absorb(sum, other),
        (Some(_), None) if is_none_nothing => {}
        (None, Some(_)) if is_none_nothing => *sum = other.clone(),
        (_, None) | (None, _) => *sum = Maybe(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_has_not_is_not_known_of_the_whole() {
        let mut sum = Maybe(Some(3));
        add(&mut sum, Maybe(Some(4)));
        assert_eq!(*sum, Some(7));
        add(&mut sum, Maybe(None));
        assert_eq!(*sum, None);
        let mut counts = Counts::named([("ETIMEDOUT", 3)]);
        add_counts(&mut counts, &Counts::named([("ETIMEDOUT", 1), ("ECONNREFUSED", 2)]));
        assert_eq!(counts, Counts::named([("ETIMEDOUT", 4), ("ECONNREFUSED", 2)]));
        add_counts(&mut counts, &Counts::default());
        assert_eq!(counts, Counts::default());
    }

    #[test]
    fn two_at_once_have_done_all_when_the_slower_one_has() {
        let (mut seconds, mut rate) = (Maybe(Some(2.0)), Maybe(Some(100.0)));
        both_rates((&mut seconds, &mut rate), (Maybe(Some(4.0)), Maybe(Some(50.0))));
        assert_eq!((*seconds, *rate), (Some(4.0), Some(100.0)));
        both_rates((&mut seconds, &mut rate), (Maybe(Some(8.0)), Maybe(None)));
        assert_eq!((*seconds, *rate), (Some(8.0), Some(50.0)));
        both_rates((&mut seconds, &mut rate), (Maybe(None), Maybe(None)));
        assert_eq!((*seconds, *rate), (None, None));
    }

    #[test]
    fn some_have_nothing_where_nothing_was_done() {
        let add = |sum: &mut u64, other: &u64| *sum += other;
        let taken = |a, b, is_none_nothing| {
            let mut sum = Maybe(a);
            take(&mut sum, &Maybe(b), is_none_nothing, add);
            *sum
        };
        assert_eq!(taken(Some(1), Some(2), false), Some(3));
        assert_eq!([taken(Some(1), None, false), taken(None, Some(1), false)], [None, None]);
        assert_eq!([taken(Some(1), None, true), taken(None, Some(1), true)], [Some(1), Some(1)]);
        assert_eq!(taken(None, None, true), None);
    }
}
