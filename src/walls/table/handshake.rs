//! The handshake: connections that are refused, not answered, or wait to be accepted.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::snapshot::CoreSnapshot;
use crate::observe::stats::LostCause;
use crate::plan::demand::Demand;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::place::Place;
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BETWEEN, BLANK, SERVER, round_up_int};
use crate::walls::table::target::{by_icmp, is_refused_in_part};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "refused",
        precedence: 130,
        limits: "nothing: nothing listens there",
        at: SERVER,
        explains: &[Symptom::Failed(Errno::ECONNREFUSED)],
        signs: &[Sign::Became("ECONNREFUSED", nothing_listens)],
        absent: "no connect was refused",
        fix: |_, _| vec![Fix::Advice("start the server, or check --target's port")],
        remark: "a reset in answer to the SYN: the host is there, the port is not",
        ..BLANK
    },
    Wall {
        id: "server-full",
        precedence: 140,
        limits: "connections that the server was told to hold",
        at: SERVER,
        unit: "connections",
        explains: &[
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[Sign::Seen(
            "refused_total rises, all cores are full, and no ring was refused",
            refused_as_full,
        )],
        absent: "the server refused no connection for want of a free slot",
        fix: |_, demand| vec![Fix::Raise("serve --max-connections", demand.connections)],
        fix_of_run: Some(|run| vec![Fix::Raise("serve --max-connections", enough(run))]),
        remark: "a connection beyond it is accepted and reset at once, and counted",
        ..BLANK
    },
    Wall {
        id: "accept-queue",
        precedence: 150,
        limits: "connections that are complete and wait for accept, on each listener",
        at: SERVER,
        unit: "connections",
        read: |host, demand| {
            let queue = host.procfs.number("net.core.somaxconn").map(|n| n.min(demand.backlog));
            Reading::disturbs(queue.into(), demand.connects_in_flight)
        },
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Late,
        ],
        drops: true,
        signs: &[Sign::Rises("TcpExt.ListenOverflows")],
        absent: "no accept queue overflowed",
        fix: |host, demand| {
            let queue = queue(demand);
            let have = host.procfs.number("net.core.somaxconn");
            longer_queue(queue, have.is_some_and(|have| have < queue))
        },
        fix_of_run: Some(|run| {
            let queue = queue(&run.demand);
            let have = run.host.procfs.number("net.core.somaxconn");
            // What the kernel of another host has is not known, and a sysctl that is enough harms nothing.
            let is_capped = !run.shares_kernel || have.is_some_and(|have| have < queue);
            let mut fixes = longer_queue(queue, is_capped);
            // Of a server without figures it is not known which program it is.
            if run.server.as_ref().is_none_or(|server| server.figures.is_empty()) {
                fixes.push(Fix::Advice(
                    "in a server of another kind: a longer backlog for listen(2), or faster accepts",
                ));
            }
            fixes
        }),
        remark: "the kernel drops SYNs and last ACKs; the client tries again a second later",
        ..BLANK
    },
    Wall {
        id: "syn-queue",
        precedence: 160,
        limits: "handshakes that have begun, on each listener",
        at: SERVER,
        unit: "handshakes",
        read: |host, demand| {
            let most = host.have("net.ipv4.tcp_max_syn_backlog");
            Reading::disturbs(most, demand.connects_in_flight)
        },
        explains: &[Symptom::Failed(Errno::ETIMEDOUT), Symptom::Late],
        drops: true,
        signs: &[
            Sign::Rises("TcpExt.TCPReqQFullDrop"),
            Sign::Kernel("SYNs are dropped and no accept queue was full", syns_dropped),
        ],
        absent: "no SYN was dropped from a full queue",
        fix: |_, demand| {
            let most = round_up_int(demand.connects_in_flight.max(4096));
            vec![
                Fix::Sysctl("net.core.somaxconn", most.to_string()),
                Fix::Raise("serve --backlog", most),
                Fix::Sysctl("net.ipv4.tcp_max_syn_backlog", most.to_string()),
            ]
        },
        remark: "it is full at the listener's backlog, and without syncookies at three quarters of \
                 tcp_max_syn_backlog for whoever was never met before",
        ..BLANK
    },
    Wall {
        id: "syncookies",
        precedence: 170,
        limits: "handshakes beyond the SYN queue: answered by cookies, without options",
        at: SERVER,
        read: |_, _| Reading::NOTHING,
        signs: &[
            Sign::Rises("TcpExt.SyncookiesSent"),
            Sign::Rises("TcpExt.TCPReqQFullDoCookies"),
            Sign::Logged("Possible SYN flooding"),
        ],
        fix: |_, demand| {
            let most = round_up_int(demand.connects_in_flight.max(4096));
            vec![
                Fix::Sysctl("net.core.somaxconn", most.to_string()),
                Fix::Raise("serve --backlog", most),
            ]
        },
        remark: "such a connection works; window scaling and SACK need timestamps then",
        ..BLANK
    },
    Wall {
        id: "unanswered",
        precedence: 330,
        limits: "nothing that could be seen: connects are not answered",
        at: BETWEEN,
        explains: UNANSWERED,
        signs: &[Sign::Became("connects are not answered", not_answered)],
        absent: "every connect was answered",
        fix: |_, _| vec![Fix::Advice("check the route and the firewalls between, then the server")],
        remark: "named only when no queue that can be seen dropped anything",
        ..BLANK
    },
];

