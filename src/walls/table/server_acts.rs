//! What the server itself did to connections. Its own counters say so, which makes it certain, and each
//! has the flag that it was told.

use crate::base::errno::Errno;
use crate::base::units::grouped;
use crate::observe::stats::LostCause;
use crate::walls::evidence::{Confidence, Evidence};
use crate::walls::fix::Fix;
use crate::walls::place::Place;
use crate::walls::run_facts::RunFacts;
use crate::walls::sign::Sign;
use crate::walls::symptom::Symptom;
use crate::walls::table::packets::backlog_dropped;
use crate::walls::table::row::{BETWEEN, BLANK, SERVER};
use crate::walls::wall::Wall;

/// How a connection ends that the server ends: in order, or by a reset where bytes were under way.
const ENDED: &[Symptom] = &[Symptom::Lost(LostCause::Fin), Symptom::Lost(LostCause::Reset)];

/// The same, and how one ends that is not yet a connection.
const STORMED: &[Symptom] = &[
    Symptom::Lost(LostCause::Fin),
    Symptom::Lost(LostCause::Reset),
    Symptom::Failed(Errno::ECONNRESET),
    Symptom::Failed(Errno::ECONNABORTED),
];

pub(super) const ROWS: &[Wall] = &[
    Wall {
        id: "idle-timeout",
        precedence: 141,
        limits: "time for which the server keeps a connection that sends nothing",
        at: SERVER,
        unit: "seconds",
        explains: ENDED,
        signs: &[Sign::Counted("idle_timeout_total")],
        absent: "the server ended no connection for being idle",
        fix: |_, _| {
            vec![
                Fix::Flag("serve --idle-timeout with more, or without it".into()),
                Fix::Flag("--message-every with less than that time".into()),
            ]
        },
        remark: "the server's --idle-timeout; it counts what it ended",
        ..BLANK
    },
    Wall {
        id: "ping-timeout",
        precedence: 139,
        limits: "time in which a ping of the server has to be answered",
        at: SERVER,
        unit: "seconds",
        explains: ENDED,
        signs: &[Sign::Counted("ping_timeout_total")],
        absent: "every ping of the server was answered in time",
        fix: |_, _| {
            vec![
                Fix::Flag("serve --ping-every with more, or without it".into()),
                Fix::Advice("a client that answers pings, with CPU left to do so"),
            ]
        },
        remark: "the server's --ping-every; it counts what it ended",
        ..BLANK
    },
    Wall {
        id: "drain",
        precedence: 142,
        limits: "the life of the server: it was told to end, and ended its connections",
        at: SERVER,
        explains: ENDED,
        signs: &[Sign::Counted("drained_total"), Sign::Counted("drain_cut_total")],
        absent: "the server was not told to end",
        fix: |_, _| {
            vec![
                Fix::Advice("end the server after the run: something sent it SIGTERM"),
                Fix::Flag("serve --drain with more time, where connections were cut".into()),
            ]
        },
        remark: "on SIGTERM; --drain is the time that it takes",
        ..BLANK
    },
    Wall {
        id: "storm",
        precedence: 133,
        limits: "connections that the server keeps: it was told to drop a part of them",
        at: SERVER,
        explains: STORMED,
        signs: &[Sign::Counted("dropped_total")],
        absent: "the server dropped none on purpose",
        fix: |_, _| {
            vec![
                Fix::Flag("serve without --storm".into()),
                Fix::Flag(
                    "--reconnect 'backoff 1s-30s' of the client, so that they come back".into(),
                ),
            ]
        },
        remark: "the server's --storm, on purpose",
        ..BLANK
    },
    Wall {
        id: "send-timeout",
        precedence: 143,
        limits: "time for which the server waits for a peer that takes nothing",
        at: SERVER,
        unit: "seconds",
        explains: ENDED,
        signs: &[Sign::Counted("send_timeout_total")],
        absent: "every peer took what the server sent",
        fix: |_, _| {
            vec![
                Fix::Flag("serve --send-timeout with more".into()),
                Fix::Flag("--cores of the client with more of them: it reads too slowly".into()),
            ]
        },
        remark: "the server's --send-timeout; a peer that reads its receive buffer in that time is kept",
        ..BLANK
    },
    Wall {
        id: "push-backlog",
        precedence: 144,
        limits: "pushes that are due on one connection and not taken",
        at: SERVER,
        unit: "pushes",
        explains: ENDED,
        signs: &[Sign::Counted("backlog_total"), Sign::Counted("broadcast_closed_total")],
        absent: "no push waited behind three others",
        fix: |_, _| {
            vec![
                Fix::Flag("serve --push-every with more".into()),
                Fix::Flag("serve --slow-reader skip, for texts to all".into()),
            ]
        },
        remark: "a peer that takes nothing for four --push-every is closed, and with --slow-reader close \
                 one that has not taken what was sent before a text to all",
        ..BLANK
    },
    Wall {
        id: "evicted",
        precedence: 145,
        limits: "buffers of a server's core that peers hold which do not read or do not finish",
        at: SERVER,
        unit: "buffers",
        explains: ENDED,
        signs: &[Sign::Counted("evicted_total")],
        absent: "no connection was ended for its buffer",
        fix: |_, _| vec![Fix::Cores("serve --cores with more of them: each has its own buffers")],
        remark: "the one that has held a buffer the longest goes when others wait for one",
        ..BLANK
    },
    Wall {
        id: "malformed",
        precedence: 146,
        limits: "nothing: the bytes made no sense to the server",
        at: SERVER,
        explains: &[
            Symptom::Lost(LostCause::Fin),
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::ECONNABORTED),
            Symptom::Failed(Errno::ECONNRESET),
        ],
        signs: &[Sign::Counted("malformed_total")],
        absent: "the server understood all that came",
        fix: |_, _| {
            vec![
                Fix::Flag("serve --mode as the client expects it by --expect".into()),
                Fix::Flag(
                    "--proxy-protocol, --websocket and TLS at both ends, or at neither".into(),
                ),
            ]
        },
        remark: "either end speaks another protocol, or what is between changes bytes",
        ..BLANK
    },
    Wall {
        id: "handshake-time",
        precedence: 135,
        limits: "time for a handshake of TLS, WebSocket or the PROXY protocol",
        at: SERVER,
        unit: "seconds",
        explains: &[
            Symptom::Lost(LostCause::Fin),
            Symptom::Lost(LostCause::Reset),
            Symptom::Failed(Errno::EPROTO),
            Symptom::Failed(Errno::ECONNABORTED),
            Symptom::Failed(Errno::ECONNRESET),
        ],
        signs: &[Sign::Counted("handshake_timeout_total")],
        absent: "every handshake was done in time",
        fix: |_, _| {
            vec![
                Fix::Cores(
                    "serve --cores with more of them: handshakes have two places in a turn of each",
                ),
                Fix::Flag("serve --handshake-timeout with more".into()),
                Fix::Flag("--rate of the client with less".into()),
            ]
        },
        remark: "handshakes that wait for their turn are in the server's handshakes_waiting",
        ..BLANK
    },
    Wall {
        id: "proxy-between",
        precedence: 147,
        limits: "nothing of the server's: a proxy or balancer took connections in its name",
        at: BETWEEN,
        unit: "connections",
        explains: &[
            Symptom::Lost(LostCause::Reset),
            Symptom::Lost(LostCause::Fin),
            Symptom::Lost(LostCause::Silent),
            Symptom::Lost(LostCause::Timeout),
            Symptom::Lost(LostCause::Mismatch),
        ],
        signs: &[Sign::Seen("the client holds more than the server ever accepted", taken_between)],
        absent: "the server accepted as many as the client connected, as far as it was seen",
        fix: |_, _| {
            vec![
                Fix::Flag("--target with the server's own address, past what is between".into()),
                Fix::Advice("raise the limits of the proxy, balancer or NAT between the ends"),
            ]
        },
        remark: "the difference of what the client connected and the server accepted",
        ..BLANK
    },
];

