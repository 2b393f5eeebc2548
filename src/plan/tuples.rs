//! The tuple plan: the whole 4-tuple of every connection, fixed before the first SYN.
//!
//! source addresses x source ports x targets, numbered once, each target in turn, and dealt out to the
//! cores: core `k`
//! of `n` owns the numbers `k`, `k + n`, `k + 2n` ..., so parts are disjoint and together are all.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use crate::plan::deal::{Deal, Extent, Place};
use crate::plan::holes::Holes;
pub use crate::plan::ranges::{AddressRange, PortRange, Sources};
pub use crate::plan::tuple_error::{NotASource, NotATarget, TupleError};

/// One connection-to-be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Its number in the plan: the identity of the connection.
    pub number: u64,
    /// Source address and port.
    pub source: SocketAddr,
    /// Index of the target in [`TuplePlan::targets`].
    pub target: usize,
}

/// All tuples there are, by number.
#[derive(Clone, Debug)]
pub struct TuplePlan {
    targets: Vec<SocketAddr>,
    ports: Vec<u16>,
    blocks: Vec<Block>,
    deal: Deal,
    /// Tuples whose source is their target. A connection to itself is none.
    holes: Holes,
    cores: u64,
}

/// The tuples of one family, towards this host or others; target fastest, then port, then address.
#[derive(Clone, Debug)]
struct Block {
    sources: Vec<AddressRange>,
    targets: Vec<usize>,
}

impl TuplePlan {
    /// The plan for `targets` from `sources` through `ports`, dealt out to `cores` cores.
    ///
    /// # Errors
    /// When a target has no source, or something is named twice.
    ///
    /// # Panics
    /// Without a core.
    pub fn new(
        targets: Vec<SocketAddr>,
        sources: &[AddressRange],
        ports: Vec<u16>,
        cores: usize,
    ) -> Result<TuplePlan, TupleError> {
        TuplePlan::with_others(targets, sources, ports, cores, &HashSet::new())
    }

    /// The same where the targets at the addresses of `others` are on other hosts. No loopback address
    /// is a source towards those.
    ///
    /// # Errors
    /// As [`TuplePlan::new`].
    ///
    /// # Panics
    /// Without a core.
    pub fn with_others(
        targets: Vec<SocketAddr>,
        sources: &[AddressRange],
        ports: Vec<u16>,
        cores: usize,
        others: &HashSet<IpAddr>,
    ) -> Result<TuplePlan, TupleError> {
        assert!(cores > 0, "a plan is for at least one core");
        if ports.is_empty() {
            return Err(TupleError::NoPort);
        }
        reject_doubles(&targets, sources)?;
        let mut blocks = Vec::new();
        for (v4, is_other) in [(true, false), (true, true), (false, false), (false, true)] {
            let is_here = |target: &SocketAddr| {
                target.is_ipv4() == v4 && others.contains(&target.ip()) == is_other
            };
            let here: Vec<usize> = (0..targets.len()).filter(|n| is_here(&targets[*n])).collect();
            let Some(&first) = here.first() else { continue };
            let of_family = sources.iter().filter(|source| source.first().is_ipv4() == v4);
            let leads = |source: &&AddressRange| !is_other || !source.first().is_loopback();
            let from: Vec<_> = of_family.clone().filter(leads).copied().collect();
            if from.is_empty() {
                return Err(match of_family.into_iter().next() {
                    Some(loopback) => TupleError::LoopbackSource(loopback.first(), targets[first]),
                    None => TupleError::NoSource(targets[first]),
                });
            }
            blocks.push(Block { sources: from, targets: here });
        }
        let extents: Vec<Extent> = blocks.iter().map(|block| block.extent(ports.len())).collect();
        let (deal, holes) = (Deal::new(&extents), Holes::default());
        let mut plan = TuplePlan { targets, ports, blocks, deal, holes, cores: cores as u64 };
        plan.holes = Holes::new(plan.to_themselves());
        Ok(plan)
    }

    /// A plan without a tuple, where nothing can be reached.
    ///
    /// # Panics
    /// Without a core.
    #[must_use]
    pub fn empty(targets: Vec<SocketAddr>, cores: usize) -> TuplePlan {
        assert!(cores > 0, "a plan is for at least one core");
        let (ports, blocks) = (Vec::new(), Vec::new());
        let (deal, holes) = (Deal::default(), Holes::default());
        TuplePlan { targets, ports, blocks, deal, holes, cores: cores as u64 }
    }

