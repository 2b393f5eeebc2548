//! The demand of a plan on a host: connections, the ends that are there, and what else they need.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde::Serialize;

use crate::base::constants::{BACKLOG_DEFAULT, CONNECTS_IN_FLIGHT};
use crate::host::addresses::Addresses;
use crate::host::procfs::ProcFs;

/// What is planned.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Connections.
    pub connections: u64,
    /// Tuples that sources, ports and targets make; `None` when the plan is for a server alone.
    pub tuples: Option<u64>,
    /// Tuples that short connections need besides.
    pub churn_tuples: u64,
    /// Pinned cores of one end.
    pub cores: u64,
    /// Which ends are on this host.
    pub ends: Ends,
    /// Connects that may be in flight at once, over all cores of the client.
    pub connects_in_flight: u64,
    /// Length of the server's accept queues, as it asks for it.
    pub backlog: u64,
    /// Target addresses that are reached over a link, and not over loopback.
    pub neighbours: u64,
}

/// The ends of a connection that are on one host.
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
        let addresses = Addresses::read(&ProcFs::host()).unwrap_or_default();
        let is_ours =
            |target: &SocketAddr| target.ip().is_loopback() || addresses.is_ours(target.ip());
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

    /// `connections` to a server from a client elsewhere with as many cores, with the defaults of
    /// both programs.
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
