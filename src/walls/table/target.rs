//! The target as the client meets it: gone, out of reach, or there and not accepting; and what this host
//! itself does not let through to it.

use crate::base::constants::MESSAGES_IN_FLIGHT;
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::host::sockets::Listener;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::{Need, Sign};
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BETWEEN, BLANK, CLIENT, SERVER};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "route",
        precedence: 101,
        limits: "where this host knows a way to",
        at: CLIENT,
        explains: NO_WAY,
        signs: &[Sign::Became(
            "ENETUNREACH or ENETDOWN, or no way to the target at the end",
            no_way,
        )],
        absent: "this host had a way to the target",
        fix: |_, _| vec![Fix::Command("ip route get TARGET".into())],
        fix_of_run: Some(|run| way_to(run, "ip route get")),
        remark: "this host's own: its route or its link was gone",
        ..BLANK
    },
    Wall {
        id: "accept-stalled",
        precedence: 148,
        limits: "nothing: the server has stopped accepting",
        at: SERVER,
        unit: "connections",
        explains: &[
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Late,
            Symptom::NotEnded,
        ],
        signs: &[Sign::Seen("connections wait in the accept queue while none is opened", waiting)],
        absent: "nothing waited in the target's accept queues",
        needs: &[Need::Listeners],
        fix: |_, _| {
            vec![
                Fix::Advice(
                    "look at the server: is it stopped, at a limit of its own, or hanging?",
                ),
                Fix::Command("ss -ltn".into()),
            ]
        },
        remark: "the kernel completes a handshake for a server that does not accept it",
        ..BLANK
    },
    Wall {
        id: "server-gone",
        precedence: 212,
        limits: "nothing: the server went away while connections were held",
        at: SERVER,
        explains: GONE,
        signs: &[Sign::Became("connections are lost, and the target is gone", gone)],
        absent: "the target was there after the run, or nothing was lost",
        fix: |_, _| {
            vec![
                Fix::Advice("start the server again, and see in its own log why it ended"),
                Fix::Command("journalctl -k --since -1h, on its host: killed for memory?".into()),
            ]
        },
        remark: "what was due afterwards is no lag of the client",
        ..BLANK
    },
    Wall {
        id: "path-gone",
        precedence: 213,
        limits: "nothing: the path to the server is gone, and the server lives",
        at: BETWEEN,
        explains: GONE,
        signs: &[Sign::Became(
            "the target is gone, and the server is seen by another way",
            cut_off,
        )],
        absent: "the target was there after the run, or the server was not seen to live on",
        fix: |_, _| vec![Fix::Command("ip route get TARGET".into())],
        fix_of_run: Some(|run| {
            let mut fixes = way_to(run, "ip route get");
            fixes.extend(way_to(run, "tracepath -n"));
            fixes.push(Fix::Advice("look for a firewall or a link between that went away"));
            fixes
        }),
        remark: "its metrics, or its dumps, go on by another way",
        ..BLANK
    },
    Wall {
        id: "refused-between",
        precedence: 214,
        limits: "connections that something between lets pass",
        at: BETWEEN,
        explains: REJECTED,
        signs: &[
            Sign::Became("some are refused while the same targets take others", refused_some),
            Sign::Became("some are rejected by ICMP while others come through", rejected_some),
        ],
        absent: "no target refused some and took others",
        fix: |_, _| {
            vec![
                Fix::Command("nft list ruleset, on both hosts: a limit that rejects?".into()),
                Fix::Advice("see whether the server was started again during the run"),
            ]
        },
        remark: "a firewall's reset in the server's name, as of a limit of connections",
        ..BLANK
    },
    Wall {
        id: "permission",
        precedence: 255,
        limits: "what this host permits",
        at: CLIENT,
        explains: FORBIDDEN,
        signs: &[Sign::Became("EACCES or EPERM, or the target is forbidden at the end", forbidden)],
        absent: "this host forbade nothing",
        fix: |_, _| vec![Fix::Command("nft list ruleset, on this host".into())],
        fix_of_run: Some(|run| {
            let mut fixes =
                vec![Fix::Command("nft list ruleset, on this host: its output rules".into())];
            fixes.extend(way_to(run, "ip route get"));
            fixes.push(Fix::Flag(
                "--source-ports from net.ipv4.ip_unprivileged_port_start on".into(),
            ));
            fixes
        }),
        remark: "this host's own: a rule for what leaves, a prohibit route, or a low source port",
        ..BLANK
    },
    Wall {
        id: "messages-in-flight",
        precedence: 316,
        limits: "messages that a core of the client has out at once",
        at: CLIENT,
        unit: "messages",
        explains: &[Symptom::Late],
        signs: &[Sign::Seen("the client waited with as many messages out as it may", at_bound)],
        absent: "the client had room for more messages in flight",
        fix: |_, demand| {
            let most = u64::from(MESSAGES_IN_FLIGHT) * demand.cores;
            vec![
                Fix::Flag(format!(
                    "--message-rate or --message-every with less: {} in flight are the most",
                    grouped(most)
                )),
                Fix::Advice("a faster server: its answers take too long for this rate"),
            ]
        },
        remark: "1,024 for each core of the client; the server's answers, not the client, are slow",
        ..BLANK
    },
];

