//! How the tuples of several blocks are numbered as one row: in rounds, each of which has one tuple for
//! every target, until a block has no more. So the first connections of any number are dealt out to
//! all targets evenly, whatever their families.

/// A block of tuples, as far as it is numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Its targets: tuples that it has in each round.
    pub(super) targets: u64,
    /// Rounds until it has no more.
    pub(super) rounds: u64,
}

/// The rounds of all blocks.
#[derive(Clone, Debug, Default)]
pub(super) struct Deal {
    spans: Vec<Span>,
    len: u64,
}

/// Rounds in which the same blocks take part.
#[derive(Clone, Debug)]
struct Span {
    first_round: u64,
    first_number: u64,
    /// Tuples in each round.
    width: u64,
    parts: Vec<Part>,
}

/// A tuple: its block, its round, and the target that it is for, among those of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) round: u64,
    pub(super) target: u64,
}

/// The tuples of one block in a round.
#[derive(Clone, Copy, Debug)]
struct Part {
    block: usize,
    /// Tuples of the round that come before.
    before: u64,
}

impl Deal {
    pub(super) fn new(blocks: &[Extent]) -> Deal {
        let mut ends: Vec<u64> = blocks.iter().map(|block| block.rounds).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut deal = Deal::default();
        let mut first_round = 0;
        for end in ends {
            let mut width = 0;
            let mut parts = Vec::new();
            for (block, extent) in blocks.iter().enumerate().filter(|(_, b)| b.rounds >= end) {
                parts.push(Part { block, before: width });
                width += extent.targets;
            }
            let tuples = (end - first_round).saturating_mul(width);
            deal.spans.push(Span { first_round, first_number: deal.len, width, parts });
            deal.len = deal.len.saturating_add(tuples);
            first_round = end;
        }
        deal
    }

    /// How many tuples there are.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Where tuple `number` is; `None` past the end.
    pub(super) fn locate(&self, number: u64) -> Option<Place> {
        if number >= self.len {
            return None;
        }
        let after = self.spans.partition_point(|span| span.first_number <= number);
        let span = &self.spans[after - 1];
        let rest = number - span.first_number;
        let (round, at) = (span.first_round + rest / span.width, rest % span.width);
        let part = span.parts.iter().rfind(|part| part.before <= at)?;
        Some(Place { block: part.block, round, target: at - part.before })
    }

    /// The number of the tuple at a place; `None` past the end.
    pub(super) fn number(&self, Place { block, round, target }: Place) -> Option<u64> {
        let after = self.spans.partition_point(|span| span.first_round <= round);
        let span = &self.spans[after.checked_sub(1)?];
        let part = span.parts.iter().find(|part| part.block == block)?;
        let before = (round - span.first_round).checked_mul(span.width)?;
        let number = span.first_number.checked_add(before)?;
        let number = number.checked_add(part.before + target)?;
        (number < self.len).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_target_and_each_tuple_one_number() {
        let blocks = [(2, 3), (1, 5), (3, 3), (1, 1)];
        let blocks = blocks.map(|(targets, rounds)| Extent { targets, rounds });
        let deal = Deal::new(&blocks);
        let all: Vec<Place> = (0..deal.len()).filter_map(|n| deal.locate(n)).collect();
        let seen: Vec<_> = all.iter().map(|p| (p.block, p.round, p.target)).collect();
        assert_eq!(deal.len(), 6 + 5 + 9 + 1);
        assert_eq!(deal.locate(deal.len()), None);
        let first = [(0, 0, 0), (0, 0, 1), (1, 0, 0), (2, 0, 0), (2, 0, 1), (2, 0, 2), (3, 0, 0)];
        assert_eq!(seen[..7], first);
        assert_eq!(seen[7..13], [(0, 1, 0), (0, 1, 1), (1, 1, 0), (2, 1, 0), (2, 1, 1), (2, 1, 2)]);
        for (number, place) in (0..).zip(&all) {
            assert_eq!(deal.number(*place), Some(number), "{place:?}");
        }
        for (block, Extent { targets, rounds }) in blocks.into_iter().enumerate() {
            let of_block = all.iter().filter(|place| place.block == block);
            let places = of_block.map(|place| place.round * targets + place.target);
            assert!(places.eq(0..targets * rounds), "block {block}");
            assert_eq!(deal.number(Place { block, round: rounds, target: 0 }), None);
        }
    }

    #[test]
    fn more_tuples_than_a_number_counts_are_as_many_as_it_does() {
        let huge = Extent { targets: 3, rounds: u64::MAX };
        let deal = Deal::new(&[Extent { targets: 1, rounds: 2 }, huge]);
        assert_eq!(deal.len(), u64::MAX);
        assert_eq!(deal.locate(4), Some(Place { block: 0, round: 1, target: 0 }));
        assert_eq!(deal.locate(8), Some(Place { block: 1, round: 2, target: 0 }));
        assert_eq!(Deal::new(&[]).locate(0), None);
    }
}
