//! Tables of the kernel: neighbours, tracked connections, buckets of sockets.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::procfs::Sysctl;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BETWEEN, BLANK, round_up_int};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "neighbours",
        precedence: 190,
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
        absent: "the table of neighbours did not overflow",
        fix: |_, demand| {
            let most = round_up_int(demand.neighbours.saturating_mul(2).max(4096));
            vec![Fix::Sysctl("net.ipv4.neigh.default.gc_thresh3", most.to_string())]
        },
        remark: "one address block behind a route, instead of on the link, needs one neighbour",
        ..BLANK
    },
    Wall {
        id: "conntrack",
        precedence: 250,
        limits: "connections that a firewall of this host tracks",
        unit: "entries",
        read: |host, demand| {
            let none = Reading { have: Have::Unlimited, need: Some(0), ..Reading::NOTHING };
            let most = host.procfs.number("net.netfilter.nf_conntrack_max");
            let used = host.procfs.number("net.netfilter.nf_conntrack_count");
            let have = most.zip(used).map(|(most, used)| most.saturating_sub(used)).into();
            // Without the module nothing is tracked.
            let is_missing =
                host.procfs.find_sysctl("net.netfilter.nf_conntrack_max") == Sysctl::Missing;
            match host.tracks {
                _ if is_missing => none,
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
        absent: "the firewall's table dropped nothing",
        fix: |host, demand| {
            let used = host.procfs.number("net.netfilter.nf_conntrack_count").unwrap_or(0);
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
        precedence: 260,
        limits: "buckets in which the kernel finds a socket",
        unit: "buckets",
        read: |host, demand| {
            // A namespace that shares the host's table shows the number as negative.
            let text = host.procfs.sysctl("net.ipv4.tcp_ehash_entries");
            let buckets = text.and_then(|text| text.trim_start_matches('-').parse().ok());
            let sockets = demand.connections.saturating_mul(demand.ends.count());
            // Eight sockets to a bucket cost little beside the rest of a packet's way.
            Reading::disturbs(Have::from(buckets), sockets / 8)
        },
        fix: |_, _| vec![Fix::Advice("thash_entries=N on the kernel's command line")],
        remark: "longer chains cost time for each packet, nothing else",
        ..BLANK
    },
];

/// The table of neighbours overflowed, and the plan has neighbours. The table is the whole host's.
/// Each connect of ours that failed for it is one of the overflows.
fn table_full(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side).filter(|_| run.demand.neighbours > 0)?;
    let rise = |table| end.rise(&format!("{table}.table_fulls")).unwrap_or(0);
    let times = rise("arp_cache") + rise("ndisc_cache");
    let text = format!("the table of neighbours overflowed {} times", grouped(times));
    (times > 0).then_some(Evidence { text, count: Some(times), confidence: Confidence::Likely })
}

/// A line of the log is of the whole host, and counters are of a network namespace. Where there are
/// counters, they decide.
fn table_full_logged(run: &RunFacts, side: Place) -> Option<Evidence> {
    let is_counted = run.end(side)?.rise("nf_conntrack.drop").is_some();
    let lines = run.log_of(side).filter(|_| !is_counted)?;
    let line = lines.iter().find(|line| line.contains("nf_conntrack: table full"))?;
    let text = format!("kernel log: {line}");
    Some(Evidence { text, count: None, confidence: Confidence::Likely })
}
