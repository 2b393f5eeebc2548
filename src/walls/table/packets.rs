//! Queues that packets wait in: of a CPU and of a network card.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::counters::Counters;
use crate::observe::stats::LostCause;
use crate::plan::demand::Ends;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::have::Reading;
use crate::walls::place::Place;
use crate::walls::run_facts::{End, RunFacts};
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::outside::died_idle;
use crate::walls::table::row::{BETWEEN, BLANK};
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
            vec![Fix::Sysctl(
                "net.core.netdev_max_backlog",
                now.saturating_mul(10).max(10_000).to_string(),
            )]
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
        signs: &[Sign::Kernel("softnet.time_squeeze rises with the packets", squeezed)],
        fix: |host, _| {
            let now = host.procfs.number("net.core.netdev_budget").unwrap_or(300);
            vec![Fix::Sysctl("net.core.netdev_budget", now.saturating_mul(2).max(600).to_string())]
        },
        remark: "packets wait for the next turn; none is lost",
        ..BLANK
    },
    Wall {
        id: "packet-loss",
        precedence: 325,
        limits: "packets that come through: some were lost on the way",
        at: BETWEEN,
        unit: "packets",
        explains: &[
            Symptom::Late,
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
        ],
        drops: true,
        is_general: true,
        signs: &[
            Sign::Kernel("segments were sent again, and no queue in sight dropped them", lost),
            Sign::Kernel(
                "connections that worked are not acknowledged, and the target takes others",
                not_acknowledged,
            ),
        ],
        absent: "hardly a segment was sent again in need",
        fix: |_, _| {
            vec![
                Fix::Command("tc -s qdisc; ip -s -s link, at both ends: which queue drops?".into()),
                Fix::Command(
                    "nft list ruleset, at both ends and between: counters of drops".into(),
                ),
            ]
        },
        fix_of_run: Some(|run| {
            let target = run.facts.target.map_or_else(|| "TARGET".into(), |at| at.ip().to_string());
            vec![
                Fix::Command("tc -s qdisc; ip -s -s link, at both ends: which queue drops?".into()),
                Fix::Command(format!(
                    "ping -M do -s 1472 {target}: does a full packet come through?"
                )),
                Fix::Command(
                    "nft list ruleset, at both ends and between: counters of drops".into(),
                ),
            ]
        }),
        remark: "the counters are of all of the network namespace; a retransmission in vain is none",
        ..BLANK
    },
];

/// Segments that each end had to send again, beside those to peers that answered no more.
fn lost(run: &RunFacts, _: Place) -> Option<Evidence> {
    let server = run.server.as_ref().filter(|_| !run.shares_kernel);
    let client = if run.shares_kernel { "both ends" } else { "client" };
    let ends = [(client, Some(&run.client)), ("server", server)];
    let found: Vec<String> = ends
        .into_iter()
        .filter_map(|(name, end)| sent_again(run, name, end.filter(|end| end.has_counters())?))
        .collect();
    let text = found.join("; ");
    let count = Some(run.count(Symptom::Late));
    (!found.is_empty()).then_some(Evidence { text, count, confidence: Confidence::Likely })
}

/// Connections that worked, or that the server has accepted, were not acknowledged any more, while it
/// takes others. Something between lets a part through: full packets, or what is not new.
fn not_acknowledged(run: &RunFacts, _: Place) -> Option<Evidence> {
    let facts = &run.facts;
    let silent = run.silent();
    let is_there = facts.target_gone.is_none() && facts.no_way.is_none();
    let had_worked = facts.silent_after_hold >= silent && facts.received_before_hold >= silent;
    let has_accepted = run.server.as_ref().is_some_and(|end| {
        end.has_counters() && end.rise("TcpExt.ListenDrops") == Some(0) && end.has_figures()
    });
    let is_met = silent > 0
        && is_there
        && (had_worked || has_accepted)
        && run.is_unacknowledged() == Some(true)
        && !died_idle(run);
    let text = format!(
        "client: {} connections are silent, and what was sent on them was not acknowledged \
         (TcpExt.TCPTimeouts +{}), while the target takes others",
        grouped(silent),
        grouped(run.client.rise("TcpExt.TCPTimeouts").unwrap_or(0))
    );
    is_met.then_some(Evidence { text, count: Some(silent), confidence: Confidence::Likely })
}

/// The least time that TCP waits for an answer.
const RTO_MIN_US: u64 = 200_000;

/// Times that a segment is sent to a peer that does not answer, at most: by tcp_retries2 of 15.
const TRIES: u64 = 16;

