//! Which tuple the next connect of a core takes. Held connections take the core's part of the plan
//! from its beginning; short ones go round and round behind them, so that a tuple comes again only
//! when its TIME_WAIT is over.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::constants::TUPLES_SKIPPED_SPARE;
use crate::base::errno::Errno;
use crate::plan::tuples::{Tuple, TuplePlan, share};

/// Where short connections go, when their targets have changed since the run began.
#[derive(Clone, Debug)]
pub struct ChurnTargets {
    /// Their tuples, dealt out to as many cores as before.
    pub tuples: TuplePlan,
    /// Every target that the run has known, by the number that the driver has for it.
    pub known: Vec<SocketAddr>,
    /// Of each of these, the number of one that there was when the run began, and that has the same name.
    pub like: Vec<usize>,
    /// The driver's number of each target of `tuples`.
    pub numbers: Vec<usize>,
}

/// One core's part of the tuple plan, and how much of it is used.
#[derive(Clone)]
pub struct TupleAllocator {
    plan: Arc<TuplePlan>,
    core: usize,
    next_held: u64,
    skipped: u64,
    skips_max: u64,
    /// Held connections are being closed: their tuples may be taken again, when there are no others.
    is_released: bool,
    /// From here on tuples are for short connections, and numbers are theirs.
    churn_from: u64,
    churn: Churn,
    /// Connections that have another tuple than their own, which was taken when they came back.
    moved: HashMap<u32, u32>,
    /// Tuples that such connections had before others took their places, the one that was left first before.
    left: VecDeque<u32>,
}

/// The tuples of short connections, of which the first is number `churn_from`.
#[derive(Clone)]
struct Churn {
    /// `None` while they go where held ones do.
    targets: Option<Arc<ChurnTargets>>,
    /// Tuples that are used until the first may come again.
    need: u64,
    from: u64,
    next: u64,
    until: u64,
}

impl TupleAllocator {
    /// The part of `core` for `connections` held ones and, if there are any, short ones that need
    /// `churn_tuples` until the first may come again. Which of theirs is the first, `run` says, so
    /// that one run after the other does not begin with the same ones.
    pub fn new(
        plan: Arc<TuplePlan>,
        core: usize,
        connections: u64,
        churn_tuples: u64,
        run: u64,
    ) -> TupleAllocator {
        // A connection keeps its number in 32 bits.
        let part = share(plan.capacity(), plan.cores(), core).min(u64::from(u32::MAX));
        let skips_max = connections.saturating_add(TUPLES_SKIPPED_SPARE);
        let churn_from = match churn_tuples {
            0 => part,
            need => connections.saturating_add(skips_max).min(part.saturating_sub(need)),
        };
        TupleAllocator {
            plan,
            core,
            next_held: 0,
            skipped: 0,
            skips_max,
            is_released: false,
            churn_from,
            churn: Churn {
                targets: None,
                need: churn_tuples,
                from: churn_from,
                next: churn_from + run % (part - churn_from).max(1),
                until: part,
            },
            moved: HashMap::new(),
            left: VecDeque::new(),
        }
    }

    /// Its number among the client's cores.
    pub fn core(&self) -> usize {
        self.core
    }

    /// This core's share of `connections` over all cores.
    pub fn share(&self, connections: u64) -> u64 {
        share(connections, self.plan.cores(), self.core)
    }

    /// A tuple for a connection that will be held, with its number in this core's part; `None` when
    /// there is none, or too many were taken by others.
    pub fn next_long_lived(&mut self) -> Option<(u32, Tuple)> {
        if self.next_held >= self.churn_from && std::mem::take(&mut self.is_released) {
            // Tuples still held, or in TIME_WAIT, are passed over as another process's are.
            (self.next_held, self.skipped) = (0, 0);
        }
        if self.next_held >= self.churn_from || self.skipped > self.skips_max {
            return None;
        }
        self.next_held += 1;
        let dealt = self.at(self.next_held - 1);
        if let Some((number, _)) = dealt {
            self.moved.remove(&number);
        }
        dealt
    }

    /// Held connections are closed, of which more are to be opened perhaps.
    pub fn release(&mut self) {
        self.is_released = true;
    }

    /// A held connection's tuple was another process's.
    pub fn skip(&mut self) {
        self.skipped += 1;
    }

    /// Whether a held connection's tuple was another process's.
    pub fn has_skipped(&self) -> bool {
        self.skipped > 0
    }

