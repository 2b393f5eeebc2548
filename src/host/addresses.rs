//! Which addresses are this host's, as the kernel itself decides it: by the table `local` of its
//! routes. A prefix that is routed local, such as 127.0.0.0/8, is of this host as a whole; an address
//! of broadcast within it is not; one of IPv6 that is still tried for doubles is not yet. That a bind
//! succeeds says nothing, where `ip_nonlocal_bind` is set.
//!
//! Read by netlink as in rtnetlink(7), or where that is not there from `/proc/net/fib_trie` and
//! `/proc/net/if_inet6`, which say less. All is of the task's own network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::host::links;
use crate::host::netlink::{self, Question};
use crate::host::procfs::ProcFs;

const ASK_ADDRESSES: u16 = 22;
const ADDRESS: u16 = 20;
const ASK_ROUTES: u16 = 26;
const ROUTE: u16 = 24;

/// `struct ifaddrmsg` and `struct rtmsg`, all zero: of any family.
const ANY_ADDRESS: [u8; 8] = [0; 8];
const ANY_ROUTE: [u8; 12] = [0; 12];

/// Where the family, the length of the destination, the table and the type stand in `struct rtmsg`.
const FAMILY_AT: usize = 0;
const LENGTH_AT: usize = 1;
const TABLE_AT: usize = 4;
const TYPE_AT: usize = 7;

/// Attributes of an address, and of a route.
const OF_PEER: u16 = 1;
const OF_US: u16 = 2;
const FLAGS: u16 = 8;
const DESTINATION: u16 = 1;

const TABLE_LOCAL: u8 = 255;
const TYPE_LOCAL: u8 = 2;
const TYPE_BROADCAST: u8 = 3;

const FLAG_DOUBLE: u32 = 0x08;
const FLAG_DEPRECATED: u32 = 0x20;
const FLAG_TENTATIVE: u32 = 0x40;

/// One address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Bits of it that name the link.
    pub prefix: u8,
    /// The number of its interface. Labels such as `eth0:1` are names of the same interface.
    pub interface: u32,
    /// Whether nothing can be bound to it yet, or ever: the kernel looks for another host that has it,
    /// or has found one.
    pub is_tentative: bool,
    /// Whether it is no longer to be used for new connections.
    pub is_deprecated: bool,
}

/// A prefix that the kernel looks up before all other routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    low: IpAddr,
    length: u8,
    /// Whether it is of this host, and not of broadcast, multicast or nothing.
    is_ours: bool,
    is_broadcast: bool,
}

/// The addresses of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Of its interfaces, in the kernel's order.
    pub list: Vec<Address>,
    /// First and last of each row of addresses that are ours, in order; those of IPv4 first.
    ours: Vec<(IpAddr, IpAddr)>,
    /// Addresses of all hosts of a link.
    broadcast: Vec<IpAddr>,
    /// Whether loopback is down, so that nothing reaches an address of this host.
    pub is_loopback_down: bool,
}

impl Addresses {
    /// Those of the host below `procfs`; `None` when the kernel does not tell.
    #[must_use]
    pub fn read(procfs: &ProcFs) -> Option<Addresses> {
        let by_netlink = procfs.is_host().then(of_kernel).flatten();
        by_netlink.or_else(|| of_files(procfs))
    }

    fn new(list: Vec<Address>, mut prefixes: Vec<Prefix>) -> Addresses {
        // The longest prefix decides, so it comes last.
        prefixes.sort_by_key(|prefix| prefix.length);
        let tentative = list.iter().filter(|address| address.is_tentative);
        let never = tentative.map(|address| Prefix::of_address(address.ip, false));
        let broadcast = prefixes.iter().filter(|prefix| prefix.is_broadcast);
        let broadcast = broadcast.map(|prefix| prefix.low).collect();
        let mut ours: Vec<(IpAddr, IpAddr)> = Vec::new();
        for prefix in prefixes.into_iter().chain(never.collect::<Vec<_>>()) {
            let Some((low, high)) = prefix.ends() else { continue };
            ours = ours.into_iter().flat_map(|row| without(row, low, high)).collect();
            if prefix.is_ours {
                ours.push((low, high));
            }
        }
        let ours = joined(ours);
        Addresses { list, ours, broadcast, is_loopback_down: false }
    }

