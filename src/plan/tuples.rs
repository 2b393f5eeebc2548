//! The tuple plan: the whole 4-tuple of every connection, fixed before the first SYN.
//!
//! source addresses x source ports x targets, numbered once and dealt out to the cores: core `k`
//! of `n` owns the numbers `k`, `k + n`, `k + 2n` ..., so parts are disjoint and together are all.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::base::units;
use crate::plan::route;

/// `--source`: where connections come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// On loopback the addresses of 127.0.0.0/8 (or ::1), elsewhere all of the outgoing interface.
    Auto,
    /// These addresses, both ends included.
    Range(AddressRange),
}

/// Consecutive addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    low: IpAddr,
    high: IpAddr,
}

impl AddressRange {
    /// The addresses from `low` to `high`.
    ///
    /// # Errors
    /// When the families differ or `high` is below `low`.
    pub fn new(low: IpAddr, high: IpAddr) -> Result<AddressRange, String> {
        if low.is_ipv4() != high.is_ipv4() || high < low {
            return Err(format!("{low}-{high} is no range; fix: write the lower address first"));
        }
        Ok(AddressRange { low, high })
    }

    /// First address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.low
    }

    /// How many addresses; 2^64 - 1 stands for more.
    #[must_use]
    pub fn len(&self) -> u64 {
        let span = bits(self.high) - bits(self.low);
        u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    fn nth(&self, n: u64) -> IpAddr {
        let value = bits(self.low) + u128::from(n);
        match self.low {
            IpAddr::V4(_) => {
                let low = u32::try_from(value).expect("the range lies in one family");
                IpAddr::V4(Ipv4Addr::from_bits(low))
            }
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(value)),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Sources, String> {
        let error = || {
            format!(
                "`{text}` is no source; fix: write auto, 10.0.0.5, 10.0.0.0/28 or 10.0.0.5-10.0.0.9"
            )
        };
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| error());
        if text == "auto" {
            return Ok(Sources::Auto);
        }
        if text.contains('/') {
            let net: ipnet::IpNet = text.parse().map_err(|_| error())?;
            let low = net.hosts().next().ok_or_else(error)?;
            return AddressRange::new(low, last_host(net)).map(Sources::Range);
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        AddressRange::new(address(low)?, address(high)?).map(Sources::Range)
    }
}

/// The last usable host of a network without walking through it.
fn last_host(net: ipnet::IpNet) -> IpAddr {
    match net {
        // Network and broadcast addresses are no hosts, but in a /31 and /32 all are.
        ipnet::IpNet::V4(v4) if v4.prefix_len() < 31 => {
            IpAddr::V4(Ipv4Addr::from_bits(v4.broadcast().to_bits() - 1))
        }
        other => other.broadcast(),
    }
}

/// `--source-ports LO-HI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        units::port_range(text).map(|(low, high)| PortRange { low, high })
    }
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TupleError {
    /// No source has the family of the target.
    #[error("--source: no address of the family of target {0}; fix: add a --source of that family")]
    NoSource(SocketAddr),
    /// Two sources overlap.
    #[error("--source: {0} and {1} overlap; fix: name every address once")]
    Overlap(IpAddr, IpAddr),
    /// A target stands twice.
    #[error("--target: {0} is named twice; fix: name every target once")]
    TwiceTarget(SocketAddr),
    /// Every port is reserved.
    #[error("--source-ports: every port is in net.ipv4.ip_local_reserved_ports; fix: other ports")]
    NoPort,
    /// The way to the target is unknown.
    #[error("--source auto: no route to {0} ({1}); fix: name the addresses by --source")]
    NoRoute(SocketAddr, String),
}

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
    cores: u64,
}

