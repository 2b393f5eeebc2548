//! Queues that packets wait in: of a CPU and of a network card.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::plan::demand::Ends;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::place::Place;
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::BLANK;
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "netdev-backlog",
        precedence: 270,
        limits: "packets that wait for a CPU; those of loopback and veth do too",
        unit: "packets",
        read: |host, _| Reading::disturbs(host.have("net.core.netdev_max_backlog"), 1000),
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Late,
        ],
        drops: true,
        signs: &[Sign::Kernel(
            "softnet.dropped rises, and an interface's rx_dropped with it",
            backlog_dropped,
        )],
        absent: "no interface dropped packets before a CPU took them",
        fix: |host, _| {
            let now = host.procfs.number("net.core.netdev_max_backlog").unwrap_or(1000);
            vec![Fix::Sysctl("net.core.netdev_max_backlog", (10 * now).max(10_000).to_string())]
        },
        remark: "column 2 of /proc/net/softnet_stat is of the whole host; whose packets they were, the \
                 interfaces say",
        ..BLANK
    },
    Wall {
        id: "nic-ring",
        precedence: 280,
        limits: "packets that wait in the network card",
        unit: "packets",
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Late,
        ],
        drops: true,
        signs: &[Sign::Kernel("rx_missed_errors or rx_fifo_errors rise", card_dropped)],
        absent: "no card missed a packet",
        fix: |_, _| vec![Fix::Command("ethtool -G INTERFACE rx 4096".into())],
        remark: "more queues and RSS spread them over more CPUs",
        ..BLANK
    },
    Wall {
        id: "softirq-budget",
        precedence: 320,
        limits: "packets that one turn of the kernel takes in",
        signs: &[Sign::Rises("softnet.time_squeeze")],
        fix: |host, _| {
            let now = host.procfs.number("net.core.netdev_budget").unwrap_or(300);
            vec![Fix::Sysctl("net.core.netdev_budget", (2 * now).max(600).to_string())]
        },
        remark: "packets wait for the next turn; none is lost",
        ..BLANK
    },
];

/// The queue before a CPU is the whole host's, and so is its counter. Only the packets that an
/// interface of this network namespace dropped in the same time were ours.
fn backlog_dropped(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let dropped = end.rise("softnet.dropped").filter(|n| *n > 0)?;
    let (line, ours) = interfaces_rise(end, &[".rx_dropped"])?;
    let text = format!("{side:?}: softnet.dropped +{}, {line}", grouped(dropped));
    Some(Evidence {
        text: text.to_lowercase(),
        count: Some(ours.min(dropped)),
        confidence: Confidence::Likely,
    })
}

/// Connections between two ends on one host go through no card.
fn card_dropped(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side).filter(|_| run.demand.ends != Ends::Both)?;
    let (line, count) = interfaces_rise(end, &[".rx_missed_errors", ".rx_fifo_errors"])?;
    let text = format!("{side:?}: {line}").to_lowercase();
    Some(Evidence { text, count: Some(count), confidence: Confidence::Likely })
}

/// By how much counters of interfaces rose: a text, and the sum; `None` when none rose.
fn interfaces_rise(end: &End, counters: &[&str]) -> Option<(String, u64)> {
    let (before, now) = end.counters.as_ref()?;
    let rises = |(name, is): (&str, u64)| {
        let is_one = counters.iter().any(|counter| name.ends_with(counter));
        let rise = is.saturating_sub(before.get(name).filter(|_| is_one)?);
        (rise > 0).then(|| (format!("{name} +{}", grouped(rise)), rise))
    };
    let (lines, counts): (Vec<String>, Vec<u64>) = now.iter().filter_map(rises).unzip();
    (!counts.is_empty()).then(|| (lines.join(", "), counts.iter().sum()))
}
