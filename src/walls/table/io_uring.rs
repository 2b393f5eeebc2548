//! io_uring: whether it may be used, and what its rings and tables of files take.

use crate::base::constants::{EXECUTOR_LOCKED_BYTES, RING_BYTES, SEGMENTS_MAX};
use crate::base::errno::Errno;
use crate::host::procfs::Sysctl;
use crate::host::rlimit;
use crate::observe::stats::LostCause;
use crate::plan::demand::Demand;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::host::{Host, RingTried};
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::BLANK;
use crate::walls::wall::Wall;

const UNLIMITED: Reading = Reading { have: Have::Unlimited, ..Reading::NOTHING };
const UNKNOWN: Reading = Reading { have: Have::Unknown, ..Reading::NOTHING };
const FORBIDDEN: Reading =
    Reading { have: Have::Some(0), need: Some(1), allows: Some(0), stops: true };

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "io-uring-disabled",
        precedence: 10,
        limits: "io_uring on the whole host",
        unit: "0 allows all",
        read: |host, _| match (host.ring, host.procfs.find_sysctl("kernel.io_uring_disabled")) {
            (RingTried::Works, _) => UNLIMITED,
            (RingTried::Disabled | RingTried::TooOld, _) => FORBIDDEN,
            // Before Linux 6.6 there is no such setting.
            (_, Sysctl::Missing) => UNLIMITED,
            (_, Sysctl::Value(value)) => match value.as_str() {
                "0" => UNLIMITED,
                "1" if is_exempt(host) => UNLIMITED,
                "1" | "2" => FORBIDDEN,
                _ => UNKNOWN,
            },
            (_, Sysctl::Hidden) => UNKNOWN,
        },
        fix: |host, _| match host.ring {
            RingTried::TooOld => vec![Fix::Advice("Linux 6.1 or newer, with io_uring")],
            _ => vec![Fix::Sysctl("kernel.io_uring_disabled", "0".into())],
        },
        remark: "1 leaves io_uring to CAP_SYS_ADMIN and the members of kernel.io_uring_group; 2 forbids it to all",
        ..BLANK
    },
    Wall {
        id: "io-uring-seccomp",
        precedence: 20,
        limits: "io_uring in a container",
        unit: "0 allows none",
        read: |host, _| {
            let status = host.procfs.read("proc/self/status").unwrap_or_default();
            let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
            match (host.ring, mode.map(str::trim)) {
                (RingTried::Filtered, _) => FORBIDDEN,
                (RingTried::Works, _) | (_, Some("0")) => UNLIMITED,
                // A filter may leave io_uring alone.
                _ => UNKNOWN,
            }
        },
        fix: |_, _| {
            vec![Fix::Advice(
                "allow io_uring_setup, io_uring_enter and io_uring_register in the container's \
                 seccomp profile",
            )]
        },
        remark: "Docker's default profile forbids io_uring",
        ..BLANK
    },
    Wall {
        id: "memlock",
        precedence: 40,
        limits: "locked memory of this user, which the rings of both programs share",
        unit: "bytes",
        read: |host, demand| {
            let ring_bytes = demand.ends.count() * RING_BYTES;
            let executors = executors(demand);
            Reading::stops(host.memlock, locked(host, demand), |have| {
                let segments = have.saturating_sub(executors) / ring_bytes;
                segments.saturating_mul(host.slots_per_segment)
            })
        },
        explains: &[
            Symptom::Failed(Errno::ENOMEM),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[Sign::Seen("a ring was refused (ENOMEM)", ring_refused)],
        absent: "no ring was refused",
        fix: |host, demand| vec![Fix::Limit("memlock", locked(host, demand).div_ceil(1024))],
        fix_of_run: Some(|run| vec![Fix::Limit("memlock", enough_locked(run).div_ceil(1024))]),
        remark: "or CAP_IPC_LOCK; charged to all processes of the user together",
        ..BLANK
    },
    Wall {
        id: "fixed-files",
        precedence: 50,
        limits: "slots of the tables that sockets live in",
        unit: "slots",
        read: |host, demand| {
            let slots = (SEGMENTS_MAX as u64) * host.slots_per_segment * demand.cores;
            Reading::stops(Have::Some(slots), demand.connections, |have| have)
        },
        explains: &[
            Symptom::Failed(Errno::ENOSPC),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[Sign::Seen("no table was left (ENOSPC)", tables_used_up)],
        absent: "every segment got its table",
        fix: |_, _| vec![Fix::Cores("--cores with more of them")],
        remark: "a table has at most as many slots as this process may have open files",
        ..BLANK
    },
    Wall {
        id: "cq-overflow",
        precedence: 90,
        limits: "completions that wait to be read",
        unit: "completions",
        fix: |_, _| vec![Fix::Cores("--cores with more of them")],
        remark: "the kernel keeps what overflows (NODROP): slower, never lost",
        ..BLANK
    },
];

/// Whether a host that leaves io_uring to some processes leaves it to this one: by CAP_SYS_ADMIN,
/// or by a group.
fn is_exempt(host: &Host) -> bool {
    let group = host.procfs.number("kernel.io_uring_group").and_then(|id| u32::try_from(id).ok());
    host.passes_file_max || group.is_some_and(rlimit::is_in_group)
}

/// Bytes that the executors of all ends and the housekeeping thread lock.
fn executors(demand: &Demand) -> u64 {
    demand.ends.count() * (demand.cores + 1) * EXECUTOR_LOCKED_BYTES
}

/// Bytes of locked memory that a plan needs.
fn locked(host: &Host, demand: &Demand) -> u64 {
    let ring_bytes = demand.ends.count() * RING_BYTES;
    host.segments(demand).saturating_mul(ring_bytes).saturating_add(executors(demand))
}

/// Bytes of locked memory that are enough for a run in which a ring was refused: twice what the rings
/// that were had took, and as much as those for all connections take by the same measure.
fn enough_locked(run: &RunFacts) -> u64 {
    let plan = locked(&run.host, &run.demand);
    let refused = [Some(&run.client), run.server.as_ref()].into_iter().flatten().filter(|end| {
        let is_refused = end.figure("grow_failed_total").is_some_and(|n| n > 0);
        is_refused && end.failed.get(&Errno::ENOMEM.to_string()).is_some_and(|n| *n > 0)
    });
    let needed = refused.map(|end| {
        let sum =
            |figure| end.cores.iter().filter_map(|core| core.figures.get(figure)).sum::<u64>();
        let (segments, held) = (sum("segments"), sum("connections_peak").max(1));
        let all = segments.saturating_mul(run.demand.connections).div_ceil(held);
        let bytes = |rings: u64| executors(&run.demand) + rings.saturating_mul(RING_BYTES);
        bytes(all + end.cores.len() as u64).max(2 * bytes(segments))
    });
    needed.chain([plan]).max().unwrap_or(plan)
}

/// A core could not grow for want of memory: it is short of locked memory, where that is limited.
/// The client does not know a server's limits. When the host itself is short of the few pages of a
/// ring, the kernel kills a process instead.
fn ring_refused(run: &RunFacts, side: Place) -> Option<Evidence> {
    let may_be = side == Place::Server || matches!(run.host.memlock, Have::Some(_));
    let count = kept_out(run, side, Errno::ENOMEM);
    grow_refused(run, side, Errno::ENOMEM)
        .filter(|_| may_be)
        .map(|evidence| Evidence { count, ..evidence })
}

fn tables_used_up(run: &RunFacts, side: Place) -> Option<Evidence> {
    let count = kept_out(run, side, Errno::ENOSPC);
    grow_refused(run, side, Errno::ENOSPC).map(|evidence| Evidence { count, ..evidence })
}

/// Connections that a segment refused for `errno` kept out. A server refuses and counts them; a
/// client's connects fail with the error.
fn kept_out(run: &RunFacts, side: Place, errno: Errno) -> Option<u64> {
    let end = run.end(side)?;
    match side {
        Place::Server => end.figure("refused_total"),
        Place::Client | Place::Between => end.failed.get(&errno.to_string()).copied(),
    }
}

pub(super) fn grow_refused(run: &RunFacts, side: Place, errno: Errno) -> Option<Evidence> {
    let end = run.end(side)?;
    let times = end.figure("grow_failed_total").filter(|times| *times > 0)?;
    end.failed.get(&errno.to_string()).filter(|n| **n > 0)?;
    let text = format!("{}: a segment was refused {times} times ({errno})", side.name());
    Some(Evidence { text, count: None, confidence: Confidence::Certain })
}
