//! Memory of the host and of a container.

use crate::base::constants::{CHARGED_BYTES_PER_ACCEPTED, KERNEL_BYTES_PER_SOCKET};
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::cgroup;
use crate::host::headroom::MemoryHeadrooms;
use crate::observe::stats::LostCause;
use crate::plan::demand::{Demand, Ends};
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::host::Host;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::{Need, Sign};
use crate::walls::symptom::Symptom;
use crate::walls::table::row::BLANK;
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "cgroup-memory",
        precedence: 200,
        limits: "memory of the container, sockets included",
        unit: "bytes",
        read: |host, demand| {
            let have = MemoryHeadrooms::find(&host.procfs).of_groups();
            let need = charged(demand).saturating_add(host.reserve_bytes);
            Reading::stops(have.into(), need, |have| {
                left(have, host, demand) / charged_per_connection(demand)
            })
        },
        explains: &[
            Symptom::NoMore,
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
        absent: "no cgroup ran out of memory",
        needs: &[Need::LogOfAKill],
        fix: |host, demand| raise_cgroup(demand, host.reserve_bytes),
        // The reserve that the client knows is its own. That of a server in a cgroup is an eighth of it.
        fix_of_run: Some(|run| {
            let is_own = run.facts.reserve_met.is_some();
            let reserve_bytes = if is_own { run.host.reserve_bytes } else { 0 };
            let mut fixes = raise_cgroup(&run.demand, reserve_bytes);
            // As many as there can be are never too many.
            fixes.truncate(if run.facts.no_more.is_some() { 1 } else { fixes.len() });
            fixes
        }),
        remark: "what sockets take of the kernel is charged to the cgroup as well",
        ..BLANK
    },
    Wall {
        id: "memory-high",
        precedence: 205,
        limits: "memory of the container, from which on the kernel slows it down",
        explains: &[Symptom::Late],
        signs: &[Sign::Rises(cgroup::MEMORY_HIGH)],
        absent: "no cgroup was held up for its memory",
        fix: |host, demand| {
            let need = charged(demand).saturating_add(64 << 20).saturating_mul(8) / 7;
            let most = need.max(charged(demand).saturating_add(host.reserve_bytes));
            vec![Fix::Command(format!("systemctl set-property UNIT MemoryHigh={most}"))]
        },
        remark: "the programs are held up whenever they take more, and are not killed",
        ..BLANK
    },
    Wall {
        id: "memory",
        precedence: 210,
        limits: "memory of the host",
        unit: "bytes",
        read: |host, demand| {
            let need = needed(demand).saturating_add(host.reserve_bytes);
            Reading::stops(host.memory_available().into(), need, |have| {
                left(have, host, demand) / per_connection(demand)
            })
        },
        explains: &[
            Symptom::NoMore,
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
        absent: "neither the reserve was met nor a process killed, and no operation failed for memory",
        needs: &[Need::LogOfAKill],
        fix: |_, _| {
            vec![
                Fix::Flag("--connections with fewer".into()),
                Fix::Flag("--memory-reserve with less, if others need less".into()),
                Fix::Advice("more memory"),
            ]
        },
        fix_of_run: Some(|run| {
            let fewer = Fix::Flag("--connections with fewer".into());
            let more = Fix::Advice("more memory");
            let reserve = Fix::Flag("--memory-reserve with less, if others need less".into());
            if run.facts.no_more.is_some() {
                vec![more, reserve]
            } else {
                vec![fewer, reserve, more]
            }
        }),
        remark: "both programs stop before it, at --memory-reserve, and keep what they hold",
        ..BLANK
    },
];

fn per_connection(demand: &Demand) -> u64 {
    (demand.ends.count() * KERNEL_BYTES_PER_SOCKET).saturating_add(demand.user_bytes())
}

/// What does not grow with connections.
fn fixed(demand: &Demand) -> u64 {
    let of_cores = demand.buffers_bytes().saturating_add(demand.ciphers_bytes());
    of_cores.saturating_add(demand.handshakes_bytes())
}

/// What of so much is for connections.
fn left(have: u64, host: &Host, demand: &Demand) -> u64 {
    have.saturating_sub(host.reserve_bytes).saturating_sub(fixed(demand))
}

fn needed(demand: &Demand) -> u64 {
    demand.connections.saturating_mul(per_connection(demand)).saturating_add(fixed(demand))
}

/// What the cgroup of the program is charged for a connection. Of those that arrive it is not charged
/// the socket.
fn charged_per_connection(demand: &Demand) -> u64 {
    let kernel = match demand.ends {
        Ends::Client => KERNEL_BYTES_PER_SOCKET,
        Ends::Server => CHARGED_BYTES_PER_ACCEPTED,
        Ends::Both => KERNEL_BYTES_PER_SOCKET + CHARGED_BYTES_PER_ACCEPTED,
    };
    kernel.saturating_add(demand.user_bytes())
}

