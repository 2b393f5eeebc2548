//! Networks: what is between the ends loses, delays, forgets, rejects or goes away. Our server is across
//! a cable or behind a router, and its figures come by a cable of their own.

use Is::{Met, Nothing, Refused, Unknown, Wall};

use crate::lab::netns::Build;
use crate::row::{BLANK, How, Is, PLAY, Play, Row, Server, Step};

const fn row(
    name: &'static str,
    with: &'static [Is],
    without: &'static [Is],
    before: &'static [Step],
    run: &'static [&'static str],
) -> Row {
    Row { name, with, without, how: How::Play(Play { before, run, ..PLAY }), ..BLANK }
}

/// What shows at the client has one name with and without sight.
const fn seen(
    name: &'static str,
    is: &'static [Is],
    before: &'static [Step],
    run: &'static [&'static str],
) -> Row {
    row(name, is, is, before, run)
}

const fn played(row: Row, change: Change) -> Row {
    let How::Play(play) = row.how else { return row };
    let play = match change {
        Change::Routed => Play { build: Build::Router, ..play },
        Change::InHold(then) => Play { then, ..play },
        Change::WhileOpening(then) => Play { then, from_start: true, ..play },
        Change::NoServer => Play { server: Server::None, ..play },
    };
    Row { how: How::Play(play), ..row }
}

