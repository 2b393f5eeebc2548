//! Memory: of the host, of a container, and what TCP may have of it.

use super::{BLANK, round_up, round_up_int};
use crate::base::constants::{KERNEL_BYTES_PER_SOCKET, USER_BYTES_PER_CONNECTION};
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::headroom::{self, Rooms};
use crate::observe::stats::LostCause;
use crate::plan::Demand;
use crate::walls::case::{Case, Confidence, Met};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::side::Side;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::wall::Wall;

/// Bytes of `tcp_mem` that an idle socket takes at most, as seen on Linux 6.18; mostly none.
const TCP_MEM_BYTES_PER_SOCKET: u64 = 38;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "cgroup-memory",
        limits: "memory of the container, sockets included",
        unit: "bytes",
        read: |host, demand| {
            let rooms = Rooms::find(&host.tree);
            let groups = rooms.read().filter(|room| &*room.limit != headroom::HOST);
            let have = groups.map(|room| room.available_bytes).min();
            let need = needed(demand).saturating_add(host.reserve_bytes);
            Reading::stops(have.map_or(Have::Unlimited, Have::Some), need, |have| {
                have.saturating_sub(host.reserve_bytes) / per_connection(demand)
            })
        },
        explains: &[
            Symptom::Untried,
            Symptom::Failed(Errno::ENOMEM),
            Symptom::Failed(Errno::ENOBUFS),
            Symptom::Failed(Errno::ECONNREFUSED),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[
            Sign::Seen("kernel log: Memory cgroup out of memory: Killed process", killed_in_cgroup),
            Sign::Seen("the memory reserve of a cgroup was met", cgroup_reserve_met),
        ],
        fix: |host, demand| {
            let most = of_cgroup(demand).max(needed(demand).saturating_add(host.reserve_bytes));
            vec![
                Fix::Command(format!("systemctl set-property UNIT MemoryMax={most}")),
                Fix::Flag("--connections with fewer".into()),
            ]
        },
        remark: "what sockets take of the kernel is charged to the cgroup as well",
        ..BLANK
    },
    Wall {
        id: "memory",
        limits: "memory of the host",
        unit: "bytes",
        read: |host, demand| {
            let need = needed(demand).saturating_add(host.reserve_bytes);
            Reading::stops(host.meminfo("MemAvailable").into(), need, |have| {
                have.saturating_sub(host.reserve_bytes) / per_connection(demand)
            })
        },
        explains: &[
            Symptom::Untried,
            Symptom::Failed(Errno::ENOMEM),
            Symptom::Failed(Errno::ENOBUFS),
            Symptom::Failed(Errno::ECONNREFUSED),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Fin),
            Symptom::Lost(LostCause::Local),
        ],
        signs: &[
            Sign::Seen("the memory reserve was met", reserve_met),
            Sign::Seen("kernel log: Out of memory: Killed process", killed_on_host),
            Sign::Seen("ENOMEM, and not for a ring", no_memory),
            Sign::Became("ENOBUFS", no_buffers),
        ],
        fix: |_, _| {
            vec![
                Fix::Flag("--connections with fewer".into()),
                Fix::Flag("--memory-reserve with less, if others need less".into()),
                Fix::Advice("more memory"),
            ]
        },
        remark: "both programs stop before it, at --memory-reserve, and keep what they hold",
        ..BLANK
    },
    Wall {
        id: "orphans",
        limits: "sockets that their program has closed and TCP has not",
        unit: "sockets",
        read: |host, demand| {
            Reading::disturbs(host.have("net.ipv4.tcp_max_orphans"), demand.connections / 2)
        },
        signs: &[Sign::Kernel(
            "TCPAbortOnMemory rises, and the kernel logs too many orphaned sockets",
            orphans_reset,
        )],
        explains: &[Symptom::Lost(LostCause::Reset)],
        fix: |_, demand| {
            // It is of the whole host, where others have some; a limit alone takes no memory.
            let most = round_up_int(demand.connections.saturating_mul(2).max(65_536));
            vec![
                Fix::Sysctl("net.ipv4.tcp_max_orphans", most.to_string()),
                Fix::Flag("serve --drain, which closes in a paced way".into()),
            ]
        },
        remark: "beyond it, and from a half of it when memory is short, a close becomes a reset",
        ..BLANK
    },
    Wall {
        id: "tcp-mem",
        limits: "memory that all of TCP may have for data in queues",
        unit: "pages",
        read: |host, demand| {
            let pressure =
                host.tree.numbers("net.ipv4.tcp_mem").and_then(|mem| mem.get(1).copied());
            let sockets = demand.connections.saturating_mul(demand.ends.count());
            let bytes = sockets.saturating_mul(TCP_MEM_BYTES_PER_SOCKET);
            Reading::disturbs(pressure.into(), bytes.div_ceil(4096))
        },
        explains: &[
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Lost(LostCause::Local),
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Late,
        ],
        signs: &[
            Sign::Kernel("TCPAbortOnMemory rises, and not for orphans", memory_aborts),
            Sign::Kernel("TcpExt.TCPMemoryPressures or TcpExt.TCPRcvQDrop rises", under_pressure),
            Sign::Logged("consider tuning tcp_mem"),
        ],
        fix: |host, _| {
            let Some(now) = host.tree.numbers("net.ipv4.tcp_mem") else {
                return vec![Fix::Advice("raise net.ipv4.tcp_mem, outside this network namespace")];
            };
            // At least what the kernel takes by itself: a sixteenth of the memory, and around it.
            let pages = host.meminfo("MemTotal").unwrap_or(0) / 4096 / 16;
            let usual = [pages / 4 * 3, pages, pages / 2 * 3];
            let raised = now.iter().zip(usual).map(|(pages, usual)| (4 * pages).max(usual));
            let raised: Vec<String> = raised.map(|pages| pages.to_string()).collect();
            vec![Fix::Sysctl("net.ipv4.tcp_mem", raised.join(" "))]
        },
        remark: "idle connections hardly use it; what fills it is data that somebody does not read",
        ..BLANK
    },
    Wall {
        id: "socket-buffers",
        limits: "data in the queues of one socket",
        unit: "bytes",
        explains: &[
            Symptom::Lost(LostCause::Silent),
            // The server gives up on who takes nothing for so long.
            Symptom::Lost(LostCause::Reset),
            Symptom::Late,
        ],
        signs: &[Sign::Kernel("windows close, and net.ipv4.tcp_rmem or tcp_wmem is small", small)],
        fix: |_, _| {
            vec![
                Fix::Sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456".into()),
                Fix::Sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304".into()),
            ]
        },
        remark: "the first of the three is not allocated beforehand: an idle socket has none",
        ..BLANK
    },
    Wall {
        id: "conntrack",
        limits: "connections that a firewall of this host tracks",
        unit: "entries",
        read: |host, demand| {
            let none = Reading { have: Have::Unlimited, need: Some(0), ..Reading::NOTHING };
            // Without the module nothing is tracked.
            if host.tree.sysctl("net.netfilter.nf_conntrack_max").is_none() {
                return none;
            }
            let most = host.tree.number("net.netfilter.nf_conntrack_max");
            let used = host.tree.number("net.netfilter.nf_conntrack_count");
            let have = most.zip(used).map(|(most, used)| most.saturating_sub(used)).into();
            match host.tracks {
                Some(false) => none,
                Some(true) => Reading::stops(have, demand.connections, |have| have),
                None => Reading::disturbs(have, demand.connections),
            }
        },
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Failed(Errno::EPERM),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Late,
        ],
        drops: true,
        signs: &[
            Sign::Rises("nf_conntrack.drop"),
            Sign::Rises("nf_conntrack.early_drop"),
            Sign::Rises("nf_conntrack.insert_failed"),
            Sign::Kernel("the kernel logs a full table, and counts nothing", table_full_logged),
        ],
        fix: |host, demand| {
            let used = host.tree.number("net.netfilter.nf_conntrack_count").unwrap_or(0);
            // An entry outlives its connection, up to two minutes.
            let most = round_up_int(demand.connections.saturating_add(used).saturating_mul(2));
            vec![
                Fix::Sysctl("net.netfilter.nf_conntrack_max", most.to_string()),
                Fix::Advice("do not track these ports: a notrack rule in nftables"),
            ]
        },
        remark: "that the module is there does not mean that it tracks; a rule must ask for it",
        ..BLANK
    },
    Wall {
        id: "ehash",
        limits: "buckets in which the kernel finds a socket",
        unit: "buckets",
        read: |host, demand| {
            // In a namespace that shares the host's table the number is negative.
            let text = host.tree.sysctl("net.ipv4.tcp_ehash_entries");
            let buckets = text.and_then(|text| text.trim_start_matches('-').parse().ok());
            let sockets = demand.connections.saturating_mul(demand.ends.count());
            // Eight sockets to a bucket still cost little beside the rest of a packet's way.
            Reading::disturbs(Have::from(buckets), sockets / 8)
        },
        fix: |_, _| vec![Fix::Advice("thash_entries=N on the kernel's command line")],
        remark: "longer chains cost time for each packet, nothing else",
        ..BLANK
    },
];

