//! The search for the most connections at which bystanders are kept: which number to hold next. It is
//! told what came of the last one, and opens, closes and judges nothing itself.
//!
//! First up the steps until one breaks, then by halves between the highest that held and the lowest
//! that broke. To go down some are closed, which happens once for each number that breaks while the
//! search goes on. Halving needs the fewest of those too: numbers nearer to the one that held would
//! break less often each, but it would take more of them.

/// The answer is known when so close: one in this many of the lowest number that broke.
const CLOSE_ENOUGH: u64 = 20;

/// Halvings at most: each is a hold of its full length.
const HALVINGS_MAX: u32 = 6;

/// A single number is climbed to by doubling, from this part of it.
const FIRST_STEP: u64 = 16;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More than are open now: open up to this number, and hold.
    Raise(u64),
    /// Fewer than are open now: close down to this number, and hold.
    Lower(u64),
    Done,
}

/// A number of connections that was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    pub(crate) connections: u64,
    pub(crate) held: bool,
}

/// How far the search has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Search {
    /// The most that held; `None` when even the first step broke.
    pub(crate) highest_held: Option<u64>,
    /// The fewest that broke; `None` when none did.
    pub(crate) lowest_broken: Option<u64>,
    /// In the order in which they were tried.
    pub(crate) tried: Vec<Tried>,
    steps: Vec<u64>,
    halvings: u32,
    /// Being held.
    open: u64,
}

impl Search {
    /// Over the plateaus that were asked for, at least one and none of 0.
    pub(crate) fn new(plateaus: &[u64]) -> Search {
        let mut steps = match *plateaus {
            [most] => climb(most),
            _ => plateaus.to_vec(),
        };
        steps.sort_unstable();
        steps.dedup();
        assert!(steps.first().is_some_and(|first| *first > 0), "a search has something to hold");
        let open = steps[0];
        Search {
            highest_held: None,
            lowest_broken: None,
            tried: Vec::new(),
            steps,
            halvings: 0,
            open,
        }
    }

    /// Where it begins.
    pub(crate) fn first(&self) -> Next {
        Next::Raise(self.steps[0])
    }

    /// The number that was asked for last was held, and bystanders were kept or not.
    pub(crate) fn next(&mut self, held: bool) -> Next {
        let open = self.open;
        self.tried.push(Tried { connections: open, held });
        let bound = if held { &mut self.highest_held } else { &mut self.lowest_broken };
        *bound = Some(open);
        let next = match (self.highest_held, self.lowest_broken) {
            (_, None) => self.steps.iter().copied().find(|step| *step > open),
            // Fewer than the first step were not asked for.
            (None, Some(_)) => None,
            (Some(held), Some(broken)) => self.half(held, broken),
        };
        match next {
            None => Next::Done,
            Some(next) => {
                self.open = next;
                if next > open { Next::Raise(next) } else { Next::Lower(next) }
            }
        }
    }

    fn half(&mut self, held: u64, broken: u64) -> Option<u64> {
        // One connection apart there is no number between them.
        let is_close = broken - held <= (broken / CLOSE_ENOUGH).max(1);
        if is_close || self.halvings == HALVINGS_MAX {
            return None;
        }
        self.halvings += 1;
        Some(held + (broken - held) / 2)
    }
}

