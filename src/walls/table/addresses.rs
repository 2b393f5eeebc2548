//! Addresses and ports of the client's end.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::place::Place;
use crate::walls::run_facts::{NoMore, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BLANK, CLIENT, round_up_int};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "port-search",
        precedence: 100,
        limits: "the time in which the kernel finds a free port",
        at: CLIENT,
        unit: "ports",
        remark: "met by programs that let the kernel choose; this client pins every port itself",
        ..BLANK
    },
    Wall {
        id: "time-wait",
        precedence: 110,
        limits: "tuples that an earlier run left in TIME_WAIT, for a minute",
        at: CLIENT,
        unit: "sockets",
        explains: &[Symptom::Failed(Errno::EADDRNOTAVAIL)],
        signs: &[Sign::Seen("tuples are passed over and are in TIME_WAIT", tuples_in_time_wait)],
        absent: "no tuple was passed over for a socket in TIME_WAIT",
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
        precedence: 120,
        limits: "4-tuples: source addresses x source ports x targets",
        at: CLIENT,
        unit: "tuples",
        read: |_, demand| match demand.tuples {
            None => Reading::NOTHING,
            Some(tuples) => {
                let need = demand.connections.saturating_add(demand.tuples_besides());
                Reading::stops(Have::Some(tuples), need, |have| {
                    have.saturating_sub(demand.tuples_besides())
                })
            }
        },
        explains: &[
            Symptom::NoMore,
            Symptom::Failed(Errno::EADDRNOTAVAIL),
            Symptom::Failed(Errno::EADDRINUSE),
        ],
        signs: &[
            Sign::Errno(Errno::EADDRNOTAVAIL),
            Sign::Errno(Errno::EADDRINUSE),
            Sign::Seen("every tuple is in use", all_in_use),
        ],
        absent: "a free source port was found for every connect",
        fix: |_, demand| {
            // Then this host does not even reach itself.
            if demand.tuples == Some(0) {
                return vec![
                    Fix::Command("ip link set lo up".into()),
                    Fix::Command("ip addr add 127.0.0.1/8 dev lo".into()),
                    Fix::Command("sysctl -w net.ipv6.conf.lo.disable_ipv6=0".into()),
                ];
            }
            vec![
                Fix::Flag("--source with more addresses".into()),
                Fix::Flag("--target ADDR:PORT-PORT with more ports".into()),
                Fix::Sysctl("net.ipv4.ip_local_port_range", "1024 65535".into()),
            ]
        },
        remark: "28,232 by default for each pair of source address and target; a port on which \
                 any socket listens cannot be pinned",
        ..BLANK
    },
    Wall {
        id: "tw-buckets",
        precedence: 180,
        limits: "sockets in TIME_WAIT; more are forgotten at once",
        at: CLIENT,
        unit: "sockets",
        read: |host, demand| {
            let most = host.have("net.ipv4.tcp_max_tw_buckets");
            Reading::disturbs(most, demand.connections.saturating_add(demand.tuples_besides()))
        },
        signs: &[Sign::Rises("TcpExt.TCPTimeWaitOverflow")],
        fix: |_, demand| {
            let most = demand.connections.saturating_add(demand.tuples_besides());
            vec![Fix::Sysctl(
                "net.ipv4.tcp_max_tw_buckets",
                round_up_int(most.saturating_mul(2)).to_string(),
            )]
        },
        remark: "it protects memory; an old packet of a forgotten connection may be taken for a \
                 new one's",
        ..BLANK
    },
];

/// As many connections as there can be were opened, and all tuples have one.
fn all_in_use(run: &RunFacts, _: Place) -> Option<Evidence> {
    let Some(NoMore::Tuples(tuples)) = run.facts.no_more else { return None };
    let text =
        format!("client: all {} pairs of source port and target are in use", grouped(tuples));
    Some(Evidence {
        text,
        count: Some(run.count(Symptom::NoMore)),
        confidence: Confidence::Certain,
    })
}

/// Tuples were passed over, and at least half as many are in TIME_WAIT towards the targets.
fn tuples_in_time_wait(run: &RunFacts, _: Place) -> Option<Evidence> {
    let skipped = run.client.figure("tuples_skipped_total")?;
    // Where there were others, nothing was short.
    let was_short = run.failed(Errno::EADDRNOTAVAIL) > 0;
    let waiting = run.facts.time_wait?;
    let text = format!(
        "client: tuples_skipped_total 0 -> {}; {} sockets towards the targets were in TIME_WAIT",
        grouped(skipped),
        grouped(waiting)
    );
    let most_of_them = was_short && skipped > 0 && waiting >= skipped.div_ceil(2);
    most_of_them.then_some(Evidence { text, count: None, confidence: Confidence::Certain })
}
