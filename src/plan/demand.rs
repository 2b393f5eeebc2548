//! The demand of a plan on a host: connections, the ends that are there, and what else they need.

use std::collections::HashSet;
use std::net::SocketAddr;

use serde::Serialize;

use crate::base::constants::{BACKLOG_DEFAULT, BUFFERS_KEPT, CONNECTS_IN_FLIGHT, HANDSHAKES_MAX};
use crate::base::layers::UserMemory;
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
    /// Tuples that connections need which take the places of those whose lifetime is over.
    pub lifetime_tuples: u64,
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
    /// Memory of the programs, for what connections speak.
    pub memory: UserMemory,
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
    pub fn of_client(
        connections: u64,
        targets: &[SocketAddr],
        tuples: u64,
        cores: u64,
        memory: UserMemory,
    ) -> Demand {
        let ends = Ends::of(targets);
        let hosts: HashSet<_> = targets.iter().map(SocketAddr::ip).collect();
        Demand {
            connections,
            tuples: Some(tuples),
            churn_tuples: 0,
            lifetime_tuples: 0,
            cores,
            ends,
            connects_in_flight: cores * u64::from(CONNECTS_IN_FLIGHT),
            backlog: BACKLOG_DEFAULT.unsigned_abs().into(),
            neighbours: if ends == Ends::Both { 0 } else { hosts.len() as u64 },
            memory,
        }
    }

    /// `connections` to a server from a client elsewhere with as many cores, with the defaults of
    /// both programs.
    #[must_use]
    pub fn of_server(connections: u64, cores: u64, memory: UserMemory) -> Demand {
        Demand {
            tuples: None,
            ends: Ends::Server,
            neighbours: 0,
            ..Demand::of_client(connections, &[], 0, cores, memory)
        }
    }

    /// Tuples that are needed besides those of the connections.
    #[must_use]
    pub fn tuples_besides(&self) -> u64 {
        self.churn_tuples.saturating_add(self.lifetime_tuples)
    }

    /// Bytes that the programs here keep of one idle connection.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        let UserMemory { server_bytes, client_bytes, .. } = self.memory;
        match self.ends {
            Ends::Server => server_bytes,
            Ends::Client => client_bytes,
            Ends::Both => server_bytes.saturating_add(client_bytes),
        }
    }

    /// Bytes of the buffers that stay with the cores here, also while all connections are idle.
    #[must_use]
    pub fn buffers_bytes(&self) -> u64 {
        let each = self.memory.buffer_bytes.saturating_mul(BUFFERS_KEPT as u64);
        each.saturating_mul(self.cores).saturating_mul(self.ends.count())
    }

    /// Bytes of the ciphers that the cores here keep for busy connections.
    #[must_use]
    pub fn ciphers_bytes(&self) -> u64 {
        self.memory.ciphers_bytes.saturating_mul(self.cores).saturating_mul(self.ends.count())
    }

    /// Handshakes of TLS that are under way at once at each end: what the client begins, and each core goes on with.
    #[must_use]
    pub fn handshakes(&self) -> u64 {
        if self.memory.handshake_bytes == 0 {
            0
        } else {
            let most = self.cores.saturating_mul(HANDSHAKES_MAX.into());
            self.connects_in_flight.min(self.connections).min(most)
        }
    }

    /// Bytes of these handshakes at the ends here, with a buffer for each.
    #[must_use]
    pub fn handshakes_bytes(&self) -> u64 {
        let each = self.memory.handshake_bytes.saturating_add(self.memory.buffer_bytes);
        self.handshakes().saturating_mul(each).saturating_mul(self.ends.count())
    }
}
