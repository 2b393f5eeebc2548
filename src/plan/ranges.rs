//! What is typed of the client's ends: addresses and ports, in rows of one family.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::base::units;

/// `--source`: where connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// On loopback the addresses of 127.0.0.0/8 (or ::1), elsewhere all of the outgoing interface.
    Auto,
    /// These addresses, both ends included.
    Range(AddressRange),
    /// All addresses of the interface with this name.
    Interface(String),
}

/// Consecutive addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    low: IpAddr,
    high: IpAddr,
}

impl AddressRange {
    /// The addresses from `low` to `high`.
    ///
    /// # Errors
    /// When the families differ or `high` is below `low`.
    pub fn new(low: IpAddr, high: IpAddr) -> Result<AddressRange, String> {
        if low.is_ipv4() != high.is_ipv4() || high < low {
            return Err(format!("{low}-{high} is no range; fix: write the lower address first"));
        }
        Ok(AddressRange { low, high })
    }

    /// First address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.low
    }

    /// Last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.high
    }

    /// The addresses from `low` to the one before `end`; `None` when there is none.
    pub(super) fn between(&self, low: IpAddr, end: IpAddr) -> Option<AddressRange> {
        let last = bits(end).checked_sub(1).filter(|last| *last >= bits(low))?;
        Some(AddressRange { low, high: self.at(last) })
    }

    /// The address after the last; `None` at the end of the family.
    pub(super) fn after(&self) -> Option<IpAddr> {
        let most = if self.low.is_ipv4() { u32::MAX.into() } else { u128::MAX };
        (bits(self.high) < most).then(|| self.at(bits(self.high) + 1))
    }

    /// How many of its addresses come before `address`; `None` when it is not one of them.
    pub(super) fn index_of(&self, address: IpAddr) -> Option<u64> {
        let is_in =
            address.is_ipv4() == self.low.is_ipv4() && (self.low..=self.high).contains(&address);
        u64::try_from(bits(address).checked_sub(bits(self.low)).filter(|_| is_in)?).ok()
    }

    /// How many addresses; 2^64 - 1 stands for more.
    #[must_use]
    pub fn len(&self) -> u64 {
        let span = bits(self.high) - bits(self.low);
        u64::try_from(span).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    pub(super) fn nth(&self, n: u64) -> IpAddr {
        self.at(bits(self.low) + u128::from(n))
    }

    fn at(&self, value: u128) -> IpAddr {
        match self.low {
            IpAddr::V4(_) => {
                let low = u32::try_from(value).expect("the range lies in one family");
                IpAddr::V4(Ipv4Addr::from_bits(low))
            }
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(value)),
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// As it is typed: `10.0.0.5` or `10.0.0.5-10.0.0.9`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (low, high) if low == high => write!(f, "{low}"),
            (low, high) => write!(f, "{low}-{high}"),
        }
    }
}

impl FromStr for Sources {
    type Err = String;

    fn from_str(text: &str) -> Result<Sources, String> {
        let error = || {
            format!(
                "`{text}` is no source; fix: write auto, 10.0.0.5, 10.0.0.0/28, 10.0.0.5-10.0.0.9 or eth0"
            )
        };
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| error());
        if text == "auto" {
            return Ok(Sources::Auto);
        }
        if text.contains('/') {
            let net: ipnet::IpNet = text.parse().map_err(|_| error())?;
            let low = net.hosts().next().ok_or_else(error)?;
            return AddressRange::new(low, last_host(net)).map(Sources::Range);
        }
        if is_interface(text) {
            return Ok(Sources::Interface(text.to_owned()));
        }
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        AddressRange::new(address(low)?, address(high)?).map(Sources::Range)
    }
}

/// Whether it can be the name of an interface, or of one of its labels, and is no address: it begins with
/// a letter and has no more than 15 bytes, and two colons are in addresses of IPv6 alone.
fn is_interface(text: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    text.len() <= 15
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_part)
        && text.matches(':').count() < 2
}

/// The last usable host of a network without walking through it.
fn last_host(net: ipnet::IpNet) -> IpAddr {
    match net {
        // Network and broadcast addresses are no hosts, but in a /31 and /32 all are.
        ipnet::IpNet::V4(v4) if v4.prefix_len() < 31 => {
            IpAddr::V4(Ipv4Addr::from_bits(v4.broadcast().to_bits() - 1))
        }
        other => other.broadcast(),
    }
}

/// `--source-ports LO-HI`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        units::port_range(text).map(|(low, high)| PortRange { low, high })
    }
}