    /// Whether an address is this host's, so that packets to it never leave it.
    #[must_use]
    pub fn is_ours(&self, ip: IpAddr) -> bool {
        self.ours.iter().any(|(low, high)| (*low..=*high).contains(&ip))
    }

    /// Whether an address stands for all hosts of a link.
    #[must_use]
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        ip == IpAddr::from(Ipv4Addr::BROADCAST) || self.broadcast.contains(&ip)
    }

    /// The parts of a range that are this host's, in order.
    #[must_use]
    pub fn ours(&self, low: IpAddr, high: IpAddr) -> Vec<(IpAddr, IpAddr)> {
        let of_family = self.ours.iter().filter(|(first, _)| first.is_ipv4() == low.is_ipv4());
        let parts = of_family.map(|(first, last)| (low.max(*first), high.min(*last)));
        parts.filter(|(first, last)| first <= last).collect()
    }

    /// The addresses of the interface that has `ip`; none when none has it.
    pub fn beside(&self, ip: IpAddr) -> impl Iterator<Item = Address> {
        let interface = self.list.iter().find(|address| address.ip == ip).map(|a| a.interface);
        self.list.iter().filter(move |address| Some(address.interface) == interface).copied()
    }
}

/// Rows in order, those that follow one another as one.
fn joined(mut rows: Vec<(IpAddr, IpAddr)>) -> Vec<(IpAddr, IpAddr)> {
    rows.sort_unstable();
    let mut joined: Vec<(IpAddr, IpAddr)> = Vec::new();
    for (low, high) in rows {
        match joined.last_mut().filter(|last| step(last.1, true) == Some(low)) {
            Some(last) => last.1 = high,
            None => joined.push((low, high)),
        }
    }
    joined
}

/// What is left of a row of addresses when those from `low` to `high` are taken out.
fn without(row: (IpAddr, IpAddr), low: IpAddr, high: IpAddr) -> Vec<(IpAddr, IpAddr)> {
    if row.0.is_ipv4() != low.is_ipv4() || high < row.0 || row.1 < low {
        return vec![row];
    }
    let before = step(low, false).filter(|last| row.0 <= *last).map(|last| (row.0, last));
    let after = step(high, true).filter(|first| *first <= row.1).map(|first| (first, row.1));
    before.into_iter().chain(after).collect()
}

/// The next address, or the one before; `None` at the end of the family.
fn step(ip: IpAddr, is_up: bool) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(ip) => {
            let bits = ip.to_bits();
            let next = if is_up { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv4Addr::from_bits(bits).into())
        }
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            let next = if is_up { bits.checked_add(1) } else { bits.checked_sub(1) };
            next.map(|bits| Ipv6Addr::from_bits(bits).into())
        }
    }
}

impl Prefix {
    fn of_address(ip: IpAddr, is_ours: bool) -> Prefix {
        let length = if ip.is_ipv4() { 32 } else { 128 };
        Prefix { low: ip, length, is_ours, is_broadcast: false }
    }

    /// First and last address; `None` when there is no such prefix.
    fn ends(&self) -> Option<(IpAddr, IpAddr)> {
        let net = ipnet::IpNet::new(self.low, self.length).ok()?;
        Some((net.network(), net.broadcast()))
    }
}

// ---- netlink ----------------------------------------------------------------------------------

fn of_kernel() -> Option<Addresses> {
    let (mut list, mut prefixes) = (Vec::new(), Vec::new());
    let ask = |kind, answer_kind, payload| Question {
        protocol: None,
        kind,
        answer_kind,
        payload,
        is_dump: true,
    };
    let addresses = ask(ASK_ADDRESSES, ADDRESS, &ANY_ADDRESS);
    netlink::dump(&addresses, |message| list.extend(address(message))).ok()?;
    let routes = ask(ASK_ROUTES, ROUTE, &ANY_ROUTE);
    netlink::dump(&routes, |message| prefixes.extend(prefix(message))).ok()?;
    let loopback = links::all(&ProcFs::host()).into_iter().find(|link| link.is_loopback);
    let is_loopback_down = loopback.is_some_and(|link| !link.is_up);
    Some(Addresses { is_loopback_down, ..Addresses::new(list, prefixes) })
}

