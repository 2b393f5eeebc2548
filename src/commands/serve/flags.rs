//! What is typed after `megaconn serve`, in groups. A flag is checked here by itself;
//! `config` checks it against the others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use megaconn::base::constants::{
    BACKLOG_DEFAULT, BROADCAST_TOPICS_MAX, DRAIN_MAX, HANDSHAKE_TIMEOUT_MAX, IDLE_TIMEOUT_MAX,
    PUSH_EVERY_MAX, SEND_TIMEOUT_MAX,
};
use megaconn::base::endpoints::Endpoints;
use megaconn::base::http_words;
use megaconn::base::units::{self, Text};
use megaconn::engine::storm::Storm;
use megaconn::observe::control::place::Place;
use megaconn::runtime::topology::CoreList;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn serve\n  \
    megaconn serve --listen '[::1]:7000' --listen 127.0.0.1:7000-7003 --cores 0-3 --stats -")]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) traffic: TrafficFlags,
    #[command(flatten)]
    pub(crate) tls: TlsFlags,
    #[command(flatten)]
    pub(crate) connections: Connections,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Address of an unrelated small service [default: none]
    ///
    /// It gives back what it is sent, by TCP and UDP, outside the pinned cores.
    ///
    /// It shows what other services of this host feel while connections are held: see
    /// `megaconn-client run --bystanders`. With port 0 the kernel chooses one, which is printed. There
    /// is no password: use an address of loopback, or of a trusted network.
    #[arg(long, value_name = "ADDR:PORT", value_parser = bystander)]
    pub(crate) bystander: Option<SocketAddr>,
}

/// Where the server listens, and on which CPUs it runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Places {
    /// Where to listen; repeatable
    ///
    /// An address with a port or a range of ports [default: 127.0.0.1:7000]. Sockets that the process which
    /// started the server has passed to it (LISTEN_FDS, as of a socket unit of systemd) are used in place of
    /// opening any; --listen has to name the same addresses then, or nothing.
    #[arg(long, value_name = "ADDR:PORT[-PORT]")]
    pub(crate) listen: Vec<Endpoints>,
    /// CPUs, one pinned thread each
    ///
    /// `all` that are allowed, or a list like 0,2-5.
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// Take the listening sockets over from the server at PATH [default: none]
    ///
    /// A Unix socket. If a server waits there that was started with the same flag, its listening sockets are taken:
    /// no connect is refused meanwhile. When every core of the new server accepts, the old one accepts no more,
    /// ends its connections within its own --drain, and exits with status 0. If nothing waits there the server
    /// starts as usual. In both cases it waits at PATH for the next one. --listen has to name all addresses that
    /// the old server has, and may name more; without it they are taken as they are. --cores, --backlog, --steer
    /// and --keepalive may differ. Same user or root only.
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub(crate) take_over: Option<PathBuf>,
}

