//! CPU and queues.

use std::collections::BTreeSet;

use super::{BETWEEN, BLANK, CLIENT, SERVER};
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::snapshot::CoreSnapshot;
use crate::observe::stats::LostCause;
use crate::plan::Ends;
use crate::walls::case::{Case, Confidence, End, Met};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::side::Side;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "netdev-backlog",
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
        fix: |host, _| {
            let now = host.tree.number("net.core.netdev_max_backlog").unwrap_or(1000);
            vec![Fix::Sysctl("net.core.netdev_max_backlog", (10 * now).max(10_000).to_string())]
        },
        remark: "column 2 of /proc/net/softnet_stat is of the whole host; whose packets they were, the \
                 interfaces say",
        ..BLANK
    },
    Wall {
        id: "nic-ring",
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
        fix: |_, _| vec![Fix::Command("ethtool -G INTERFACE rx 4096".into())],
        remark: "more queues and RSS spread them over more CPUs",
        ..BLANK
    },
    Wall {
        id: "client-lag",
        limits: "what the client itself can begin in time",
        at: CLIENT,
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("the client's own lag is most of the latency", client_lags)],
        fix: |_, _| {
            vec![
                Fix::Flag("--cores with more of them".into()),
                Fix::Flag("--message-rate, --message-every or --churn with less".into()),
                Fix::Advice("more client machines"),
            ]
        },
        remark: "the client was the limit, not the server",
        ..BLANK
    },
    Wall {
        id: "core-imbalance",
        limits: "the busiest core, while others have little to do",
        at: SERVER,
        // What was late first, so that its count is not taken for a count of resets.
        explains: &[
            Symptom::Late,
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[
            Sign::Seen("one core refused, another was not half as full", refused_by_one_core),
            Sign::Seen("one core had most of the work, and was full", imbalanced),
        ],
        fix: |_, _| {
            vec![
                Fix::Flag("serve --steer hash".into()),
                Fix::Flag("--cores of the client with as many as the server has".into()),
            ]
        },
        remark: "connections go to the core whose CPU received them, unless --steer says otherwise; \
                 --max-connections is dealt out evenly",
        ..BLANK
    },
    Wall {
        id: "cpu",
        limits: "CPU time",
        at: SERVER,
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("the programs kept all their CPUs busy", all_busy)],
        fix: |_, _| vec![Fix::Flag("--cores with more of them, or more machines".into())],
        remark: "the only wall that is good news",
        ..BLANK
    },
    Wall {
        id: "softirq-budget",
        limits: "packets that one turn of the kernel takes in",
        signs: &[Sign::Rises("softnet.time_squeeze")],
        fix: |host, _| {
            let now = host.tree.number("net.core.netdev_budget").unwrap_or(300);
            vec![Fix::Sysctl("net.core.netdev_budget", (2 * now).max(600).to_string())]
        },
        remark: "packets wait for the next turn; none is lost",
        ..BLANK
    },
    Wall {
        id: "unanswered",
        limits: "nothing that could be seen: connects are not answered",
        at: BETWEEN,
        explains: UNANSWERED,
        signs: &[Sign::Became("connects are not answered", not_answered)],
        fix: |_, _| vec![Fix::Advice("check the route and the firewalls between, then the server")],
        remark: "named only when no queue that can be seen dropped anything",
        ..BLANK
    },
];

/// The queue before a CPU is of the whole host and so is its counter: only what an interface of this
/// network namespace dropped in the same time was ours.
fn backlog_dropped(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side)?;
    let dropped = end.rise("softnet.dropped").filter(|n| *n > 0)?;
    let (line, ours) = interfaces_rise(end, &[".rx_dropped"])?;
    let evidence = format!("{side:?}: softnet.dropped +{}, {line}", grouped(dropped));
    Some(Met {
        evidence: evidence.to_lowercase(),
        count: Some(ours.min(dropped)),
        confidence: Confidence::Likely,
    })
}

/// Connections between two ends on one host go through no card.
fn card_dropped(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|_| case.demand.ends != Ends::Both)?;
    let (line, count) = interfaces_rise(end, &[".rx_missed_errors", ".rx_fifo_errors"])?;
    let evidence = format!("{side:?}: {line}").to_lowercase();
    Some(Met { evidence, count: Some(count), confidence: Confidence::Likely })
}

/// By how much counters of interfaces rose, in words and in all; `None` when none did.
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

/// The client began what was due so late that this is most of what was measured.
fn client_lags(case: &Case, _: Side) -> Option<Met> {
    // Where the server's CPUs are full as well, it is the CPUs.
    let lag = case.facts.lag_p99_us.filter(|_| all_busy(case, Side::Server).is_none())?;
    // A client that rests while something is due waits for the server, and its lag is the server's;
    // but for the time in which it would have run again, had it been let.
    let cores = case.client.cores.len().max(1) as u64;
    let waited_us = case.client.cpu_time.map_or(0, |time| 1000 * time.waited_ms);
    let rested_us = case.client.figure("held_up_us_total").unwrap_or(0);
    if rested_us.saturating_sub(waited_us) / cores >= lag / 2 {
        return None;
    }
    let unbegun = case.client.figure("messages_unsent_total").unwrap_or(0)
        + case.client.figure("churn_unstarted_total").unwrap_or(0);
    let is_most = case.facts.latency_p99_us.is_none_or(|latency| lag >= latency / 2);
    let evidence =
        format!("client: lag p99 {} us, {} not begun in time", grouped(lag), grouped(unbegun));
    let confidence = if unbegun > 0 { Confidence::Certain } else { Confidence::Likely };
    let lags = is_most && lag > LAG_US || unbegun > 0;
    lags.then_some(Met { evidence, count: None, confidence })
}

