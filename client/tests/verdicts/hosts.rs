//! Hosts and programs: limits of either end, what our server does by itself, and ends that are stopped or
//! busy.

use Is::{Met, Nothing, Refused, Unknown, Wall};
use rustix::process::Signal;

use crate::lab::netns::Build;
use crate::row::{BLANK, How, In, Is, PLAY, Play, Row, Server, Step};

const fn row(name: &'static str, with: &'static [Is], without: &'static [Is], play: Play) -> Row {
    Row { name, with, without, how: How::Play(play), ..BLANK }
}

/// What shows at the client has one name with and without sight.
const fn seen(name: &'static str, is: &'static [Is], play: Play) -> Row {
    row(name, is, is, play)
}

const fn alone(row: Row) -> Row {
    Row { is_alone: true, ..row }
}

/// The backlog is that of the SYN queue as well, and what is beyond it is answered by cookies.
const fn with_cookies(row: Row) -> Row {
    Row { beside: &["syncookies"], ..row }
}

const fn cheap(row: Row) -> Row {
    Row { is_cheap: true, ..row }
}

/// Against our server with these flags.
const fn ours(flags: &'static [&'static str], run: &'static [&'static str]) -> Play {
    Play { server: Server::Ours(flags), run, ..PLAY }
}

/// After these steps.
const fn after(before: &'static [Step], run: &'static [&'static str]) -> Play {
    Play { before, run, ..PLAY }
}

/// With these in the hold.
const fn during(then: &'static [(u64, Step)], play: Play) -> Play {
    Play { then, ..play }
}

const fn client_in(client_in: In, run: &'static [&'static str]) -> Play {
    Play { client_in, run, ..PLAY }
}

const fn server_in(server_in: In, run: &'static [&'static str]) -> Play {
    Play { server_in, run, ..PLAY }
}

const OPEN: &[&str] = &["--connections", "500", "--hold", "0s", "--close", "reset"];
const AT_ONCE_1K: &[&str] = &["--connections", "1k", "--connects-in-flight", "1k", "--hold", "0s"];
const EACH_HALF: &[&str] =
    &["--connections", "100", "--message-every", "500ms", "--hold", "4s", "--close", "reset"];
const LONG: &[&str] =
    &["--connections", "100", "--message-every", "500ms", "--hold", "8s", "--close", "reset"];
const RESTING: &[&str] = &["--connections", "60", "--rate", "40", "--hold", "3s"];

const AT_ONCE: &[Is] = &[Unknown("after their connect at the latest")];
const GONE: &[Is] = &[Wall("server-gone", "server")];
const STALLED: &[Is] = &[Met("server-stalled", "server")];

