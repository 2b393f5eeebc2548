//! What can be claimed of a phase that was held against the idle host: an interval that leaves out 0,
//! and by so much that it matters.

use megaconn::results::bystanders::{Comparison, Finding, Interval};

/// A longer tail has at least one answer in ten, twice as many. A smaller one makes no difference in
/// practice.
const TAIL_PART_MIN: f64 = 0.1;

/// A shift of the idle median by less than this does not matter, however sure it is: 5 us is what one
/// wake-up of a thread costs or saves, 2 % is what idle hosts differ by from one minute to the next.
pub(crate) fn shift_floor_us(idle_median_us: u64) -> f64 {
    (idle_median_us as f64 * 0.02).max(5.0)
}

/// The worst that can be claimed.
pub(crate) fn finding(comparison: &Comparison, idle_median_us: u64) -> Finding {
    match moved(comparison, idle_median_us) {
        _ if loses_more(comparison) => Finding::Losing,
        Some(shift) if shift.estimate > 0.0 => Finding::Slower,
        _ if has_longer_tail(comparison) => Finding::SlowerTail,
        Some(_) => Finding::Faster,
        None if comparison.shift_us.is_some() => Finding::None,
        None => Finding::TooFew,
    }
}

/// The shift, if it is one by more than chance, and matters.
pub(crate) fn moved(comparison: &Comparison, idle_median_us: u64) -> Option<Interval> {
    let matters = |shift: &Interval| shift.estimate.abs() >= shift_floor_us(idle_median_us);
    comparison.shift_us.filter(|shift| shift.low > 0.0 || shift.high < 0.0).filter(matters)
}

/// Whether answers are in the tail by more than chance, and enough of them to matter.
pub(crate) fn has_longer_tail(comparison: &Comparison) -> bool {
    comparison.tail.is_some_and(|tail| tail.is_more && tail.fraction >= TAIL_PART_MIN)
}

/// Whether more is lost than before, by more than chance.
pub(crate) fn loses_more(comparison: &Comparison) -> bool {
    comparison.loss.is_some_and(|loss| loss.low > 0.0)
}
