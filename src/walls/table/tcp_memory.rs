//! What TCP may have of the memory: in all queues, in the queues of one socket, and for orphans.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BLANK, round_up_int};
use crate::walls::wall::Wall;

/// Bytes of `tcp_mem` that an idle socket takes at most, as seen on Linux 6.18; mostly none.
const TCP_MEM_BYTES_PER_SOCKET: u64 = 38;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "orphans",
        precedence: 220,
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
        absent: "no connection was reset for too many orphans",
        fix: |_, demand| {
            // The limit is the whole host's, and other programs have orphans too. A higher limit by
            // itself takes no memory.
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
        precedence: 230,
        limits: "memory that all of TCP may have for data in queues",
        unit: "pages",
        read: |host, demand| {
            let pressure =
                host.procfs.numbers("net.ipv4.tcp_mem").and_then(|mem| mem.get(1).copied());
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
        absent: "TCP was not short of memory",
        fix: |host, _| {
            let Some(now) = host.procfs.numbers("net.ipv4.tcp_mem") else {
                return vec![Fix::Advice("raise net.ipv4.tcp_mem, outside this network namespace")];
            };
            // At least the kernel's own default: a sixteenth of the memory as pressure, and the
            // others around it.
            let pages = host.meminfo("MemTotal").unwrap_or(0) / 4096 / 16;
            let usual = [pages / 4 * 3, pages, pages / 2 * 3];
            let raised =
                now.iter().zip(usual).map(|(pages, usual)| pages.saturating_mul(4).max(usual));
            let raised: Vec<String> = raised.map(|pages| pages.to_string()).collect();
            vec![Fix::Sysctl("net.ipv4.tcp_mem", raised.join(" "))]
        },
        remark: "idle connections hardly use it; what fills it is data that an application does not read",
        ..BLANK
    },
    Wall {
        id: "socket-buffers",
        precedence: 240,
        limits: "data in the queues of one socket",
        unit: "bytes",
        explains: &[
            Symptom::Lost(LostCause::Silent),
            // The server gives up a connection that takes nothing for too long.
            Symptom::Lost(LostCause::Reset),
            Symptom::Late,
        ],
        signs: &[Sign::Kernel("windows close, and net.ipv4.tcp_rmem or tcp_wmem is small", small)],
        absent: "no window closed before a small buffer",
        fix: |_, _| {
            vec![
                Fix::Sysctl("net.ipv4.tcp_rmem", "4096 131072 6291456".into()),
                Fix::Sysctl("net.ipv4.tcp_wmem", "4096 16384 4194304".into()),
            ]
        },
        remark: "the first of the three is not allocated beforehand: an idle socket has none",
        ..BLANK
    },
];

/// Resets for want of memory are counted where they happened. Which memory it was, the host's log
/// says, or the absence of pressure.
fn orphans_reset(run: &RunFacts, side: Place) -> Option<Evidence> {
    aborts(run, side).filter(|_| is_for_orphans(run, side))
}

fn memory_aborts(run: &RunFacts, side: Place) -> Option<Evidence> {
    aborts(run, side).filter(|_| !is_for_orphans(run, side))
}

fn aborts(run: &RunFacts, side: Place) -> Option<Evidence> {
    let n = run.end(side)?.rise("TcpExt.TCPAbortOnMemory").filter(|n| *n > 0)?;
    let text = format!("{side:?}").to_lowercase() + ": TcpExt.TCPAbortOnMemory +" + &grouped(n);
    Some(Evidence { text, count: Some(n), confidence: Confidence::Likely })
}

/// Whether the log names orphans. The kernel leaves lines out when it has many, so without a line
/// the absence of pressure decides.
fn is_for_orphans(run: &RunFacts, side: Place) -> bool {
    let log = run.log_of(side).unwrap_or_default();
    let is_logged = |text| log.iter().any(|line| line.contains(text));
    let pressure = run.end(side).and_then(|end| end.rise("TcpExt.TCPMemoryPressures"));
    is_logged("too many orphaned sockets")
        || pressure == Some(0) && !is_logged("consider tuning tcp_mem")
}

/// TCP was short of memory. The counts do not measure the loss: the kernel counts how often the
/// shortage begins, and packets.
fn under_pressure(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let rise = |counter| end.rise(counter).unwrap_or(0);
    let (pressures, drops) = (rise("TcpExt.TCPMemoryPressures"), rise("TcpExt.TCPRcvQDrop"));
    let text = format!(
        "{}: TcpExt.TCPMemoryPressures +{}, TcpExt.TCPRcvQDrop +{}",
        side.name(),
        grouped(pressures),
        grouped(drops)
    );
    let evidence = Evidence { text, count: None, confidence: Confidence::Likely };
    (pressures + drops > 0).then_some(evidence)
}

/// Bytes below which the largest buffer of a socket is small.
const SMALL_BUFFER_BYTES: u64 = 64 * 1024;

/// Peers closed their windows, and the largest buffers that a socket may have here are small. The
/// buffers of a server on another host are not known.
fn small(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side).filter(|_| side != Place::Server || run.shares_kernel)?;
    let largest = |name| run.host.procfs.numbers(name).and_then(|sizes| sizes.last().copied());
    let largest = largest("net.ipv4.tcp_rmem").min(largest("net.ipv4.tcp_wmem"))?;
    let closed = end.rise("TcpExt.TCPToZeroWindowAdv").unwrap_or(0)
        + end.rise("TcpExt.TCPWantZeroWindowAdv").unwrap_or(0);
    let text = format!(
        "{}: windows closed {} times (TcpExt.TCPToZeroWindowAdv, TCPWantZeroWindowAdv); the largest \
         buffer is {} bytes",
        side.name(),
        grouped(closed),
        grouped(largest)
    );
    let evidence = Evidence { text, count: None, confidence: Confidence::Likely };
    (closed > 0 && largest < SMALL_BUFFER_BYTES).then_some(evidence)
}