fn charged(demand: &Demand) -> u64 {
    demand.connections.saturating_mul(charged_per_connection(demand)).saturating_add(fixed(demand))
}

/// How a line on a killed process begins, by the memory that was used up. The text between "memory"
/// and the colon differs between kernels.
const CGROUP_KILL: &str = "Memory cgroup out of memory";
const HOST_KILL: &str = "Out of memory";

fn killed_in_cgroup(run: &RunFacts, side: Place) -> Option<Evidence> {
    killed(run, side, CGROUP_KILL)
}

fn killed_on_host(run: &RunFacts, side: Place) -> Option<Evidence> {
    killed(run, side, HOST_KILL)
}

/// The kernel killed the server for want of memory. The client is alive, so it was not the client.
/// That nothing listens at the target any more says that it was not another server on this host. It
/// says little where the server may be on another host.
fn killed(run: &RunFacts, side: Place, head: &str) -> Option<Evidence> {
    let is_server = |line: &&String| {
        line.starts_with(head)
            && line.contains(": Killed process ")
            && line.contains(" (megaconn) ")
    };
    let is_gone = side == Place::Server && run.facts.target_gone.is_some();
    let line = run.log.as_ref().filter(|_| is_gone)?.iter().find(is_server)?;
    let text = format!("kernel log: {line}");
    let confidence = if run.shares_kernel { Confidence::Certain } else { Confidence::Possible };
    Some(Evidence { text, count: None, confidence })
}

fn reserve_met(run: &RunFacts, side: Place) -> Option<Evidence> {
    of_reserve(run, side, false)
}

fn cgroup_reserve_met(run: &RunFacts, side: Place) -> Option<Evidence> {
    of_reserve(run, side, true)
}

/// The reserve was met. A server counts the connections that it refused for it, and among them
/// those refused for a cgroup. A client reports when it stopped, in words that name the cgroup if
/// it was a cgroup's.
fn of_reserve(run: &RunFacts, side: Place, of_cgroup: bool) -> Option<Evidence> {
    if side != Place::Server {
        let met = run.facts.reserve_met.clone().filter(|met| met.contains("cgroup") == of_cgroup);
        let opened_no_more = run.count(Symptom::Untried) + run.count(Symptom::NoMore);
        // The loss is the connections that were not tried. The server counts by itself what it
        // refused.
        let (count, confidence) = (Some(opened_no_more), Confidence::Certain);
        return met.map(|text| Evidence { text, count, confidence });
    }
    let figure = |name| run.end(side).and_then(|end| end.figure(name)).unwrap_or(0);
    let (all, of_cgroups) = (figure("refused_memory_total"), figure("refused_cgroup_total"));
    let (name, refused) = match of_cgroup {
        true => ("refused_cgroup_total", of_cgroups),
        false => ("refused_memory_total", all.saturating_sub(of_cgroups)),
    };
    let text = format!("server: {name} 0 -> {}", grouped(refused));
    let evidence = Evidence { text, count: Some(refused), confidence: Confidence::Certain };
    (refused > 0).then_some(evidence)
}

/// Raises the limit of a cgroup: to what is charged for its connections, 64 MiB for the programs, and the
/// reserve that they leave of so much, an eighth, or a larger reserve that is known.
fn raise_cgroup(demand: &Demand, reserve_bytes: u64) -> Vec<Fix> {
    let charged = charged(demand);
    let with_eighth = charged.saturating_add(64 << 20).saturating_mul(8) / 7;
    let most = with_eighth.max(charged.saturating_add(reserve_bytes));
    let most = most.div_ceil(STEP_BYTES).saturating_mul(STEP_BYTES);
    vec![
        Fix::Command(format!("systemctl set-property UNIT MemoryMax={most}")),
        Fix::Flag("--connections with fewer".into()),
    ]
}

/// Limits of cgroups are rounded up to this.
const STEP_BYTES: u64 = 16 << 20;

/// Operations that failed for want of memory. Rings are left out: they are short of locked memory.
fn no_memory(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let times = end.failed.get(&Errno::ENOMEM.to_string()).copied().unwrap_or(0);
    let times = times.saturating_sub(end.figure("grow_failed_total").unwrap_or(0));
    let text = format!("{}: ENOMEM {} times", side.name(), grouped(times));
    let evidence = Evidence { text, count: Some(times), confidence: Confidence::Certain };
    (times > 0).then_some(evidence)
}

/// What ENOBUFS says by itself, which is little: a full table of neighbours ends a connect with it
/// as well, and that has counters of its own.
fn no_buffers(run: &RunFacts, side: Place) -> Option<Evidence> {
    let times = run.end(side)?.failed.get(&Errno::ENOBUFS.to_string()).copied().unwrap_or(0);
    let text = format!("{}: ENOBUFS {} times", side.name(), grouped(times));
    let evidence = Evidence { text, count: Some(times), confidence: Confidence::Possible };
    (times > 0).then_some(evidence)
}
