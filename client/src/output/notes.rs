//! The `notes` of a result: what a figure includes, and for each that is `null` why it is.

use megaconn::results::lenient::Map;
use megaconn::results::result::RunResult;

/// The note of a run that left few files to other users, which no limit had it leave.
pub(crate) const FILES_PASSED: &str = "max.connections";

/// The notes for `result`.
pub(crate) fn of(result: &RunResult) -> Map<String> {
    let mut notes = of_cost(result);
    let mut note = |figure: &str, why: &str| notes.insert(figure.to_owned(), why.to_owned());
    if result.bystanders.is_none() {
        note("bystanders", "not watched, see --bystanders");
    }
    if result.verdict.wall.is_none() {
        let gone = result.failed.sum() + result.lost.sum();
        let why = match (gone, result.close.as_ref()) {
            (1.., _) => "the run ended before its evidence was there",
            (0, None) => "nothing was lost until the run ended",
            (0, Some(_)) => "nothing was lost",
        };
        note("verdict.wall", why);
    }
    if result.verdict.next_wall.is_none() {
        note("verdict.next_wall", "only when nothing was lost, and a limit of this host is known");
    }

    if result.part.as_ref().is_some_and(|part| part.clock.is_none()) {
        note("part.clock", "the server did not say which time it is; see megaconn serve --metrics");
    }
    let plateau = result.plateaus.last();
    let unless_held = |otherwise| unless_held(result, otherwise);
    if result.file_descriptors.server.is_none() {
        let why = "no dump of the server in the run directory";
        note("file_descriptors.server", unless_held(why));
    }
    match result.close.as_ref() {
        None => {
            note("close", "the run ended before the close");
        }
        Some(close) if close.server_seconds.is_none() => {
            let why = "nothing was left to close, or no dump of the server showed it empty";
            note("close.server_seconds", why);
        }
        Some(_) => {}
    }
    if plateau.is_none_or(|plateau| plateau.messages.latency_us.is_none()) {
        note("plateaus.messages.latency_us", "no message was verified, but for a sweep");
    }
    if plateau.is_none_or(|plateau| plateau.connect.latency_us.is_none()) {
        note("plateaus.connect.latency_us", "no connection was established");
    }
    if plateau.is_some_and(|plateau| plateau.pushes.as_ref().is_some_and(|p| p.late.is_none())) {
        note("plateaus.pushes.late", "without --push-every nothing tells when a push is late");
        note("plateaus.pushes.missing", "without --push-every nothing tells when one is missing");
    }
    if plateau.is_none_or(|plateau| plateau.schedule_lag_us.is_none()) {
        note("plateaus.schedule_lag_us", "nothing was on a schedule, or nothing of it was begun");
    }
    notes
}

/// What the bytes for each connection include, and why some are not known.
fn of_cost(result: &RunResult) -> Map<String> {
    let mut notes = Map::default();
    let mut note = |figure: &str, why: &str| notes.insert(figure.to_owned(), why.to_owned());
    let unless_held = |otherwise| unless_held(result, otherwise);
    let cost = &result.cost_per_connection;
    if cost.kernel_bytes.is_none() {
        let why = "not measured: /proc is hidden, or the host gave back more than was taken";
        note("cost_per_connection.kernel_bytes", unless_held(why));
    } else {
        let sockets = match *cost.sockets_counted {
            Some(1) => "the client's socket of a connection".to_owned(),
            Some(2) => "both sockets of a connection".to_owned(),
            Some(n) => format!("{n} sockets for a connection: a proxy is on this host"),
            None => "of how many sockets of a connection is not known".to_owned(),
        };
        let what = "growth of slab and other kernel memory of the whole host";
        note("cost_per_connection.kernel_bytes", &format!("{what}; {sockets}"));
    }
    if cost.sockets_counted.is_none() {
        let why = "the host's sockets, by /proc/net/sockstat, are no multiple of the connections";
        note("cost_per_connection.sockets_counted", unless_held(why));
    }
    let lines = cost.fit.iter().flat_map(|fit| fit.by_layer.values());
    if lines.into_iter().any(|line| line.slope_bytes.is_none()) {
        let why = "null: it fell while connections were opened, which others on the host did";
        note("cost_per_connection.fit.by_layer.slope_bytes", why);
    }
    let memory = result.plateaus.iter().map(|plateau| &plateau.memory);
    if memory.clone().any(|memory| memory.kernel_bytes.is_none()) {
        let why = "/proc is hidden, or the host gave back more than was taken";
        note("plateaus.memory.kernel_bytes", why);
    }
    if memory.clone().any(|memory| memory.client_user_bytes.is_none()) {
        let why = "/proc is hidden, or the process gave back more than it took";
        note("plateaus.memory.client_user_bytes", why);
    }
    if cost.fit.is_none() {
        let why =
            "a line takes two plateaus and the empty state; the last one's growth was divided";
        note("cost_per_connection.fit", unless_held(why));
    }
    if cost.stderr_bytes.is_none() {
        note("cost_per_connection.stderr_bytes", unless_held("without a line there is no error"));
    }
    if cost.by_slab.is_none() {
        let why = "/proc/slabinfo is for root: tcp, inode, filp, dentry, io_uring and other_slabs \
                   cannot be told apart; their sum is slabs, by /proc/meminfo";
        note("cost_per_connection.by_slab", unless_held(why));
    }
    let is_seen = |n: i64| n.unsigned_abs() * 100 > result.established.or_zero();
    match *cost.other_sockets {
        None => {
            note("cost_per_connection.other_sockets", unless_held("/proc/net/sockstat is hidden"));
        }
        Some(others) if is_seen(others) => {
            let why =
                "others opened or closed so many sockets meanwhile: the kernel's bytes are off";
            note("cost_per_connection.other_sockets", why);
        }
        Some(_) => {}
    }
    if cost.time_wait.is_some_and(is_seen) {
        let why = "so many sockets in TIME_WAIT came or, of an earlier run, went meanwhile: some \
                   250 B each of the kernel's bytes";
        note("cost_per_connection.time_wait", why);
    }
    if cost.server_user_bytes.is_none() {
        let of_part = result.part.as_ref().is_some_and(|part| *part.of > Some(1));
        let why = if of_part {
            "a part of a run: the server grows by the connections of all, see megaconn merge"
        } else {
            "no growth in a dump of the hold; is the server's --stats DIR/server.ndjson?"
        };
        note("cost_per_connection.server_user_bytes", unless_held(why));
    }
    if cost.client_user_bytes.is_none() {
        let why = "too few connections for the resident memory to grow, or /proc is hidden";
        note("cost_per_connection.client_user_bytes", unless_held(why));
    }
    notes
}

fn unless_held(result: &RunResult, otherwise: &'static str) -> &'static str {
    let was_held = result.plateaus.last().is_some_and(|plateau| plateau.hold_seconds.is_some());
    if was_held { otherwise } else { "not measured: the run ended before the hold" }
}