/// Resets for memory are counted where they happened; for which memory, the log of the host says, or
/// that there was no pressure.
fn orphans_reset(case: &Case, side: Side) -> Option<Met> {
    aborts(case, side).filter(|_| is_for_orphans(case, side))
}

fn memory_aborts(case: &Case, side: Side) -> Option<Met> {
    aborts(case, side).filter(|_| !is_for_orphans(case, side))
}

fn aborts(case: &Case, side: Side) -> Option<Met> {
    let n = case.end(side)?.rise("TcpExt.TCPAbortOnMemory").filter(|n| *n > 0)?;
    let evidence = format!("{side:?}").to_lowercase() + ": TcpExt.TCPAbortOnMemory +" + &grouped(n);
    Some(Met { evidence, count: Some(n), confidence: Confidence::Likely })
}

/// What the log says; where it says nothing, as it does of most things when it has much to say, there
/// was no pressure.
fn is_for_orphans(case: &Case, side: Side) -> bool {
    let log = case.log_of(side).unwrap_or_default();
    let is_logged = |text| log.iter().any(|line| line.contains(text));
    let pressure = case.end(side).and_then(|end| end.rise("TcpExt.TCPMemoryPressures"));
    is_logged("too many orphaned sockets")
        || pressure == Some(0) && !is_logged("consider tuning tcp_mem")
}

