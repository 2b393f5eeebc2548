//! How many connections are held next: the plateaus in turn, or with --keep-bystanders what the search
//! for this host's safe capacity wants to know.

use std::collections::VecDeque;
use std::time::Duration;

use megaconn::base::units::grouped;
use megaconn::results::bystanders::{CapacityStep, SafeCapacity};

use crate::bystanders::account::ProbeAccount;
use crate::bystanders::search::{Next, Search};
use crate::bystanders::slo::{Slo, Verdict};

/// What is ahead.
pub(crate) enum Plateaus {
    InTurn(VecDeque<u64>),
    Search(Box<CapacitySearch>),
}

/// A search on its way.
pub(crate) struct CapacitySearch {
    keep: Slo,
    search: Search,
    next: Next,
    tried: Vec<CapacityStep>,
    /// Why the lowest that broke did.
    why: Option<String>,
}

impl Plateaus {
    /// `plateaus`, or with something to `keep` a search among them.
    pub(crate) fn new(plateaus: &[u64], keep: Option<Slo>) -> Plateaus {
        let Some(keep) = keep else { return Plateaus::InTurn(plateaus.iter().copied().collect()) };
        let search = Search::new(plateaus);
        let next = search.first();
        Plateaus::Search(Box::new(CapacitySearch {
            keep,
            search,
            next,
            tried: Vec::new(),
            why: None,
        }))
    }

    /// Connections to hold next.
    pub(crate) fn next(&mut self) -> Option<u64> {
        match self {
            Plateaus::InTurn(plateaus) => plateaus.pop_front(),
            Plateaus::Search(search) => match search.next {
                Next::Raise(connections) | Next::Lower(connections) => Some(connections),
                Next::Done => None,
            },
        }
    }

    /// Whether there are more ahead.
    pub(crate) fn has_more(&self) -> bool {
        match self {
            Plateaus::InTurn(plateaus) => !plateaus.is_empty(),
            Plateaus::Search(search) => search.next != Next::Done,
        }
    }

    /// So many are held next, before what was asked for by flags. A search chooses for itself.
    pub(crate) fn put_next(&mut self, connections: u64) {
        if let Plateaus::InTurn(plateaus) = self {
            plateaus.push_front(connections);
        }
    }

    /// Takes what became of bystanders while `established` of the `connections` were held.
    pub(crate) fn seen(&mut self, connections: u64, established: u64, rows: &[ProbeAccount]) {
        if let Plateaus::Search(search) = self {
            search.seen(connections, established, rows);
        }
    }

    /// What the search has come to so far.
    pub(crate) fn safe_capacity(&self) -> Option<SafeCapacity> {
        let Plateaus::Search(search) = self else { return None };
        Some(SafeCapacity {
            expression: search.keep.to_string().into(),
            connections: search.search.highest_held.into(),
            broke_at: search.search.lowest_broken.into(),
            why: search.why.clone().into(),
            steps: search.tried.clone().into(),
        })
    }
}

impl CapacitySearch {
    fn seen(&mut self, connections: u64, established: u64, rows: &[ProbeAccount]) {
        let clauses = self.keep.judge(rows);
        // A clause that cannot be judged counts as broken.
        let broken = clauses.iter().filter(|clause| clause.verdict != Verdict::Held);
        let mut broken: Vec<&str> = broken.map(|clause| clause.sentence.as_str()).collect();
        // Connections that were not there prove nothing.
        let short = format!("only {} connections were there", grouped(established));
        if established < connections {
            broken.push(&short);
        }
        let held = broken.is_empty();
        if !held {
            self.why = Some(broken.join("; "));
        }
        let figures = clauses.iter().map(|clause| clause.sentence.clone()).collect();
        let step = CapacityStep { connections: connections.into(), held: held.into(), figures };
        self.tried.push(step);
        self.next = self.search.next(held);
    }
}

