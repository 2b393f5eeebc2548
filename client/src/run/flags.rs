//! What is typed after `megaconn-client run`, in groups. A flag is checked here by itself; `config`
//! checks it against the others.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use megaconn::base::constants::{
    BUFFER_BYTES, CONNECTS_IN_FLIGHT, CONNECTS_IN_FLIGHT_MAX, RESOLVE_EVERY_MIN,
};
use megaconn::base::http_words;
use megaconn::base::units::{self, Text};
use megaconn::base::wanted::Wanted;
use megaconn::engine::protocol::message::HEADER_BYTES;
use megaconn::engine::protocol::proxy::header::Version;
use megaconn::observe::control::place::Place;
use megaconn::plan::named;
use megaconn::plan::tuples::{PortRange, Sources};
use megaconn::runtime::topology::CoreList;

use crate::bystanders::flags::BystanderFlags;
use crate::bystanders::slo::Slo;
use crate::measure::server_metrics::Look;
use crate::run::lifetime::{Every, LifetimeFlags};
use crate::run::part::PartFlags;
use crate::run::readers::ReadersFlags;
use crate::run::reconnect::ReconnectFlags;
use crate::run::script::ScriptFlags;
use crate::run::tls::TlsFlags;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn-client run --target 127.0.0.1:7000 --connections 1M --hold 60s\n  \
    megaconn-client run --target 127.0.0.1:7000 --connections 10k --churn 1k/s\n\n\
    Exit status: 0 all were established, verified and held, and every gate met; \
    1 not so; 2 refused before starting, with the fix; 130 or 143 after a signal, with a partial report.")]
pub(crate) struct Flags {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) traffic: TrafficFlags,
    #[command(flatten)]
    pub(crate) script: ScriptFlags,
    #[command(flatten)]
    pub(crate) tls: TlsFlags,
    #[command(flatten)]
    pub(crate) reconnect: ReconnectFlags,
    #[command(flatten)]
    pub(crate) lifetime: LifetimeFlags,
    #[command(flatten)]
    pub(crate) readers: ReadersFlags,
    #[command(flatten)]
    pub(crate) part: PartFlags,
    /// Memory left to others [default: 5 %]
    ///
    /// When less is left, of the host or of what a memory cgroup of the client may have, nothing more
    /// is opened; what is open is held. A plan that would leave less is refused. 0 is no reserve.
    /// Default: as `megaconn serve --memory-reserve`, and some more: the client stops first.
    #[arg(long, value_name = "SIZE", value_parser = units::size)]
    pub(crate) memory_reserve: Option<u64>,
    #[command(flatten)]
    pub(crate) gates: GateFlags,
    #[command(flatten)]
    pub(crate) outputs: Outputs,
    /// Watch what happens to others
    ///
    /// A ping of the target, connects, requests and datagrams to the service of `megaconn serve
    /// --bystander`, a file in the run directory and a sleep go on from an idle baseline before the
    /// first connection until after the last one. Each phase is held against the baseline.
    #[arg(long, help_heading = "Bystanders")]
    pub(crate) bystanders: bool,
    /// Find the most that keep EXPR
    ///
    /// Such as 'connect p99 < 5ms, ping loss < 0.1%': clauses of a bystander, p50, p90, p99, max or
    /// loss, and a bound. The plateaus of --connections are tried one after the other (of a single
    /// number its sixteenth, eighth, quarter and half first), then what lies between the highest that
    /// held and the lowest that broke. Each is held for as long as it takes to tell; what counts is the
    /// hold. The answer is `safe_capacity` in result.json. Exit status 1 when not even the first held.
    #[arg(long, value_name = "EXPR", help_heading = "Bystanders")]
    pub(crate) keep_bystanders: Option<Slo>,
    #[command(flatten)]
    pub(crate) panel: BystanderFlags,
}