/// A line of the log is of the whole host, the counters are of a network namespace: they decide
/// where there are any.
fn table_full_logged(case: &Case, side: Side) -> Option<Met> {
    let is_counted = case.end(side)?.rise("nf_conntrack.drop").is_some();
    let lines = case.log_of(side).filter(|_| !is_counted)?;
    let line = lines.iter().find(|line| line.contains("nf_conntrack: table full"))?;
    let evidence = format!("kernel log: {line}");
    Some(Met { evidence, count: None, confidence: Confidence::Likely })
}

fn per_connection(demand: &Demand) -> u64 {
    demand.ends.count() * (KERNEL_BYTES_PER_SOCKET + USER_BYTES_PER_CONNECTION)
}

fn needed(demand: &Demand) -> u64 {
    demand.connections.saturating_mul(per_connection(demand))
}

/// What the kernel writes of its victims, by whose memory was used up. What stands between "memory"
/// and the colon differs.
const CGROUP_KILL: &str = "Memory cgroup out of memory";
const HOST_KILL: &str = "Out of memory";

fn killed_in_cgroup(case: &Case, side: Side) -> Option<Met> {
    killed(case, side, CGROUP_KILL)
}

fn killed_on_host(case: &Case, side: Side) -> Option<Met> {
    killed(case, side, HOST_KILL)
}

/// The kernel killed the server for want of memory. That it was not the client, the client knows; that
/// it was not another server on this host, that nobody listens there any more; which is little to go
/// by where the server may be on another host.
fn killed(case: &Case, side: Side, head: &str) -> Option<Met> {
    let is_server = |line: &&String| {
        line.starts_with(head)
            && line.contains(": Killed process ")
            && line.contains(" (megaconn) ")
    };
    let is_gone = side == Side::Server && case.facts.target_gone.is_some();
    let line = case.log.as_ref().filter(|_| is_gone)?.iter().find(is_server)?;
    let evidence = format!("kernel log: {line}");
    let confidence = if case.shares_kernel { Confidence::Certain } else { Confidence::Possible };
    Some(Met { evidence, count: None, confidence })
}

fn reserve_met(case: &Case, side: Side) -> Option<Met> {
    of_reserve(case, side, false)
}

fn cgroup_reserve_met(case: &Case, side: Side) -> Option<Met> {
    of_reserve(case, side, true)
}