/// The tuples of one family: consecutive numbers; target fastest, then port, then address.
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
        assert!(cores > 0, "a plan is for at least one core");
        if ports.is_empty() {
            return Err(TupleError::NoPort);
        }
        reject_doubles(&targets, sources)?;
        let mut blocks = Vec::new();
        for v4 in [true, false] {
            let of_family = |target: &&usize| targets[**target].is_ipv4() == v4;
            let all: Vec<usize> = (0..targets.len()).collect();
            let here: Vec<usize> = all.iter().filter(of_family).copied().collect();
            let from: Vec<_> = sources.iter().filter(|s| s.low.is_ipv4() == v4).copied().collect();
            match here.first() {
                Some(&first) if from.is_empty() => {
                    return Err(TupleError::NoSource(targets[first]));
                }
                Some(_) => blocks.push(Block { sources: from, targets: here }),
                None => {}
            }
        }
        Ok(TuplePlan { targets, ports, blocks, cores: cores as u64 })
    }

    /// Where connections go, by the index that tuples carry.
    #[must_use]
    pub fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// Cores the tuples are dealt out to.
    #[must_use]
    pub fn cores(&self) -> usize {
        usize::try_from(self.cores).expect("it was made of one")
    }

    /// How many tuples there are.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.blocks.iter().fold(0, |sum, block| sum.saturating_add(self.block_len(block)))
    }

    /// Tuples per source address.
    #[must_use]
    pub fn per_source(&self) -> u64 {
        let targets = self.blocks.first().map_or(0, |block| block.targets.len());
        (self.ports.len() * targets) as u64
    }

    /// The source addresses that the first `connections` tuples come from, in order.
    pub fn addresses_for(&self, connections: u64) -> impl Iterator<Item = IpAddr> {
        let mut number = 0;
        std::iter::from_fn(move || {
            let tuple = self.get(number).filter(|tuple| tuple.number < connections)?;
            let v4 = tuple.source.is_ipv4();
            let block = self.blocks.iter().find(|block| block.sources[0].low.is_ipv4() == v4)?;
            number += (self.ports.len() * block.targets.len()) as u64;
            Some(tuple.source.ip())
        })
    }

    /// The `index`-th tuple of `core`; `None` past the end of its part.
    #[must_use]
    pub fn of_core(&self, core: usize, index: u64) -> Option<Tuple> {
        self.get(index.checked_mul(self.cores)?.checked_add(core as u64)?)
    }

    /// Tuple number `number`; `None` past the end.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Tuple> {
        let mut rest = number;
        let block = self.blocks.iter().find(|block| {
            let len = self.block_len(block);
            let is_here = rest < len;
            if !is_here {
                rest -= len;
            }
            is_here
        })?;
        let target = block.targets[index(rest % block.targets.len() as u64)];
        let rest = rest / block.targets.len() as u64;
        let port = self.ports[index(rest % self.ports.len() as u64)];
        let mut nth = rest / self.ports.len() as u64;
        let range = block.sources.iter().find(|range| {
            let is_here = nth < range.len();
            if !is_here {
                nth -= range.len();
            }
            is_here
        })?;
        Some(Tuple { number, source: SocketAddr::new(range.nth(nth), port), target })
    }

    fn block_len(&self, block: &Block) -> u64 {
        let addresses = block.sources.iter().fold(0_u64, |n, range| n.saturating_add(range.len()));
        addresses.saturating_mul((self.ports.len() * block.targets.len()) as u64)
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
        let overlaps = |other: &&AddressRange| other.low <= range.high && range.low <= other.high;
        if let Some(other) = sources[..n].iter().find(overlaps) {
            return Err(TupleError::Overlap(other.low, range.low));
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

/// Turns `--source` into addresses of this host.
///
/// # Errors
/// When `auto` finds no route to a target, or no interface with the address it leads through.
pub fn resolve_sources(
    sources: &[Sources],
    targets: &[SocketAddr],
) -> Result<Vec<AddressRange>, TupleError> {
    let mut ranges = Vec::new();
    for source in sources {
        match source {
            Sources::Range(range) => ranges.push(*range),
            Sources::Auto => {
                // By address: a range of ports goes one way.
                let mut addresses = HashSet::new();
                for target in targets.iter().filter(|target| addresses.insert(target.ip())) {
                    for range in automatic(*target)? {
                        if !ranges.contains(&range) {
                            ranges.push(range);
                        }
                    }
                }
            }
        }
    }
    Ok(ranges)
}

/// The addresses `auto` takes for one target.
fn automatic(target: SocketAddr) -> Result<Vec<AddressRange>, TupleError> {
    match target.ip() {
        // 127.0.0.1 is left to other programs.
        IpAddr::V4(v4) if v4.is_loopback() => {
            let (low, high) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 255, 255, 254));
            Ok(vec![AddressRange { low: low.into(), high: high.into() }])
        }
        IpAddr::V6(v6) if v6.is_loopback() => {
            Ok(vec![AddressRange { low: target.ip(), high: target.ip() }])
        }
        _ => {
            let no_route = |error: std::io::Error| TupleError::NoRoute(target, error.to_string());
            let interfaces = route::outgoing(target).map_err(no_route)?;
            let addresses =
                interfaces.iter().map(if_addrs::Interface::ip).filter(|ip| usable(*ip, target));
            let mut addresses: Vec<IpAddr> = addresses.collect();
            addresses.sort_unstable();
            addresses.dedup();
            Ok(addresses.into_iter().map(|ip| AddressRange { low: ip, high: ip }).collect())
        }
    }
}

fn usable(ip: IpAddr, target: SocketAddr) -> bool {
    let is_link_local = matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    ip.is_ipv4() == target.is_ipv4() && !is_link_local
}