/// Where connections go, where they come from, and on which CPUs they are made.
#[derive(Args, Clone)]
pub(crate) struct Targets {
    /// Server address and ports; repeatable
    ///
    /// An address, a range of addresses as 10.0.0.2-10.0.0.9:7000, a list with commas, or a name, which
    /// stands for all its addresses and is looked up once, see --resolve-every. Connections are dealt out to all evenly.
    /// With ws:// before it connections speak WebSocket: each asks for the path, and counts when the server has agreed.
    /// tls:// and wss:// are the same in TLS; tcp:// is what it is without.
    ///
    /// Before the run one ordinary connection is made to each, and ended by FIN without a byte: a
    /// target that does not take it is refused. A server that takes one connection only has had it.
    #[arg(long, value_name = "URL|HOST:PORT", required = true)]
    pub(crate) target: Vec<named::Targets>,
    /// Time between lookups of names
    ///
    /// During a hold with --churn the names of --target are looked up again each so often, at least 1s,
    /// and short connections go to the addresses that they have then. Held ones stay where they are.
    /// Default: names are looked up once, before the run.
    #[arg(long, hide_short_help = true, value_name = "DUR", value_parser = resolve_every)]
    pub(crate) resolve_every: Option<Duration>,
    /// Source addresses
    ///
    /// Where connections come from; repeatable. `auto` takes 127.0.0.2 to 127.255.255.254 on
    /// loopback, else all addresses of the outgoing interface; or ADDR, CIDR, A-B, or the name of an
    /// interface, which stands for its addresses.
    #[arg(long, value_name = "SOURCE", default_value = "auto")]
    pub(crate) source: Vec<Sources>,
    /// Source ports [default: the kernel's]
    ///
    /// Those of net.ipv4.ip_local_port_range, less those that are reserved.
    #[arg(long, value_name = "LO-HI")]
    pub(crate) source_ports: Option<PortRange>,
    /// CPUs, one pinned thread each
    ///
    /// `all` that are allowed, or a list like 0,2-5.
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
}

impl Targets {
    /// The path that all targets ask for by WebSocket, or that none does; `None` when they differ.
    pub(crate) fn path(&self) -> Option<Option<&str>> {
        let mut paths = self.target.iter().map(named::Targets::websocket);
        let first = paths.next().flatten();
        paths.all(|other| other == first).then_some(first)
    }

    /// Whether all targets speak TLS, or none does; `None` when they differ.
    pub(crate) fn is_tls(&self) -> Option<bool> {
        let mut each = self.target.iter().map(named::Targets::is_tls);
        let first = each.next().unwrap_or(false);
        each.all(|other| other == first).then_some(first)
    }

    /// Whether one of the targets is a name.
    pub(crate) fn has_name(&self) -> bool {
        self.target.iter().any(named::Targets::has_name)
    }
}

/// How many connections, how fast, and for how long.
#[derive(Args)]
pub(crate) struct LoadFlags {
    /// Connections to hold, in plateaus
    ///
    /// With several numbers each is a plateau: opened on top of the one before, or closed down to,
    /// settled, measured and held. `max`, last or alone, opens until a limit is met, or the memory
    /// reserve, holds and verifies what there is then, and says which limit it was, what lifts it and
    /// which comes next. Needed unless --churn is given.
    #[arg(
        long,
        value_name = "N[,N...]|max",
        value_delimiter = ',',
        required_unless_present = "churn"
    )]
    pub(crate) connections: Vec<Wanted>,
    /// Connects per second [default: no limit]
    ///
    /// Over all cores, by an open-loop schedule. Without it as fast as they go. Of --reconnect it is none.
    #[arg(long, value_name = "N/s", value_parser = units::rate)]
    pub(crate) rate: Option<f64>,
    /// Connects a core at once
    ///
    /// Connects of each core in flight at most; raise it where answers take long.
    #[arg(long, hide_short_help = true, value_name = "N", default_value_t = CONNECTS_IN_FLIGHT,
          value_parser = connects_in_flight)]
    pub(crate) connects_in_flight: u32,
    /// Time to hold a plateau
    ///
    /// Counted from when it is open, and verified; messages by schedule and churn run in it.
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = units::duration)]
    pub(crate) hold: Duration,
}