    /// A tuple for a short connection.
    pub fn next_churn(&mut self) -> Option<(u32, Tuple)> {
        let churn = &mut self.churn;
        if churn.next >= churn.until {
            churn.next = churn.from;
        }
        if churn.from >= churn.until {
            return None;
        }
        churn.next += 1;
        let index = churn.next - 1;
        let number = u32::try_from(self.churn_from + (index - churn.from)).ok()?;
        let Some(targets) = &churn.targets else { return self.at(index) };
        let tuple = targets.tuples.of_core(self.core, index)?;
        Some((number, Tuple { target: targets.numbers[tuple.target], ..tuple }))
    }

    /// From now on short connections go to `targets`. Their tuples begin behind the source addresses and
    /// ports that held connections use, and go on where those of the targets before have come to, so
    /// that a TIME_WAIT is met no sooner. Whether there are as many as they need.
    pub fn churn_to(&mut self, targets: Arc<ChurnTargets>) -> bool {
        let cores = self.plan.cores() as u64;
        let wide = |plan: &TuplePlan| plan.targets().len() as u64;
        let (held, new) = (wide(&self.plan), wide(&targets.tuples));
        let old = self.churn.targets.as_deref().map_or(held, |old| wide(&old.tuples));
        // A round is a source address and port, with each target once.
        let moved = |index: u64, wide: u64| {
            let rounds = index.saturating_mul(cores).div_ceil(wide.max(1));
            rounds.saturating_mul(new).div_ceil(cores)
        };
        let until = share(targets.tuples.capacity(), self.plan.cores(), self.core);
        let until = until.min(u64::from(u32::MAX) - self.churn_from.min(u32::MAX.into()));
        let need = self.churn.need;
        let from = moved(self.churn_from, held).min(until.saturating_sub(need));
        let next = moved(self.churn.next, old).max(from);
        self.churn = Churn { targets: Some(targets), need, from, next, until };
        until >= need
    }

    /// Whether connection `number` of this core is a short one.
    pub fn is_short(&self, number: u32) -> bool {
        u64::from(number) >= self.churn_from
    }

    /// The number in the whole plan of connection `number` of this core.
    pub fn identity(&self, number: u32) -> u64 {
        // As a plan numbers its tuples, whatever their targets are.
        u64::from(number) * self.plan.cores() as u64 + self.core as u64
    }

    /// The tuple of held connection `number` of this core.
    ///
    /// # Panics
    /// When the plan has no such connection.
    pub fn tuple_of(&self, number: u32) -> Tuple {
        let place = self.place_of(number);
        self.plan.of_core(self.core, place.into()).expect("it was made of the plan")
    }

    /// Where in this core's part the tuple of held connection `number` stands.
    pub fn place_of(&self, number: u32) -> u32 {
        self.moved.get(&number).copied().unwrap_or(number)
    }

    /// Gives held connection `number` a tuple that no connection has had; whether there was one.
    pub fn move_on(&mut self, number: u32) -> bool {
        let Some((place, _)) = self.next_long_lived() else { return false };
        self.moved.insert(number, place);
        true
    }

    /// Held connection `number` leaves its tuple: the one that takes its place has one that no connection has had, or
    /// where there is none the one that was left the longest ago. Whether it is new.
    pub fn replace(&mut self, number: u32) -> bool {
        let before = self.place_of(number);
        let is_new = self.move_on(number);
        self.left.push_back(before);
        if !is_new && let Some(place) = self.left.pop_front() {
            self.moved.insert(number, place);
        }
        is_new
    }

    fn at(&self, index: u64) -> Option<(u32, Tuple)> {
        Some((u32::try_from(index).ok()?, self.plan.of_core(self.core, index)?))
    }
}