pub(crate) const ROWS: &[Row] = &[
    // What our server does by itself.
    row(
        "--idle-timeout 1s of the server",
        &[Wall("idle-timeout", "server")],
        &[Wall("idle-limit", "between")],
        ours(&["--idle-timeout", "1s"], RESTING),
    ),
    // Its figures go with it, so that the client may have seen no more of it than that it went.
    row(
        "drained within 2 s",
        &[Wall("drain", "server"), Wall("server-gone", "server")],
        GONE,
        during(&[(1000, Step::ToServer(Signal::TERM))], ours(&["--drain", "2s"], EACH_HALF)),
    ),
    row(
        "ended by SIGTERM",
        &[Wall("drain", "server"), Wall("server-gone", "server")],
        GONE,
        during(&[(1000, Step::ToServer(Signal::TERM))], ours(&[], EACH_HALF)),
    ),
    seen(
        "killed, across a cable",
        GONE,
        during(&[(1000, Step::ToServer(Signal::KILL))], ours(&[], EACH_HALF)),
    ),
    seen(
        "server stopped for 4 s",
        STALLED,
        during(
            &[(1000, Step::ToServer(Signal::STOP)), (4000, Step::ToServer(Signal::CONT))],
            ours(&[], LONG),
        ),
    ),
    seen(
        "server stopped to the end",
        &[Wall("server-stalled", "server")],
        during(&[(1000, Step::ToServer(Signal::STOP))], ours(&[], LONG)),
    ),
    // It sent nothing for longer than a message may be late.
    seen(
        "client stopped for 3 s",
        &[Met("client-lag", "client")],
        during(
            &[(500, Step::ToClient(Signal::STOP)), (3000, Step::ToClient(Signal::CONT))],
            ours(&[], EACH_HALF),
        ),
    ),
    row(
        "--max-connections 300 on one core of two",
        &[Wall("server-full", "server")],
        &[Wall("server-full", "server"), Unknown("after their connect at the latest")],
        ours(&["--max-connections", "300"], OPEN),
    ),
    with_cookies(row(
        "--backlog 4, all at once",
        &[Wall("accept-queue", "server")],
        &[Wall("unanswered", "between")],
        ours(&["--backlog", "4"], AT_ONCE_1K),
    )),
    with_cookies(row(
        "somaxconn of 8",
        &[Wall("accept-queue", "server")],
        &[Wall("unanswered", "between")],
        after(&[Step::Server("sysctl -qw net.core.somaxconn=8")], AT_ONCE_1K),
    )),
    row(
        "SYN cookies always",
        &[Met("syncookies", "server")],
        &[Nothing],
        after(&[Step::Server("sysctl -qw net.ipv4.tcp_syncookies=2")], OPEN),
    ),
    row(
        "the server pushes what --expect does not know",
        &[Wall("other-protocol", "server")],
        &[Wall("other-protocol", "server")],
        ours(&["--mode", "push", "--push-every", "200ms"], EACH_HALF),
    ),
    row(
        "the server drops what it gets",
        &[Unknown("no answer came")],
        &[Unknown("no answer came")],
        ours(&["--mode", "sink"], OPEN),
    ),
    // Limits of the server's process and group.
    row(
        "40 MiB for the server",
        &[Wall("cgroup-memory", "server")],
        AT_ONCE,
        server_in(
            In::Memory(40 << 20),
            &["--connections", "25k", "--hold", "0s", "--close", "reset"],
        ),
    ),
    alone(row(
        "5 % of a CPU for the server",
        &[Wall("cpu-quota", "server"), Wall("cpu", "server")],
        &[Unknown("late or not begun in time")],
        server_in(In::Cpu(5), MANY),
    )),
    alone(seen(
        "5 % of a CPU for the client",
        &[Wall("cpu-quota", "client")],
        client_in(In::Cpu(5), MANY),
    )),
    // Limits of the client, before its first connection.
    cheap(seen(
        "32 open files for the client",
        &[Refused("error: nofile: ")],
        client_in(In::Limit('n', 32), OPEN),
    )),
    cheap(seen(
        "64 KiB of locked memory for the client",
        &[Refused("error: memlock: ")],
        client_in(In::Limit('l', 64), OPEN),
    )),
    cheap(seen(
        "4 threads for the client",
        &[Refused("error: threads: ")],
        client_in(In::Threads(4), OPEN),
    )),
    seen(
        "100 MiB of addresses for the client",
        &[Refused("error: address-space: ")],
        client_in(In::Limit('v', 100 << 10), OPEN),
    ),
    cheap(seen(
        "100 source ports for 500",
        &[Refused("error: source-ports: ")],
        ours(&[], &["--source-ports", "40000-40099", "--connections", "500", "--hold", "0s"]),
    )),
    seen(
        "a port range of 100",
        &[Refused("error: source-ports: ")],
        after(&[Step::Client("sysctl -qw net.ipv4.ip_local_port_range='40000 40099'")], OPEN),
    ),
    seen(
        "all but 100 ports reserved",
        &[Refused("error: source-ports: ")],
        after(
            &[
                Step::Client("sysctl -qw net.ipv4.ip_local_port_range='40000 41099'"),
                Step::Client(
                    "sysctl -qw net.ipv4.ip_local_reserved_ports='40000-40399,40500-41099'",
                ),
            ],
            OPEN,
        ),
    ),
    seen(
        "ports below 1024, by a user",
        &[Refused("net.ipv4.ip_unprivileged_port_start")],
        client_in(
            In::Without("net_bind_service"),
            &["--source-ports", "700-900", "--connections", "100", "--hold", "0s"],
        ),
    ),
    seen(
        "more memory reserved than there is",
        &[Refused("error: memory: ")],
        ours(&[], &["--memory-reserve", "1024GiB", "--connections", "500", "--hold", "0s"]),
    ),
    alone(seen(
        "io_uring disabled for the client",
        &[Refused("error: io-uring-disabled: ")],
        Play {
            build: Build::HostWide,
            before: &[Step::Host("kernel.io_uring_disabled", "1")],
            client_in: In::Without("sys_admin"),
            run: OPEN,
            ..PLAY
        },
    )),
    // Ports that somebody has.
    seen(
        "ports of others, while they run",
        &[Wall("source-ports", "client")],
        after(
            &[
                Step::Client("sysctl -qw net.ipv4.ip_local_port_range='40000 40299'"),
                Step::Beside(&["--connections", "200", "--hold", "3s", "--close", "reset"]),
            ],
            &["--connections", "200", "--hold", "0s", "--close", "reset"],
        ),
    ),
    seen(
        "ports that two runs left in TIME_WAIT",
        &[Wall("time-wait", "client")],
        after(
            &[
                Step::Client("sysctl -qw net.ipv4.ip_local_port_range='40000 40299'"),
                Step::Earlier(&["--connections", "120", "--hold", "0s"]),
                Step::Earlier(&["--connections", "120", "--hold", "0s"]),
            ],
            &["--connections", "250", "--hold", "0s"],
        ),
    ),
    // The server has no CPU to itself: late, and not the client's fault alone.
    alone(seen(
        "loops on every CPU beside an easy run",
        &[Nothing],
        during(&[(0, Step::Loops(4, "4"))], ours(&[], EACH_HALF)),
    )),
];

const MANY: &[&str] =
    &["--connections", "500", "--message-rate", "30k/s", "--hold", "1500ms", "--close", "reset"];
