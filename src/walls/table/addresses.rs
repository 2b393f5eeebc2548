//! Addresses and the handshake.

use super::{BETWEEN, BLANK, CLIENT, SERVER, round_up_int};
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::walls::case::{Case, Confidence, Met};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::side::Side;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "time-wait",
        limits: "tuples that an earlier run left in TIME_WAIT, for a minute",
        at: CLIENT,
        unit: "sockets",
        explains: &[Symptom::Failed(Errno::EADDRNOTAVAIL)],
        signs: &[Sign::Seen("tuples are passed over and are in TIME_WAIT", tuples_in_time_wait)],
        fix: |_, _| {
            vec![
                Fix::Command("sleep 60".into()),
                Fix::Flag("--close reset, in the run before".into()),
                Fix::Flag("--source with more addresses".into()),
            ]
        },
        remark: "net.ipv4.tcp_tw_reuse, 2 by default, lets loopback reuse them after a second",
        ..BLANK
    },
    Wall {
        id: "source-ports",
        limits: "4-tuples: source addresses x source ports x targets",
        at: CLIENT,
        unit: "tuples",
        read: |_, demand| match demand.tuples {
            None => Reading::NOTHING,
            Some(tuples) => {
                let need = demand.connections.saturating_add(demand.churn_tuples);
                Reading::stops(Have::Some(tuples), need, |have| {
                    have.saturating_sub(demand.churn_tuples)
                })
            }
        },
        explains: &[Symptom::Failed(Errno::EADDRNOTAVAIL), Symptom::Failed(Errno::EADDRINUSE)],
        signs: &[Sign::Errno(Errno::EADDRNOTAVAIL), Sign::Errno(Errno::EADDRINUSE)],
        fix: |_, _| {
            vec![
                Fix::Flag("--source with more addresses".into()),
                Fix::Flag("--target ADDR:PORT-PORT with more ports".into()),
                Fix::Sysctl("net.ipv4.ip_local_port_range", "1024 65535".into()),
            ]
        },
        remark: "28,232 by default for each pair of source address and target; a port on which \
                 anybody listens cannot be pinned",
        ..BLANK
    },
    Wall {
        id: "refused",
        limits: "nothing: nobody listens there",
        at: SERVER,
        explains: &[Symptom::Failed(Errno::ECONNREFUSED)],
        signs: &[Sign::Became("ECONNREFUSED", nobody_listens)],
        fix: |_, _| vec![Fix::Advice("start the server, or check --target's port")],
        remark: "a reset in answer to the SYN: the host is there, the port is not",
        ..BLANK
    },
    Wall {
        id: "server-full",
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
        remark: "who comes beyond it is accepted and reset at once, and counted",
        ..BLANK
    },
    Wall {
        id: "accept-queue",
        limits: "connections that are complete and wait for accept, on each listener",
        at: SERVER,
        unit: "connections",
        read: |host, demand| {
            let queue = host.tree.number("net.core.somaxconn").map(|n| n.min(demand.backlog));
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
            // It caps what the server asks for, and so comes first where it is the smaller.
            if host.tree.number("net.core.somaxconn").is_some_and(|most| most < demand.backlog) {
                fixes.swap(0, 1);
            }
            fixes
        },
        remark: "the kernel drops SYNs and last ACKs; the client tries again a second later",
    },
    Wall {
        id: "syn-queue",
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
        id: "tw-buckets",
        limits: "sockets in TIME_WAIT; more are forgotten at once",
        at: CLIENT,
        unit: "sockets",
        read: |host, demand| {
            let most = host.have("net.ipv4.tcp_max_tw_buckets");
            Reading::disturbs(most, demand.connections.saturating_add(demand.churn_tuples))
        },
        signs: &[Sign::Rises("TcpExt.TCPTimeWaitOverflow")],
        fix: |_, demand| {
            let most = demand.connections.saturating_add(demand.churn_tuples);
            vec![Fix::Sysctl(
                "net.ipv4.tcp_max_tw_buckets",
                round_up_int(most.saturating_mul(2)).to_string(),
            )]
        },
        remark: "it protects memory; an old packet of a forgotten connection may be taken for a \
                 new one's",
        ..BLANK
    },
    Wall {
        id: "neighbours",
        limits: "neighbours on the same link, of all network namespaces together",
        at: BETWEEN,
        unit: "neighbours",
        read: |host, demand| {
            let most = host.have("net.ipv4.neigh.default.gc_thresh3");
            Reading::stops(most, demand.neighbours, |_| u64::MAX)
        },
        explains: &[
            Symptom::Failed(Errno::ENOBUFS),
            Symptom::Failed(Errno::EINVAL),
            Symptom::Failed(Errno::EHOSTUNREACH),
            Symptom::Failed(Errno::ETIMEDOUT),
        ],
        signs: &[Sign::Kernel(
            "arp_cache.table_fulls or ndisc_cache.table_fulls rises",
            table_full,
        )],
        fix: |_, demand| {
            let most = round_up_int((2 * demand.neighbours).max(4096));
            vec![Fix::Sysctl("net.ipv4.neigh.default.gc_thresh3", most.to_string())]
        },
        remark: "one address block behind a route, instead of on the link, needs one neighbour",
        ..BLANK
    },
];

