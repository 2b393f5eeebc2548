//! The local ports that the kernel hands out by itself, and the ports that it reserves.

use std::fs;
use std::ops::RangeInclusive;

use crate::base::units;

/// The ports that the kernel hands out by itself: `net.ipv4.ip_local_port_range`.
#[must_use]
pub fn ephemeral() -> RangeInclusive<u16> {
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
pub fn usable(range: RangeInclusive<u16>) -> Vec<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let reserved = text.trim().split(',').filter_map(|part| units::port_range(part).ok());
    let reserved: Vec<_> = reserved.collect();
    range.filter(|port| !reserved.iter().any(|(low, high)| (low..=high).contains(&port))).collect()
}
