//! The kinds of figures: what a core may do to one, what a reader sees of it, and what it is over all
//! cores and between two moments.

use std::sync::atomic::{AtomicU64, Ordering};

use histogram::Histogram;

use crate::base::errno::Errno;
use crate::observe::stats::latency::{Durations, Latency};
use crate::observe::stats::lost::LOST_CAUSES;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. One core writes it, so a load and a store are enough.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// The count now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A number that shows what is now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it. A reader that sees `n` sees all that was written before.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    /// What was set last.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One counter for each error number, index 0 for unknown ones.
pub type ByErrno = [Counter; Errno::LIMIT];

/// One counter for each of [`LOST_CAUSES`], in their order.
pub type ByCause = [Counter; LOST_CAUSES.len()];

/// What kind of figure something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Counter`].
    Counter,
    /// A [`Gauge`].
    Gauge,
    /// A [`Latency`].
    Latency,
    /// A [`ByErrno`].
    ByErrno,
    /// A [`ByCause`].
    ByCause,
}

/// What is published of a figure beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name in dumps, of which that in metrics is made.
    pub name: &'static str,
    /// What it says, and what a high value asks for.
    pub help: &'static str,
    /// Its kind.
    pub kind: Kind,
}

/// A figure of one core as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub enum Reading<'a> {
    /// The count now.
    Counter(u64),
    /// What is now.
    Gauge(u64),
    /// Durations since the core began.
    Latency(&'a Latency),
    /// Counts by error number.
    ByErrno(&'a ByErrno),
    /// Counts by cause.
    ByCause(&'a ByCause),
}

/// A type that may stand in the list of a core's figures.
pub trait Figure: Sized {
    /// Its kind.
    const KIND: Kind;

    /// What it is over many cores.
    type Total;

    /// Nothing is counted yet.
    fn new() -> Self;

    /// What a reader sees now.
    fn reading(&self) -> Reading<'_>;

    /// What it is over all of `cores` now.
    fn total<'a>(cores: impl Iterator<Item = &'a Self>) -> Self::Total
    where
        Self: 'a;

    /// What has been counted between two totals. A gauge is what it was at the second.
    fn since(now: &Self::Total, before: &Self::Total) -> Self::Total;
}

/// Figures with their names.
pub trait Listed {
    /// What is published of each, in the order of [`readings`](Listed::readings).
    fn descriptions() -> impl Iterator<Item = &'static Description>;

    /// Each of them now.
    fn readings(&self) -> impl Iterator<Item = Reading<'_>>;

    /// Each of them now, with what is published of it.
    fn figures(&self) -> impl Iterator<Item = (&'static Description, Reading<'_>)> {
        Self::descriptions().zip(self.readings())
    }

    /// Name and copy of each histogram.
    fn latencies(&self) -> impl Iterator<Item = (&'static str, Histogram)> {
        self.figures().filter_map(|(figure, reading)| match reading {
            Reading::Latency(latency) => Some((figure.name, latency.load())),
            _ => None,
        })
    }

    /// Name and value of each counter and gauge.
    fn numbers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.figures().filter_map(|(figure, reading)| match reading {
            Reading::Counter(n) | Reading::Gauge(n) => Some((figure.name, n)),
            _ => None,
        })
    }
}

impl Figure for Counter {
    const KIND: Kind = Kind::Counter;
    type Total = u64;

    fn new() -> Counter {
        Counter::default()
    }

    fn reading(&self) -> Reading<'_> {
        Reading::Counter(self.get())
    }

    fn total<'a>(cores: impl Iterator<Item = &'a Counter>) -> u64 {
        cores.map(Counter::get).sum()
    }

    fn since(now: &u64, before: &u64) -> u64 {
        now - before
    }
}

impl Figure for Gauge {
    const KIND: Kind = Kind::Gauge;
    type Total = u64;

    fn new() -> Gauge {
        Gauge::default()
    }

    fn reading(&self) -> Reading<'_> {
        Reading::Gauge(self.get())
    }

    fn total<'a>(cores: impl Iterator<Item = &'a Gauge>) -> u64 {
        cores.map(Gauge::get).sum()
    }

    fn since(now: &u64, _: &u64) -> u64 {
        *now
    }
}

impl Figure for Latency {
    const KIND: Kind = Kind::Latency;
    type Total = Durations;

    fn new() -> Latency {
        Latency::new()
    }

    fn reading(&self) -> Reading<'_> {
        Reading::Latency(self)
    }

    fn total<'a>(cores: impl Iterator<Item = &'a Latency>) -> Durations {
        cores.fold(Durations::none(), |all, one| all.and(&one.durations()))
    }

    fn since(now: &Durations, before: &Durations) -> Durations {
        now.since(before)
    }
}

impl Figure for ByErrno {
    const KIND: Kind = Kind::ByErrno;
    type Total = Vec<u64>;

    fn new() -> ByErrno {
        std::array::from_fn(|_| Counter::default())
    }

    fn reading(&self) -> Reading<'_> {
        Reading::ByErrno(self)
    }

    fn total<'a>(cores: impl Iterator<Item = &'a ByErrno>) -> Vec<u64> {
        totals(cores)
    }

    fn since(now: &Vec<u64>, before: &Vec<u64>) -> Vec<u64> {
        rises(now, before)
    }
}

impl Figure for ByCause {
    const KIND: Kind = Kind::ByCause;
    type Total = Vec<u64>;

    fn new() -> ByCause {
        ByCause::default()
    }

    fn reading(&self) -> Reading<'_> {
        Reading::ByCause(self)
    }

    fn total<'a>(cores: impl Iterator<Item = &'a ByCause>) -> Vec<u64> {
        totals(cores)
    }

    fn since(now: &Vec<u64>, before: &Vec<u64>) -> Vec<u64> {
        rises(now, before)
    }
}

fn totals<'a, const N: usize>(cores: impl Iterator<Item = &'a [Counter; N]>) -> Vec<u64> {
    let mut totals = vec![0; N];
    for core in cores {
        totals.iter_mut().zip(core).for_each(|(total, counter)| *total += counter.get());
    }
    totals
}

fn rises(now: &[u64], before: &[u64]) -> Vec<u64> {
    now.iter().zip(before).map(|(now, before)| now - before).collect()
}