/// The reserve was met: a server counts whom it refused for it, and of these whom for a cgroup; a
/// client says when it stopped, in words that name the cgroup if it was one's.
fn of_reserve(case: &Case, side: Side, of_cgroup: bool) -> Option<Met> {
    if side != Side::Server {
        let met = case.facts.reserve_met.clone().filter(|met| met.contains("cgroup") == of_cgroup);
        // It cost what was not tried for it; whom the server refused it has counted itself.
        let (count, confidence) = (Some(case.count(Symptom::Untried)), Confidence::Certain);
        return met.map(|evidence| Met { evidence, count, confidence });
    }
    let figure = |name| case.end(side).and_then(|end| end.figure(name)).unwrap_or(0);
    let (all, of_cgroups) = (figure("refused_memory_total"), figure("refused_cgroup_total"));
    let (name, refused) = match of_cgroup {
        true => ("refused_cgroup_total", of_cgroups),
        false => ("refused_memory_total", all.saturating_sub(of_cgroups)),
    };
    let evidence = format!("server: {name} 0 -> {}", grouped(refused));
    let met = Met { evidence, count: Some(refused), confidence: Confidence::Certain };
    (refused > 0).then_some(met)
}

/// Bytes for a cgroup: what its connections need, as much again for the programs and a reserve.
fn of_cgroup(demand: &Demand) -> u64 {
    round_up(needed(demand).saturating_mul(2).max(128 << 20))
}

/// Operations that found no memory, but for rings: those are short of locked memory.
fn no_memory(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side)?;
    let times = end.failed.get(&Errno::ENOMEM.to_string()).copied().unwrap_or(0);
    let times = times.saturating_sub(end.figure("grow_failed_total").unwrap_or(0));
    let evidence = format!("{}: ENOMEM {} times", side.name(), grouped(times));
    let met = Met { evidence, count: Some(times), confidence: Confidence::Certain };
    (times > 0).then_some(met)
}

/// What ENOBUFS says by itself: a full table of neighbours ends a connect so as well, and who counts
/// that knows better.
fn no_buffers(case: &Case, side: Side) -> Option<Met> {
    let times = case.end(side)?.failed.get(&Errno::ENOBUFS.to_string()).copied().unwrap_or(0);
    let evidence = format!("{}: ENOBUFS {} times", side.name(), grouped(times));
    let met = Met { evidence, count: Some(times), confidence: Confidence::Possible };
    (times > 0).then_some(met)
}

/// TCP was short of memory. How often is no measure of what that cost: the kernel counts when it
/// begins, and packets.
fn under_pressure(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side)?;
    let rise = |counter| end.rise(counter).unwrap_or(0);
    let (pressures, drops) = (rise("TcpExt.TCPMemoryPressures"), rise("TcpExt.TCPRcvQDrop"));
    let evidence = format!(
        "{}: TcpExt.TCPMemoryPressures +{}, TcpExt.TCPRcvQDrop +{}",
        side.name(),
        grouped(pressures),
        grouped(drops)
    );
    let met = Met { evidence, count: None, confidence: Confidence::Likely };
    (pressures + drops > 0).then_some(met)
}

/// Bytes below which the largest buffer of a socket is small.
const SMALL_BUFFER_BYTES: u64 = 64 * 1024;

/// Peers closed their windows, and the largest buffers that a socket may have here are small; those of
/// a server on another host are not known.
fn small(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|_| side != Side::Server || case.shares_kernel)?;
    let largest = |name| case.host.tree.numbers(name).and_then(|sizes| sizes.last().copied());
    let largest = largest("net.ipv4.tcp_rmem").min(largest("net.ipv4.tcp_wmem"))?;
    let closed = end.rise("TcpExt.TCPToZeroWindowAdv").unwrap_or(0)
        + end.rise("TcpExt.TCPWantZeroWindowAdv").unwrap_or(0);
    let evidence = format!(
        "{}: windows closed {} times (TcpExt.TCPToZeroWindowAdv, TCPWantZeroWindowAdv); the largest \
         buffer is {} bytes",
        side.name(),
        grouped(closed),
        grouped(largest)
    );
    let met = Met { evidence, count: None, confidence: Confidence::Likely };
    (closed > 0 && largest < SMALL_BUFFER_BYTES).then_some(met)
}
