//! Listening sockets: one SO_REUSEPORT group per address, one member per core, in core order. Those that were
//! given or taken over may be more or fewer than the cores.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::constants::LISTENERS_MAX;
use crate::base::endpoints::Endpoints;
use crate::base::errno::Errno;
use crate::host::addresses::Addresses;
use crate::host::procfs::ProcFs;
use crate::sys::socket::{SteerError, keep_alive, steer_by_cpu, steer_by_hash};

/// How connections are spread over the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// To the core whose CPU received them.
    Cpu,
    /// By the kernel's hash of the 4-tuple.
    Hash,
}

/// A listener that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another socket listens there.
    #[error(
        "--listen {0}: the port is in use; fix: choose another port, or see `ss -ltnp`, or --take-over"
    )]
    InUse(SocketAddr),
    /// The address is not this host's.
    #[error(
        "--listen {0}: this host has no such address; fix: see `ip addr`, or listen on 0.0.0.0"
    )]
    NoSuchAddress(SocketAddr),
    /// An address of many hosts, on which no TCP connection can arrive.
    #[error("--listen {0}: {1} address has no TCP; fix: an address of `ip addr`, or 0.0.0.0")]
    OfMany(SocketAddr, &'static str),
    /// A link-local address, and no interface.
    #[error(
        "--listen {0}: the address is on some link; fix: name the interface, as in [{ip}%eth0]:{port}",
        ip = .0.ip(), port = .0.port()
    )]
    NoZone(SocketAddr),
    /// A port below 1024 without the right.
    #[error(
        "--listen {0}: permission denied; fix: a port above 1023, or \
         sysctl -w net.ipv4.ip_unprivileged_port_start=0"
    )]
    Forbidden(SocketAddr),
    /// More listeners than a core takes.
    #[error("--listen: {0} ports, but a core serves at most {LISTENERS_MAX}; fix: a smaller range")]
    TooMany(usize),
    /// The process has no descriptor left for another listener.
    #[error(
        "--listen {0}: too many open files; fix: a higher `ulimit -n`, or fewer ports or cores"
    )]
    NoFiles(SocketAddr),
    /// Something else.
    #[error("--listen {0}: {1}; fix: see man 7 socket")]
    Other(SocketAddr, Errno),
}

/// What all listeners have alike.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of each accept queue.
    pub backlog: i32,
    /// How connections are spread over the cores.
    pub steer: Steer,
    /// Time after which the kernel asks a silent peer whether it is there.
    pub keepalive: Option<Duration>,
    /// An end that says one thing after the other waits for no acknowledgement between.
    pub sends_at_once: bool,
}

/// Where listening sockets are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A server has opened them: a SO_REUSEPORT group, in the order of its members.
    Opened,
    /// The process that started the server has given them, and keeps them.
    Given,
}

/// The listening sockets of one address.
#[derive(Debug)]
pub struct Group {
    /// Where they listen.
    pub address: SocketAddr,
    /// At least one.
    pub sockets: Vec<Socket>,
    /// Where they are from.
    pub origin: Origin,
}

impl Group {
    /// Gives its sockets what `settings` say; why steering is off when it is. Those of a group that is listening
    /// already have it from their next connection on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(
        &self,
        settings: &Settings,
        cpus: &[u16],
    ) -> Result<Option<SteerError>, ListenError> {
        let failed = |error: std::io::Error| explain(self.address, &error);
        for socket in &self.sockets {
            match settings.keepalive {
                Some(interval) => keep_alive(socket, interval),
                None => socket.set_keepalive(false),
            }
            .map_err(failed)?;
            socket.set_tcp_nodelay(settings.sends_at_once).map_err(failed)?;
            socket.listen(settings.backlog).map_err(failed)?;
        }
        let first = &self.sockets[0];
        if self.origin == Origin::Given {
            // In which order they are members of a group is not known.
            return Ok(None);
        }
        Ok(match settings.steer {
            // With fewer cores than sockets the last ones get nothing new.
            Steer::Cpu => steer_by_cpu(first, &cpus[..cpus.len().min(self.sockets.len())]).err(),
            Steer::Hash => {
                // It fails where they are spread so already.
                let _ = steer_by_hash(first);
                None
            }
        })
    }

    /// The same sockets once more.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub fn try_clone(&self) -> Result<Group, ListenError> {
        let failed = |error: std::io::Error| explain(self.address, &error);
        let sockets = self.sockets.iter().map(Socket::try_clone).collect::<Result<_, _>>();
        let &Group { address, origin, .. } = self;
        Ok(Group { address, sockets: sockets.map_err(failed)?, origin })
    }
}