/// Whether a tuple is another process's, or its TIME_WAIT is not over.
pub fn is_taken(errno: Errno) -> bool {
    matches!(errno, Errno::EADDRNOTAVAIL | Errno::EADDRINUSE)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use crate::plan::tuples::AddressRange;

    use super::*;

    fn plan(ports: u16, cores: usize) -> Arc<TuplePlan> {
        let target = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 7000);
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
        let range = AddressRange::new(source, source).expect("one address is a range");
        let ports = (0..ports).map(|n| 40_000 + n).collect();
        Arc::new(TuplePlan::new(vec![target], &[range], ports, cores).expect("the plan is sound"))
    }

    #[test]
    fn held_and_short_ones_never_meet_and_short_ones_come_round_last() {
        let mut supply = TupleAllocator::new(plan(100, 2), 1, 10, 30, 25);
        let held: HashSet<_> =
            std::iter::from_fn(|| supply.next_long_lived()).map(|(_, t)| t).collect();
        assert_eq!(held.len(), 20, "what the short ones do not need is a spare for the held ones");
        let first = supply.next_churn().expect("there are tuples for short ones");
        let short: Vec<_> = (0..29).filter_map(|_| supply.next_churn()).collect();
        assert!(
            short.iter().chain([&first]).all(|(n, t)| supply.is_short(*n) && !held.contains(t))
        );
        assert_eq!(short.iter().map(|(_, t)| t).collect::<HashSet<_>>().len(), 29);
        assert_eq!(supply.next_churn(), Some(first), "after all others the first comes again");
    }

    #[test]
    fn short_ones_go_to_new_targets_and_meet_no_held_one() {
        let at = |n| SocketAddr::new(Ipv4Addr::new(127, 0, 1, n).into(), 7000);
        let source = IpAddr::from(Ipv4Addr::new(127, 0, 0, 2));
        let range = [AddressRange::new(source, source).expect("one address is a range")];
        let plan = |targets: &[SocketAddr]| {
            let ports = (0..200).map(|n| 40_000 + n).collect();
            TuplePlan::new(targets.to_vec(), &range, ports, 2).expect("the plan is sound")
        };
        let known = [1, 2, 3].map(at);
        for core in [0, 1] {
            let held_plan = Arc::new(plan(&known[..2]));
            let mut supply = TupleAllocator::new(held_plan, core, 40, 50, 7);
            let flat = |tuple: Tuple| (tuple.source, known[tuple.target]);
            let held: HashSet<_> =
                std::iter::from_fn(|| supply.next_long_lived()).map(|(_, t)| flat(t)).collect();
            let before: Vec<_> = (0..30).filter_map(|_| supply.next_churn()).collect();
            let identity = supply.identity(before[0].0);
            for (targets, number) in [(&known[1..], vec![1, 2]), (&known[2..], vec![2])] {
                let (tuples, known) = (plan(targets), known.to_vec());
                let (like, numbers) = (Vec::new(), number.clone());
                let targets = ChurnTargets { tuples, known, like, numbers };
                assert!(supply.churn_to(Arc::new(targets)), "50 are there");
                let short: Vec<_> = (0..50).filter_map(|_| supply.next_churn()).collect();
                assert_eq!(short.len(), 50);
                assert!(short.iter().all(|(n, _)| supply.is_short(*n)));
                assert!(short.iter().all(|(_, t)| number.contains(&t.target)), "{short:?}");
                let flat: HashSet<_> = short.iter().map(|(_, tuple)| flat(*tuple)).collect();
                assert_eq!(flat.len(), 50, "one came again too early");
                assert!(flat.is_disjoint(&held), "a held one's tuple was taken");
            }
            assert_eq!(supply.identity(before[0].0), identity, "a message was not known again");
        }
        let mut supply = TupleAllocator::new(Arc::new(plan(&known[..2])), 0, 10, 150, 7);
        let (tuples, known) = (plan(&known[..1]), known.to_vec());
        let few = ChurnTargets { tuples, known, like: Vec::new(), numbers: vec![0] };
        assert!(!supply.churn_to(Arc::new(few)), "100 are not 150");
    }

    #[test]
    fn what_was_closed_may_be_taken_again_when_there_is_nothing_else() {
        let mut supply = TupleAllocator::new(plan(7, 1), 0, 7, 0, 3);
        let first: Vec<_> = std::iter::from_fn(|| supply.next_long_lived()).collect();
        supply.release();
        let again: Vec<_> = std::iter::from_fn(|| supply.next_long_lived()).collect();
        assert_eq!(first, again, "once round, and no further");
    }

    #[test]
    fn a_place_has_a_new_tuple_or_the_one_that_was_left_first() {
        let mut supply = TupleAllocator::new(plan(5, 1), 0, 5, 0, 3);
        let held: Vec<u32> = (0..3).filter_map(|_| supply.next_long_lived()).map(|t| t.0).collect();
        assert_eq!(held, [0, 1, 2]);
        assert!(supply.replace(1) && supply.replace(0), "two are new");
        assert_eq!([0, 1, 2].map(|number| supply.place_of(number)), [4, 3, 2]);
        // The one of 1 was left first, and then that of 0.
        assert!(!supply.replace(2) && !supply.replace(2) && !supply.replace(1));
        assert_eq!([0, 1, 2].map(|number| supply.place_of(number)), [4, 2, 0]);
        let places: HashSet<_> = (0..3).map(|number| supply.tuple_of(number)).collect();
        assert_eq!(places.len(), 3, "no two share one");
    }

    #[test]
    fn without_churn_all_are_for_the_held_ones() {
        let mut supply = TupleAllocator::new(plan(7, 1), 0, 7, 0, 3);
        assert_eq!(std::iter::from_fn(|| supply.next_long_lived()).count(), 7);
        assert_eq!(supply.next_churn(), None);
    }
}
