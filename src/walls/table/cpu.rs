//! Threads and CPU time.

use std::collections::BTreeSet;

use crate::base::constants::CONNECT_TIMEOUT;
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::cpu::CpuTime;
use crate::host::{cgroup, threads};
use crate::observe::snapshot::CoreSnapshot;
use crate::observe::stats::LostCause;
use crate::plan::demand::{Demand, Ends};
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::{Have, Reading};
use crate::walls::host::Host;
use crate::walls::place::Place;
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::{Need, Sign};
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BLANK, CLIENT, SERVER};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "threads",
        precedence: 30,
        limits: "threads of this user or container",
        unit: "threads",
        read: |host, demand| {
            Reading::stops(host.threads_left(), more_threads(host, demand), |_| u64::MAX)
        },
        signs: &[Sign::Errno(Errno::EAGAIN), Sign::Rises(cgroup::PIDS_MAX)],
        absent: "every thread was started",
        fix: |host, demand| {
            let more = more_threads(host, demand).saturating_add(1024);
            let running = threads::running(&host.procfs).unwrap_or(0);
            let of_host = running.saturating_add(more).to_string();
            vec![
                Fix::Limit("nproc", more),
                Fix::Command(format!("systemctl set-property UNIT TasksMax={more}")),
                Fix::Sysctl("kernel.threads-max", of_host.clone()),
                Fix::Sysctl("kernel.pid_max", of_host),
            ]
        },
        remark: "each program has two for each core, and five more; before Linux 6.16 one more for each core",
        ..BLANK
    },
    Wall {
        id: "cpu-quota",
        precedence: 285,
        limits: "CPU time that a control group lets its programs have",
        unit: "hundredths of a CPU",
        read: |host, demand| {
            let have = match cgroup::cpu_quota_percent(&host.procfs) {
                Ok(quota) => quota.map_or(Have::Unlimited, Have::Some),
                Err(cgroup::NoHierarchy) => Have::Unknown,
            };
            Reading::disturbs(have, 100 * demand.cores)
        },
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("a control group held the program up for its quota", throttled)],
        absent: "no quota held the programs up",
        fix: |_, demand| {
            vec![
                Fix::Command(format!(
                    "systemctl set-property UNIT CPUQuota={}%",
                    100 * (demand.cores + 1)
                )),
                Fix::Flag("--cores with fewer of them, as many as the quota has".into()),
            ]
        },
        remark: "with more cores the quota of a period is used up sooner, and all of them wait",
        ..BLANK
    },
    Wall {
        id: "handshake-cpu",
        precedence: 134,
        limits: "CPU time for handshakes of TLS",
        explains: &[Symptom::Failed(Errno::ETIMEDOUT), Symptom::Late],
        signs: &[Sign::Seen("handshakes waited for their turn, most of the time", shakes)],
        absent: "handshakes had their turn at once, or there were none",
        fix: |_, _| {
            vec![
                Fix::Cores("--cores with more of them"),
                Fix::Flag("--rate or --churn with less".into()),
                Fix::Flag("--tls-resume of the client, and serve --tls-tickets".into()),
            ]
        },
        remark: "a handshake takes about 0.3 ms of CPU at the server; two go on in a turn of a core",
        ..BLANK
    },
    Wall {
        id: "client-lag",
        precedence: 290,
        limits: "what the client itself can begin in time",
        at: CLIENT,
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("the client's own lag is most of the latency", client_lags)],
        absent: "the client began in time, or waited for the server",
        fix: |_, _| {
            vec![
                Fix::Cores("--cores with more of them"),
                Fix::Flag("--message-rate, --message-every or --churn with less".into()),
                Fix::Advice("more client machines"),
            ]
        },
        remark: "the client was the limit, not the server",
        ..BLANK
    },
    Wall {
        id: "core-imbalance",
        precedence: 300,
        limits: "the busiest core, while others have little to do",
        at: SERVER,
        // `Late` comes first, so that the count of late messages is not used up by resets.
        explains: &[
            Symptom::Late,
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ECONNRESET),
            Symptom::Lost(LostCause::Fin),
        ],
        signs: &[Sign::Seen("one core had most of the work, and was full", imbalanced)],
        absent: "no core was full while another had room",
        needs: &[Need::CpuTime],
        fix: |_, _| {
            vec![
                Fix::Flag("serve --steer hash".into()),
                Fix::Flag("--cores of the client with as many as the server has".into()),
            ]
        },
        remark: "connections go to the core whose CPU received them, unless --steer says otherwise",
        ..BLANK
    },
    Wall {
        id: "cpu",
        precedence: 310,
        limits: "CPU time",
        at: SERVER,
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("the programs kept all their CPUs busy", all_busy)],
        absent: "the programs left CPU time over",
        needs: &[Need::CpuTime],
        fix: |_, _| {
            vec![
                Fix::Cores("--cores with more of them"),
                Fix::Advice("more machines, or fewer messages"),
            ]
        },
        remark: "the only wall that is good news",
        ..BLANK
    },
];