/// Microseconds from which on a lag is more than what a scheduler does to anybody.
const LAG_US: u64 = 10_000;

/// One core refused while another had room; not for want of a ring, which some cores get and some
/// do not.
fn refused_by_one_core(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|end| end.is_filled_unevenly())?;
    end.figure("grow_failed_total").filter(|times| *times == 0)?;
    let refused = end.figure("refused_total").filter(|n| *n > 0)?;
    let peaks: Vec<String> =
        end.cores.iter().map(|core| grouped(core.connections_peak())).collect();
    let evidence = format!(
        "server: refused_total 0 -> {} while its cores had at most {}",
        grouped(refused),
        peaks.join(" and ")
    );
    Some(Met { evidence, count: Some(refused), confidence: Confidence::Certain })
}

/// One core had most of the work, and so much that it was full.
fn imbalanced(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side)?;
    let received = end.cores.iter().any(|core| core.messages() > 0);
    // Who only pushes receives none.
    let work =
        |core: &CoreSnapshot| if received { core.messages() } else { core.connections_peak() };
    let (most, all) = (end.cores.iter().map(work).max()?, end.cores.iter().map(work).sum::<u64>());
    let share = most as f64 / all.max(1) as f64;
    let is_uneven = end.cores.len() > 1 && share >= 1.5 / end.cores.len() as f64;
    // Its share of the CPU time is that of the work; what waits beside a core that has time, waits for
    // something else.
    let wanted = end.cpu_time?.wanted() * share;
    let evidence = format!(
        "server: the busiest core had {} of {} {}, and {:.0} % of a CPU to do",
        grouped(most),
        grouped(all),
        if received { "messages" } else { "connections" },
        100.0 * wanted
    );
    // Who was refused is counted by the other sign.
    let late = case.count(Symptom::Late);
    let met = Met { evidence, count: Some(late), confidence: Confidence::Likely };
    (is_uneven && wanted >= BUSY && late > 0).then_some(met)
}

/// CPU time was short at the server: where the client has CPUs of its own, the server would have kept
/// all of its own busy; where they share them, both together did, or would have, the server a good part.
fn all_busy(case: &Case, side: Side) -> Option<Met> {
    let cpus_of = |end: &End| end.cores.iter().map(|core| core.cpu).collect::<BTreeSet<u16>>();
    let server = case.end(side)?;
    let (cpus, clients) = (cpus_of(server), cpus_of(&case.client));
    let time = server.cpu_time.filter(|_| !cpus.is_empty())?;
    let per_cpu = |share: f64| share / cpus.len() as f64;
    let (ran, wanted) = (per_cpu(time.ran()), per_cpu(time.wanted()));
    let is_shared = case.demand.ends == Ends::Both && !cpus.is_disjoint(&clients);
    let client = case.client.cpu_time.filter(|_| is_shared).unwrap_or_default();
    let (of_client, by_client) = (per_cpu(client.ran()), per_cpu(client.wanted()));
    let is_full = if is_shared {
        ran + of_client >= BUSY || wanted + by_client >= 1.0 && wanted >= 0.5
    } else {
        wanted >= BUSY
    };
    let share = |n: f64| format!("{:.0} %", 100.0 * n);
    let mut evidence =
        format!("server: its CPUs ran it {} of the hold; wanted: {}", share(ran), share(wanted));
    if is_shared {
        evidence += &format!("; the client, on them: {}; {}", share(of_client), share(by_client));
    }
    is_full.then_some(Met { evidence, count: None, confidence: Confidence::Likely })
}

/// Share of the time from which on CPUs count as busy: interrupts are booked to nobody, and some rest
/// is in every turn.
const BUSY: f64 = 0.85;

/// What a connect ends with that nobody answers, or that is not let go.
const UNANSWERED: &[Symptom] = &[
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Failed(Errno::ENETUNREACH),
    Symptom::Failed(Errno::EPERM),
    Symptom::Failed(Errno::EACCES),
];

fn not_answered(case: &Case, _: Side) -> Option<Met> {
    let found: Vec<String> = UNANSWERED
        .iter()
        .filter(|symptom| case.count(**symptom) > 0)
        .map(|symptom| format!("{} {symptom}", grouped(case.count(*symptom))))
        .collect();
    let retries = case.client.rise("TcpExt.TCPSynRetrans").unwrap_or(0);
    let evidence =
        format!("client: {}; TcpExt.TCPSynRetrans +{}", found.join(", "), grouped(retries));
    let confidence = if case.server.is_some() { Confidence::Likely } else { Confidence::Possible };
    (!found.is_empty()).then_some(Met { evidence, count: None, confidence })
}