enum Change {
    Routed,
    InHold(&'static [(u64, Step)]),
    WhileOpening(&'static [(u64, Step)]),
    NoServer,
}

use Change::{InHold, NoServer, Routed, WhileOpening};

/// Packets are lost, and TCP has the time to send them again.
const PATIENT: Step = Step::Client("sysctl -qw net.ipv4.tcp_syn_retries=6");

/// Many small exchanges; they end in order, because a reset that is lost is not sent again.
const CHAT: &[&str] = &["--connections", "400", "--message-every", "200ms", "--hold", "3s"];
const OPEN: &[&str] = &["--connections", "500", "--hold", "0s", "--close", "reset"];
const EACH_SECOND: &[&str] =
    &["--connections", "100", "--message-every", "500ms", "--hold", "7s", "--close", "reset"];
const OPENING: &[&str] =
    &["--connections", "600", "--rate", "200", "--hold", "0s", "--close", "reset"];
const RESTING: &[&str] = &["--connections", "200", "--hold", "4s", "--sweep", "--close", "reset"];

const LOSS: &[Is] = &[Met("packet-loss", "between")];
const UNANSWERED: &[Is] = &[Wall("unanswered", "between")];
const ROUTE: &[Is] = &[Wall("route", "client")];
/// What rejects is between, and says so.
const REJECTED: &[Is] = &[Wall("refused-between", "between")];

/// ICMP is not held back.
const LIMITS_OFF: Step = Step::Server("sysctl -qw net.ipv4.icmp_ratelimit=0");

/// One SYN of three is rejected so; the first, the client's look at its target, is not.
macro_rules! rejects {
    ($type:literal) => {
        Step::ServerNft(concat!(
            "chain in { type filter hook input priority 0; tcp dport 7000 \
             tcp flags & (syn|ack) == syn numgen inc mod 3 2 reject with icmp type ",
            $type,
            "; }"
        ))
    };
}

pub(crate) const ROWS: &[Row] = &[
    seen(
        "1 % lost at random",
        LOSS,
        &[
            PATIENT,
            Step::ServerNft(
                "chain lossy { type filter hook input priority 0; iifname link0 \
                 meta l4proto tcp numgen random mod 100 0 drop; }",
            ),
        ],
        CHAT,
    ),
    seen(
        "5 % lost at random",
        LOSS,
        &[
            PATIENT,
            Step::ServerNft(
                "chain lossy { type filter hook input priority 0; iifname link0 \
                 meta l4proto tcp numgen random mod 20 0 drop; }",
            ),
        ],
        CHAT,
    ),
    seen(
        "5 % lost on the way back",
        LOSS,
        &[
            PATIENT,
            Step::ClientNft(
                "chain lossy { type filter hook input priority 0; iifname link0 \
                 meta l4proto tcp numgen random mod 20 0 drop; }",
            ),
        ],
        CHAT,
    ),
    played(
        seen(
            "5 % lost at a router",
            LOSS,
            &[
                PATIENT,
                Step::BetweenNft(
                    "chain lossy { type filter hook forward priority 0; \
                     meta l4proto tcp numgen random mod 20 0 drop; }",
                ),
            ],
            CHAT,
        ),
        Routed,
    ),
    seen(
        "a queue of 4 KB at 1 Mbit/s drops",
        LOSS,
        &[PATIENT, Step::Client("tc qdisc add dev link0 root tbf rate 1mbit burst 2000 limit 4000")],
        &[
            "--connections",
            "100",
            "--message-bytes",
            "512",
            "--message-every",
            "500ms",
            "--hold",
            "3s",
        ],
    ),
    // Full packets vanish: connections open, and what is sent on them is sent again and again.
    played(
        seen(
            "full packets vanish at a router",
            &[Wall("packet-loss", "between"), Unknown("no answer came")],
            &[Step::BetweenNft(
                "chain small { type filter hook forward priority 0; ip length > 600 drop; }",
            )],
            &["--connections", "60", "--message-bytes", "4096", "--hold", "1s"],
        ),
        Routed,
    ),
    row(
        "SYNs beyond 150/s dropped, and tried again",
        LOSS,
        &[Met("packet-loss", "between"), Nothing],
        &[
            PATIENT,
            Step::ServerNft(
                "chain slow { type filter hook input priority 0; iifname link0 \
                 tcp flags & (syn|ack) == syn limit rate over 150/second burst 50 packets drop; }",
            ),
        ],
        &["--connections", "400", "--rate", "200", "--hold", "0s", "--close", "reset"],
    ),
    seen(
        "SYNs beyond 300 connections dropped",
        UNANSWERED,
        &[Step::ServerNft(
            "chain most { type filter hook input priority 0; iifname link0 \
             tcp flags & (syn|ack) == syn ct count over 300 drop; }",
        )],
        OPEN,
    ),
    seen(
        "25 of each source, the others reset",
        &[Wall("source-limit", "between"), Wall("refused-between", "between")],
        &[
            Step::Client("for n in 20 21 22 23; do ip addr add 10.77.0.$n/24 dev link0; done"),
            Step::ServerNft(
                "set held { type ipv4_addr; flags dynamic; size 1000; }
                 chain each { type filter hook input priority 0; iifname link0 \
                 tcp flags & (syn|ack) == syn add @held { ip saddr ct count over 25 } \
                 reject with tcp reset; }",
            ),
        ],
        &[
            "--source", "10.77.0.20-10.77.0.23", "--source-ports", "40000-40099",
            "--connections", "400", "--rate", "400", "--hold", "1s", "--close", "reset",
        ],
    ),
    played(
        seen("SYNs dropped from a moment on", UNANSWERED, &[], OPENING),
        WhileOpening(&[(
            1500,
            Step::ServerNft(
                "chain shut { type filter hook input priority 0; iifname link0 \
                 tcp flags & (syn|ack) == syn drop; }",
            ),
        )]),
    ),
    // New connections pass, and those that are there do not.
    played(
        seen(
            "what is established is dropped",
            &[Wall("packet-loss", "between"), Unknown("no answer came")],
            &[],
            EACH_SECOND,
        ),
        InHold(&[(
            1000,
            Step::ServerNft(
                "set fresh { type inet_service; flags timeout; }
                 chain cut { type filter hook input priority 0; iifname link0 \
                 tcp dport 7000 tcp flags & (syn|ack) != syn ct mark 0 ct state established drop; }",
            ),
        )]),
    ),
    played(
        row(
            "a quota of bytes is used up",
            &[Wall("path-gone", "between")],
            &[Wall("path-gone", "between"), Unknown("does not answer")],
            &[],
            EACH_SECOND,
        ),
        InHold(&[(
            500,
            Step::ServerNft(
                "chain used { type filter hook input priority 0; iifname link0 \
                 quota over 20 kbytes drop; }",
            ),
        )]),
    ),
    seen("rejected: net unreachable", REJECTED, &[LIMITS_OFF, rejects!("net-unreachable")], OPEN),
    seen("rejected: host unreachable", REJECTED, &[LIMITS_OFF, rejects!("host-unreachable")], OPEN),
    seen("rejected: port unreachable", REJECTED, &[LIMITS_OFF, rejects!("port-unreachable")], OPEN),
    seen("rejected: admin prohibited", REJECTED, &[LIMITS_OFF, rejects!("admin-prohibited")], OPEN),
    seen("rejected: host prohibited", REJECTED, &[LIMITS_OFF, rejects!("host-prohibited")], OPEN),
    played(
        seen(
            "a NAT with 200 ports",
            UNANSWERED,
            &[Step::BetweenNft(
                "chain nat { type nat hook postrouting priority 100; oifname link0 \
                 meta l4proto tcp masquerade to :50000-50199; }",
            )],
            OPEN,
        ),
        Routed,
    ),
    played(
        seen(
            "a NAT with ports enough",
            &[Nothing],
            &[Step::BetweenNft(
                "chain nat { type nat hook postrouting priority 100; oifname link0 \
                 meta l4proto tcp masquerade; }",
            )],
            OPEN,
        ),
        Routed,
    ),
    // It resets what it has forgotten, and that shows when a message is sent again.
    played(
        seen(
            "a middlebox forgets, and resets",
            &[Wall("middlebox-idle", "between"), Unknown("were reset (RST)")],
            &[
                Step::Between(
                    "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 \
                     net.netfilter.nf_conntrack_tcp_timeout_established=2",
                ),
                Step::BetweenNft(
                    "chain kept { type filter hook forward priority 0; \
                     ct state invalid reject with tcp reset; \
                     tcp flags & (fin|syn|rst|ack) != syn ct state new reject with tcp reset; }",
                ),
            ],
            RESTING,
        ),
        Routed,
    ),
    played(
        row(
            "the client's link goes down in the hold",
            &[Wall("route", "client"), Wall("path-gone", "between")],
            &[Wall("route", "client"), Wall("path-gone", "between"), Unknown("does not answer")],
            &[],
            EACH_SECOND,
        ),
        InHold(&[(1000, Step::Client("ip link set link0 down"))]),
    ),
    played(
        row(
            "the server's link goes down in the hold",
            &[Wall("path-gone", "between")],
            &[Wall("path-gone", "between"), Unknown("does not answer")],
            &[],
            EACH_SECOND,
        ),
        InHold(&[(1000, Step::Server("ip link set link0 down"))]),
    ),
    played(
        played(seen("the client's route is removed", ROUTE, &[], OPENING), Routed),
        WhileOpening(&[(1500, Step::Client("ip route del default"))]),
    ),
    played(
        played(
            row(
                "the router's way on is removed",
                &[Wall("path-gone", "between"), Wall("refused-between", "between")],
                // It holds its ICMP back, so that most get no answer.
                &[Wall("refused-between", "between"), Wall("unanswered", "between")],
                &[],
                OPENING,
            ),
            Routed,
        ),
        WhileOpening(&[(1500, Step::Between("ip addr del 10.77.0.254/24 dev link0"))]),
    ),
    played(
        seen("a prohibit route at the client", &[Wall("permission", "client")], &[], OPENING),
        WhileOpening(&[(1500, Step::Client("ip route add prohibit 10.77.0.1/32"))]),
    ),
    played(
        seen("an unreachable route at the client", ROUTE, &[], OPENING),
        WhileOpening(&[(1500, Step::Client("ip route add unreachable 10.77.0.1/32"))]),
    ),
    played(
        seen("a black hole route at the client", ROUTE, &[], OPENING),
        WhileOpening(&[(1500, Step::Client("ip route add blackhole 10.77.0.1/32"))]),
    ),
    played(seen("no server at all", &[Refused("refused: --target")], &[], OPEN), NoServer),
    played(
        seen(
            "no host at all",
            &[Refused("unanswered: --target")],
            &[],
            &["--target", "10.77.0.9:7000", "--connections", "500", "--hold", "0s"],
        ),
        NoServer,
    ),
    played(
        seen(
            "no way to the host",
            &[Refused("no route leads there")],
            &[],
            &["--target", "10.55.0.9:7000", "--connections", "500", "--hold", "0s"],
        ),
        NoServer,
    ),
];