/// What is sent, and what is expected of a peer.
#[derive(Args)]
pub(crate) struct TrafficFlags {
    /// What becomes of bytes
    ///
    /// echo: every byte is sent back, in order. push: they are dropped, and --push-text is sent every
    /// --push-every, or what is ordered by --broadcast-on. sink: they are dropped.
    #[arg(
        long,
        value_enum,
        default_value = "echo",
        hide_possible_values = true,
        value_name = "echo|push|sink"
    )]
    pub(crate) mode: Mode,
    /// Speak WebSocket
    ///
    /// On every path: a connection begins with an HTTP upgrade, and then messages are echoed, dropped or
    /// pushed as --mode says. A text is sent as a text frame when it is UTF-8, else as a binary one. No
    /// extension is agreed to.
    #[arg(long)]
    pub(crate) websocket: bool,
    /// Subprotocol that is agreed to [default: none]
    ///
    /// When a client offers it; with --websocket.
    #[arg(long, value_name = "NAME", hide_short_help = true,
          value_parser = http_words::token)]
    pub(crate) subprotocol: Option<String>,
    /// Ping every connection [default: never]
    ///
    /// Each time this has passed, 1ms to 24h; with --websocket. One on which nothing has come since its ping when the
    /// next is due, no pong and nothing else, is closed and counted in ping_timeout_total: it was silent for one to two
    /// times this long. Not with --mode push, whose pushes have the timer of the connection.
    #[arg(long, value_name = "DUR", hide_short_help = true, value_parser = push_every)]
    pub(crate) ping_every: Option<Duration>,
    /// Await a header of the PROXY protocol
    ///
    /// Every connection begins with one, of version 1 or 2, before TLS, WebSocket and all else, as of HAProxy's
    /// `send-proxy` and `send-proxy-v2`; a banner and pushes wait for it. One that begins with anything else, or
    /// whose header is longer than 107 bytes (version 1) or 4KiB (2), is closed and counted in malformed_total. What
    /// the header says is not used, and its addresses are not counted: UNKNOWN, LOCAL and TLVs are passed over, and a
    /// checksum is not verified. A peer that sends nothing is closed by --handshake-timeout.
    #[arg(long, hide_short_help = true)]
    pub(crate) proxy_protocol: bool,
    /// Send TEXT first on every connection
    ///
    /// In any mode. \n, \r, \t, \0, \\ and \xHH stand for one byte each.
    #[arg(long, value_name = "TEXT")]
    pub(crate) banner: Option<Text>,
    /// Time between pushes on a connection [default: 60s]
    ///
    /// 1ms to 24h, and as long from the accept, or the end of the handshake, to the first push, which a burst of accepts delays by
    /// up to one more, so that it does not become a burst of pushes.
    #[arg(long, value_name = "DUR", value_parser = push_every)]
    pub(crate) push_every: Option<Duration>,
    /// What is pushed, written as a banner [default: ok\n]
    #[arg(long, value_name = "TEXT")]
    pub(crate) push_text: Option<Text>,
    /// Take orders for one text to all [default: none]
    ///
    /// At a Unix socket, whose PATH has a `/` in it as ./all.sock has, or at an address of loopback, for the server's own
    /// user and root alone: `megaconn broadcast PLACE TEXT`, or by HTTP a POST of the text to /broadcast, or to
    /// /broadcast?topic=N; GET /state tells what became of the last ones. With --mode push. Pushes are sent beside it
    /// when --push-text or --push-every is given. A head of 93 bytes goes before each text: its number, the moment of the
    /// order, a checksum. With --take-over the place goes from server to server, and an order reaches those that drain too.
    #[arg(long, value_name = "PATH|ADDR:PORT", hide_short_help = true)]
    pub(crate) broadcast_on: Option<Place>,
    /// Send texts to all as they are, without a head
    ///
    /// For receivers that know no head; a client that expects broadcasts does.
    #[arg(long, hide_short_help = true, requires = "broadcast_on")]
    pub(crate) broadcast_raw: bool,
    /// Topics that connections are dealt to [default: 1]
    ///
    /// 1 to 256, evenly and for good: a text to one topic costs its members alone.
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = topics,
          requires = "broadcast_on")]
    pub(crate) topics: Option<u16>,
    /// What becomes of a slow reader at a text to all
    ///
    /// Of a peer that has not taken what was sent before. skip: this text is left out for it; one text waits in a buffer at
    /// most. close: it is reset. Either is counted.
    #[arg(
        long,
        value_enum,
        default_value = "skip",
        hide_possible_values = true,
        hide_short_help = true,
        value_name = "skip|close",
        requires = "broadcast_on"
    )]
    pub(crate) slow_reader: SlowReader,
    /// Close a peer that sends nothing for this long [default: never]
    ///
    /// At most 1h. With --mode push it is looked at when a push is due, so up to one --push-every
    /// late, and both are at most 1h together; with --ping-every when a ping is due, and an answered ping is no silence.
    /// In a handshake --handshake-timeout counts alone.
    #[arg(long, value_name = "DUR", value_parser = idle_timeout)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Close a peer whose handshake is not done in this time [default: 10s]
    ///
    /// 1ms to 1h, from the accept on: the handshake of TLS, the upgrade of WebSocket, the header of the PROXY protocol,
    /// all that come before the first message together. A core goes on with two handshakes of TLS in a turn, so that a
    /// storm of them does not hold up the connections that are up; those that wait are counted in handshakes_waiting.
    #[arg(long, value_name = "DUR", value_parser = handshake_timeout, hide_short_help = true)]
    pub(crate) handshake_timeout: Option<Duration>,
    /// Close a peer that takes nothing for this long
    ///
    /// At most 8m. A peer's kernel tells what the peer read in steps of up to its receive buffer: one
    /// that reads less in this time may look like one that takes nothing. Of the usual 128 KiB,
    /// 30s tell 4.3 KiB/s, and 130s tell 1 KiB/s. With --mode push such a peer is closed after four
    /// --push-every, if that is sooner. With --mode echo nothing is read meanwhile.
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = send_timeout)]
    pub(crate) send_timeout: Duration,
}