/// Opens a group for each of `addresses`, with a member for each of `cpus`, in their order: first every core's
/// member, then the steering of the group. With them why steering is off when it is.
///
/// # Errors
/// The first address that cannot be listened on, with its fix.
pub fn open(
    addresses: &[SocketAddr],
    cpus: &[u16],
    settings: &Settings,
) -> Result<(Vec<Group>, Option<SteerError>), ListenError> {
    addresses.iter().try_for_each(|address| check(*address))?;
    let has_any_v4 = |port: u16| addresses.contains(&(Ipv4Addr::UNSPECIFIED, port).into());
    let (mut groups, mut unsteered) = (Vec::new(), None);
    for &address in addresses {
        // Any address of IPv6 is any of IPv4 as well, unless that has a listener of its own.
        let only_v6 = !address.ip().is_unspecified() || has_any_v4(address.port());
        let failed = |error: std::io::Error| explain(address, &error);
        // Members of a group may share a port with a stranger's group; a socket that is no member
        // may not, so it finds out.
        bound(address, only_v6, false).map_err(failed)?;
        let sockets = cpus.iter().map(|_| bound(address, only_v6, true));
        let sockets = sockets.collect::<Result<_, _>>().map_err(failed)?;
        let group = Group { address, sockets, origin: Origin::Opened };
        unsteered = group.set(settings, cpus)?.or(unsteered);
        groups.push(group);
    }
    Ok((groups, unsteered))
}

/// Every port of `endpoints`, if a core can serve so many.
///
/// # Errors
/// When there are more.
pub fn addresses(endpoints: &[Endpoints]) -> Result<Vec<SocketAddr>, ListenError> {
    let addresses: Vec<SocketAddr> = endpoints.iter().flat_map(|e| e.each()).collect();
    let count = addresses.len();
    (count <= LISTENERS_MAX).then_some(addresses).ok_or(ListenError::TooMany(count))
}

/// Deals the sockets of all groups to so many cores: `[core][listener]`. Every socket is some core's, so that
/// nothing waits in a queue that no core looks at. Where a group has fewer sockets than there are cores,
/// several accept from one.
///
/// # Errors
/// When the process may have no more descriptors.
pub fn deal(groups: Vec<Group>, cores: usize) -> Result<Vec<Vec<Socket>>, ListenError> {
    let mut per_core: Vec<Vec<Socket>> = (0..cores).map(|_| Vec::new()).collect();
    for Group { address, sockets, .. } in groups {
        let count = sockets.len();
        for core in count..cores {
            let again = sockets[core % count].try_clone();
            per_core[core].push(again.map_err(|error| explain(address, &error))?);
        }
        for (index, socket) in sockets.into_iter().enumerate() {
            per_core[index % cores].push(socket);
        }
    }
    Ok(per_core)
}

/// A bind to an address of many hosts succeeds, and then nothing ever arrives.
fn check(address: SocketAddr) -> Result<(), ListenError> {
    let is_broadcast = || {
        let addresses = Addresses::read(&ProcFs::host());
        addresses.is_some_and(|addresses| addresses.is_broadcast(address.ip()))
    };
    match address {
        _ if address.ip().is_multicast() => Err(ListenError::OfMany(address, "a multicast")),
        SocketAddr::V4(_) if is_broadcast() => Err(ListenError::OfMany(address, "a broadcast")),
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0 => {
            Err(ListenError::NoZone(address))
        }
        _ => Ok(()),
    }
}

fn bound(address: SocketAddr, only_v6: bool, shares_port: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_reuse_address(true)?;
    SockRef::from(&socket).set_reuse_port(shares_port)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn explain(address: SocketAddr, error: &std::io::Error) -> ListenError {
    match Errno::from(error) {
        Errno::EADDRINUSE => ListenError::InUse(address),
        Errno::EADDRNOTAVAIL => ListenError::NoSuchAddress(address),
        Errno::EACCES => ListenError::Forbidden(address),
        Errno::EMFILE => ListenError::NoFiles(address),
        other => ListenError::Other(address, other),
    }
}