/// Threads that one program starts. Each core has two, the second for blocking calls, and one more where
/// the kernel shuts connections down by workers. The housekeeping thread exists already and has a second
/// one as well, and dumps and metrics have one each.
fn more_threads(host: &Host, demand: &Demand) -> u64 {
    4 + (2 + threads::workers_per_core(&host.procfs)) * demand.cores
}

/// A control group's CPU quota was used up, and held threads up for a part of the run that matters.
fn throttled(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let (times, ms) = (end.rise(cgroup::THROTTLED)?, end.rise(cgroup::THROTTLED_MS)?);
    let lived_ms = end.cpu_time.map_or(0, |time| time.lived_ms);
    let is_much = times > 0 && ms >= (lived_ms / THROTTLED_PART).max(THROTTLED_LEAST_MS);
    let text = format!(
        "{}: {} +{}, threads were held up for {} ms",
        side.name(),
        cgroup::THROTTLED,
        grouped(times),
        grouped(ms)
    );
    is_much.then_some(Evidence { text, count: None, confidence: Confidence::Certain })
}

/// Part of a run for which a quota may hold threads up without a word.
const THROTTLED_PART: u64 = 50;

/// Milliseconds that it may in any run: a quota of a burst at the start.
const THROTTLED_LEAST_MS: u64 = 50;

/// Handshakes waited for their turn: for longer than a client waits for a connection, or those of short connections for
/// most of the hold. How much of the time was of short connections is what their number makes likely.
fn shakes(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let cores = end.cores.len().max(1) as u64;
    let waited_us = end.figure("handshakes_waited_us_total")? / cores;
    let opened = run.client.figure("connected_total").unwrap_or(0);
    let short = run.client.figure("churn_started_total").unwrap_or(0);
    let of_short_us = waited_us * short / (opened + short).max(1);
    let lived_ms = end.cpu_time.map_or(0, |time| time.lived_ms).max(SHARE_LEAST_MS);
    let has_failed = run.count(Symptom::Failed(Errno::ETIMEDOUT)) > 0;
    let is_long = has_failed && u128::from(waited_us) >= CONNECT_TIMEOUT.as_micros();
    let is_most = of_short_us >= 1_000 * lived_ms / 2;
    let text = format!(
        "{}: handshakes waited for their turn in {:.1} s of each core's time",
        side.name(),
        waited_us as f64 / 1e6
    );
    let evidence = Evidence { text, count: None, confidence: Confidence::Likely };
    (is_long || is_most).then_some(evidence)
}

/// The client began messages or short connections late, and its lag is most of the latency that was
/// measured.
fn client_lags(run: &RunFacts, _: Place) -> Option<Evidence> {
    // Where the server's CPUs are full as well, the busier end is the wall. What was due at a server that
    // is gone waited for the server.
    let is_held_up = throttled(run, Place::Client).is_some();
    let is_server = all_busy(run, Place::Server).is_some() || run.facts.target_gone.is_some();
    let is_own = !is_held_up && !is_server;
    let lag = run.facts.lag_p99_us.filter(|_| is_own)?;
    let share = cpu_share(&run.client).unwrap_or(0.0);
    let is_busy = share >= BUSY && run.count(Symptom::Late) > 0;
    // A client that rests while a message is due waits for the server, so its lag is the server's.
    // The time in which it was ready to run and was not scheduled is its own.
    let cores = run.client.cores.len().max(1) as u64;
    let waited_us = run.client.cpu_time.map_or(0, |time| 1000 * time.waited_ms);
    let rested_us = run.client.figure("held_up_us_total").unwrap_or(0);
    if rested_us.saturating_sub(waited_us) / cores >= lag / 2 && !is_busy {
        return None;
    }
    let unbegun = run.client.figure("messages_unsent_total").unwrap_or(0)
        + run.client.figure("churn_unstarted_total").unwrap_or(0);
    let is_most = run.facts.latency_p99_us.is_none_or(|latency| lag >= latency / 2);
    let text = format!(
        "client: lag p99 {} us, {} not begun in time; {}",
        grouped(lag),
        grouped(unbegun),
        both_shares(run)
    );
    let confidence = if unbegun > 0 { Confidence::Certain } else { Confidence::Likely };
    let least = if run.count(Symptom::Late) > 0 { LAG_US } else { LAG_WORTH_SAYING_US };
    let lags = is_most && lag > least || unbegun > 0 || is_busy;
    lags.then_some(Evidence { text, count: None, confidence })
}

/// Microseconds of lag that a scheduler may cause on any host.
const LAG_US: u64 = 10_000;