/// What connections carry, and how they end.
#[derive(Args)]
pub(crate) struct TrafficFlags {
    /// Bytes of a message
    ///
    /// From 40, which is its header, to 4096 or 4KiB.
    #[arg(long, value_name = "SIZE", default_value_t = 64, value_parser = message_bytes)]
    pub(crate) message_bytes: u16,
    /// Messages each before the hold
    ///
    /// As many times as there are connections, dealt out in turn, each sent when the echo of the
    /// one before it is verified. Default: 1 with --expect echo and no schedule, else 0.
    #[arg(long, value_name = "N", value_parser = message_count)]
    pub(crate) message_count: Option<u16>,
    /// Message interval, in the hold
    ///
    /// On every connection once in this time, spread over all of it, by an open-loop schedule:
    /// latency counts from when a message was due, and the client's own lag is reported apart. exp:DUR: after
    /// random times, exponential with this mean, each connection by itself; see --seed.
    #[arg(long, value_name = "DUR|exp:DUR", conflicts_with_all = ["message_rate", "message_count"])]
    pub(crate) message_every: Option<Every>,
    /// Messages per second, in the hold
    ///
    /// Over all connections, in turn, by the same schedule.
    #[arg(long, value_name = "N/s", value_parser = units::rate, conflicts_with = "message_count")]
    pub(crate) message_rate: Option<f64>,
    /// Interval of pings, in the hold
    ///
    /// On every connection once in this time, with a target of ws://: a message goes out as a ping of
    /// WebSocket, and its pong is the answer, whatever the server does with messages. What the server sends
    /// besides is passed over. One ping before the hold proves each connection.
    #[arg(long, hide_short_help = true, value_name = "DUR", value_parser = units::positive_duration,
          conflicts_with_all = ["message_rate", "message_every", "expect"])]
    pub(crate) ping_every: Option<Duration>,
    /// What the server does
    ///
    /// One of echo, push, broadcast and nothing. echo: it gives every message back. push: it sends texts unasked, see --push-text. broadcast: it sends texts to all,
    /// when `megaconn broadcast` orders them; each is to come once at most, whole and in order. nothing: it sends
    /// nothing; messages are sent all the same.
    #[arg(
        long,
        value_enum,
        value_name = "echo|push|...",
        default_value = "echo",
        hide_possible_values = true
    )]
    pub(crate) expect: Expect,
    /// Banner, with --expect push
    ///
    /// What the server sends on accept, as its own --banner.
    #[arg(long, hide_short_help = true, value_name = "TEXT")]
    pub(crate) banner: Option<Text>,
    /// Text pushed [default: ok\n]
    ///
    /// What the server sends again and again, as its own --push-text; with --expect push.
    #[arg(long, value_name = "TEXT")]
    pub(crate) push_text: Option<Text>,
    /// Interval of pushes
    ///
    /// As the server's own --push-every, at most 30m; with --expect push. A push is overdue half
    /// an interval, at most a second, after it was due; then it is late or missing. Without this
    /// flag gaps are measured and nothing is late.
    #[arg(long, value_name = "DUR", value_parser = units::positive_duration)]
    pub(crate) push_every: Option<Duration>,
    /// Short connections per second
    ///
    /// In the hold, by an open-loop schedule: connect, one message, its echo, close. With
    /// --connections beside the held ones, else alone. Latency counts from when one was due.
    #[arg(long, value_name = "N/s", value_parser = units::rate)]
    pub(crate) churn: Option<f64>,
    /// How to end connections
    ///
    /// fin: in order, which leaves a TIME_WAIT of a minute. reset: at once, which leaves nothing.
    #[arg(
        long,
        value_enum,
        value_name = "fin|reset",
        default_value = "fin",
        hide_possible_values = true
    )]
    pub(crate) close: Close,
    /// Ask all whether they are alive
    ///
    /// At the end of each plateau, once, by a message; a dead one is counted with the cause.
    #[arg(long)]
    pub(crate) sweep: bool,
    /// Header of each upgrade; repeatable
    ///
    /// As 'Authorization: Bearer x', with a target of ws://.
    #[arg(long, hide_short_help = true, value_name = "NAME: VALUE", value_parser = http_words::header)]
    pub(crate) header: Vec<String>,
    /// Subprotocol that is asked for
    ///
    /// With a target of ws://; the server agrees to it, or to none.
    #[arg(long, hide_short_help = true, value_name = "NAME", value_parser = http_words::token)]
    pub(crate) subprotocol: Option<String>,
    /// Kind of messages over WebSocket
    ///
    /// Of --message and --keepalive-message, with a target of ws://. Default: text where they are UTF-8, else binary.
    #[arg(
        long,
        value_enum,
        value_name = "text|binary",
        hide_short_help = true,
        hide_possible_values = true
    )]
    pub(crate) message_kind: Option<MessageKind>,
    /// Say where each connection comes from
    ///
    /// It begins with a header of the PROXY protocol, before TLS, WebSocket and all else: a line (v1) or binary (v2),
    /// with its own source address and port and those of its target. For HAProxy's `accept-proxy`, `proxy_protocol`
    /// of nginx, or `megaconn serve --proxy-protocol`.
    #[arg(long, hide_short_help = true, value_name = "v1|v2")]
    pub(crate) proxy_protocol: Option<Version>,
    /// Interval of probes of silent peers
    ///
    /// SO_KEEPALIVE with this time and interval, in whole seconds. Default: off.
    #[arg(long, hide_short_help = true, value_name = "DUR", value_parser = units::keepalive)]
    pub(crate) keepalive: Option<Duration>,
}

