//! Numbers that are left out of a row of numbers, so that the others can be counted without them.

/// The numbers that are left out, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holes(Vec<u64>);

impl Holes {
    pub(super) fn new(mut numbers: Vec<u64>) -> Holes {
        numbers.sort_unstable();
        numbers.dedup();
        Holes(numbers)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// The `nth` of the numbers that are left; `None` when it is beyond all numbers.
    pub(super) fn passed_over(&self, nth: u64) -> Option<u64> {
        // Below hole `n`, as many numbers are left as it has below it, less the `n` holes before it.
        let (mut low, mut high) = (0, self.0.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.0[middle] - middle as u64 <= nth {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        nth.checked_add(low as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_counted_without_a_gap() {
        for holes in [&[][..], &[0], &[3], &[0, 1, 2], &[1, 5, 6, 9], &[7, 2, 2, 0]] {
            let left: Vec<u64> = (0..20).filter(|number| !holes.contains(number)).collect();
            let holes = Holes::new(holes.to_vec());
            for (nth, number) in left.iter().enumerate() {
                assert_eq!(holes.passed_over(nth as u64), Some(*number), "{holes:?}");
            }
        }
        assert_eq!(Holes::new(vec![5]).passed_over(u64::MAX), None);
    }
}
