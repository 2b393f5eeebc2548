//! Listening sockets: one SO_REUSEPORT group per address, one member per core, in core order.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::constants::LISTENERS_MAX;
use crate::base::endpoints::Endpoints;
use crate::base::errno::Errno;
use crate::host::addresses::Addresses;
use crate::host::procfs::ProcFs;
use crate::sys::socket::{SteerError, keep_alive, steer_by_cpu};

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
    #[error("--listen {0}: the port is in use; fix: choose another port, or see `ss -ltnp`")]
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

/// The listeners of every core, in the order of `cpus`, and why steering is off when it is.
pub struct Listeners {
    /// `per_core[core][listener]`.
    pub per_core: Vec<Vec<Socket>>,
    /// Steering was asked for and the kernel would not.
    pub unsteered: Option<SteerError>,
}

/// Opens all listeners: first every core's member of a group, then the steering of that group.
///
/// # Errors
/// The first address that cannot be listened on, with its fix.
pub fn open(
    endpoints: &[Endpoints],
    cpus: &[u16],
    backlog: i32,
    steer: Steer,
    keepalive: Option<Duration>,
) -> Result<Listeners, ListenError> {
    let addresses: Vec<SocketAddr> = endpoints.iter().flat_map(|e| e.each()).collect();
    if addresses.len() > LISTENERS_MAX {
        return Err(ListenError::TooMany(addresses.len()));
    }
    addresses.iter().try_for_each(|address| check(*address))?;
    let has_any_v4 = |port: u16| addresses.contains(&(Ipv4Addr::UNSPECIFIED, port).into());
    let mut per_core: Vec<Vec<Socket>> = cpus.iter().map(|_| Vec::new()).collect();
    let mut unsteered = None;
    for &address in &addresses {
        // Any address of IPv6 is any of IPv4 as well, unless that has a listener of its own.
        let only_v6 = !address.ip().is_unspecified() || has_any_v4(address.port());
        let failed = |error: std::io::Error| explain(address, &error);
        // Members of a group may share a port with a stranger's group; a socket that is no member
        // may not, so it finds out.
        bound(address, only_v6, false).map_err(failed)?;
        for listeners in &mut per_core {
            let listener = bound(address, only_v6, true).map_err(failed)?;
            if let Some(interval) = keepalive {
                keep_alive(&listener, interval).map_err(failed)?;
            }
            listener.listen(backlog).map_err(failed)?;
            listeners.push(listener);
        }
        if steer == Steer::Cpu {
            let first = per_core[0].last().expect("a listener was just pushed");
            unsteered = steer_by_cpu(first, cpus).err().or(unsteered);
        }
    }
    Ok(Listeners { per_core, unsteered })
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
