//! CPU and queues.

use super::{BETWEEN, BLANK, CLIENT, SERVER};
use crate::errno::Errno;
use crate::stats::LostCause;
use crate::units::grouped;
use crate::walls::case::{Case, Confidence, End, Met};
use crate::walls::{Fix, Reading, Side, Sign, Symptom, Wall};

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
        signs: &[Sign::Seen(
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
        signs: &[Sign::Seen("rx_missed_errors or rx_fifo_errors rise", card_dropped)],
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
        explains: &[
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Fin),
            Symptom::Late,
        ],
        signs: &[
            Sign::Seen("one core refused, another was not half as full", refused_by_one_core),
            Sign::Seen("one core had over half more than the mean", imbalanced),
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
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("all CPUs of the programs were busy", all_busy)],
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
            vec![Fix::Sysctl("net.core.netdev_budget", (2 * now).to_string())]
        },
        remark: "packets wait for the next turn; none is lost",
        ..BLANK
    },
    Wall {
        id: "unanswered",
        limits: "nothing that could be seen: connects are not answered",
        at: BETWEEN,
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Failed(Errno::EHOSTUNREACH),
            Symptom::Failed(Errno::ENETUNREACH),
            Symptom::Failed(Errno::EPERM),
            Symptom::Failed(Errno::EACCES),
        ],
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

fn card_dropped(case: &Case, side: Side) -> Option<Met> {
    let (line, count) =
        interfaces_rise(case.end(side)?, &[".rx_missed_errors", ".rx_fifo_errors"])?;
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
    let is_cpu = case.server.as_ref().and_then(least_busy).is_some_and(|share| share >= BUSY);
    let lag = case.facts.lag_p99_us.filter(|_| !is_cpu)?;
    // A client that rests while something is due waits for the server: its lag is the server's.
    let cores = case.client.cores.len().max(1) as u64;
    let held_up = case.client.figure("held_up_us_total").unwrap_or(0) / cores;
    if held_up >= lag / 2 {
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

/// Share of each CPU's time that was busy since before, by CPU number.
fn busy(end: &End, cpu: u16) -> Option<f64> {
    let all = end.rise(&format!("cpu{cpu}.ticks")).filter(|ticks| *ticks > 0)?;
    Some(end.rise(&format!("cpu{cpu}.busy_ticks"))? as f64 / all as f64)
}

/// One core refused while another had room; not for want of a ring, which some cores get and some
/// do not.
fn refused_by_one_core(case: &Case, side: Side) -> Option<Met> {
    let end = case.end(side).filter(|end| end.is_filled_unevenly())?;
    end.figure("grow_failed_total").filter(|times| *times == 0)?;
    let refused = end.figure("refused_total").filter(|n| *n > 0)?;
    let peaks: Vec<String> = end.cores.iter().map(|core| grouped(core.connections_peak)).collect();
    let evidence = format!(
        "server: refused_total 0 -> {} while its cores had at most {}",
        grouped(refused),
        peaks.join(" and ")
    );
    Some(Met { evidence, count: Some(refused), confidence: Confidence::Certain })
}

fn imbalanced(case: &Case, side: Side) -> Option<Met> {
    let cores = &case.end(side)?.cores;
    if cores.len() < 2 {
        return None;
    }
    let work = |pick: fn(&crate::walls::case::CoreShare) -> u64| {
        let each: Vec<u64> = cores.iter().map(pick).collect();
        let mean = each.iter().sum::<u64>() / each.len() as u64;
        let most = each.iter().copied().max().unwrap_or(0);
        (most, mean, most > mean + mean / 2 && most > 100)
    };
    let (most, mean, is_uneven) = work(|core| core.messages.max(core.connections_peak));
    let evidence =
        format!("server: the busiest core had {}, the mean is {}", grouped(most), grouped(mean));
    // Who was refused is counted by the other sign.
    let late = case.count(Symptom::Late);
    let is_met = is_uneven && (late > 0 || refused_by_one_core(case, side).is_some());
    is_met.then_some(Met { evidence, count: Some(late), confidence: Confidence::Likely })
}

/// Nearly all time of all CPUs of the program's cores was busy.
fn all_busy(case: &Case, side: Side) -> Option<Met> {
    let least = least_busy(case.end(side)?).filter(|share| *share >= BUSY)?;
    let name = if side == Side::Server { "server" } else { "client" };
    let evidence = format!("{name}: every CPU of it was busy for {:.0} % or more", 100.0 * least);
    Some(Met { evidence, count: None, confidence: Confidence::Possible })
}

/// Share of the time from which on a CPU counts as busy.
const BUSY: f64 = 0.95;

/// The share of its time that the least busy CPU of a program's cores was busy.
fn least_busy(end: &End) -> Option<f64> {
    let shares: Option<Vec<f64>> = end.cores.iter().map(|core| busy(end, core.cpu)).collect();
    let shares = shares.filter(|shares| !shares.is_empty())?;
    Some(shares.into_iter().fold(1.0, f64::min))
}

fn not_answered(case: &Case, _: Side) -> Option<Met> {
    let errnos = [Errno::ETIMEDOUT, Errno::EHOSTUNREACH, Errno::ENETUNREACH, Errno::EPERM];
    let found: Vec<String> = errnos
        .iter()
        .filter(|errno| case.failed(**errno) > 0)
        .map(|errno| format!("{errno} {} times", grouped(case.failed(*errno))))
        .collect();
    let retries = case.client.rise("TcpExt.TCPSynRetrans").unwrap_or(0);
    let evidence =
        format!("client: {}; TcpExt.TCPSynRetrans +{}", found.join(", "), grouped(retries));
    let confidence = if case.server.is_some() { Confidence::Likely } else { Confidence::Possible };
    (!found.is_empty()).then_some(Met { evidence, count: None, confidence })
}
