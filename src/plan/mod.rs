//! Arithmetic only: what a number of connections needs, what the host has, what binds first.
//!
//! Nothing here opens a socket or changes the host. The client refuses a plan that cannot fit.

use std::fs;
use std::ops::RangeInclusive;

use serde::Serialize;

use crate::limits::{
    EXECUTOR_LOCKED_BYTES, FILES_PER_CORE, FILES_PER_PROCESS, KERNEL_BYTES_PER_SOCKET,
    MEMORY_RESERVE_BYTES, RING_BYTES, USER_BYTES_PER_CONNECTION,
};
use crate::memory::MemInfo;
use crate::rlimits;

pub mod tuples;

/// What is planned.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Connections.
    pub connections: u64,
    /// Tuples that sources, ports and targets make.
    pub tuples: u64,
    /// Tuples that short connections need besides.
    pub churn_tuples: u64,
    /// Pinned cores of one end.
    pub cores: u64,
    /// 2 when the target is on this host too, else 1.
    pub ends_here: u64,
}

/// What this host has.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// MemAvailable.
    pub memory_bytes: Option<u64>,
    /// Locked memory this user may have; `None` is no limit.
    pub memlock_bytes: Option<u64>,
    /// `fs.file-max` less what is in use; `None` where the process may pass it, or it is unknown.
    pub files: Option<u64>,
    /// Files this process may have open.
    pub nofile: u64,
    /// Slots of one segment.
    pub slots_per_segment: u64,
}

impl Host {
    /// This host, now.
    #[must_use]
    pub fn read(nofile: u64) -> Host {
        let info = MemInfo::read();
        Host {
            memory_bytes: info.get("MemAvailable"),
            memlock_bytes: rlimits::memlock_bytes(),
            files: rlimits::files_left(),
            nofile,
            slots_per_segment: u64::from(rlimits::slots_per_segment(nofile)),
        }
    }
}

/// One limit of `plan`: have, need and how far it would reach.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Row {
    /// The limit's name.
    pub id: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// What this host has; `null` is no limit, or not to be read.
    pub have: Option<u64>,
    /// What the plan needs.
    pub need: u64,
    /// Connections that this limit allows; `null` is no limit.
    pub allows_connections: Option<u64>,
    /// Whether the plan fits.
    pub fits: bool,
    /// What lifts the limit.
    pub fix: String,
}

/// The answer of `megaconn plan`.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// `megaconn.plan/1`.
    pub schema: &'static str,
    /// Connections planned for.
    pub connections: u64,
    /// Whether everything fits.
    pub fits: bool,
    /// Slots of one segment, and segments of one end.
    pub slots_per_segment: u64,
    /// Segments of one end.
    pub segments: u64,
    /// Limits, the one that binds first at the top.
    pub rows: Vec<Row>,
}

/// Compares what `demand` needs with what `host` has.
#[must_use]
pub fn plan(demand: &Demand, host: &Host) -> Plan {
    let n = demand.connections;
    let ends = demand.ends_here;
    let segments = segments(n, demand.cores, host.slots_per_segment);
    let per_connection = ends * (KERNEL_BYTES_PER_SOCKET + USER_BYTES_PER_CONNECTION);
    let executors = ends * (demand.cores + 1) * EXECUTOR_LOCKED_BYTES;
    // A count that no host could hold saturates here, and then does not fit.
    let locked =
        |segments: u64| segments.saturating_mul(ends * RING_BYTES).saturating_add(executors);
    let memory = n.saturating_mul(per_connection).saturating_add(MEMORY_RESERVE_BYTES);
    let files = n.saturating_mul(ends);
    let own_files = FILES_PER_PROCESS + demand.cores * FILES_PER_CORE;
    let process_files = segments.saturating_add(own_files);
    let segments_allowed =
        host.memlock_bytes.map(|have| have.saturating_sub(executors) / (ends * RING_BYTES));
    let mut rows = vec![
        Row {
            id: "source-ports",
            unit: "tuples",
            have: Some(demand.tuples),
            need: n.saturating_add(demand.churn_tuples),
            allows_connections: Some(demand.tuples.saturating_sub(demand.churn_tuples)),
            fits: demand.tuples >= n.saturating_add(demand.churn_tuples),
            fix: "more addresses by --source, more ports by --source-ports, or more target ports \
                  by --target ADDR:PORT-PORT"
                .into(),
        },
        Row {
            id: "memory",
            unit: "bytes",
            have: host.memory_bytes,
            need: memory,
            allows_connections: host
                .memory_bytes
                .map(|have| have.saturating_sub(MEMORY_RESERVE_BYTES) / per_connection),
            fits: host.memory_bytes.is_none_or(|have| have >= memory),
            fix: "fewer connections by --connections, or more memory".into(),
        },
        Row {
            id: "memlock",
            unit: "bytes",
            have: host.memlock_bytes,
            need: locked(segments),
            allows_connections: segments_allowed.map(|s| s.saturating_mul(host.slots_per_segment)),
            fits: host.memlock_bytes.is_none_or(|have| have >= locked(segments)),
            fix: format!("ulimit -l {} (KiB), or CAP_IPC_LOCK", locked(segments).div_ceil(1024)),
        },
        Row {
            id: "nofile",
            unit: "files",
            have: Some(host.nofile),
            need: process_files,
            allows_connections: Some(
                host.nofile.saturating_sub(own_files).saturating_mul(host.slots_per_segment),
            ),
            fits: host.nofile >= process_files,
            fix: format!("ulimit -n {process_files}"),
        },
        Row {
            id: "file-max",
            unit: "files",
            have: host.files,
            need: files,
            allows_connections: host.files.map(|have| have / ends),
            fits: host.files.is_none_or(|have| have >= files),
            fix: format!(
                "sysctl -w fs.file-max={}",
                files.checked_next_power_of_two().unwrap_or(u64::MAX)
            ),
        },
    ];
    rows.sort_by_key(|row| row.allows_connections.unwrap_or(u64::MAX));
    let fits = rows.iter().all(|row| row.fits);
    Plan {
        schema: "megaconn.plan/1",
        connections: n,
        fits,
        slots_per_segment: host.slots_per_segment,
        segments,
        rows,
    }
}

/// Segments of one end: each core rounds up for itself.
fn segments(connections: u64, cores: u64, slots_per_segment: u64) -> u64 {
    connections.div_ceil(cores).div_ceil(slots_per_segment).saturating_mul(cores)
}

/// What is `core`'s of `total`, dealt out to `cores` as evenly as can be.
#[must_use]
pub fn share(total: u64, cores: usize, core: usize) -> u64 {
    let (cores, core) = (cores as u64, core as u64);
    total / cores + u64::from(core < total % cores)
}

/// The ports that the kernel hands out by itself: `net.ipv4.ip_local_port_range`.
#[must_use]
pub fn ephemeral_ports() -> RangeInclusive<u16> {
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
pub fn usable_ports(range: RangeInclusive<u16>) -> Vec<u16> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let reserved = text.trim().split(',').filter_map(|part| crate::units::port_range(part).ok());
    let reserved: Vec<_> = reserved.collect();
    range.filter(|port| !reserved.iter().any(|(low, high)| (low..=high).contains(&port))).collect()
}

/// 2 when any target is an address of this host, so that both sockets of a connection live here.
#[must_use]
pub fn ends_here(targets: &[std::net::SocketAddr]) -> u64 {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let is_ours = |target: &std::net::SocketAddr| {
        let ip = target.ip();
        ip.is_loopback() || interfaces.iter().any(|interface| interface.ip() == ip)
    };
    if targets.iter().any(is_ours) { 2 } else { 1 }
}