/// TLS on every connection.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    /// Speak TLS, with this certificate
    ///
    /// TLS 1.3 and 1.2. A file in PEM: the server's own certificate first, then those that sign it. On SIGHUP
    /// this file and --tls-key are read again: new handshakes show the new certificate, connections go on. Of a
    /// pair that cannot be used the one of before stays. Without these files SIGHUP ends the server as SIGTERM does.
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its key
    ///
    /// A file in PEM, not encrypted.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) tls_key: Option<PathBuf>,
    /// Speak TLS, with a certificate made at the start
    ///
    /// For localhost and the addresses of --listen. Its fingerprint is printed.
    #[arg(long, conflicts_with_all = ["tls_cert", "tls_key"])]
    pub(crate) tls_self_signed: bool,
    /// Authorities of clients [default: none]
    ///
    /// A file in PEM: every client needs a certificate of one of them. With --tls-cert or --tls-self-signed.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Give clients tickets
    ///
    /// With one a later handshake is shorter.
    #[arg(long, hide_short_help = true)]
    pub(crate) tls_tickets: bool,
}

/// How connections are accepted, how many, and how they end.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connections {
    /// Have the kernel probe silent peers [default: never]
    ///
    /// After this time without data, and again each time it has passed: whole seconds, 1s to 32767s.
    #[arg(long, value_name = "DUR", value_parser = units::keepalive)]
    pub(crate) keepalive: Option<Duration>,
    /// On SIGTERM, end all within this time; 0s is at once
    ///
    /// No new connection is accepted. Idle connections are ended in order and at an even pace, busy
    /// ones when they are done; those that are left when the time is up are reset. What a peer sends
    /// at the moment of the close is lost, as with any close. At most 1h.
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = drain)]
    pub(crate) drain: Duration,
    /// Drop connections on purpose: 'drop 50% at 30s'
    ///
    /// That part of those that are open, evenly over all of them, so long after the server began to listen; `all` for
    /// each one, `every 30s` again and again, `by reset` not in order but by a reset, as those are that are busy. Repeatable. They count in
    /// dropped_total, and new ones are accepted as ever.
    #[arg(long, value_name = "STORM", hide_short_help = true)]
    pub(crate) storm: Vec<Storm>,
    /// Most connections to hold
    ///
    /// Divided evenly over the cores; more are reset and counted. Default: as many as memory and
    /// rings allow.
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) max_connections: Option<u64>,
    /// Most connections of one source address [default: unlimited]
    ///
    /// As the kernel sees the address, over all cores; those beyond are reset and counted in
    /// refused_per_source_total. It takes some 100 bytes for each connection. The addresses of a proxy or a NAT are
    /// its own.
    #[arg(long, value_name = "N", hide_short_help = true, value_parser = units::positive_count)]
    pub(crate) max_connections_per_source: Option<u64>,
    /// Accept no faster [default: unlimited]
    ///
    /// Connections per second, dealt evenly to the cores; what a core accepts at once after a quiet time is that of
    /// 10ms, and one for each port at least. What comes faster waits in the kernel's queue, whose length is
    /// --backlog: where it is full, connects are tried again by the peer's kernel after a second. The time in which
    /// accepting was held back is counted in accept_paced_us_total.
    #[arg(long, value_name = "RATE", hide_short_help = true, value_parser = units::rate)]
    pub(crate) accept_rate: Option<f64>,
    /// Memory to leave [default: 5 %]
    ///
    /// While less is left, of the host or of what a memory cgroup of the server may have, new connections
    /// are reset and counted in refused_memory_total; those that are open stay. The server accepts again
    /// when an eighth more is left. 0 is no reserve. Default: 5 % of the memory or 512MiB, whichever is more,
    /// but of less than 4GiB no more than an eighth, and 16MiB at least.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory_reserve: Option<u64>,
    /// Which core gets a connection
    ///
    /// cpu: the one whose CPU received it. hash: by the kernel's hash of its addresses and ports.
    #[arg(
        long,
        value_enum,
        default_value = "cpu",
        hide_possible_values = true,
        hide_short_help = true,
        value_name = "cpu|hash"
    )]
    pub(crate) steer: Steer,
    /// Length of accept queues
    ///
    /// Of each core and port; the kernel caps it at net.core.somaxconn.
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = BACKLOG_DEFAULT,
          value_parser = backlog)]
    pub(crate) backlog: i32,
}

