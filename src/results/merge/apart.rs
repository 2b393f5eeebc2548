//! What is known of parts only when all are there: which are missing, which had the same tuples, and whether they ran at once.

use crate::base::clock::microseconds;
use crate::base::constants::PARTS_APART_MAX;
use crate::results::merge::{Common, Merge, Problem, in_rows};

impl Merge {
    /// Compares all parts with each other.
    pub(super) fn compare(&mut self) {
        let Some(of) = self.first.as_ref().and_then(|first| *first.part.of) else { return };
        // A file may say anything.
        let absent = (1..=of).filter(|number| !self.seen.contains_key(number));
        let missing: Vec<u64> = absent.take(ABSENT_MAX).collect();
        if !missing.is_empty() {
            self.problems.push(Problem::Missing { numbers: in_rows(&missing), of });
        }
        let pairs = self.pairs(Common::Tuples);
        if let Some(first) = pairs.first() {
            self.problems.push(Problem::Overlap { numbers: *first, pairs: pairs.len() as u64 });
        }
        self.problems.extend(self.clocks());
        let plateaus = self.plateaus.iter().enumerate();
        let apart = plateaus.filter_map(|(at, plateau)| {
            let gap_ms = u64::try_from(plateau.together_ms()?.checked_neg()?).ok()?;
            (gap_ms > 0).then_some(Problem::Apart { plateau: at + 1, gap_ms })
        });
        let apart: Vec<Problem> = apart.collect();
        self.problems.extend(apart);
    }

    /// Pairs of parts that have this in common.
    pub(super) fn pairs(&self, common: Common) -> Vec<[u64; 2]> {
        let all: Vec<_> = self.seen.iter().collect();
        let pairs = all.iter().enumerate().flat_map(|(at, (number, seen))| {
            let others = all[at + 1..].iter();
            let alike = others.filter(move |(_, other)| seen.ends.common(&other.ends) == common);
            alike.map(|(other, _)| [**number, **other])
        });
        pairs.collect()
    }

    /// Of parts that began by the clock those whose clocks are most apart, if that is too far.
    fn clocks(&self) -> Option<Problem> {
        let by_clock = self.seen.iter().filter(|(_, seen)| seen.start_at_ms.is_some());
        let known = by_clock.filter_map(|(number, seen)| Some((*number, seen.clock?)));
        let known: Vec<(u64, (i64, u64))> = known.collect();
        // Where the server is far ahead of a host, that host is behind.
        let (behind, (most, error)) = *known.iter().max_by_key(|(_, (offset, _))| *offset)?;
        let (ahead, (least, other_error)) = *known.iter().min_by_key(|(_, (offset, _))| *offset)?;
        let apart_us = most.abs_diff(least);
        let allowed =
            microseconds(PARTS_APART_MAX).saturating_add(error).saturating_add(other_error);
        (apart_us > allowed)
            .then_some(Problem::Clocks { numbers: [behind, ahead], apart_ms: apart_us / 1_000 })
    }
}

/// Numbers of absent parts that are looked for.
const ABSENT_MAX: usize = 100_000;
