//! What is said of a loss that no wall explains: what was seen of it, what could not be seen, and the
//! one next step that would tell.

use std::net::SocketAddr;

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::walls::run_facts::RunFacts;
use crate::walls::symptom::Symptom;

/// What was seen of it, and what could not be seen.
pub(super) fn seen(run: &RunFacts, left: &[(Symptom, u64)]) -> Vec<String> {
    let what = |(symptom, n): &(Symptom, u64)| match by_whom(*symptom) {
        "" => format!("{} {symptom}", grouped(*n)),
        by => format!("{} {symptom}: {by}", grouped(*n)),
    };
    let mut lines: Vec<String> = left.iter().map(what).collect();
    if left.iter().any(|(symptom, _)| matches!(symptom, Symptom::Lost(_))) {
        lines.extend(run.facts.lost_when.clone());
    }
    lines.extend(run.facts.patterns.iter().map(ToString::to_string));
    lines
        .extend(run.facts.unexpected_bytes.iter().map(|bytes| format!("first bytes: \"{bytes}\"")));
    lines.extend(run.facts.target_gone.clone());
    let unseen = unseen(run);
    if !unseen.is_empty() {
        lines.push(format!("not seen: {}", unseen.join(", ")));
    }
    lines
}

/// Which end such a connection was ended by.
fn by_whom(symptom: Symptom) -> &'static str {
    match symptom {
        Symptom::Lost(LostCause::Fin) => "the other end, or what is between, ended them in order",
        Symptom::Lost(LostCause::Reset) => "the other end, or what is between, reset them",
        Symptom::Lost(LostCause::Silent) => "no answer came, and neither end ended them",
        Symptom::Lost(LostCause::Timeout) => "this host's kernel gave them up, unacknowledged",
        Symptom::Lost(LostCause::Mismatch) => "what came is not what was to come",
        Symptom::Lost(LostCause::Local) => "an error of this host ended them",
        _ => "",
    }
}

/// What could not be seen of the run.
fn unseen(run: &RunFacts) -> Vec<&'static str> {
    let mut unseen = Vec::new();
    match &run.server {
        None => unseen.push("the server's figures and its kernel's counters"),
        Some(end) if end.is_early => unseen.push("the server at the end of the run"),
        Some(end) => {
            if !end.has_figures() {
                unseen.push("the server's figures");
            }
            if !end.has_counters() {
                unseen.push("the counters of the server's kernel");
            }
        }
    }
    if run.log.is_none() {
        unseen.push("this kernel's log");
    }
    unseen
}

/// The one step that would tell what it was.
pub(super) fn next_step(run: &RunFacts, left: &[(Symptom, u64)]) -> String {
    let most = left.iter().max_by_key(|(_, n)| *n).map(|(symptom, _)| *symptom);
    let is_own = matches!(most, Some(Symptom::Failed(_) | Symptom::Lost(LostCause::Local)))
        && most != Some(Symptom::Failed(Errno::ECONNRESET));
    if is_own {
        return "megaconn doctor on this host, for as many connections".into();
    }
    if let Some(Symptom::Lost(LostCause::Mismatch)) = most {
        let (host, port) = place(run);
        return format!("look at what the target says: printf hello | nc -w 2 {host} {port} | xxd");
    }
    let sees_all = run.server.as_ref().is_some_and(|end| end.has_figures() && end.has_counters());
    if !sees_all {
        return match &run.server {
            Some(end) if end.is_early => {
                "the server's own log, and dmesg on its host: it was not seen to the end".into()
            }
            _ => "run again with --server-metrics ADDR:PORT, to see the server's side (serve \
                  --metrics ADDR:PORT)"
                .into(),
        };
    }
    let (host, port) = place(run);
    match most {
        Some(Symptom::Lost(LostCause::Silent | LostCause::Timeout)) => {
            "run again with --message-every 10s: connections that live on then die when they are idle"
                .into()
        }
        Some(Symptom::Lost(_) | Symptom::Failed(_)) => format!(
            "at both ends, to see which end ends them: tcpdump -ni any -c 100 'host {host} and port {port} \
             and tcp[tcpflags] & (tcp-fin|tcp-rst) != 0'"
        ),
        Some(Symptom::NotEnded) => {
            format!("on the server's host while it closes: ss -tn state close-wait sport = :{port}")
        }
        Some(Symptom::Untried | Symptom::NoMore) => "megaconn doctor on this host, for as many connections".into(),
        Some(Symptom::Late | Symptom::Missed) | None => {
            "run again with half the messages: late again, it is not the load; then megaconn doctor \
             on the server's host"
                .into()
        }
    }
}

/// The target, in the words of a command.
fn place(run: &RunFacts) -> (String, String) {
    let parts = |target: SocketAddr| (target.ip().to_string(), target.port().to_string());
    run.facts.target.map_or_else(|| ("TARGET".into(), "PORT".into()), parts)
}
