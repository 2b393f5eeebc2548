//! An address with its ports, as people type it: `127.0.0.1:7000-7003`.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::base::units::{of_one_host, port_range};

/// An address with one port or a range of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The address. One of IPv4 in the form of IPv6 is one of IPv4.
    pub address: IpAddr,
    /// The number of the interface on whose link the address is, as in `[fe80::1%eth0]`; 0 without one.
    pub scope: u32,
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl std::str::FromStr for Endpoints {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoints, String> {
        let error = || {
            format!(
                "`{text}` is no address; fix: write 127.0.0.1:7000, 127.0.0.1:7000-7009 or [::1]:7000"
            )
        };
        let (address, ports) = text.rsplit_once(':').ok_or_else(error)?;
        let (address, scope) = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
            Some(v6) => {
                let (v6, zone) =
                    v6.split_once('%').map_or((v6, None), |(v6, zone)| (v6, Some(zone)));
                let address: Ipv6Addr = v6.parse().map_err(|_| error())?;
                let scope = zone.map_or(Ok(0), |zone| interface(zone, address))?;
                (IpAddr::V6(address).to_canonical(), scope)
            }
            None => (IpAddr::V4(address.parse().map_err(|_| error())?), 0),
        };
        let (low, high) = port_range(ports).map_err(|_| error())?;
        of_one_host(address)?;
        Ok(Endpoints { address, scope, low, high })
    }
}

impl From<SocketAddr> for Endpoints {
    fn from(address: SocketAddr) -> Endpoints {
        let scope = match address {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        Endpoints { address: address.ip(), scope, low: address.port(), high: address.port() }
    }
}

impl Endpoints {
    /// One socket address per port.
    pub fn each(self) -> impl Iterator<Item = SocketAddr> {
        (self.low..=self.high).map(move |port| self.at(port))
    }

    /// Whether a listener on these takes connections to `target`. The unspecified address is every
    /// address of its family, and that of IPv6 is every one of both.
    #[must_use]
    pub fn takes(&self, target: SocketAddr) -> bool {
        let is_any = match self.address {
            IpAddr::V4(any) => any.is_unspecified() && target.is_ipv4(),
            IpAddr::V6(any) => any.is_unspecified(),
        };
        (is_any || self.address == target.ip()) && (self.low..=self.high).contains(&target.port())
    }

    fn at(self, port: u16) -> SocketAddr {
        match self.address {
            IpAddr::V6(address) => SocketAddrV6::new(address, port, 0, self.scope).into(),
            IpAddr::V4(_) => SocketAddr::new(self.address, port),
        }
    }
}

impl std::fmt::Display for Endpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.at(self.low);
        if self.low == self.high {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{}", self.high)
        }
    }
}

/// The number of the interface of a zone, which is its name or that number.
fn interface(zone: &str, address: Ipv6Addr) -> Result<u32, String> {
    if !address.is_unicast_link_local() {
        return Err(format!("`{address}%{zone}` needs no interface; fix: write [{address}]:7000"));
    }
    let by_name = || {
        let (family, kind) = (AddressFamily::INET, SocketType::DGRAM);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).ok()?;
        rustix::net::netdevice::name_to_index(&socket, zone).ok()
    };
    let number = zone.parse().ok().filter(|number| *number > 0);
    let error = || format!("`{address}%{zone}`: there is no interface {zone}; fix: see `ip link`");
    number.or_else(by_name).ok_or_else(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_port_ranges() {
        let range: Endpoints = "127.0.0.1:7000-7009".parse().unwrap();
        assert_eq!(range.each().count(), 10);
        assert_eq!(range.to_string(), "127.0.0.1:7000-7009");
        let six: Endpoints = "[::1]:7000".parse().unwrap();
        assert_eq!(six.to_string(), "[::1]:7000");
        // An address of IPv4 in the form of IPv6.
        assert_eq!("[::ffff:127.0.0.1]:7000".parse(), "127.0.0.1:7000".parse::<Endpoints>());
        // The interface of a link-local address, by its name and by its number.
        let zoned: Endpoints = "[fe80::1%lo]:7000-7001".parse().unwrap();
        assert_eq!(zoned.each().last(), Some("[fe80::1%1]:7001".parse().unwrap()));
        assert_eq!("[fe80::1%1]:7000-7001".parse(), Ok(zoned));
        assert!("[fe80::1%none]:1".parse::<Endpoints>().unwrap_err().contains("ip link"));
        assert!("[::1%lo]:1".parse::<Endpoints>().unwrap_err().contains("write [::1]"));
        for bad in [
            "",
            "7000",
            "::1:7000",
            "127.0.0.1",
            "127.0.0.1:0",
            "127.0.0.1:9-8",
            "127.0.0.1:+9",
            "a:1",
            "1.2.3.4:70000",
        ] {
            assert!(bad.parse::<Endpoints>().is_err(), "{bad:?} was taken for an address");
        }
    }
}
