//! From what was typed to the tuple plan of this host: which addresses connections can come from,
//! which of them lead to which target, and through which ports.
//!
//! The kernel's table of its own addresses decides, and not a bind that happens to succeed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::base::errno::Errno;
use crate::host::addresses::Addresses;
use crate::host::links;
use crate::host::ports;
use crate::host::procfs::ProcFs;
use crate::plan::parts::RunPart;
use crate::plan::route;
use crate::plan::tuples::{
    AddressRange, NotASource, NotATarget, PortRange, Sources, TupleError, TuplePlan,
};

/// What was typed of the client's ends.
#[derive(Clone, Copy, Debug)]
pub struct Typed<'a> {
    /// `--source`.
    pub sources: &'a [Sources],
    /// `--source-ports`.
    pub ports: Option<PortRange>,
    /// Which part of a run this is, and whether others have the same sources.
    pub part: Option<(RunPart, SourceSharing)>,
}

/// Whether the parts of a run have the same source addresses: each has its own ports then, and no two parts can make one
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceSharing {
    /// As this host can tell: they do where a target is an address of the host itself, since such parts are in one network
    /// namespace.
    Auto,
    /// Each has its own: all ports are used.
    Own,
    /// All have the same: one network namespace, or an address of a NAT that keeps ports.
    Shared,
}

/// A plan, and what it leaves out.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The tuples. There is none where this host does not even reach itself.
    pub tuples: TuplePlan,
    /// Addresses of `--source` that are not this host's.
    pub unused: Vec<AddressRange>,
    /// Whether the ports are cut among the parts of a run.
    pub is_shared: bool,
}

impl Planned {
    /// What it leaves out, in words; `None` when that is nothing.
    #[must_use]
    pub fn unused_in_words(&self) -> Option<String> {
        let (first, rest) = self.unused.split_at(self.unused.len().min(3));
        let mut names: Vec<String> = first.iter().map(ToString::to_string).collect();
        if !rest.is_empty() {
            names.push(format!("{} more parts", rest.len()));
        }
        let words = || format!("--source: not of this host, and not used: {}", names.join(", "));
        (!first.is_empty()).then(words)
    }
}

/// The plan for `targets` on this host, dealt out to `cores` cores.
///
/// # Errors
/// What makes it impossible, with the fix.
pub fn plan(
    typed: &Typed<'_>,
    targets: Vec<SocketAddr>,
    cores: usize,
) -> Result<Planned, TupleError> {
    let procfs = ProcFs::host();
    let addresses = Addresses::read(&procfs).ok_or(TupleError::Unknown)?;
    targets.iter().try_for_each(|target| check_target(*target, &addresses))?;
    let ports = usable_ports(&procfs, typed.ports)?;
    let is_here = targets.iter().any(|target| addresses.is_ours(target.ip()));
    let (ports, is_shared) = match typed.part {
        Some((part, sharing)) if sharing.is_shared(is_here) => (of_part(part, &ports)?, true),
        _ => (ports, false),
    };
    if targets.iter().any(|target| is_out_of_reach(*target, &addresses)) {
        let tuples = TuplePlan::empty(targets, cores);
        return Ok(Planned { tuples, unused: Vec::new(), is_shared });
    }
    let (sources, unused) = resolve(typed.sources, &targets, &addresses)?;
    let is_other = |ip: &IpAddr| !addresses.is_ours(*ip);
    let others: HashSet<IpAddr> = targets.iter().map(SocketAddr::ip).filter(is_other).collect();
    let tuples = TuplePlan::with_others(targets, &sources, ports, cores, &others)?;
    Ok(Planned { tuples, unused, is_shared })
}

impl SourceSharing {
    fn is_shared(self, is_target_here: bool) -> bool {
        match self {
            SourceSharing::Auto => is_target_here,
            SourceSharing::Own => false,
            SourceSharing::Shared => true,
        }
    }
}

