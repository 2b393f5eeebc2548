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

/// The tuples of one block in a round.
#[derive(Clone, Copy, Debug)]
struct Part {
    block: usize,
    targets: u64,
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
                parts.push(Part { block, targets: extent.targets, before: width });
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

    /// The block of tuple `number`, and its place in the block; `None` past the end.
    pub(super) fn locate(&self, number: u64) -> Option<(usize, u64)> {
        if number >= self.len {
            return None;
        }
        let after = self.spans.partition_point(|span| span.first_number <= number);
        let span = &self.spans[after - 1];
        let rest = number - span.first_number;
        let (round, at) = (span.first_round + rest / span.width, rest % span.width);
        let part = span.parts.iter().rfind(|part| part.before <= at)?;
        Some((part.block, round * part.targets + at - part.before))
    }

    /// The number of the tuple at `place` in `block`; `None` past the end.
    pub(super) fn number(&self, block: usize, targets: u64, place: u64) -> Option<u64> {
        let round = place / targets;
        let after = self.spans.partition_point(|span| span.first_round <= round);
        let span = &self.spans[after.checked_sub(1)?];
        let part = span.parts.iter().find(|part| part.block == block)?;
        let before = (round - span.first_round).checked_mul(span.width)?;
        let number = span.first_number.checked_add(before)?;
        let number = number.checked_add(part.before + place % targets)?;
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
        let all: Vec<_> = (0..deal.len()).map(|n| deal.locate(n).expect("it is there")).collect();
        assert_eq!(deal.len(), 6 + 5 + 9 + 1);
        assert_eq!(deal.locate(deal.len()), None);
        assert_eq!(all[..7], [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1), (2, 2), (3, 0)]);
        assert_eq!(all[7..13], [(0, 2), (0, 3), (1, 1), (2, 3), (2, 4), (2, 5)]);
        for (number, (block, place)) in (0..).zip(&all) {
            let targets = blocks[*block].targets;
            assert_eq!(deal.number(*block, targets, *place), Some(number), "{block} {place}");
        }
        for (block, Extent { targets, rounds }) in blocks.into_iter().enumerate() {
            let of_block = all.iter().filter(|(found, _)| *found == block);
            assert!(of_block.map(|(_, place)| *place).eq(0..targets * rounds), "block {block}");
            assert_eq!(deal.number(block, targets, targets * rounds), None);
        }
    }

    #[test]
    fn more_tuples_than_a_number_counts_are_as_many_as_it_does() {
        let huge = Extent { targets: 3, rounds: u64::MAX };
        let deal = Deal::new(&[Extent { targets: 1, rounds: 2 }, huge]);
        assert_eq!(deal.len(), u64::MAX);
        assert_eq!(deal.locate(4), Some((0, 1)));
        assert_eq!(deal.locate(8), Some((1, 6)));
        assert_eq!(Deal::new(&[]).locate(0), None);
    }
}
