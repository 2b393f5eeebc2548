//! Why a tuple plan cannot be made, in one line with the flag, the reason and the fix.

use std::net::{IpAddr, SocketAddr};

use crate::base::errno::Errno;
use crate::plan::parts::RunPart;
use crate::plan::ranges::AddressRange;

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TupleError {
    /// No source has the family of the target.
    #[error("--source: no address of the family of target {0}; fix: add a --source of that family")]
    NoSource(SocketAddr),
    /// Two sources overlap.
    #[error("--source: {0} and {1} overlap; fix: name every address once")]
    Overlap(IpAddr, IpAddr),
    /// A target stands twice.
    #[error("--target: {0} is named twice; fix: name every target once")]
    TwiceTarget(SocketAddr),
    /// Every port is reserved.
    #[error("--source-ports: every port is in net.ipv4.ip_local_reserved_ports; fix: other ports")]
    NoPort,
    /// Fewer ports than parts of a run that have the same sources.
    #[error(
        "--part {1}: the parts have the same source addresses and {0} ports, fewer than parts; fix: other addresses for \
         each by --source with --part-sources own, or fewer parts"
    )]
    FewPorts(usize, RunPart),
    /// No route leads to the target. Other addresses would not help.
    #[error(
        "--target {0}: no route leads there ({1}); fix: ip route add {ip} via ROUTER, or `ip link set \
         INTERFACE up`", ip = .0.ip()
    )]
    NoRoute(SocketAddr, Errno),
    /// No address of the way to the target can be used.
    #[error(
        "--source auto: the interface towards {0} has no address to use; fix: ip addr add ADDRESS dev \
         INTERFACE, or name addresses by --source"
    )]
    NoAddress(SocketAddr),
    /// None of the addresses can be used.
    #[error("--source {0}: {1}")]
    NoSuchSource(AddressRange, NotASource),
    /// No interface of this name.
    #[error(
        "--source {0}: neither an address nor an interface of this host; fix: write auto, 10.0.0.5, \
         10.0.0.0/28, 10.0.0.5-10.0.0.9, or a name of `ip link`"
    )]
    NoInterface(String),
    /// An interface that leads to none of the targets.
    #[error(
        "--source {0}: it has no address of the family of a target; fix: ip addr add ADDRESS dev {0}"
    )]
    BareInterface(String),
    /// A loopback address towards another host.
    #[error(
        "--source {0}: a loopback address does not lead to another host, as {1} is; fix: --source auto"
    )]
    LoopbackSource(IpAddr, SocketAddr),
    /// A target that no connection can go to.
    #[error("--target {0}: {1}")]
    NoTarget(SocketAddr, NotATarget),
    /// A port that this user may not bind.
    #[error(
        "--source-ports: port {port} is below net.ipv4.ip_unprivileged_port_start{}, and this user may \
         not bind it; fix: --source-ports 32768-60999, or sysctl -w \
         net.ipv4.ip_unprivileged_port_start={port}", shown(.start)
    )]
    LowPort {
        /// The lowest of them.
        port: u16,
        /// The first port for every user, as far as the kernel says it.
        start: Option<u64>,
    },
    /// The kernel does not tell the addresses of this host.
    #[error(
        "--source: the addresses of this host cannot be read (netlink, /proc/net/fib_trie); fix: allow \
         AF_NETLINK, or mount /proc"
    )]
    Unknown,
}

fn shown(start: &Option<u64>) -> String {
    start.map_or(String::new(), |start| format!(" ({start})"))
}

/// Why nothing can come from an address, with the fix.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotASource {
    /// It is not here.
    #[error("this host has no such address; fix: ip addr add {0} dev INTERFACE")]
    Absent(IpAddr),
    /// It is 0.0.0.0 or ::.
    #[error("stands for any address; fix: --source auto, or an address of `ip addr`")]
    Any,
    /// It is of many hosts.
    #[error("is a multicast address; fix: --source auto, or an address of `ip addr`")]
    Multicast,
    /// It is of all hosts of a link.
    #[error("is a broadcast address; fix: --source auto, or an address of `ip addr`")]
    Broadcast,
}

/// Why no connection can go to an address, with the fix.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NotATarget {
    /// It is 0.0.0.0 or ::.
    #[error("stands for any address; fix: write one, such as {0}")]
    Any(IpAddr),
    /// It is of many hosts.
    #[error("is a multicast address, which has no TCP; fix: write the address of a host")]
    Multicast,
    /// It is of all hosts of a link.
    #[error("is a broadcast address, which has no TCP; fix: write the address of a host")]
    Broadcast,
    /// It is on some link, and which is not said.
    #[error("is a link-local address; fix: name the interface, as in [{0}%eth0]")]
    NoZone(IpAddr),
}