/// The listener dropped SYNs for none of the reasons that have a counter of their own: full queues,
/// or no route back.
fn syns_dropped(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side)?;
    let rise = |counter| end.rise(counter).unwrap_or(0);
    let others =
        rise("TcpExt.ListenOverflows") + rise("TcpExt.TCPReqQFullDrop") + rise("Ip.OutNoRoutes");
    let n = rise("TcpExt.ListenDrops").saturating_sub(others);
    let evidence = format!(
        "server: TcpExt.ListenDrops +{}, {} of no other cause",
        grouped(rise("TcpExt.ListenDrops")),
        grouped(n)
    );
    (n > 0).then_some(Met { evidence, count: Some(n), confidence: Confidence::Likely })
}

/// The table of neighbours overflowed, and there are neighbours to connect to. It is one of the whole
/// host; each of our connects that failed for it is one of the times.
fn table_full(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|_| case.demand.neighbours > 0)?;
    let rise = |table| end.rise(&format!("{table}.table_fulls")).unwrap_or(0);
    let times = rise("arp_cache") + rise("ndisc_cache");
    let evidence = format!("the table of neighbours overflowed {} times", grouped(times));
    (times > 0).then_some(Met { evidence, count: Some(times), confidence: Confidence::Likely })
}

/// Connects were refused by the target's host. Of a server that was there and went away that says
/// nothing, and of one that took others not much: a firewall may refuse in its name.
fn nobody_listens(case: &Case, _: Side) -> Option<Met> {
    let n = case.failed(Errno::ECONNREFUSED);
    let evidence = format!("client: ECONNREFUSED {} times", grouped(n));
    let went_away = [LostCause::Fin, LostCause::Reset]
        .iter()
        .any(|cause| case.count(Symptom::Lost(*cause)) > 0);
    let took_others = case.client.cores.iter().any(|core| core.connections_peak() > 0);
    let confidence =
        if went_away || took_others { Confidence::Possible } else { Confidence::Certain };
    (n > 0).then_some(Met { evidence, count: Some(n), confidence })
}

/// Tuples were passed over, and at least half as many are in TIME_WAIT towards the targets.
fn tuples_in_time_wait(case: &Case, _: Side) -> Option<Met> {
    let skipped = case.client.figure("tuples_skipped_total")?;
    let waiting = case.facts.time_wait?;
    let evidence = format!(
        "client: tuples_skipped_total 0 -> {}; {} sockets towards the targets were in TIME_WAIT",
        grouped(skipped),
        grouped(waiting)
    );
    let most_of_them = skipped > 0 && waiting >= skipped.div_ceil(2);
    most_of_them.then_some(Met { evidence, count: None, confidence: Confidence::Certain })
}

/// The server refused, and not for want of a ring or of memory, nor while a core had room.
fn refused_as_full(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|end| !end.is_filled_unevenly())?;
    let refused = end.figure("refused_total").filter(|n| *n > 0)?;
    let grew = end.figure("grow_failed_total") == Some(0);
    let evidence = format!("server: refused_total 0 -> {}", grouped(refused));
    grew.then_some(Met { evidence, count: Some(refused), confidence: Confidence::Certain })
}
