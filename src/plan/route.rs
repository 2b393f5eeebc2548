//! The way to a target: the interface through which the kernel sends, and its addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use if_addrs::{IfAddr, Interface};

/// The interface towards `target`, once for each of its addresses; empty when the kernel's source
/// address is on no interface.
///
/// # Errors
/// When there is no route, or the kernel does not list interfaces.
pub(super) fn outgoing(target: SocketAddr) -> io::Result<Vec<Interface>> {
    let source = outgoing_address(target)?;
    let interfaces = if_addrs::get_if_addrs()?;
    let name = interfaces.iter().find(|i| i.ip() == source).map(|i| i.name.clone());
    Ok(interfaces.into_iter().filter(|i| Some(&i.name) == name.as_ref()).collect())
}

/// The name of the interface that has `target` on its own link; `None` when a router leads there,
/// or nothing.
#[must_use]
pub fn on_link(target: SocketAddr) -> Option<String> {
    let interfaces = outgoing(target).ok()?;
    interfaces.into_iter().find(|i| is_near(&i.addr, target.ip())).map(|i| i.name)
}

fn is_near(address: &IfAddr, target: IpAddr) -> bool {
    match (address, target) {
        (IfAddr::V4(of), IpAddr::V4(target)) => {
            let net = |ip: Ipv4Addr| ip.to_bits() & of.netmask.to_bits();
            net(of.ip) == net(target)
        }
        (IfAddr::V6(of), IpAddr::V6(target)) => {
            let net = |ip: Ipv6Addr| ip.to_bits() & of.netmask.to_bits();
            net(of.ip) == net(target)
        }
        _ => false,
    }
}

/// The source address that the kernel chooses. A connected UDP socket sends nothing.
fn outgoing_address(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_on_its_own_link() {
        let target = |ip: IpAddr| SocketAddr::new(ip, 7000);
        assert_eq!(on_link(target(Ipv4Addr::new(127, 3, 2, 1).into())).as_deref(), Some("lo"));
        let of = if_addrs::Ifv4Addr {
            ip: Ipv4Addr::new(10, 77, 0, 2),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            prefixlen: 24,
            broadcast: None,
        };
        let link = IfAddr::V4(of);
        assert!(is_near(&link, Ipv4Addr::new(10, 77, 0, 1).into()));
        assert!(!is_near(&link, Ipv4Addr::new(10, 77, 1, 1).into()), "a router leads there");
        assert!(!is_near(&link, Ipv6Addr::LOCALHOST.into()));
    }
}
