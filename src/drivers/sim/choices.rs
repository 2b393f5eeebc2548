//! Where a simulated world takes its decisions from: a seed, or first a script and then the seed.
//!
//! A script is one byte for each decision, stretched over what there is to choose from. A changed
//! byte is a changed decision, so that a fuzzer can search for an order of events instead of
//! waiting for a seed that has it.

use std::ops::{Bound, RangeBounds};

use fastrand::Rng;

/// A source of decisions.
#[derive(Debug)]
pub(super) struct Choices {
    script: std::vec::IntoIter<u8>,
    seeded: Rng,
}

macro_rules! draws {
    ($($number:ident),*) => {$(
        #[allow(clippy::cast_lossless, reason = "there is no u128::from(usize)")]
        pub(super) fn $number(&mut self, range: impl RangeBounds<$number>) -> $number {
            let Some(byte) = self.script.next() else { return self.seeded.$number(range) };
            let low = match range.start_bound() {
                Bound::Included(&low) => low,
                _ => 0,
            };
            let high = match range.end_bound() {
                Bound::Included(&high) => high,
                Bound::Excluded(&end) => end.checked_sub(1).expect("an empty range has no number"),
                Bound::Unbounded => $number::MAX,
            };
            let choices = high.checked_sub(low).expect("an empty range has no number") as u128 + 1;
            low + $number::try_from((choices * u128::from(byte)) >> 8).expect("a byte stays below")
        }
    )*};
}

impl Choices {
    /// The first decisions come from `script`, all others from `seed`.
    pub(super) fn scripted(script: Vec<u8>, seed: u64) -> Choices {
        Choices { script: script.into_iter(), seeded: Rng::with_seed(seed) }
    }

    draws!(u8, u32, u64, usize);

    pub(super) fn bool(&mut self) -> bool {
        self.script.next().map_or_else(|| self.seeded.bool(), |byte| byte >= 128)
    }

    /// A fraction of one.
    pub(super) fn f64(&mut self) -> f64 {
        self.script.next().map_or_else(|| self.seeded.f64(), |byte| f64::from(byte) / 256.0)
    }

    /// A byte of a stream's content, which decides nothing and is in no script.
    pub(super) fn noise(&mut self) -> u8 {
        self.seeded.u8(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_decides_until_its_end() {
        let mut choices = Choices::scripted(vec![0, 255, 128, 255, 0, 255, 255], 7);
        assert_eq!((choices.u32(..1000), choices.u32(..1000), choices.usize(3..=4)), (0, 996, 4));
        assert_eq!((choices.u8(..), choices.bool(), choices.bool()), (255, false, true));
        assert!(choices.u64(..) < u64::MAX, "a byte is stretched, not repeated");
        let mut seeded = Rng::with_seed(7);
        let after = [choices.u64(..9_000), choices.u64(..9_000)];
        assert_eq!(after, [seeded.u64(..9_000), seeded.u64(..9_000)], "then comes the seed");
    }
}
