//! Healthy runs: something looks odd, and no wall is met. None may be named.

use rustix::process::Signal;

use crate::lab::netns::Build;
use crate::row::{BLANK, How, Is, PLAY, Play, Row, Server, Step};

const fn healthy(name: &'static str, play: Play) -> Row {
    const RIGHT: &[Is] = &[Is::Nothing];
    Row { name, with: RIGHT, without: RIGHT, how: How::Play(play), ..BLANK }
}

/// Against our server with these flags, after these steps.
const fn plain(
    before: &'static [Step],
    serve: &'static [&'static str],
    run: &'static [&'static str],
) -> Play {
    Play { before, server: Server::Ours(serve), run, ..PLAY }
}

const fn cheap(row: Row) -> Row {
    Row { is_cheap: true, ..row }
}

const OPEN: &[&str] = &["--connections", "1k", "--hold", "300ms"];
const BUSY: &[&str] = &["--connections", "300", "--message-every", "500ms", "--hold", "2s"];
const PUSHED: &[&str] =
    &["--connections", "300", "--expect", "push", "--push-every", "300ms", "--hold", "2s"];

pub(crate) const ROWS: &[Row] = &[
    cheap(healthy("a plain run", plain(&[], &[], OPEN))),
    cheap(healthy("messages", plain(&[], &[], BUSY))),
    healthy(
        "receive buffers of 4 KiB",
        plain(
            &[
                Step::Client("sysctl -qw net.ipv4.tcp_rmem='4096 4096 4096'"),
                Step::Server("sysctl -qw net.ipv4.tcp_rmem='4096 4096 4096'"),
            ],
            &[],
            BUSY,
        ),
    ),
    healthy(
        "no timestamps, SACK or window scaling",
        plain(
            &[Step::Client(
                "sysctl -qw net.ipv4.tcp_timestamps=0 net.ipv4.tcp_sack=0 \
                 net.ipv4.tcp_window_scaling=0",
            )],
            &[],
            BUSY,
        ),
    ),
    healthy(
        "no SYN cookies",
        plain(&[Step::Server("sysctl -qw net.ipv4.tcp_syncookies=0")], &[], OPEN),
    ),
    cheap(healthy(
        "2,000 sockets in TIME_WAIT",
        plain(&[Step::Earlier(&["--connections", "2k", "--hold", "0s"])], &[], OPEN),
    )),
    healthy(
        "another run beside it",
        plain(&[Step::Beside(&["--connections", "500", "--hold", "2s"])], &[], OPEN),
    ),
    cheap(healthy(
        "short connections beside held ones",
        plain(&[], &[], &["--connections", "100", "--churn", "200/s", "--hold", "2s"]),
    )),
    healthy("short connections alone", plain(&[], &[], &["--churn", "200/s", "--hold", "2s"])),
    cheap(healthy("pushes", plain(&[], &["--mode", "push", "--push-every", "300ms"], PUSHED))),
    healthy(
        "a banner and pushes",
        plain(
            &[],
            &["--mode", "push", "--push-every", "300ms", "--banner", "hello\\n"],
            &[
                "--connections",
                "300",
                "--expect",
                "push",
                "--push-every",
                "300ms",
                "--banner",
                "hello\\n",
                "--hold",
                "2s",
            ],
        ),
    ),
    healthy(
        "a server that drops all, and nothing expected",
        plain(
            &[],
            &["--mode", "sink"],
            &["--connections", "300", "--expect", "nothing", "--hold", "1s"],
        ),
    ),
    cheap(healthy(
        "a message a second",
        plain(&[], &[], &["--connections", "200", "--message-every", "1s", "--hold", "3s"]),
    )),
    cheap(healthy("held for no time", plain(&[], &[], &["--connections", "2k", "--hold", "0s"]))),
    cheap(healthy(
        "ended by a reset",
        plain(&[], &[], &["--connections", "1k", "--hold", "0s", "--close", "reset"]),
    )),
    cheap(healthy(
        "IPv6",
        Play {
            before: &[
                Step::Server("ip addr add fd77::1/64 dev link0 nodad"),
                Step::Client("ip addr add fd77::2/64 dev link0 nodad"),
            ],
            server: Server::Ours(&["--listen", "[fd77::1]:7000"]),
            run: OPEN,
            ..PLAY
        },
    )),
    healthy(
        "several sources",
        plain(
            &[Step::Client(
                "ip addr add 10.77.0.3/24 dev link0; ip addr add 10.77.0.4/24 dev link0",
            )],
            &[],
            &["--source", "10.77.0.2-10.77.0.4", "--connections", "1k", "--hold", "300ms"],
        ),
    ),
    healthy(
        "one core",
        plain(&[], &[], &["--cores", "0", "--connections", "1k", "--hold", "300ms"]),
    ),
    healthy(
        "four ports",
        plain(
            &[],
            &["--listen", "10.77.0.1:7000-7003"],
            &["--target", "10.77.0.1:7000-7003", "--connections", "1k", "--hold", "300ms"],
        ),
    ),
    healthy(
        "messages of 4 KiB",
        plain(
            &[],
            &[],
            &[
                "--connections",
                "200",
                "--message-bytes",
                "4096",
                "--message-every",
                "500ms",
                "--hold",
                "2s",
            ],
        ),
    ),
    healthy(
        "a backlog of 16, slowly opened",
        plain(
            &[],
            &["--backlog", "16"],
            &["--connections", "200", "--rate", "100", "--hold", "0s"],
        ),
    ),
    healthy(
        "keepalives each second",
        plain(
            &[],
            &["--keepalive", "1s"],
            &["--connections", "200", "--keepalive", "1s", "--hold", "3s"],
        ),
    ),
    healthy(
        "as many as --max-connections",
        plain(&[], &["--max-connections", "500"], &["--connections", "500", "--hold", "300ms"]),
    ),
    healthy(
        "--idle-timeout 2s with messages each 0.5 s",
        plain(&[], &["--idle-timeout", "2s"], BUSY),
    ),
    healthy("a sweep", plain(&[], &[], &["--connections", "500", "--hold", "1s", "--sweep"])),
    healthy("plateaus", plain(&[], &[], &["--connections", "200,400,800", "--hold", "300ms"])),
    healthy(
        "an MTU of 1,280",
        plain(
            &[
                Step::Client("ip link set link0 mtu 1280"),
                Step::Server("ip link set link0 mtu 1280"),
            ],
            &[],
            &[
                "--connections",
                "200",
                "--message-bytes",
                "4096",
                "--message-every",
                "500ms",
                "--hold",
                "1s",
            ],
        ),
    ),
    healthy("a router between", Play { build: Build::Router, run: BUSY, ..PLAY }),
    healthy(
        "a middlebox forgets after 2 s, with messages each 0.5 s",
        Play {
            build: Build::Router,
            before: &[
                Step::Between(
                    "sysctl -qw net.netfilter.nf_conntrack_tcp_loose=0 \
                     net.netfilter.nf_conntrack_tcp_timeout_established=2",
                ),
                Step::BetweenNft(
                    "chain kept { type filter hook forward priority 0; ct state invalid drop; \
                     tcp flags & (fin|syn|rst|ack) != syn ct state new drop; }",
                ),
            ],
            run: BUSY,
            ..PLAY
        },
    ),
    healthy(
        "10 Mbit/s, not filled",
        plain(
            &[Step::Client(
                "tc qdisc add dev link0 root tbf rate 10mbit burst 30000 limit 2000000",
            )],
            &[],
            BUSY,
        ),
    ),
    healthy(
        "server stopped for 0.3 s",
        Play {
            run: BUSY,
            then: &[(500, Step::ToServer(Signal::STOP)), (300, Step::ToServer(Signal::CONT))],
            ..PLAY
        },
    ),
    healthy(
        "client stopped for 0.3 s",
        Play {
            run: BUSY,
            then: &[(500, Step::ToClient(Signal::STOP)), (300, Step::ToClient(Signal::CONT))],
            ..PLAY
        },
    ),
];