/// Of the ports that all parts of a run have, those of one.
fn of_part(part: RunPart, ports: &[u16]) -> Result<Vec<u16>, TupleError> {
    match part.ports(ports) {
        [] if !ports.is_empty() => Err(TupleError::FewPorts(ports.len(), part)),
        own => Ok(own.to_vec()),
    }
}

/// An address of this host that nothing reaches, because loopback is down or lacks it.
fn is_out_of_reach(target: SocketAddr, addresses: &Addresses) -> bool {
    let is_ours = addresses.is_ours(target.ip());
    target.ip().is_loopback() && !is_ours || is_ours && addresses.is_loopback_down
}

fn check_target(target: SocketAddr, addresses: &Addresses) -> Result<(), TupleError> {
    let ip = target.ip();
    let loopback = if ip.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { IpAddr::V6(LOOPBACK_V6) };
    let why = match target {
        _ if ip.is_unspecified() => NotATarget::Any(loopback),
        _ if ip.is_multicast() => NotATarget::Multicast,
        _ if addresses.is_broadcast(ip) => NotATarget::Broadcast,
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            NotATarget::NoZone(ip)
        }
        _ => return Ok(()),
    };
    Err(TupleError::NoTarget(target, why))
}

const LOOPBACK_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::LOCALHOST;

/// The ports that may be used: those asked for, or those that the kernel hands out by itself.
fn usable_ports(procfs: &ProcFs, asked: Option<PortRange>) -> Result<Vec<u16>, TupleError> {
    let by_itself = ports::ephemeral(procfs);
    let range = asked.map_or_else(|| by_itself.clone(), |asked| asked.low..=asked.high);
    let usable = ports::usable(procfs, range);
    // A port that the kernel hands out by itself is for any program.
    let lowest = usable.iter().find(|port| !by_itself.contains(*port));
    match lowest {
        Some(&port) if ports::is_forbidden(port) => {
            Err(TupleError::LowPort { port, start: ports::unprivileged_start(procfs) })
        }
        _ => Ok(usable),
    }
}

/// The addresses of this host that `sources` stand for, and those that are not here.
///
/// # Errors
/// When `auto` finds no route to a target, or nothing of a source is here.
pub fn resolve(
    sources: &[Sources],
    targets: &[SocketAddr],
    addresses: &Addresses,
) -> Result<(Vec<AddressRange>, Vec<AddressRange>), TupleError> {
    let (mut here, mut absent) = (Vec::new(), Vec::new());
    // By address: a range of ports goes one way.
    let mut seen = HashSet::new();
    let ways: Vec<SocketAddr> =
        targets.iter().filter(|target| seen.insert(target.ip())).copied().collect();
    for target in &ways {
        let no_route = |error: std::io::Error| TupleError::NoRoute(*target, Errno::from(&error));
        route::outgoing_address(*target).map_err(no_route)?;
    }
    for source in sources {
        match source {
            Sources::Range(range) => {
                let (of_it, not_of_it) = split(*range, addresses)?;
                here.extend(of_it);
                absent.extend(not_of_it);
            }
            Sources::Interface(name) => {
                here.extend(of_interface(name, targets, addresses)?);
            }
            Sources::Auto => {
                for target in &ways {
                    for range in automatic(*target, addresses)? {
                        if !here.contains(&range) {
                            here.push(range);
                        }
                    }
                }
            }
        }
    }
    Ok((here, absent))
}

/// The addresses of an interface that can be used towards some of `targets`. A label, as `eth0:1`, is a
/// name of its interface.
fn of_interface(
    name: &str,
    targets: &[SocketAddr],
    addresses: &Addresses,
) -> Result<Vec<AddressRange>, TupleError> {
    let link = name.split(':').next().unwrap_or(name);
    let found = links::all(&ProcFs::host()).into_iter().find(|found| found.name == link);
    let index = found.ok_or_else(|| TupleError::NoInterface(name.to_owned()))?.index;
    let own = addresses.list.iter().filter(|a| a.interface == index && !a.is_tentative);
    let leads_somewhere = |ip: &IpAddr| {
        targets.iter().any(|target| {
            if target.ip().is_loopback() {
                ip.is_ipv4() == target.is_ipv4() && addresses.is_ours(*ip)
            } else {
                leads(*ip, *target, addresses)
            }
        })
    };
    let usable: Vec<IpAddr> = own.map(|address| address.ip).filter(leads_somewhere).collect();
    if usable.is_empty() {
        return Err(TupleError::BareInterface(name.to_owned()));
    }
    Ok(ranges(usable))
}