fn climb(most: u64) -> Vec<u64> {
    let mut parts: Vec<u64> = vec![FIRST_STEP, 8, 4, 2, 1];
    parts.retain(|part| *part <= most.max(1));
    parts.into_iter().map(|part| most / part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A host that keeps its bystanders by `keeps`; the search when it is done, and how often all was
    /// closed.
    fn searched(plateaus: &[u64], mut keeps: impl FnMut(u64) -> bool) -> (Search, usize) {
        let mut search = Search::new(plateaus);
        let (mut open, mut reopened) = (0, 0);
        let mut next = search.first();
        for _ in 0..100 {
            match next {
                Next::Done => return (search, reopened),
                Next::Raise(more) => assert!(more > open, "{open} to {more} is no rise"),
                Next::Lower(fewer) => {
                    assert!(fewer < open, "{open} to {fewer} needs no closing");
                    reopened += 1;
                }
            }
            let (Next::Raise(n) | Next::Lower(n)) = next else { unreachable!() };
            open = n;
            next = search.next(keeps(n));
        }
        panic!("the search goes on for ever: {search:?}");
    }

    #[test]
    fn one_number_is_climbed_to_by_doubling() {
        let (search, reopened) = searched(&[1_000_000], |_| true);
        let tried: Vec<u64> = search.tried.iter().map(|tried| tried.connections).collect();
        assert_eq!(tried, [62_500, 125_000, 250_000, 500_000, 1_000_000]);
        assert_eq!((search.highest_held, search.lowest_broken), (Some(1_000_000), None));
        assert_eq!(reopened, 0);
    }

    #[test]
    fn a_host_that_never_holds_is_tried_once() {
        let (search, _) = searched(&[1_000_000], |_| false);
        assert_eq!((search.highest_held, search.lowest_broken), (None, Some(62_500)));
        assert_eq!(search.tried.len(), 1);
    }

    #[test]
    fn the_capacity_lies_between_what_held_and_what_broke() {
        let (search, reopened) = searched(&[10_000, 100_000, 1_000_000], |n| n <= 700_000);
        let (held, broken) = (search.highest_held.unwrap(), search.lowest_broken.unwrap());
        assert!(held <= 700_000 && 700_000 < broken, "{search:?}");
        assert!(broken - held <= broken / 20, "{search:?}");
        assert!(reopened <= 4, "{search:?}");
    }

    #[test]
    fn few_connections_have_steps_too() {
        let tried = |most| {
            let (search, _) = searched(&[most], |_| true);
            search.tried.iter().map(|tried| tried.connections).collect::<Vec<_>>()
        };
        assert_eq!((tried(1), tried(3), tried(20)), (vec![1], vec![1, 3], vec![1, 2, 5, 10, 20]));
    }

    proptest! {
        #[test]
        fn any_capacity_is_found(
            plateaus in prop::collection::btree_set(1_u64..3_000_000, 1..6),
            capacity in 0_u64..3_500_000,
        ) {
            let plateaus: Vec<u64> = plateaus.into_iter().collect();
            let (search, reopened) = searched(&plateaus, |n| n <= capacity);
            prop_assert!(search.highest_held.is_none_or(|held| held <= capacity));
            prop_assert!(search.lowest_broken.is_none_or(|broken| broken > capacity));
            let broken = search.tried.iter().filter(|tried| !tried.held).count();
            prop_assert!(reopened <= broken && search.halvings <= HALVINGS_MAX);
            if let (Some(held), Some(broken)) = (search.highest_held, search.lowest_broken) {
                let is_close = broken - held <= (broken / CLOSE_ENOUGH).max(1);
                prop_assert!(is_close || search.halvings == HALVINGS_MAX);
            }
        }

        /// Near the edge a host holds or breaks as it likes: the search ends, and what it says held
        /// was seen to hold, below what it says broke.
        #[test]
        fn a_noisy_edge_ends_in_what_was_seen(capacity in 1_u64..2_000_000, seed in any::<u64>()) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (search, _) = searched(&[1_000_000], |n| {
                n as f64 <= capacity as f64 * (0.8 + 0.4 * rng.f64())
            });
            let was = |connections, held| search.tried.contains(&Tried { connections, held });
            prop_assert!(search.highest_held.is_none_or(|n| was(n, true)));
            prop_assert!(search.lowest_broken.is_none_or(|n| was(n, false)));
            if let (Some(held), Some(broken)) = (search.highest_held, search.lowest_broken) {
                prop_assert!(held < broken);
            }
        }
    }
}
