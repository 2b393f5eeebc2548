//! The local ports that the kernel hands out by itself, the ports that it reserves, and those that not
//! every user may have.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::base::units;
use crate::host::procfs::ProcFs;

/// The ports that the kernel hands out by itself: `net.ipv4.ip_local_port_range`.
#[must_use]
pub fn ephemeral(procfs: &ProcFs) -> RangeInclusive<u16> {
    let port = |n: u64| u16::try_from(n).ok();
    match procfs.numbers("net.ipv4.ip_local_port_range").as_deref() {
        Some(&[low, high]) if low <= high => port(low).zip(port(high)),
        _ => None,
    }
    // The kernel's own default, where /proc is hidden. A port that is pinned needs not be in the range.
    .map_or(32_768..=60_999, |(low, high)| low..=high)
}

/// The ports of `range` that are not reserved by `net.ipv4.ip_local_reserved_ports`.
#[must_use]
pub fn usable(procfs: &ProcFs, range: RangeInclusive<u16>) -> Vec<u16> {
    let text = procfs.sysctl("net.ipv4.ip_local_reserved_ports").unwrap_or_default();
    let reserved = text.split(',').filter_map(|part| units::port_range(part).ok());
    let mut is_usable = vec![true; 1 << 16];
    for (low, high) in reserved {
        is_usable[usize::from(low)..=usize::from(high)].fill(false);
    }
    // No socket is bound to port 0 by asking for it.
    range.filter(|port| *port > 0 && is_usable[usize::from(*port)]).collect()
}

/// The first port that a process without CAP_NET_BIND_SERVICE may bind, as the kernel says it; `None`
/// where it does not.
#[must_use]
pub fn unprivileged_start(procfs: &ProcFs) -> Option<u64> {
    procfs.number("net.ipv4.ip_unprivileged_port_start")
}

/// Whether the kernel forbids this process to bind `port` for want of rights. It is tried, because the
/// right depends on the user namespace that the network namespace belongs to. A port that is in use
/// is not forbidden.
#[must_use]
pub fn is_forbidden(port: u16) -> bool {
    let (family, kind) = (AddressFamily::INET, SocketType::STREAM);
    let bound =
        rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).and_then(|socket| {
            rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))
        });
    bound.is_err_and(|errno| matches!(errno, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn reserved_ports_are_read_whole_however_many_there_are() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("proc/sys/net/ipv4");
        fs::create_dir_all(&directory).unwrap();
        let procfs = ProcFs::at(root.path());
        // Every other port as a single one, which is the longest that the kernel writes.
        let odd: Vec<String> = (0..32_768_u32).map(|n| (2 * n + 1).to_string()).collect();
        fs::write(directory.join("ip_local_reserved_ports"), odd.join(",") + "\n").unwrap();
        let even: Vec<u16> = (1..=u16::MAX).filter(|port| port % 2 == 0).collect();
        assert_eq!(usable(&procfs, 0..=u16::MAX), even);
        fs::write(directory.join("ip_local_reserved_ports"), "\n").unwrap();
        assert_eq!(usable(&procfs, 7..=9), [7, 8, 9]);
    }

    #[test]
    fn a_range_that_is_none_is_the_kernels_default() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("proc/sys/net/ipv4");
        fs::create_dir_all(&directory).unwrap();
        let procfs = ProcFs::at(root.path());
        assert_eq!(ephemeral(&procfs), 32_768..=60_999, "hidden");
        for (text, range) in [
            ("40000\t41000\n", 40_000..=41_000),
            ("9\t8\n", 32_768..=60_999),
            ("1\n", 32_768..=60_999),
            ("1 99999\n", 32_768..=60_999),
            ("", 32_768..=60_999),
        ] {
            fs::write(directory.join("ip_local_port_range"), text).unwrap();
            assert_eq!(ephemeral(&procfs), range, "{text:?}");
        }
    }

    #[test]
    fn a_high_port_takes_no_right() {
        assert!(!is_forbidden(50_000));
    }
}
