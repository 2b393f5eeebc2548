//! The situations of the lab: each wall that it meets and lifts.

use crate::lab::network::{self, Case};
use crate::lab::scenes::{self, Wall};
use crate::row::{BLANK, How, Is, Row};

/// What the client meets at its own host, or sees by itself, has one name with and without sight.
const fn own(name: &'static str, is: &'static [Is], case: &'static Case) -> Row {
    Row { name, with: is, without: is, how: How::Case(case), ..BLANK }
}

const fn other(
    name: &'static str,
    with: &'static [Is],
    without: &'static [Is],
    case: &'static Case,
) -> Row {
    Row { name, with, without, how: How::Case(case), ..BLANK }
}

const fn wall(
    name: &'static str,
    with: &'static [Is],
    without: &'static [Is],
    wall: &'static Wall,
) -> Row {
    Row { name, with, without, is_alone: true, how: How::Wall(wall), ..BLANK }
}

const fn alone(row: Row) -> Row {
    Row { is_alone: true, ..row }
}

/// The backlog is that of the SYN queue as well, and what is beyond it is answered by cookies.
const fn with_cookies(row: Row) -> Row {
    Row { beside: &["syncookies"], ..row }
}

/// The server itself ends those that take no pushes for so long.
const fn not_taken(row: Row) -> Row {
    Row { beside: &["push-backlog"], ..row }
}

/// Nothing listens there any more, in truth.
const fn refused_then(row: Row) -> Row {
    Row { beside: &["refused"], ..row }
}

use Is::{Met, Nothing, Unknown, Wall as Of};

pub(crate) const ROWS: &[Row] = &[
    own("ports of one address used up", &[Of("source-ports", "client")], &network::SOURCE_PORTS),
    own("ports in TIME_WAIT", &[Of("time-wait", "client")], &network::TIME_WAIT),
    with_cookies(other(
        "accept queue of 8",
        &[Of("accept-queue", "server")],
        &[Of("unanswered", "between")],
        &network::ACCEPT_QUEUE,
    )),
    other(
        "SYN queue of 64 by somaxconn",
        &[Of("syn-queue", "server")],
        &[Of("unanswered", "between")],
        &network::SYN_QUEUE,
    ),
    other(
        "SYN queue of 64 for strangers",
        &[Of("syn-queue", "server")],
        &[Of("unanswered", "between")],
        &network::SYN_QUEUE_FOR_STRANGERS,
    ),
    other("SYN cookies", &[Met("syncookies", "server")], &[Nothing], &network::SYNCOOKIES),
    own("10 TIME_WAIT buckets", &[Met("tw-buckets", "client")], &network::TW_BUCKETS),
    alone(other("16 orphans", &[Met("orphans", "server")], &[Nothing], &network::ORPHANS)),
    alone(own("16 neighbours", &[Of("neighbours", "between")], &network::NEIGHBOURS)),
    alone(other(
        "conntrack of the server full",
        &[Of("conntrack", "server")],
        &[Of("unanswered", "between")],
        &network::CONNTRACK,
    )),
    alone(own(
        "conntrack of the client full",
        &[Of("conntrack", "client")],
        &network::CONNTRACK_OF_THE_CLIENT,
    )),
    alone(own("a CPU's queue of 1", &[Of("netdev-backlog", "client")], &network::NETDEV_BACKLOG)),
    own("two of 18 ports refuse", &[Of("refused", "server")], &network::REFUSED),
    own("no way back to one source", &[Of("unanswered", "between")], &network::UNANSWERED),
    other(
        "--max-connections of the server",
        &[Of("server-full", "server")],
        &[Of("server-full", "server"), Unknown("after their connect at the latest")],
        &network::SERVER_FULL,
    ),
    own("a middlebox forgets", &[Of("middlebox-idle", "between")], &network::MIDDLEBOX_IDLE),
    own("every 20th packet lost", &[Met("packet-loss", "between")], &network::PACKET_LOSS),
    other(
        "the way is cut in the hold",
        &[Of("path-gone", "between")],
        &[Of("path-gone", "between"), Unknown("does not answer")],
        &network::PATH_GONE,
    ),
    own("a firewall resets some", &[Of("refused-between", "between")], &network::REFUSED_BETWEEN),
    wall("locked memory of the server", &[Of("memlock", "server")], AT_ONCE, &scenes::MEMLOCK),
    // It accepts no more, because it has no file for another ring.
    Row {
        beside: &["accept-stalled"],
        ..wall(
            "open files of the server",
            &[Of("nofile", "server")],
            &[Unknown("no answer came"), Unknown("after their connect at the latest")],
            &scenes::NOFILE,
        )
    },
    wall(
        "files of the host",
        &[Of("file-max", "client")],
        &[Of("file-max", "client")],
        &scenes::FILE_MAX,
    ),
    // The value is of the whole host, and here that is the host of both ends.
    not_taken(wall(
        "tcp_mem of 1 page",
        &[Of("tcp-mem", "server"), Of("tcp-mem", "client")],
        &[Of("tcp-mem", "server"), Of("tcp-mem", "client")],
        &scenes::TCP_MEM,
    )),
    not_taken(wall(
        "socket buffers of 2 KiB",
        &[Of("socket-buffers", "client")],
        &[Of("socket-buffers", "client")],
        &scenes::SOCKET_BUFFERS,
    )),
    wall("memory reserve of the server", &[Of("memory", "server")], AT_ONCE, &scenes::MEMORY),
    // Without sight the client sees it go, and here the log of the kernel that both share.
    refused_then(wall(
        "server killed for its cgroup's memory",
        &[Of("cgroup-memory", "server")],
        &[Of("server-gone", "server"), Of("cgroup-memory", "server")],
        &scenes::CGROUP_MEMORY,
    )),
    wall(
        "cgroup of the client shrinks",
        &[Of("cgroup-memory", "client")],
        &[Of("cgroup-memory", "client")],
        &scenes::CGROUP_RESERVE,
    ),
    wall(
        "a tenth of a CPU for the client",
        &[Of("cpu-quota", "client")],
        &[Of("cpu-quota", "client")],
        &scenes::CPU_QUOTA,
    ),
    wall(
        "a tenth of a CPU for the server",
        &[Of("cpu", "server"), Of("cpu-quota", "server")],
        &[Unknown("late or not begun in time")],
        &scenes::CPU,
    ),
    // The counter is of the host that both share.
    wall(
        "netdev_budget of 1",
        &[Met("softirq-budget", "server"), Met("softirq-budget", "client")],
        &[Met("softirq-budget", "server"), Met("softirq-budget", "client")],
        &scenes::SOFTIRQ_BUDGET,
    ),
    wall(
        "server stopped for 1 s",
        &[Unknown("late or not begun in time"), Of("server-stalled", "server")],
        &[Unknown("late or not begun in time"), Of("server-stalled", "server")],
        &scenes::STOPPED,
    ),
    wall(
        "server killed",
        &[Of("server-gone", "server")],
        &[Of("server-gone", "server")],
        &scenes::KILLED,
    ),
];

/// A server that refuses connections for a reason of its own: from outside, that they end at once.
const AT_ONCE: &[Is] = &[Unknown("after their connect at the latest")];