/// How connections end that the other end can no more answer.
const GONE: &[Symptom] = &[
    Symptom::Lost(LostCause::Fin),
    Symptom::Lost(LostCause::Reset),
    Symptom::Lost(LostCause::Silent),
    Symptom::Lost(LostCause::Timeout),
    Symptom::Failed(Errno::ECONNREFUSED),
    Symptom::Failed(Errno::ECONNRESET),
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Late,
    Symptom::NotEnded,
    Symptom::Missed,
];

/// The errors of a way that this host does not have, and how connections end whose way went.
const NO_WAY: &[Symptom] = &[
    Symptom::Failed(Errno::ENETUNREACH),
    Symptom::Failed(Errno::ENETDOWN),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Failed(Errno::EINVAL),
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Lost(LostCause::Silent),
    Symptom::Lost(LostCause::Timeout),
    Symptom::Late,
    Symptom::NotEnded,
    Symptom::Missed,
];

/// The same for a way that is forbidden.
const FORBIDDEN: &[Symptom] = &[
    Symptom::Failed(Errno::EACCES),
    Symptom::Failed(Errno::EPERM),
    Symptom::Failed(Errno::ETIMEDOUT),
    Symptom::Lost(LostCause::Silent),
    Symptom::Lost(LostCause::Timeout),
    Symptom::Late,
    Symptom::NotEnded,
    Symptom::Missed,
];

/// What ICMP or a reset in the server's name makes of a connect.
const REJECTED: &[Symptom] = &[
    Symptom::Failed(Errno::ECONNREFUSED),
    Symptom::Failed(Errno::EHOSTUNREACH),
    Symptom::Failed(Errno::ENETUNREACH),
];

/// A command that looks at the way to the target.
fn way_to(run: &RunFacts, command: &str) -> Vec<Fix> {
    let target = run.facts.target.map_or_else(|| "TARGET".into(), |at| at.ip().to_string());
    vec![Fix::Command(format!("{command} {target}"))]
}

/// Connects that failed with one of `errnos`, each with its name.
fn failed(run: &RunFacts, errnos: &[Errno], confidence: Confidence) -> Option<Evidence> {
    let met = errnos.iter().filter(|errno| run.failed(**errno) > 0);
    let each: Vec<String> =
        met.map(|errno| format!("{errno} {} times", grouped(run.failed(*errno)))).collect();
    let count = errnos.iter().map(|errno| run.failed(*errno)).sum();
    let text = format!("client: {}", each.join(", "));
    (!each.is_empty()).then_some(Evidence { text, count: Some(count), confidence })
}

/// A router that has no way on says the same by ICMP.
fn no_way(run: &RunFacts, _: Place) -> Option<Evidence> {
    let errno = run.facts.no_way.filter(|errno| !matches!(*errno, Errno::EACCES | Errno::EPERM));
    errno.map(|errno| at_the_end(run, errno)).or_else(|| {
        let found = failed(run, &[Errno::ENETUNREACH, Errno::ENETDOWN], Confidence::Certain)?;
        by_icmp(run).is_none().then_some(found)
    })
}

/// A full table of tracked connections forbids as well, and has its own counters.
fn forbidden(run: &RunFacts, _: Place) -> Option<Evidence> {
    let errno = run.facts.no_way.filter(|errno| matches!(*errno, Errno::EACCES | Errno::EPERM));
    let now = errno.map(|errno| at_the_end(run, errno));
    now.or_else(|| failed(run, &[Errno::EACCES, Errno::EPERM], Confidence::Likely))
}

/// This host lets nothing go to the target when the run is over.
fn at_the_end(run: &RunFacts, errno: Errno) -> Evidence {
    let target = run.facts.target.map_or_else(|| "the target".into(), |at| at.ip().to_string());
    let text = format!("client: this host itself lets nothing go to {target} now ({errno})");
    Evidence { text, count: None, confidence: Confidence::Certain }
}

/// Connects that were rejected, where ICMP said so at least as often and others came through: how many.
/// The host of a port on which nothing listens answers by a reset.
pub(super) fn by_icmp(run: &RunFacts) -> Option<u64> {
    let n: u64 = REJECTED.iter().map(|symptom| run.count(*symptom)).sum();
    let took_others = run.client.cores.iter().any(|core| core.connections_peak() > 0);
    let messages = run.client.rise("Icmp.InDestUnreachs")?;
    (n > 0 && took_others && messages >= n).then_some(n)
}