/// The client connected more than the server accepted or refused, and no queue of the server can have
/// the rest: something else completed those handshakes.
fn taken_between(run: &RunFacts, _: Place) -> Option<Evidence> {
    let server = run.server.as_ref().filter(|end| end.has_figures())?;
    let connected =
        run.client.figure("connected_total").filter(|_| run.facts.has_one_target_host)?;
    // The kernel completes handshakes before the server accepts them. Only a queue that never
    // overflowed has given all of them to the server.
    server.rise("TcpExt.ListenOverflows").filter(|n| *n == 0)?;
    server.figure("accept_failed_total").filter(|n| *n == 0)?;
    // The last packets of handshakes may be among what a CPU's queue dropped.
    let is_dropped = |side| backlog_dropped(run, side).is_some();
    if is_dropped(Place::Client) || is_dropped(Place::Server) {
        return None;
    }
    let of_server = |name| server.figure(name);
    let accepted = of_server("accepted_total")?;
    let refused = of_server("refused_total")? + of_server("refused_memory_total").unwrap_or(0);
    // Where the last packet of a handshake is lost, the server sends its part again.
    let begun = server.rise("TcpExt.TCPSynRetrans").unwrap_or(0);
    let missing = connected.checked_sub(accepted + refused + begun)?;
    let text = format!(
        "client: {} connected; server: accepted_total 0 -> {}, {} refused: {} were taken by something \
         between",
        grouped(connected),
        grouped(accepted),
        grouped(refused),
        grouped(missing)
    );
    let is_settled = run.facts.held_seconds >= SETTLED_S;
    let is_clear = missing >= TAKEN_LEAST && (is_settled || missing >= connected / SHORT_OF);
    is_clear.then_some(Evidence { text, count: Some(missing), confidence: Confidence::Certain })
}

/// Connections that something between took, of which fewer say nothing. With nothing between, at most 4 of
/// 10,000 were missing in 134 runs that were held, with up to 5 % of all packets lost.
const TAKEN_LEAST: u64 = 10;

/// Seconds of holding after which the server has sent its part of each handshake again, where the last
/// packet of one was lost: it does so after a second.
const SETTLED_S: f64 = 1.5;

/// In a shorter run one of so many says more than such handshakes: 9 of 10,000 were seen with 5 % lost.
const SHORT_OF: u64 = 100;
