//! The way to a target: the source address that the kernel chooses, and the interface that has it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::base::errno::Errno;
use crate::host::addresses::{Address, Addresses};
use crate::host::links;
use crate::host::procfs::ProcFs;

/// The name of the interface that has `target` on its own link; `None` when a router leads there,
/// or nothing.
#[must_use]
pub fn on_link(target: SocketAddr) -> Option<String> {
    let procfs = ProcFs::host();
    let addresses = Addresses::read(&procfs)?;
    let source = outgoing_address(target).ok()?;
    let near = addresses.beside(source).find(|address| is_near(address, target.ip()))?;
    links::all(&procfs).into_iter().find(|link| link.index == near.interface).map(|link| link.name)
}

fn is_near(address: &Address, target: IpAddr) -> bool {
    let net = ipnet::IpNet::new(address.ip, address.prefix);
    net.is_ok_and(|net| net.contains(&target))
}

/// The source address that the kernel chooses. A connected UDP socket sends nothing.
///
/// # Errors
/// When there is no route.
pub(super) fn outgoing_address(target: SocketAddr) -> io::Result<IpAddr> {
    let socket = unconnected(target)?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

/// Why this host itself lets nothing go to `target`: the error of its own routes. Nothing is sent.
#[must_use]
pub fn no_way(target: SocketAddr) -> Option<Errno> {
    let socket = unconnected(target).ok()?;
    socket.connect(target).err().map(|error| Errno::from(&error))
}

fn unconnected(target: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::bind(SocketAddr::new(any_address(target), 0))
}

/// The address that stands for any of the family of `target`.
#[must_use]
pub fn any_address(target: SocketAddr) -> IpAddr {
    if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_on_its_own_link() {
        let target = |ip: IpAddr| SocketAddr::new(ip, 7000);
        assert_eq!(on_link(target(Ipv4Addr::new(127, 3, 2, 1).into())).as_deref(), Some("lo"));
        let link = Address {
            ip: Ipv4Addr::new(10, 77, 0, 2).into(),
            prefix: 24,
            interface: 7,
            is_tentative: false,
            is_deprecated: false,
        };
        assert!(is_near(&link, Ipv4Addr::new(10, 77, 0, 1).into()));
        assert!(!is_near(&link, Ipv4Addr::new(10, 77, 1, 1).into()), "a router leads there");
        assert!(!is_near(&link, Ipv6Addr::LOCALHOST.into()));
        assert!(!is_near(&Address { prefix: 200, ..link }, link.ip), "no such prefix");
    }
}