fn rejected_some(run: &RunFacts, _: Place) -> Option<Evidence> {
    let n = by_icmp(run)?;
    let errnos = [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ENETUNREACH];
    let found = failed(run, &errnos, Confidence::Likely)?;
    let messages = run.client.rise("Icmp.InDestUnreachs")?;
    let text = format!(
        "{}; Icmp.InDestUnreachs +{}: a firewall, or a router without a way on, says so",
        found.text,
        grouped(messages)
    );
    Some(Evidence { text, count: Some(n), ..found })
}

/// Connections wait at listeners of the target where the client has opened all that it can.
fn waiting(run: &RunFacts, _: Place) -> Option<Evidence> {
    let listeners = run.facts.listeners.as_ref()?;
    let all: u64 = listeners.iter().map(|one| u64::from(one.waiting)).sum();
    let port = listeners.first()?.address.port();
    let each = |one: &Listener| grouped(u64::from(one.waiting));
    let text = match listeners.as_slice() {
        [_] => format!(
            "server: {} wait in the accept queue of port {port} (sock_diag): it has stopped accepting",
            grouped(all)
        ),
        many => format!(
            "server: {} listeners on the target's ports have {} waiting (sock_diag): one that has any \
             has stopped accepting",
            many.len(),
            many.iter().map(each).collect::<Vec<_>>().join(" and ")
        ),
    };
    (all > 0).then_some(Evidence { text, count: Some(all), confidence: Confidence::Likely })
}

/// The target is gone, and nothing shows that the server lives. Where the kernel logs that it killed a
/// server, the memory is the wall.
fn gone(run: &RunFacts, _: Place) -> Option<Evidence> {
    let text = run.facts.target_gone.clone().filter(|_| run.facts.no_way.is_none())?;
    // A target that does not even refuse may be out of reach. A server that is seen by another way as
    // well, and is gone there too, is not.
    let is_doubtful =
        run.facts.target_is_silent && !run.server.as_ref().is_some_and(|end| end.is_early);
    let lives = run.server.as_ref().is_some_and(|end| end.has_figures());
    let is_killed =
        |line: &String| line.contains(": Killed process ") && line.contains(" (megaconn) ");
    let is_killed = run.log.iter().flatten().any(is_killed);
    let is_gone = !lives && !is_killed && !is_doubtful;
    is_gone.then_some(Evidence { text, count: None, confidence: Confidence::Likely })
}

/// The target is gone, and the server's figures are of the end of the run.
fn cut_off(run: &RunFacts, _: Place) -> Option<Evidence> {
    let gone = run.facts.target_gone.as_ref().filter(|_| run.facts.no_way.is_none())?;
    let server = run.server.as_ref().filter(|end| end.has_figures())?;
    let is_ending = ["drained_total", "drain_cut_total"]
        .iter()
        .any(|name| server.figure(name).is_some_and(|n| n > 0));
    let text = format!("client: {gone}; the server's figures go on by another way: it lives");
    (!is_ending).then_some(Evidence { text, count: None, confidence: Confidence::Likely })
}

/// Connects were refused, and now every target that was asked accepts, as they did for others during the
/// run.
fn refused_some(run: &RunFacts, _: Place) -> Option<Evidence> {
    let n = run.failed(Errno::ECONNREFUSED);
    if n == 0 || !is_refused_in_part(run) || by_icmp(run).is_some() {
        return None;
    }
    let held: u64 = run.client.cores.iter().map(|core| core.connections_peak()).sum();
    let text = format!(
        "client: ECONNREFUSED {} times, while up to {} were held; every target accepts now",
        grouped(n),
        grouped(held)
    );
    Some(Evidence { text, count: Some(n), confidence: Confidence::Likely })
}

/// Whether the targets that refused some took others meanwhile, and are there still.
pub(super) fn is_refused_in_part(run: &RunFacts) -> bool {
    let took_others = run.client.cores.iter().any(|core| core.connections_peak() > 0);
    let none_refuses = run.facts.refusing_targets.as_ref().is_some_and(Vec::is_empty);
    took_others && none_refuses && run.facts.target_gone.is_none()
}

/// The part of the hold in which a core waited with as much in flight as it may.
fn at_bound(run: &RunFacts, _: Place) -> Option<Evidence> {
    let cores = run.client.cores.len().max(1) as f64;
    let seconds = run.client.figure("in_flight_bound_us_total")? as f64 / 1e6 / cores;
    let text = format!(
        "client: waited {seconds:.1} s of the hold with {} messages a core in flight",
        grouped(u64::from(MESSAGES_IN_FLIGHT))
    );
    let is_met = seconds >= 0.1 && seconds >= run.facts.held_seconds / 20.0;
    let count = Some(run.count(Symptom::Late));
    is_met.then_some(Evidence { text, count, confidence: Confidence::Likely })
}
