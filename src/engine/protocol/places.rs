//! Places in a buffer, which is shorter than 64 KiB: short as they are kept, and wide as slices take them.

use std::ops::Range;

/// A place, as it is kept.
pub(super) fn short(place: usize) -> u16 {
    u16::try_from(place).expect("a buffer is short")
}

/// A range, as a slice takes it.
pub(super) fn wide(range: &Range<u16>) -> Range<usize> {
    range.start.into()..range.end.into()
}
