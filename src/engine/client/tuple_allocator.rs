//! Which tuple the next connect of a core takes. Held connections take the core's part of the plan
//! from its beginning; short ones go round and round behind them, so that a tuple comes again only
//! when its TIME_WAIT is over.

use std::sync::Arc;

use crate::base::constants::TUPLES_SKIPPED_SPARE;
use crate::base::errno::Errno;
use crate::plan::tuples::{Tuple, TuplePlan, share};

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
    /// From here on tuples are for short connections.
    churn_from: u64,
    next_churn: u64,
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
            next_churn: churn_from + run % (part - churn_from).max(1),
            until: part,
        }
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
        self.at(self.next_held - 1)
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
        if self.next_churn >= self.until {
            self.next_churn = self.churn_from;
        }
        self.next_churn += 1;
        self.at(self.next_churn - 1).filter(|_| self.churn_from < self.until)
    }

    /// Whether connection `number` of this core is a short one.
    pub fn is_short(&self, number: u32) -> bool {
        u64::from(number) >= self.churn_from
    }

    /// The number in the whole plan of connection `number` of this core.
    pub fn identity(&self, number: u32) -> u64 {
        self.at(number.into()).map_or(u64::MAX, |(_, tuple)| tuple.number)
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
    fn what_was_closed_may_be_taken_again_when_there_is_nothing_else() {
        let mut supply = TupleAllocator::new(plan(7, 1), 0, 7, 0, 3);
        let first: Vec<_> = std::iter::from_fn(|| supply.next_long_lived()).collect();
        supply.release();
        let again: Vec<_> = std::iter::from_fn(|| supply.next_long_lived()).collect();
        assert_eq!(first, again, "once round, and no further");
    }

    #[test]
    fn without_churn_all_are_for_the_held_ones() {
        let mut supply = TupleAllocator::new(plan(7, 1), 0, 7, 0, 3);
        assert_eq!(std::iter::from_fn(|| supply.next_long_lived()).count(), 7);
        assert_eq!(supply.next_churn(), None);
    }
}