    /// The tuples whose source is their target, by their numbers among all: at most one a target.
    fn to_themselves(&self) -> Vec<u64> {
        let mut index_of = vec![None; 1 << 16];
        for (index, port) in self.ports.iter().enumerate() {
            index_of[usize::from(*port)].get_or_insert(index as u64);
        }
        let mut found = Vec::new();
        for (which, block) in self.blocks.iter().enumerate() {
            let ports = self.ports.len() as u64;
            let number = |nth: usize, target: SocketAddr| {
                let port = index_of[usize::from(target.port())]?;
                let mut before = 0_u64;
                let address = block.sources.iter().find_map(|range| {
                    let found = range.index_of(target.ip()).and_then(|n| before.checked_add(n));
                    before = before.saturating_add(range.len());
                    found
                })?;
                let round = address.checked_mul(ports)?.checked_add(port)?;
                self.deal.number(Place { block: which, round, target: nth as u64 })
            };
            let targets = block.targets.iter().enumerate();
            found.extend(targets.filter_map(|(nth, target)| number(nth, self.targets[*target])));
        }
        found
    }

    /// Where connections go, by the index that tuples carry.
    #[must_use]
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// Source addresses of the plan, each range once.
    pub fn sources(&self) -> impl Iterator<Item = &AddressRange> {
        let ranges = || self.blocks.iter().flat_map(|block| &block.sources);
        let is_first = move |(at, range): &(usize, &AddressRange)| {
            ranges().take(*at).all(|before| before != *range)
        };
        self.blocks
            .iter()
            .flat_map(|block| &block.sources)
            .enumerate()
            .filter(is_first)
            .map(|(_, range)| range)
    }

    /// Source ports of the plan.
    #[must_use]
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Cores the tuples are dealt out to.
    #[must_use]
    pub fn cores(&self) -> usize {
        usize::try_from(self.cores).expect("it was made of one")
    }

    /// How many tuples there are.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.deal.len() - self.holes.count()
    }

    /// Tuples per source address.
    #[must_use]
    pub fn per_source(&self) -> u64 {
        let targets = self.blocks.first().map_or(0, |block| block.targets.len());
        (self.ports.len() * targets) as u64
    }

    /// The `index`-th tuple of `core`; `None` past the end of its part.
    #[must_use]
    pub fn of_core(&self, core: usize, index: u64) -> Option<Tuple> {
        self.get(index.checked_mul(self.cores)?.checked_add(core as u64)?)
    }

    /// Tuple number `number`; `None` past the end.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Tuple> {
        self.at(number, self.holes.passed_over(number)?)
    }

    fn at(&self, number: u64, among_all: u64) -> Option<Tuple> {
        let Place { block, round, target } = self.deal.locate(among_all)?;
        let block = &self.blocks[block];
        let target = block.targets[index(target)];
        let port = self.ports[index(round % self.ports.len() as u64)];
        let mut nth = round / self.ports.len() as u64;
        let range = block.sources.iter().find(|range| {
            let is_here = nth < range.len();
            if !is_here {
                nth -= range.len();
            }
            is_here
        })?;
        Some(Tuple { number, source: source(range.nth(nth), port, self.targets[target]), target })
    }
}

impl Block {
    fn extent(&self, ports: usize) -> Extent {
        let addresses = self.sources.iter().fold(0_u64, |n, range| n.saturating_add(range.len()));
        Extent {
            targets: self.targets.len() as u64,
            rounds: addresses.saturating_mul(ports as u64),
        }
    }
}

/// A link-local source is on the link of its target.
fn source(address: IpAddr, port: u16, target: SocketAddr) -> SocketAddr {
    match (address, target) {
        (IpAddr::V6(ip), SocketAddr::V6(to)) if ip.is_unicast_link_local() => {
            SocketAddrV6::new(ip, port, 0, to.scope_id()).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

fn index(n: u64) -> usize {
    usize::try_from(n).expect("a remainder is below a length")
}

fn reject_doubles(targets: &[SocketAddr], sources: &[AddressRange]) -> Result<(), TupleError> {
    // Port ranges make tens of thousands of targets: too many to compare each with each.
    let mut seen = HashSet::new();
    if let Some(target) = targets.iter().find(|target| !seen.insert(**target)) {
        return Err(TupleError::TwiceTarget(*target));
    }
    for (n, range) in sources.iter().enumerate() {
        let overlaps =
            |other: &&AddressRange| other.first() <= range.last() && range.first() <= other.last();
        if let Some(other) = sources[..n].iter().find(overlaps) {
            return Err(TupleError::Overlap(other.first(), range.first()));
        }
    }
    Ok(())
}

/// What is `core`'s of `total`, dealt out to `cores` as evenly as can be.
#[must_use]
pub fn share(total: u64, cores: usize, core: usize) -> u64 {
    let (cores, core) = (cores as u64, core as u64);
    total / cores + u64::from(core < total % cores)
}