/// What a run must reach besides being done.
#[derive(Args)]
pub(crate) struct GateFlags {
    /// Gate: fewest established
    ///
    /// Fail when fewer connections are. Default: all that were asked for; with `max` one.
    #[arg(long, value_name = "N", value_parser = units::count)]
    pub(crate) min_established: Option<u64>,
    /// Gate: most lost
    ///
    /// Fail when more established connections are lost before they are closed.
    #[arg(long, value_name = "N", value_parser = units::count, default_value = "0")]
    pub(crate) max_lost: u64,
    /// Gate: highest p99 latency
    ///
    /// Fail when that of messages, or of short connections, is higher on any plateau, or unknown.
    /// Default: no gate.
    #[arg(long, value_name = "DUR", value_parser = units::positive_duration)]
    pub(crate) max_p99: Option<Duration>,
    /// End when a gate is missed
    ///
    /// When one has been broken for so long, 5s without a value: too many lost, too many failed for what
    /// is to be established, or the p99 of a plateau so far. Connections are closed in order, and the
    /// report is whole. Default: the run goes on.
    #[arg(long, value_name = "DUR", num_args = 0..=1,
          default_missing_value = "5s", value_parser = units::duration)]
    pub(crate) stop_on_miss: Option<Duration>,
}

/// What the run tells of itself and reads of the server, and where.
#[derive(Args)]
pub(crate) struct Outputs {
    /// Run directory
    ///
    /// For result.json, environment.json and client.ndjson; made if it is not there. The server's
    /// figures are read from its server.ndjson, see `megaconn serve --stats`, unless
    /// --server-metrics is given.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// File of per-core statistics
    ///
    /// One JSON line per core per tick, when there is no run directory, which has them anyway. `-` is
    /// stdout; the summary goes to stderr then. On SIGUSR1 there is one tick more; without --stats
    /// and --out it goes to stdout.
    #[arg(long, value_name = "PATH|-", conflicts_with = "out")]
    pub(crate) stats: Option<PathBuf>,
    /// Time between its ticks
    ///
    /// Of --stats, or of the client.ndjson of --out.
    #[arg(long, hide_short_help = true, value_name = "DUR", default_value = "1s", value_parser = units::positive_duration)]
    pub(crate) stats_every: Duration,
    /// Server's figures
    ///
    /// They, and its host's counters, are read before the run, at each plateau and after it. `auto`
    /// finds a megaconn server of this host that is yours or root's, and else one that has its
    /// --metrics at port 9100 of the first target. ADDR:PORT is what `megaconn serve --metrics` was
    /// given; `none` looks nowhere. A server that writes its --stats to server.ndjson in --out is
    /// seen by that, unless ADDR:PORT is given.
    #[arg(long, value_name = "WHERE", default_value = "auto")]
    pub(crate) server_metrics: Look,
    /// Own metrics address
    ///
    /// OpenMetrics text at http://ADDR:PORT/metrics while the run goes on; with port 0 the kernel
    /// chooses one. There is no password: use an address of loopback. Default: none.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::own_address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Control while it runs
    ///
    /// HTTP at a Unix socket, whose PATH has a `/` in it as ./run.sock has, or at an address of loopback, for
    /// the run's own user and root alone: GET /state is JSON; POST /set takes {"connections": "20k", "rate":
    /// "500/s", "message_rate": "2k/s"} or some of it; POST /pause, /resume, /sweep and /stop do what they
    /// say. Every change stands in result.json as `changes`. Default: none.
    #[arg(long, value_name = "PATH|ADDR:PORT")]
    pub(crate) control: Option<Place>,
    /// Control from other hosts
    ///
    /// --control may be an address that other hosts reach. There is no password: whoever reaches it
    /// controls the run.
    #[arg(long, hide_short_help = true, requires = "control")]
    pub(crate) control_remote: bool,
}

fn resolve_every(text: &str) -> Result<Duration, String> {
    let every = units::positive_duration(text)?;
    let error = || format!("`{text}` is too short; fix: write 1s or more");
    (every >= RESOLVE_EVERY_MIN).then_some(every).ok_or_else(error)
}

fn connects_in_flight(text: &str) -> Result<u32, String> {
    let count = u32::try_from(units::positive_count(text)?).unwrap_or(u32::MAX);
    let error = || format!("{count} is more than {CONNECTS_IN_FLIGHT_MAX}; fix: write 1M or less");
    (count <= CONNECTS_IN_FLIGHT_MAX).then_some(count).ok_or_else(error)
}

fn message_bytes(text: &str) -> Result<u16, String> {
    units::size_within(text, HEADER_BYTES, BUFFER_BYTES)
}

fn message_count(text: &str) -> Result<u16, String> {
    let count = units::count(text)?;
    u16::try_from(count).map_err(|_| format!("{count} is too many; fix: write 65535 or less"))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Expect {
    /// Every message comes back
    Echo,
    /// Texts come unasked
    Push,
    /// Texts come to all at once
    Broadcast,
    /// Nothing comes
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MessageKind {
    /// UTF-8
    Text,
    /// Any bytes
    Binary,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Close {
    /// In order: FIN, and the server's FIN awaited
    Fin,
    /// By a reset
    Reset,
}
