//! What the other side does, or something between: it ends connections by a rule, it falls silent, it
//! speaks something else. Known by what the losses have in common.

use crate::base::units::grouped;
use crate::observe::stats::{Ending, LostCause};
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::pattern::{Pattern, Shared};
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::openings::behind_header;
use crate::walls::table::outside::died_idle;
use crate::walls::table::row::{BETWEEN, BLANK, SERVER};
use crate::walls::wall::Wall;

/// What ends a connection in order or by a reset.
const ENDED: &[Symptom] = &[Symptom::Lost(LostCause::Fin), Symptom::Lost(LostCause::Reset)];

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "idle-limit",
        precedence: 352,
        limits: "time for which the server, or a proxy before it, keeps a silent connection",
        at: BETWEEN,
        unit: "seconds",
        explains: ENDED,
        signs: &[Sign::Became(
            "connections are ended one time after the last message on them",
            idle_limit,
        )],
        fix: |_, _| {
            vec![
                Fix::Advice("raise the idle timeout of the server, or of the proxy before it"),
                Fix::Advice("--message-every with less than that time"),
            ]
        },
        remark: "a proxy's idle timeout is often 60 s, a server's 75 s",
        absent: "no nine of ten connections that were ended had one silence before",
        ..BLANK
    },
    Wall {
        id: "age-limit",
        precedence: 354,
        limits: "time for which the server, or a proxy before it, keeps any connection",
        at: BETWEEN,
        unit: "seconds",
        explains: ENDED,
        signs: &[Sign::Became("connections are ended at one age", age_limit)],
        fix: |_, _| {
            vec![Fix::Advice("raise the greatest age of connections of the server or the proxy")]
        },
        remark: "messages do not help: it ends busy connections as well",
        absent: "no nine of ten connections that were ended had one age",
        ..BLANK
    },
    Wall {
        id: "source-limit",
        precedence: 356,
        limits: "connections from one source address",
        at: BETWEEN,
        unit: "connections",
        explains: &[
            Symptom::Lost(LostCause::Fin),
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(crate::base::errno::Errno::ECONNREFUSED),
            Symptom::Failed(crate::base::errno::Errno::ECONNRESET),
            Symptom::Failed(crate::base::errno::Errno::ETIMEDOUT),
        ],
        signs: &[
            Sign::Seen("the server counts what it resets beyond its own limit", counted_per_source),
            Sign::Became("each source address is left with as many", source_limit),
        ],
        fix: |_, _| {
            vec![
                Fix::Advice("raise the limit for each address at the server, proxy or firewall"),
                Fix::Flag("--source with more addresses".into()),
                Fix::Flag("serve --max-connections-per-source with more".into()),
            ]
        },
        remark: "connlimit of iptables, limit_conn of nginx, maxconn of a stick table; of this tool's server \
                 --max-connections-per-source, which it counts",
        absent: "source addresses were not left with as many connections each",
        ..BLANK
    },
    Wall {
        id: "server-stalled",
        precedence: 348,
        limits: "nothing: the server, or the path to it, stops answering for a while",
        at: SERVER,
        unit: "seconds",
        explains: &[
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Late,
        ],
        signs: &[Sign::Seen("no connection is answered for seconds", stalled)],
        fix: |_, _| {
            vec![Fix::Advice(
                "look at the server at that time: a pause, a stop, a lock, swapping, its host's CPU",
            )]
        },
        remark: "all connections are silent from one moment on, which no idle limit does",
        absent: "answers never stopped for three seconds",
        ..BLANK
    },
    Wall {
        id: "other-protocol",
        precedence: 358,
        limits: "nothing: the server does not speak what --expect says",
        at: SERVER,
        unit: "bytes",
        explains: &[Symptom::Lost(LostCause::Mismatch)],
        signs: &[Sign::Became("bytes come that were not expected", other_bytes)],
        fix: |_, _| {
            vec![
                Fix::Flag("--expect nothing, where the server answers no message of ours".into()),
                Fix::Flag(
                    "--expect push --push-text TEXT --banner TEXT, where it speaks first".into(),
                ),
            ]
        },
        fix_of_run: Some(|run| {
            let bytes = run.facts.unexpected_bytes.as_deref().unwrap_or_default();
            behind_header(run, fixes_of(bytes))
        }),
        remark: "an HTTP server answers 400, a mail server greets first",
        absent: "no byte came that was not expected",
        ..BLANK
    },
];