/// Segments sent again in need, of which fewer say nothing: where one of 10,000 packets is lost, as in a
/// sound data centre, that many of 40,000 segments are rarer than one run in a hundred.
const NEEDED_LEAST: u64 = 10;

/// One such segment of so many is worth saying. It lies between what was measured with one packet of
/// 10,000 lost each way, of ten segments or more at most one of 5,000, and with one packet of 1,000, at
/// least one of 3,700 by either end alone.
const NEEDED_OF: u64 = 4_000;

/// What an end had to send again, in words; `None` when that is too little to say.
fn sent_again(run: &RunFacts, name: &str, end: &End) -> Option<String> {
    let rise = |counter| end.rise(counter).unwrap_or(0);
    let (sent, again) = (end.rise("Tcp.OutSegs")?, end.rise("Tcp.RetransSegs")?);
    // The other end says that it had the segment already; or a probe of the tail was not the cure of a loss.
    // Of the probe of a last FIN nothing is heard.
    let known = rise("TcpExt.TCPDSACKRecv") + rise("TcpExt.TCPDSACKOfoRecv");
    let probes = rise("TcpExt.TCPLossProbes").saturating_sub(rise("TcpExt.TCPLossProbeRecovery"));
    // Where an answer takes longer than TCP waits for one, nearly all is sent again before it comes.
    let is_slow = run.facts.connect_p50_us.is_some_and(|us| us >= RTO_MIN_US);
    let too_soon = if is_slow { rise("TcpExt.TCPTimeouts") } else { 0 };
    let in_vain = known.max(probes) + too_soon;
    let unanswered: u64 = [
        Symptom::Failed(Errno::ETIMEDOUT),
        Symptom::Failed(Errno::EHOSTUNREACH),
        Symptom::Lost(LostCause::Silent),
        Symptom::Lost(LostCause::Timeout),
    ]
    .iter()
    .map(|symptom| run.count(*symptom))
    .sum();
    // A queue of a server that is not in sight may have dropped SYNs.
    let is_seen = run.shares_kernel || run.server.as_ref().is_some_and(End::has_counters);
    let syns = if is_seen { 0 } else { rise("TcpExt.TCPSynRetrans") };
    // A SYN that ICMP rejects is sent again, and was not lost; not all of the ICMP comes.
    let is_rejected = rise("Icmp.InDestUnreachs") >= 10;
    let syns = if is_rejected { rise("TcpExt.TCPSynRetrans") } else { syns };
    let others = in_vain + syns + TRIES * unanswered;
    let needed = again.saturating_sub(others);
    let way = if name == "both ends" { "either way" } else { "on the way from it or back" };
    let text = format!(
        "{name}: {} of {} segments sent again, {} of them in vain; {} were SYNs \
         (TcpExt.TCPSynRetrans), {} after a timeout (TcpExt.TCPTimeouts), {} more than once \
         (TcpExt.TCPLostRetransmit): lost between, {way}",
        grouped(again),
        grouped(sent),
        grouped(in_vain),
        grouped(rise("TcpExt.TCPSynRetrans")),
        grouped(rise("TcpExt.TCPTimeouts")),
        grouped(rise("TcpExt.TCPLostRetransmit")),
    );
    (needed >= NEEDED_LEAST && needed.saturating_mul(NEEDED_OF) >= sent).then_some(text)
}

/// Turns of the kernel ended with packets left. The counter is of the whole host, on which that happens now
/// and then.
fn squeezed(run: &RunFacts, side: Place) -> Option<Evidence> {
    let end = run.end(side)?;
    let (before, now) = end.counters.as_ref()?;
    let n = end.rise(SQUEEZED).filter(|n| *n >= SQUEEZED_LEAST)?;
    let packets = end.rise("Tcp.InSegs").unwrap_or(0);
    let of = |counters: &Counters| grouped(counters.get(SQUEEZED).unwrap_or(0));
    let text = format!("{}: {SQUEEZED} {} -> {}", side.name(), of(before), of(now));
    let is_worth_saying = n.saturating_mul(SQUEEZED_OF) >= packets;
    let evidence = Evidence { text, count: None, confidence: Confidence::Likely };
    is_worth_saying.then_some(evidence)
}

const SQUEEZED: &str = "softnet.time_squeeze";

/// Turns that any host ends early.
const SQUEEZED_LEAST: u64 = 10;

/// One turn that ended early for so many packets is worth saying.
const SQUEEZED_OF: u64 = 200;

/// The queue before a CPU is the whole host's, and so is its counter. Only the packets that an
/// interface of this network namespace dropped in the same time were ours.
pub(super) fn backlog_dropped(run: &RunFacts, side: Place) -> Option<Evidence> {
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