/// The parts of a range that are here, and those that are not.
fn split(
    range: AddressRange,
    addresses: &Addresses,
) -> Result<(Vec<AddressRange>, Vec<AddressRange>), TupleError> {
    let (first, last) = (range.first(), range.last());
    let here: Vec<AddressRange> = addresses
        .ours(first, last)
        .into_iter()
        .filter_map(|(low, high)| AddressRange::new(low, high).ok())
        .collect();
    if here.is_empty() {
        let why = match first {
            _ if first.is_unspecified() => NotASource::Any,
            _ if first.is_multicast() => NotASource::Multicast,
            _ if addresses.is_broadcast(first) && first == last => NotASource::Broadcast,
            _ => NotASource::Absent(first),
        };
        return Err(TupleError::NoSuchSource(range, why));
    }
    let mut absent = Vec::new();
    let mut next = Some(first);
    for part in &here {
        absent.extend(next.and_then(|next| range.between(next, part.first())));
        next = part.after();
    }
    absent.extend(next.and_then(|next| AddressRange::new(next, last).ok()));
    Ok((here, absent))
}

/// The addresses `auto` takes for one target.
fn automatic(target: SocketAddr, addresses: &Addresses) -> Result<Vec<AddressRange>, TupleError> {
    let one = |ip: IpAddr| AddressRange::new(ip, ip).ok();
    match target.ip() {
        IpAddr::V4(v4) if v4.is_loopback() => {
            // 127.0.0.1 is left to other programs, unless there is no other.
            let first = |n| IpAddr::from(Ipv4Addr::new(127, 0, 0, n));
            let last = Ipv4Addr::new(127, 255, 255, 254).into();
            let mut rows = addresses.ours(first(2), last);
            if rows.is_empty() {
                rows = addresses.ours(first(1), last);
            }
            Ok(rows
                .into_iter()
                .filter_map(|(low, high)| AddressRange::new(low, high).ok())
                .collect())
        }
        IpAddr::V6(v6) if v6.is_loopback() => Ok(one(target.ip()).into_iter().collect()),
        _ => {
            let no_route = |error: std::io::Error| TupleError::NoRoute(target, Errno::from(&error));
            let chosen = route::outgoing_address(target).map_err(no_route)?;
            let beside = addresses.beside(chosen);
            let usable = beside.filter(|a| !a.is_tentative && !a.is_deprecated).map(|a| a.ip);
            // The kernel's choice is one, be it deprecated.
            let mut found: Vec<IpAddr> =
                usable.chain([chosen]).filter(|ip| leads(*ip, target, addresses)).collect();
            found.sort_unstable();
            found.dedup();
            if found.is_empty() { Err(TupleError::NoAddress(target)) } else { Ok(ranges(found)) }
        }
    }
}

fn ranges(addresses: Vec<IpAddr>) -> Vec<AddressRange> {
    addresses.into_iter().filter_map(|ip| AddressRange::new(ip, ip).ok()).collect()
}

/// Whether a connection from `ip` can reach `target`, which is not on loopback.
fn leads(ip: IpAddr, target: SocketAddr, addresses: &Addresses) -> bool {
    let is_link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    ip.is_ipv4() == target.is_ipv4()
        && !ip.is_loopback()
        && !ip.is_unspecified()
        && is_link_local(ip) == is_link_local(target.ip())
        && addresses.is_ours(ip)
}
