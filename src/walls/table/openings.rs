//! What is said first on a connection, before it counts as one: an upgrade or a hello that the server refuses, or
//! does not answer.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::place::{At, Place};
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BLANK, SERVER};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "tls-handshake",
        precedence: 136,
        limits: "nothing: the ends do not agree to speak TLS with each other",
        at: At::Either,
        unit: "connections",
        explains: &[Symptom::Failed(Errno::EPROTO)],
        signs: &[Sign::Became("a handshake of TLS fails", handshake_failed)],
        absent: "no handshake of TLS failed",
        fix: |_, _| vec![Fix::Flag("--tls-ca, --tls-server-name or --tls-insecure".into())],
        fix_of_run: Some(|run| {
            let failure = run.facts.opening_failure.as_deref().unwrap_or_default();
            let fix = failure.split_once(FIX).map(|(_, fix)| Fix::Flag(fix.to_owned()));
            let fix = fix.unwrap_or(Fix::Command("openssl s_client -connect HOST:PORT".into()));
            behind_header(run, vec![fix])
        }),
        remark: "a certificate, a version, a cipher, or an end that speaks no TLS",
        ..BLANK
    },
    Wall {
        id: "opening-refused",
        precedence: 138,
        limits: "nothing: the server does not agree to what is said first",
        at: SERVER,
        unit: "connections",
        explains: &[Symptom::Failed(Errno::EPROTO)],
        signs: &[Sign::Became(
            "the server answers what is said first with something else",
            refused,
        )],
        absent: "the server agreed to all that it answered",
        fix: |_, _| vec![Fix::Flag("--target ws://HOST:PORT/PATH with another path".into())],
        fix_of_run: Some(|run| {
            let bytes = run.facts.unexpected_bytes.as_deref().unwrap_or_default();
            behind_header(run, vec![fix_of(bytes)])
        }),
        remark: "the first line that it answers says why",
        ..BLANK
    },
    Wall {
        id: "opening-unanswered",
        precedence: 149,
        limits: "nothing: the server takes connections, and does not answer what is said first",
        at: SERVER,
        unit: "connections",
        explains: &[
            Symptom::Failed(Errno::ETIMEDOUT),
            Symptom::Failed(Errno::ECONNABORTED),
            Symptom::Failed(Errno::ECONNRESET),
        ],
        signs: &[Sign::Became(
            "connections are made, and what is said first has no answer",
            unanswered,
        )],
        absent: "the server answered all that was said first",
        fix: |_, _| fixes_of_silence(),
        fix_of_run: Some(|run| {
            let mut fixes = behind_header(run, fixes_of_silence());
            if !run.facts.writes_header {
                fixes.push(Fix::Flag("--proxy-protocol v2, if it awaits such a header".into()));
            }
            fixes
        }),
        remark: "an upgrade of WebSocket, or a hello, is given up when it has no answer in 10 s",
        ..BLANK
    },
];

fn fixes_of_silence() -> Vec<Fix> {
    vec![
        Fix::Flag(
            "--target tcp://HOST:PORT, if it does not speak WebSocket; no --hello-answer, if it gives none"
                .into(),
        ),
        Fix::Flag("--connects-in-flight with fewer, if it is too busy to answer".into()),
    ]
}

/// The fixes of a run in which something else is understood than is said, behind that of a header that is not
/// awaited, where there was one.
pub(super) fn behind_header(run: &RunFacts, fixes: Vec<Fix>) -> Vec<Fix> {
    let header = Fix::Flag("no --proxy-protocol, if the server does not await its header".into());
    run.facts.writes_header.then_some(header).into_iter().chain(fixes).collect()
}

/// What stands between a reason and its fix.
const FIX: &str = "; fix: ";

fn handshake_failed(run: &RunFacts, _: Place) -> Option<Evidence> {
    let failure = run.facts.opening_failure.as_deref()?;
    let count = run.failed(Errno::EPROTO);
    let reason = failure.split_once(FIX).map_or(failure, |(reason, _)| reason);
    let text = format!("client: {} handshakes failed; the first: {reason}", grouped(count));
    (count > 0).then_some(Evidence { text, count: Some(count), confidence: Confidence::Certain })
}

/// Openings that failed, but for those that were refused.
fn unanswered(run: &RunFacts, _: Place) -> Option<Evidence> {
    // A server that went away in the midst of it ends all that it has not answered.
    let is_there = run.facts.target_gone.is_none();
    let failed = run.client.figure("opening_failed_total").filter(|_| is_there)?;
    let count = failed.checked_sub(run.failed(Errno::EPROTO)).filter(|count| *count > 0)?;
    let text = format!(
        "client: {} were connected, and what is said first was not agreed to",
        grouped(count)
    );
    Some(Evidence { text, count: Some(count), confidence: Confidence::Likely })
}

fn refused(run: &RunFacts, _: Place) -> Option<Evidence> {
    let count = run.failed(Errno::EPROTO);
    run.client.figure("opening_failed_total").filter(|failed| *failed >= count && count > 0)?;
    if run.facts.opening_failure.is_some() {
        return None;
    }
    let answer = run.facts.unexpected_bytes.as_deref().map(first_line).unwrap_or_default();
    let text = format!(
        "client: {} were refused when they opened; the first answer: \"{answer}\"",
        grouped(count)
    );
    Some(Evidence { text, count: Some(count), confidence: Confidence::Certain })
}

/// The first line of bytes that are written as text with escapes.
fn first_line(bytes: &str) -> &str {
    bytes.split("\\r").next().unwrap_or_default().split("\\n").next().unwrap_or_default()
}

/// What an answer asks for.
fn fix_of(bytes: &str) -> Fix {
    let line = first_line(bytes);
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    Fix::Flag(
        match status {
            Some("101") => "--subprotocol as the server has it, or none",
            Some("401" | "403" | "407") => {
                "--header 'Authorization: ...', or 'Origin: ...', as it asks for"
            }
            Some("301" | "302" | "307" | "308") => {
                "--target with the address and path that it sends to"
            }
            Some("404" | "405" | "410") => "--target ws://HOST:PORT/PATH with the path that it has",
            Some("429" | "503") => "--rate with fewer: it takes no more for now",
            Some(_) => "--target and --header as the server's own clients have them",
            // An alert of TLS.
            None if line.starts_with("\\x15\\x03") => "--target wss://HOST:PORT/PATH: it speaks TLS",
            None => "--target tcp://HOST:PORT where it speaks no WebSocket; --hello-answer as it answers",
        }
        .into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_fix() {
        assert_eq!(first_line("HTTP/1.1 404 Not Found\\r\\nServer: x"), "HTTP/1.1 404 Not Found");
        for (bytes, word) in [
            ("HTTP/1.1 404 Not Found\\r\\n", "PATH"),
            ("HTTP/1.0 401 x", "Authorization"),
            ("HTTP/1.1 503 Busy\\n", "--rate"),
            ("SSH-2.0-OpenSSH", "tcp://"),
            ("\\x15\\x03\\x01\\x00\\x02", "TLS"),
            ("", "tcp://"),
        ] {
            let Fix::Flag(fix) = fix_of(bytes) else { panic!("it is a flag") };
            assert!(fix.contains(word), "{bytes}: {fix}");
        }
    }
}
