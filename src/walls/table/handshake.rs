//! The handshake: connections that are refused, not answered, or wait to be accepted.

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
use crate::walls::table::row::{BETWEEN, BLANK, SERVER, round_up_int};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "refused",
        precedence: 130,
        limits: "nothing: nothing listens there",
        at: SERVER,
        explains: &[Symptom::Failed(Errno::ECONNREFUSED)],
        signs: &[Sign::Became("ECONNREFUSED", nothing_listens)],
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
        fix: |_, demand| vec![Fix::Flag(format!("serve --max-connections {}", demand.connections))],
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
        fix: |host, demand| {
            let queue = round_up_int(demand.connects_in_flight.max(4096));
            let mut fixes = vec![
                Fix::Flag(format!("serve --backlog {queue}")),
                Fix::Sysctl("net.core.somaxconn", queue.to_string()),
                Fix::Flag("serve --cores with more of them: a listener each".into()),
            ];
            // The sysctl caps what the server asks for, so it comes first where it is the smaller.
            if host.procfs.number("net.core.somaxconn").is_some_and(|most| most < demand.backlog) {
                fixes.swap(0, 1);
            }
            fixes
        },
        remark: "the kernel drops SYNs and last ACKs; the client tries again a second later",
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
        fix: |_, demand| {
            let most = round_up_int(demand.connects_in_flight.max(4096));
            vec![
                Fix::Flag(format!("serve --backlog {most}")),
                Fix::Sysctl("net.core.somaxconn", most.to_string()),
                Fix::Sysctl("net.ipv4.tcp_max_syn_backlog", most.to_string()),
            ]
        },
        remark: "it is full at the listener's backlog, and without syncookies at three quarters of \
                 tcp_max_syn_backlog for whoever was never met before",
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
                Fix::Flag(format!("serve --backlog {most}")),
                Fix::Sysctl("net.core.somaxconn", most.to_string()),
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
        fix: |_, _| vec![Fix::Advice("check the route and the firewalls between, then the server")],
        remark: "named only when no queue that can be seen dropped anything",
        ..BLANK
    },
];

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
/// name.
fn nothing_listens(run: &RunFacts, _: Place) -> Option<Evidence> {
    let n = run.failed(Errno::ECONNREFUSED);
    let text = format!("client: ECONNREFUSED {} times", grouped(n));
    let went_away =
        [LostCause::Fin, LostCause::Reset].iter().any(|cause| run.count(Symptom::Lost(*cause)) > 0);
    let took_others = run.client.cores.iter().any(|core| core.connections_peak() > 0);
    let confidence =
        if went_away || took_others { Confidence::Possible } else { Confidence::Certain };
    (n > 0).then_some(Evidence { text, count: Some(n), confidence })
}

/// The server refused connections. It was not for want of a ring or of memory.
fn refused_as_full(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let refused = end.figure("refused_total").filter(|n| *n > 0)?;
    let grew = end.figure("grow_failed_total") == Some(0);
    let text = format!("server: refused_total 0 -> {}", grouped(refused));
    grew.then_some(Evidence { text, count: Some(refused), confidence: Confidence::Certain })
}

/// How a connect ends that gets no answer, or that a local rule forbids.
const UNANSWERED: &[Symptom] = &[
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Failed(Errno::ENETUNREACH),
    Symptom::Failed(Errno::EPERM),
    Symptom::Failed(Errno::EACCES),
];

fn not_answered(run: &RunFacts, _: Place) -> Option<Evidence> {
    let found: Vec<String> = UNANSWERED
        .iter()
        .filter(|symptom| run.count(**symptom) > 0)
        .map(|symptom| format!("{} {symptom}", grouped(run.count(*symptom))))
        .collect();
    let retries = run.client.rise("TcpExt.TCPSynRetrans").unwrap_or(0);
    let text = format!("client: {}; TcpExt.TCPSynRetrans +{}", found.join(", "), grouped(retries));
    let confidence = if run.server.is_some() { Confidence::Likely } else { Confidence::Possible };
    (!found.is_empty()).then_some(Evidence { text, count: None, confidence })
}
