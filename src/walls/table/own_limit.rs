//! A limit of connections that a server of another kind has of its own, as redis, postgres and mosquitto have: it says
//! so in its own protocol, or it ends what is too many before it answers, or it never answers that.

use std::time::Duration;

use crate::base::constants::CONNECT_TIMEOUT;
use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::pattern::Shared;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::row::{BLANK, SERVER};
use crate::walls::wall::Wall;

pub(super) const ROWS: &[Wall] = &[Wall {
    id: "own-limit",
    precedence: 137,
    limits: "connections that the server takes by a setting of its own",
    at: SERVER,
    unit: "connections",
    explains: &[
        Symptom::Failed(Errno::ETIMEDOUT),
        Symptom::Failed(Errno::EPROTO),
        Symptom::Lost(LostCause::Mismatch),
        Symptom::Failed(Errno::ECONNABORTED),
        Symptom::Failed(Errno::ECONNRESET),
    ],
    signs: &[
        Sign::Became("the server answers that it has too many connections", told),
        Sign::Became("the server ends some before it answers, and holds others", ended),
        Sign::Became("the server answers some at once and others never", passed_over),
    ],
    absent: "the server neither spoke of too many connections, nor held some and ended others or left them unanswered",
    fix: |_, _| fixes_of("").into(),
    fix_of_run: Some(|run| fixes_of(run.facts.unexpected_bytes.as_deref().unwrap_or("")).into()),
    remark: "its own log says so as a rule; what it cannot open beyond its ulimit -n looks the same",
    ..BLANK
}];

/// How servers say that they have too many.
const TOO_MANY: [&str; 8] = [
    "max number of clients",
    "too many clients",
    "too many connections",
    "too many open connections",
    "maximum number of connections",
    "maximum connections",
    "remaining connection slots",
    "connection queue full",
];

fn says_too_many(bytes: &str) -> bool {
    let bytes = bytes.to_ascii_lowercase();
    TOO_MANY.iter().any(|words| bytes.contains(words))
}

fn told(run: &RunFacts, _: Place) -> Option<Evidence> {
    let bytes = run.facts.unexpected_bytes.as_deref().filter(|bytes| says_too_many(bytes))?;
    let count =
        run.count(Symptom::Failed(Errno::EPROTO)) + run.count(Symptom::Lost(LostCause::Mismatch));
    let text = format!("client: {} were told so, the first by: \"{bytes}\"", grouped(count));
    (count > 0).then_some(Evidence { text, count: Some(count), confidence: Confidence::Certain })
}

/// A server that is gone, or that has a limit for each address, ends them as well.
fn ended(run: &RunFacts, _: Place) -> Option<Evidence> {
    let is_of_sources = |shared: &Shared| matches!(shared, Shared::PerSource(_));
    let is_other = run.facts.target_gone.is_some()
        || run.facts.patterns.iter().any(|pattern| is_of_sources(&pattern.shared));
    let held: u64 = run.client.cores.iter().map(|core| core.connections_peak()).sum();
    let opening = run.client.figure("opening_failed_total")?;
    let of_openings = opening.saturating_sub(run.failed(Errno::EPROTO));
    let count = of_openings.min(run.failed(Errno::ECONNABORTED) + run.failed(Errno::ECONNRESET));
    let text = format!(
        "client: {} were connected, and ended by the server before it answered, while up to {} were held",
        grouped(count),
        grouped(held)
    );
    let is_so = count > 0 && held > 0 && !is_other;
    is_so.then_some(Evidence { text, count: Some(count), confidence: Confidence::Likely })
}

/// A part of the time in which an answer is awaited: a server that is too busy to answer some is slow with others.
const AT_ONCE: Duration = Duration::from_secs(CONNECT_TIMEOUT.as_secs() / 4);

/// Those that it has no room for may wait at a server until one of the others leaves.
fn passed_over(run: &RunFacts, _: Place) -> Option<Evidence> {
    let opening = run.client.figure("opening_failed_total")?;
    let ended = run.failed(Errno::EPROTO) + run.failed(Errno::ECONNABORTED);
    let count = opening.saturating_sub(ended).min(run.failed(Errno::ETIMEDOUT));
    let slowest = Duration::from_micros(run.facts.opening_p99_us?);
    let held: u64 = run.client.cores.iter().map(|core| core.connections_peak()).sum();
    let text = format!(
        "client: {} were connected, and had no answer in {} s, while up to {} were held, of which 99 % were answered within {} ms",
        grouped(count),
        CONNECT_TIMEOUT.as_secs(),
        grouped(held),
        grouped(u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX))
    );
    let is_so = count > 0 && held > 0 && slowest < AT_ONCE && run.facts.target_gone.is_none();
    is_so.then_some(Evidence { text, count: Some(count), confidence: Confidence::Likely })
}

/// The setting of the server that answers so, and what every server has.
fn fixes_of(bytes: &str) -> [Fix; 2] {
    let setting = if bytes.contains("max number of clients") {
        "redis: maxclients in redis.conf, or redis-cli config set maxclients N"
    } else if bytes.contains("C53300") {
        "postgres: max_connections in postgresql.conf, and a restart"
    } else if bytes.contains("BYE Connection queue full") {
        "dovecot: client_limit and process_limit of service imap-login, and doveadm reload"
    } else {
        "the server's own limit, as its log names it: max_connections, worker_connections, process_limit or its like"
    };
    let files =
        "ulimit -n of the server: a connection is a file, and some servers lower their limit to it";
    [Fix::Advice(setting), Fix::Advice(files)]
}