/// Microseconds of lag that are worth saying where nothing was late.
const LAG_WORTH_SAYING_US: u64 = 500_000;

/// One core had most of the work, and its CPU was full.
fn imbalanced(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let received = end.cores.iter().any(|core| core.messages() > 0);
    // A server that only pushes receives no messages.
    let work =
        |core: &CoreSnapshot| if received { core.messages() } else { core.connections_peak() };
    let (most, all) = (end.cores.iter().map(work).max()?, end.cores.iter().map(work).sum::<u64>());
    let share = most as f64 / all.max(1) as f64;
    let is_uneven = end.cores.len() > 1 && share >= 1.5 / end.cores.len() as f64;
    // The core's share of the CPU time is taken to be its share of the work. When the core has CPU
    // time left, a message waits for something else.
    let wanted = cpu_time(end)?.wanted() * share;
    let text = format!(
        "server: the busiest core had {} of {} {}, and {:.0} % of a CPU to do",
        grouped(most),
        grouped(all),
        if received { "messages" } else { "connections" },
        100.0 * wanted
    );
    // Refused connections are counted by the other sign.
    let late = run.count(Symptom::Late);
    let evidence = Evidence { text, count: Some(late), confidence: Confidence::Likely };
    (is_uneven && wanted >= BUSY && late > 0).then_some(evidence)
}

/// CPU time was short at the server. Where the client has CPUs of its own, the server alone wanted
/// all of its own. Where they share CPUs, both together used or wanted them all, the server at
/// least half.
fn all_busy(run: &RunFacts, side: Place) -> Option<Evidence> {
    let cpus_of = |end: &End| end.cores.iter().map(|core| core.cpu).collect::<BTreeSet<u16>>();
    let server = run.end(side)?;
    let (cpus, clients) = (cpus_of(server), cpus_of(&run.client));
    let time = cpu_time(server).filter(|_| !cpus.is_empty())?;
    let per_cpu = |share: f64| share / cpus.len() as f64;
    let (ran, wanted) = (per_cpu(time.ran()), per_cpu(time.wanted()));
    let is_shared = run.demand.ends == Ends::Both && !cpus.is_disjoint(&clients);
    let client = cpu_time(&run.client).filter(|_| is_shared).unwrap_or_default();
    let (of_client, by_client) = (per_cpu(client.ran()), per_cpu(client.wanted()));
    // A program that waits for a CPU while another has it is full where something came late for it.
    let is_own = ran + of_client >= (wanted + by_client) / 2.0 || run.count(Symptom::Late) > 0;
    let is_full = if is_shared {
        ran + of_client >= BUSY || wanted + by_client >= 1.0 && wanted >= 0.5
    } else {
        wanted >= BUSY
    };
    // The busier end is the limit.
    let is_less_busy = !is_shared && cpu_share(&run.client).is_some_and(|client| client > wanted);
    let share = |n: f64| format!("{:.0} %", 100.0 * n);
    let mut text =
        format!("server: its CPUs ran it {} of the hold; wanted: {}", share(ran), share(wanted));
    if is_shared {
        text += &format!("; the client, on them: {}; {}", share(of_client), share(by_client));
    } else {
        text += &format!("; {}", both_shares(run));
    }
    (is_full && is_own && !is_less_busy).then_some(Evidence {
        text,
        count: None,
        confidence: Confidence::Likely,
    })
}

/// What the kernel counted of an end's CPU time, where that was long enough to tell a share: it counts whole
/// milliseconds, of which a burst may use each.
fn cpu_time(end: &End) -> Option<CpuTime> {
    end.cpu_time.filter(|time| time.lived_ms >= SHARE_LEAST_MS)
}

/// Milliseconds of which a share of CPU time is told.
const SHARE_LEAST_MS: u64 = 500;

/// The part of its CPUs that an end wanted; `None` when that is not known.
fn cpu_share(end: &End) -> Option<f64> {
    let cpus: BTreeSet<u16> = end.cores.iter().map(|core| core.cpu).collect();
    let time = cpu_time(end).filter(|_| !cpus.is_empty())?;
    Some(time.wanted() / cpus.len() as f64)
}

/// What each end wanted of its CPUs, in words.
fn both_shares(run: &RunFacts) -> String {
    let share = |end: Option<&End>| {
        let share = end.and_then(cpu_share);
        share.map_or("unknown".to_owned(), |share| format!("{:.0} %", 100.0 * share))
    };
    let (client, server) = (share(Some(&run.client)), share(run.server.as_ref()));
    format!("of their CPUs the client wanted {client}, the server {server}")
}

/// Share of the time from which on CPUs count as busy. It is below 1: interrupts are booked to no
/// process, and every turn has some rest.
const BUSY: f64 = 0.85;
