//! Arithmetic only: what is wanted, and how it is dealt out. What this host has for it, and what
//! binds first, is a reading of the walls.
//!
//! Nothing here opens a socket or changes the host.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::base::constants::{BACKLOG_DEFAULT, CONNECTS_IN_FLIGHT};

pub mod route;
pub mod tuples;

/// What is planned.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Connections.
    pub connections: u64,
    /// Tuples that sources, ports and targets make; `None` when only a server is planned.
    pub tuples: Option<u64>,
    /// Tuples that short connections need besides.
    pub churn_tuples: u64,
    /// Pinned cores of one end.
    pub cores: u64,
    /// Which ends are on this host.
    pub ends: Ends,
    /// Connects that may be in flight at once, over all cores of the client.
    pub connects_in_flight: u64,
    /// Length of the server's accept queues that is asked for.
    pub backlog: u64,
    /// Addresses that are reached over a link, which loopback is not.
    pub neighbours: u64,
}

/// Which ends of a connection are on one host: a set of sides that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ends {
    /// The server's alone.
    Server,
    /// The client's alone.
    Client,
    /// Both.
    Both,
}

impl Ends {
    /// Sockets of one connection on this host.
    #[must_use]
    pub fn count(self) -> u64 {
        if self == Ends::Both { 2 } else { 1 }
    }

    /// The client's end, and the server's when any of `targets` is an address of this host.
    #[must_use]
    pub fn of(targets: &[SocketAddr]) -> Ends {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let is_ours = |target: &SocketAddr| {
            let ip = target.ip();
            ip.is_loopback() || interfaces.iter().any(|interface| interface.ip() == ip)
        };
        if targets.iter().any(is_ours) { Ends::Both } else { Ends::Client }
    }
}

impl Demand {
    /// `connections` to `targets` by a client with the defaults of both programs.
    #[must_use]
    pub fn of_client(connections: u64, targets: &[SocketAddr], tuples: u64, cores: u64) -> Demand {
        let ends = Ends::of(targets);
        let hosts: HashSet<_> = targets.iter().map(SocketAddr::ip).collect();
        Demand {
            connections,
            tuples: Some(tuples),
            churn_tuples: 0,
            cores,
            ends,
            connects_in_flight: cores * u64::from(CONNECTS_IN_FLIGHT),
            backlog: BACKLOG_DEFAULT.unsigned_abs().into(),
            neighbours: if ends == Ends::Both { 0 } else { hosts.len() as u64 },
        }
    }

    /// `connections` that a server takes from as many cores elsewhere, with the defaults of both
    /// programs.
    #[must_use]
    pub fn of_server(connections: u64, cores: u64) -> Demand {
        Demand {
            tuples: None,
            ends: Ends::Server,
            neighbours: 0,
            ..Demand::of_client(connections, &[], 0, cores)
        }
    }
}

/// The ports that the kernel hands out by itself: `net.ipv4.ip_local_port_range`.
#[must_use]
pub fn ephemeral_ports() -> RangeInclusive<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = text.split_whitespace().filter_map(|port| port.parse().ok());
    match (ports.next(), ports.next()) {
        (Some(low), Some(high)) => low..=high,
        // The kernel's own default, when /proc is hidden.
        _ => 32_768..=60_999,
    }
}

/// The ports of `range` that are not reserved by `net.ipv4.ip_local_reserved_ports`.
#[must_use]
pub fn usable_ports(range: RangeInclusive<u16>) -> Vec<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let reserved =
        text.trim().split(',').filter_map(|part| crate::base::units::port_range(part).ok());
    let reserved: Vec<_> = reserved.collect();
    range.filter(|port| !reserved.iter().any(|(low, high)| (low..=high).contains(&port))).collect()
}