/// Length of an accept queue that is enough.
fn queue(demand: &Demand) -> u64 {
    round_up_int(demand.connects_in_flight.max(4096))
}

/// The sysctl caps what the server asks for, so it comes first where it is or may be the smaller.
fn longer_queue(queue: u64, is_capped: bool) -> Vec<Fix> {
    let mut fixes = vec![
        Fix::Raise("serve --backlog", queue),
        Fix::Sysctl("net.core.somaxconn", queue.to_string()),
        Fix::Cores("serve --cores with more of them: a listener each"),
    ];
    if is_capped {
        fixes.swap(0, 1);
    }
    fixes
}

/// The listener dropped SYNs, and for none of the causes that have a counter of their own: full
/// queues, or no route back.
fn syns_dropped(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let rise = |counter| end.rise(counter).unwrap_or(0);
    let others =
        rise("TcpExt.ListenOverflows") + rise("TcpExt.TCPReqQFullDrop") + rise("Ip.OutNoRoutes");
    let n = rise("TcpExt.ListenDrops").saturating_sub(others);
    let text = format!(
        "server: TcpExt.ListenDrops +{}, {} of no other cause",
        grouped(rise("TcpExt.ListenDrops")),
        grouped(n)
    );
    (n > 0).then_some(Evidence { text, count: Some(n), confidence: Confidence::Likely })
}

/// The target's host refused connects. When a server was there and went away, that is only possibly
/// the wall. The same holds for a server that accepted others, because a firewall may refuse in its
/// name, unless a target is known to refuse still.
fn nothing_listens(run: &RunFacts, _: Place) -> Option<Evidence> {
    let n = run.failed(Errno::ECONNREFUSED);
    if n == 0 || is_refused_in_part(run) || by_icmp(run).is_some() {
        return None;
    }
    let refusing = run.facts.refusing_targets.as_deref().unwrap_or_default();
    let mut text = format!("client: ECONNREFUSED {} times", grouped(n));
    if let Some(first) = refusing.first() {
        let more = refusing.len() - 1;
        text += &format!("; nothing listens at {first}");
        if more > 0 {
            text += &format!(" and at {more} more targets");
        }
    }
    let went_away =
        [LostCause::Fin, LostCause::Reset].iter().any(|cause| run.count(Symptom::Lost(*cause)) > 0);
    let took_others = run.client.cores.iter().any(|core| core.connections_peak() > 0);
    let is_doubtful = went_away || took_others && refusing.is_empty();
    let confidence = if is_doubtful { Confidence::Possible } else { Confidence::Certain };
    Some(Evidence { text, count: Some(n), confidence })
}

/// Connections that are enough for a server that was full: more than it had, and as many more as it
/// refused.
fn enough(run: &RunFacts) -> u64 {
    let Some(server) = &run.server else { return run.demand.connections };
    let had: u64 = server.cores.iter().map(CoreSnapshot::connections_peak).sum();
    let refused = server.figure("refused_total").unwrap_or(0);
    run.demand.connections.max(had + refused)
}

/// The server refused connections. It was not for want of a ring or of memory.
fn refused_as_full(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let refused = end.figure("refused_total").filter(|n| *n > 0)?;
    let grew = end.figure("grow_failed_total") == Some(0);
    let text = format!("server: refused_total 0 -> {}", grouped(refused));
    grew.then_some(Evidence { text, count: Some(refused), confidence: Confidence::Certain })
}

/// How a connect ends that gets no answer.
const UNANSWERED: &[Symptom] = &[
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Failed(Errno::EHOSTDOWN),
];

fn not_answered(run: &RunFacts, _: Place) -> Option<Evidence> {
    let found: Vec<String> = UNANSWERED
        .iter()
        .filter(|symptom| run.count(**symptom) > 0)
        .map(|symptom| format!("{} {symptom}", grouped(run.count(*symptom))))
        .collect();
    let retries = run.client.rise("TcpExt.TCPSynRetrans").unwrap_or(0);
    let text = format!("client: {}; TcpExt.TCPSynRetrans +{}", found.join(", "), grouped(retries));
    // What was not measured raises no confidence: the server's queues must be seen to drop nothing.
    let is_seen = run.server.as_ref().is_some_and(End::has_counters);
    let confidence = if is_seen { Confidence::Likely } else { Confidence::Possible };
    (!found.is_empty()).then_some(Evidence { text, count: None, confidence })
}