/// What the server tells of itself, and where.
#[derive(Args, Clone, Debug)]
pub(crate) struct Outputs {
    /// File of per-core statistics
    ///
    /// One JSON line per core per tick; `-` is stdout. On SIGUSR1 there is one tick more; without
    /// --stats it goes to stdout.
    #[arg(long, value_name = "PATH|-")]
    pub(crate) stats: Option<PathBuf>,
    /// Time between two ticks of --stats
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = units::positive_duration)]
    pub(crate) stats_every: Duration,
    /// Address of OpenMetrics text [default: none]
    ///
    /// All figures, at http://ADDR:PORT/metrics.
    ///
    /// With port 0 the kernel chooses one, which is printed. There is no password: use an address of
    /// loopback, or of a trusted network.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::own_address)]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Send every byte back, in order
    Echo,
    /// Drop them; send --push-text every --push-every
    Push,
    /// Drop them
    Sink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SlowReader {
    /// Leave the text out
    Skip,
    /// Close the connection
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Steer {
    /// To the core whose CPU received the connection
    Cpu,
    /// By the kernel's hash of the addresses and ports
    Hash,
}

/// As the kernel takes it, a count that is an `int`.
pub(crate) fn backlog(text: &str) -> Result<i32, String> {
    let count = units::count_up_to(text, u64::from(i32::MAX.unsigned_abs()))?;
    i32::try_from(count).map_err(|error| error.to_string())
}

fn bystander(text: &str) -> Result<SocketAddr, String> {
    let address = units::own_address(text)?;
    // A datagram's answer has to come from where it was sent to.
    let error = || format!("`{text}` is any address; fix: write one that this host has");
    (!address.ip().is_unspecified()).then_some(address).ok_or_else(error)
}

fn topics(text: &str) -> Result<u16, String> {
    let count = units::count_up_to(text, BROADCAST_TOPICS_MAX.into())?;
    u16::try_from(count).map_err(|error| error.to_string())
}

fn push_every(text: &str) -> Result<Duration, String> {
    at_most(text, PUSH_EVERY_MAX, "24h")
}

fn handshake_timeout(text: &str) -> Result<Duration, String> {
    at_most(text, HANDSHAKE_TIMEOUT_MAX, "1h")
}

fn idle_timeout(text: &str) -> Result<Duration, String> {
    at_most(text, IDLE_TIMEOUT_MAX, "1h")
}

fn send_timeout(text: &str) -> Result<Duration, String> {
    at_most(text, SEND_TIMEOUT_MAX, "8m")
}

fn drain(text: &str) -> Result<Duration, String> {
    if units::duration(text)?.is_zero() {
        Ok(Duration::ZERO)
    } else {
        at_most(text, DRAIN_MAX, "1h")
    }
}

fn at_most(text: &str, most: Duration, named: &str) -> Result<Duration, String> {
    let time = units::positive_duration(text)?;
    let error = || format!("`{text}` is too long; fix: write {named} or less");
    (time <= most).then_some(time).ok_or_else(error)
}