/// What speaks so, by the first bytes of it, which are written as text with escapes.
fn fixes_of(bytes: &str) -> Vec<Fix> {
    let speaks_http = bytes.starts_with("HTTP/1.");
    let greets = ["220", "* OK", "+OK", "SSH-", "RFB ", "@RSYNCD"];
    let own = if speaks_http {
        "--message 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' --answer 'HTTP/1.1 200{any}...'; or --target ws://"
    } else if greets.iter().any(|greeting| bytes.starts_with(greeting)) {
        "--hello-answer with what it says first, {any} for what varies; then --message and --answer"
    } else {
        "--message and --answer as it speaks, or --hello-answer where it speaks first"
    };
    vec![
        Fix::Flag(own.into()),
        Fix::Flag("--expect nothing, where the server answers no message of ours".into()),
        Fix::Flag("--expect push --push-text TEXT --banner TEXT, where it pushes a text".into()),
    ]
}

fn patterns(run: &RunFacts) -> impl Iterator<Item = &Pattern> {
    run.facts.patterns.iter()
}

fn is_ended(pattern: &Pattern) -> bool {
    matches!(pattern.ending, Ending::Lost(LostCause::Fin | LostCause::Reset))
}

/// The patterns that `is_one` accepts, as one sign.
fn evidence(run: &RunFacts, is_one: impl Fn(&Pattern) -> bool) -> Option<Evidence> {
    let found: Vec<&Pattern> = patterns(run).filter(|pattern| is_one(pattern)).collect();
    let text: Vec<String> = found.iter().map(ToString::to_string).collect();
    (!found.is_empty()).then(|| Evidence {
        text: format!("client: {}", text.join("; ")),
        count: Some(found.iter().map(|pattern| pattern.count).sum()),
        confidence: Confidence::Likely,
    })
}

fn idle_limit(run: &RunFacts, _: Place) -> Option<Evidence> {
    evidence(run, |pattern| is_ended(pattern) && matches!(pattern.shared, Shared::Idle(_)))
}

fn age_limit(run: &RunFacts, _: Place) -> Option<Evidence> {
    evidence(run, |pattern| is_ended(pattern) && matches!(pattern.shared, Shared::Age(_)))
}

/// A server of ours has such a limit itself.
fn counted_per_source(run: &RunFacts, _: Place) -> Option<Evidence> {
    let server = run.server.as_ref()?;
    let count = server.figure("refused_per_source_total").filter(|n| *n > 0)?;
    let text = format!("server: refused_per_source_total 0 -> {}", grouped(count));
    Some(Evidence { text, count: Some(count), confidence: Confidence::Certain })
}

fn source_limit(run: &RunFacts, _: Place) -> Option<Evidence> {
    evidence(run, |pattern| matches!(pattern.shared, Shared::PerSource(_)))
}

/// While messages were sent, not one was answered on any connection, and the client itself ran. The
/// kernel of a server that stands still acknowledges them all the same, and something between that has
/// forgotten idle connections does not.
fn stalled(run: &RunFacts, _: Place) -> Option<Evidence> {
    let (from, time) = run.facts.unanswered?;
    let is_gone = run.facts.target_gone.is_some() || run.facts.no_way.is_some();
    let is_path = run.is_unacknowledged() == Some(true) || died_idle(run);
    (!is_gone && !is_path).then(|| Evidence {
        text: format!(
            "client: messages were out and none was answered for {:.1} s, from {:.1} s after the \
             start on",
            time.as_secs_f64(),
            from.as_secs_f64()
        ),
        count: None,
        confidence: Confidence::Likely,
    })
}

fn other_bytes(run: &RunFacts, _: Place) -> Option<Evidence> {
    let count = run.count(Symptom::Lost(LostCause::Mismatch));
    let bytes = run.facts.unexpected_bytes.as_ref().filter(|_| count > 0)?;
    let text = format!(
        "client: {} connections were answered with other bytes, the first: \"{bytes}\"",
        grouped(count)
    );
    Some(Evidence { text, count: Some(count), confidence: Confidence::Certain })
}
