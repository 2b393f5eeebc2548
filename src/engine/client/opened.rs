//! When each held connection of a core was begun, to some milliseconds, for a few bytes each ten
//! milliseconds and none for a connection: connections are begun in the order of their numbers.

use std::collections::HashMap;

use crate::base::constants::AGE_GRAIN_MS;

/// Marks in the order of numbers and of time.
#[derive(Debug, Default)]
pub(super) struct Opened {
    marks: Vec<(u32, u32)>,
    /// The numbers began again: a number may be that of an older connection, which still lives.
    is_second_round: bool,
    /// Those that were lost and have come back, with their last time.
    again: HashMap<u32, u32>,
}

impl Opened {
    /// Connection `number` is begun at `now_ms`.
    pub(super) fn begin(&mut self, number: u32, now_ms: u32) {
        if let Some(&(first, at_ms)) = self.marks.last() {
            if first > number {
                self.is_second_round = true;
                return;
            } else if now_ms.wrapping_sub(at_ms) < AGE_GRAIN_MS {
                return;
            }
        }
        self.marks.push((number, now_ms));
    }

    /// Connection `number`, which was lost, has come back at `now_ms`.
    pub(super) fn begin_again(&mut self, number: u32, now_ms: u32) {
        self.again.insert(number, now_ms);
    }

    /// When connection `number` was begun; `None` when its number was given twice.
    pub(super) fn at_ms(&self, number: u32) -> Option<u32> {
        if self.is_second_round {
            return None;
        }
        if let Some(&at_ms) = self.again.get(&number) {
            return Some(at_ms);
        }
        let behind = self.marks.partition_point(|(first, _)| *first <= number);
        Some(self.marks[behind.checked_sub(1)?].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_time_to_the_grain() {
        let mut opened = Opened::default();
        assert_eq!(opened.at_ms(0), None);
        (0..1_000).for_each(|number| opened.begin(number, 500 + number));
        assert_eq!(opened.marks.len(), 100);
        for number in 0..1_000 {
            let at_ms = opened.at_ms(number).expect("it was begun");
            assert!((500 + number).abs_diff(at_ms) < AGE_GRAIN_MS, "{number} at {at_ms}");
        }
    }

    #[test]
    fn in_a_second_round_no_age_is_known() {
        let mut opened = Opened::default();
        opened.begin(5, 100);
        opened.begin(6, 200);
        assert_eq!([4, 5, 9].map(|number| opened.at_ms(number)), [None, Some(100), Some(200)]);
        opened.begin_again(5, 250);
        assert_eq!([5, 9].map(|number| opened.at_ms(number)), [Some(250), Some(200)]);
        opened.begin(2, 300);
        assert_eq!([2, 6].map(|number| opened.at_ms(number)), [None, None]);
    }
}