fn address(message: &[u8]) -> Option<Address> {
    let attributes = message.get(ANY_ADDRESS.len()..)?;
    let find = |kind| netlink::attributes(attributes).find(|(other, _)| *other == kind);
    // On a link between two hosts the first is the other's.
    let ip = find(OF_US).or_else(|| find(OF_PEER)).and_then(|(_, bytes)| ip(bytes))?;
    let short = u32::from(*message.get(2)?);
    let flags = find(FLAGS).and_then(|(_, bytes)| netlink::word(bytes, 0)).unwrap_or(short);
    Some(Address {
        ip,
        prefix: *message.get(1)?,
        interface: netlink::word(message, 4)?,
        is_tentative: flags & (FLAG_TENTATIVE | FLAG_DOUBLE) != 0,
        is_deprecated: flags & FLAG_DEPRECATED != 0,
    })
}

/// A route of the table `local`.
fn prefix(message: &[u8]) -> Option<Prefix> {
    let attributes = message.get(ANY_ROUTE.len()..)?;
    let families = [libc::AF_INET, libc::AF_INET6];
    let is_ip = families.contains(&i32::from(*message.get(FAMILY_AT)?));
    if !is_ip || *message.get(TABLE_AT)? != TABLE_LOCAL {
        return None;
    }
    let (_, bytes) = netlink::attributes(attributes).find(|(kind, _)| *kind == DESTINATION)?;
    let kind = *message.get(TYPE_AT)?;
    Some(Prefix {
        low: ip(bytes)?,
        length: *message.get(LENGTH_AT)?,
        is_ours: kind == TYPE_LOCAL,
        is_broadcast: kind == TYPE_BROADCAST,
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?));
    v4().or_else(|| Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)))
}

// ---- files ------------------------------------------------------------------------------------

fn of_files(procfs: &ProcFs) -> Option<Addresses> {
    let routes = procfs.read("proc/net/fib_trie")?;
    // A host without IPv6 has no such file.
    let sixes = procfs.read("proc/net/if_inet6").unwrap_or_default();
    let list: Vec<Address> = sixes.lines().filter_map(six).collect();
    let mut prefixes: Vec<Prefix> =
        list.iter().map(|address| Prefix::of_address(address.ip, true)).collect();
    let mut leaf = None;
    for line in routes.lines().map(str::trim) {
        if let Some(low) = line.strip_prefix("|-- ") {
            leaf = low.parse().ok();
        } else if let (Some(low), Some(route)) = (leaf, line.strip_prefix('/')) {
            prefixes.extend(four(low, route));
        }
    }
    Some(Addresses::new(list, prefixes))
}

/// A line behind a leaf, such as `32 host LOCAL`. Routes that lead away are of other tables.
fn four(low: Ipv4Addr, route: &str) -> Option<Prefix> {
    let mut words = route.split_whitespace();
    let (length, kind) = (words.next()?.parse().ok()?, words.nth(1)?);
    let is_of_local = ["LOCAL", "BROADCAST", "MULTICAST", "ANYCAST"].contains(&kind);
    is_of_local.then(|| Prefix {
        low: low.into(),
        length,
        is_ours: kind == "LOCAL",
        is_broadcast: kind == "BROADCAST",
    })
}

/// A line of `if_inet6`: address, interface, prefix, scope and flags in hexadecimal, and a name.
fn six(line: &str) -> Option<Address> {
    let mut words = line.split_whitespace();
    let ip = u128::from_str_radix(words.next().filter(|word| word.len() == 32)?, 16).ok()?;
    let mut number = || u32::from_str_radix(words.next()?, 16).ok();
    let (interface, prefix, _scope, flags) = (number()?, number()?, number()?, number()?);
    Some(Address {
        ip: Ipv6Addr::from_bits(ip).into(),
        prefix: u8::try_from(prefix).ok().filter(|prefix| *prefix <= 128)?,
        interface,
        is_tentative: flags & (FLAG_TENTATIVE | FLAG_DOUBLE) != 0,
        is_deprecated: flags & FLAG_DEPRECATED != 0,
    })
}

#[cfg(test)]
mod tests;