/// Time that each step is held at least, so that enough is seen to tell.
pub(crate) fn hold_at_least(keep: &Slo, rate_per_s: u64) -> Duration {
    // One second more: the last tries are on their way when it ends.
    Duration::from_secs(keep.samples_needed().div_ceil(rate_per_s.max(1)) + 1)
}

/// What a run that searched missed, when not even the first step held.
pub(crate) fn missed(safe: &SafeCapacity) -> Option<String> {
    let (None, Some(first)) = (*safe.connections, *safe.broke_at) else { return None };
    let why = safe.why.as_deref().unwrap_or("it was not told");
    Some(format!("bystanders were not kept at {} connections: {why}", grouped(first)))
}

#[cfg(test)]
mod tests {
    use megaconn::results::bystanders::Latency;

    use super::*;

    fn pings(p99: u64) -> Vec<ProbeAccount> {
        let latency_us = Some(Latency { p50: 40, p90: 50, p99, max: p99 });
        vec![ProbeAccount { name: "ping".into(), sent: 200, latency_us, ..ProbeAccount::default() }]
    }

    fn climbed(holds_until: u64) -> SafeCapacity {
        let keep = "ping p99 < 5ms".parse().expect("a clause");
        let mut plateaus = Plateaus::new(&[160_000], Some(keep));
        while let Some(connections) = plateaus.next() {
            let p99 = if connections <= holds_until { 400 } else { 7_000 };
            plateaus.seen(connections, connections, &pings(p99));
        }
        plateaus.safe_capacity().expect("it searched")
    }

    #[test]
    fn the_capacity_is_the_highest_that_held_and_says_what_broke_beyond() {
        let safe = climbed(90_000);
        let (held, broke) =
            (safe.connections.expect("some held"), safe.broke_at.expect("one broke"));
        assert!(held <= 90_000 && broke > 90_000 && broke - held <= broke / 20, "{safe:?}");
        assert!(safe.why.as_deref().is_some_and(|why| why.contains("ping p99")), "{safe:?}");
        assert_eq!(*safe.steps[0].connections, Some(10_000));
        assert_eq!(missed(&safe), None);
    }

    #[test]
    fn when_the_first_breaks_nothing_is_safe_and_the_run_has_missed() {
        let safe = climbed(0);
        assert_eq!((*safe.connections, *safe.broke_at, safe.steps.len()), (None, Some(10_000), 1));
        let missed = missed(&safe).expect("it says so");
        assert!(missed.contains("10,000 connections: ping p99"), "{missed}");
    }

    #[test]
    fn what_was_not_seen_was_not_kept() {
        let keep = "connect p99 < 5ms".parse().expect("a clause");
        let mut plateaus = Plateaus::new(&[100], Some(keep));
        let first = plateaus.next().expect("a step");
        plateaus.seen(first, first, &pings(1));
        assert_eq!(plateaus.next(), None);
    }

    #[test]
    fn connections_that_are_not_there_are_not_safe() {
        let keep = "ping p99 < 5ms".parse().expect("a clause");
        let mut plateaus = Plateaus::new(&[100, 200], Some(keep));
        let first = plateaus.next().expect("a step");
        plateaus.seen(first, first - 1, &pings(400));
        let safe = plateaus.safe_capacity().expect("it searched");
        assert_eq!(*safe.connections, None);
        assert!(safe.why.as_ref().is_some_and(|why| why.contains("only 99 connections")));
    }

    #[test]
    fn plateaus_are_held_in_turn_and_find_nothing() {
        let mut plateaus = Plateaus::new(&[1, 20], None);
        assert_eq!([plateaus.next(), plateaus.next(), plateaus.next()], [Some(1), Some(20), None]);
        assert!(plateaus.safe_capacity().is_none());
    }

    #[test]
    fn a_small_loss_takes_a_long_time() {
        let keep: Slo = "ping loss < 0.1%".parse().expect("a clause");
        assert_eq!(hold_at_least(&keep, 20), Duration::from_secs(52));
    }
}
