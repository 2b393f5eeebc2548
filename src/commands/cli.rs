//! What is typed: the flags of `megaconn`, and nothing of what they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use megaconn::base::constants::{
    BACKLOG_DEFAULT, DRAIN_MAX, IDLE_TIMEOUT_MAX, PUSH_EVERY, PUSH_EVERY_MAX, SEND_TIMEOUT_MAX,
    TOP_EVERY_LEAST,
};
use megaconn::base::units::{self, Endpoints, Text};
use megaconn::engine::protocol::mode;
use megaconn::engine::protocol::push::Push;
use megaconn::plan::tuples::{PortRange, Sources};
use megaconn::runtime::topology::CoreList;

/// Holds millions of long-lived TCP connections on one host, and says what each one costs.
///
/// Connections live in io_uring's registered-file tables, not in file descriptors, one pinned
/// thread per core. It needs Linux 6.1 or newer, no root and no tuning.
#[derive(Parser)]
#[command(name = "megaconn", version = megaconn::VERSION, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    megaconn serve --listen 127.0.0.1:7000 --stats server.ndjson\n  \
    megaconn plan --connections 1M --target 127.0.0.1:7000")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve connections until SIGINT or SIGTERM
    Serve(Box<Serve>),
    /// Say by arithmetic alone whether this host can open so many connections, and what binds first
    Plan(Plan),
    /// Examine this host: what each limit allows, what it takes to lift it, which settings hurt
    Doctor(Doctor),
    /// Watch running servers and clients in a terminal, core by core
    Top(Top),
    /// Merge per-core statistics of servers and clients: totals, rates, percentiles
    Stats(Stats),
    /// Write one HTML file about a run, or several side by side
    Report(Report),
    /// Write shell completions to stdout
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the man page to stdout
    Man,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn serve\n  \
    megaconn serve --listen '[::1]:7000' --listen 127.0.0.1:7000-7003 --cores 0-3 --stats -")]
pub(crate) struct Serve {
    /// Where to listen; repeatable
    ///
    /// An address with a port or a range of ports.
    #[arg(long, value_name = "ADDR:PORT[-PORT]", default_value = "127.0.0.1:7000")]
    pub(crate) listen: Vec<Endpoints>,
    /// CPUs, one pinned thread each
    ///
    /// `all` that are allowed, or a list like 0,2-5.
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// What becomes of bytes
    ///
    /// echo: every byte is sent back, in order. push: they are dropped, and --push-text is sent every
    /// --push-every. sink: they are dropped.
    #[arg(
        long,
        value_enum,
        default_value = "echo",
        hide_possible_values = true,
        value_name = "echo|push|sink"
    )]
    pub(crate) mode: Mode,
    /// Send TEXT first on every connection
    ///
    /// In any mode. \n, \r, \t, \0, \\ and \xHH stand for one byte each.
    #[arg(long, value_name = "TEXT")]
    pub(crate) banner: Option<Text>,
    /// Time between pushes on a connection [default: 60s]
    ///
    /// 1ms to 24h, and as long from the accept to the first push, which a burst of accepts delays by
    /// up to one more, so that it does not become a burst of pushes.
    #[arg(long, value_name = "DUR", value_parser = push_every)]
    pub(crate) push_every: Option<Duration>,
    /// What is pushed, written as a banner [default: ok\n]
    #[arg(long, value_name = "TEXT")]
    pub(crate) push_text: Option<Text>,
    /// Close who sends nothing for so long [default: never]
    ///
    /// At most 1h. With --mode push it is looked at when a push is due, so up to one --push-every
    /// late, and both are at most 1h together.
    #[arg(long, value_name = "DUR", value_parser = idle_timeout)]
    pub(crate) idle_timeout: Option<Duration>,
    /// Close who takes nothing for so long
    ///
    /// At most 8m. With --mode push who takes nothing is closed after four --push-every, if that is
    /// sooner. With --mode echo nothing is read meanwhile.
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = send_timeout)]
    pub(crate) send_timeout: Duration,
    /// Have the kernel probe the silent [default: never]
    ///
    /// After so long, and again after each further so long: whole seconds, 1s to 32767s.
    #[arg(long, value_name = "DUR", value_parser = units::keepalive)]
    pub(crate) keepalive: Option<Duration>,
    /// On SIGTERM, end all within so long; 0s is at once
    ///
    /// Nobody is accepted any more; connections at rest are ended in order and at an even pace, busy
    /// ones when they are done; who is left when the time is up is reset. What a peer sends in the
    /// moment in which it is ended is lost, as with any close. At most 1h.
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = drain)]
    pub(crate) drain: Duration,
    /// Most connections to hold
    ///
    /// Divided evenly over the cores; more are reset and counted. Default: as many as memory and
    /// rings allow.
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) max_connections: Option<u64>,
    /// Memory to leave [default: 5 %]
    ///
    /// While less is left, of the host or of what a memory cgroup of the server may have, who comes is
    /// reset and counted in refused_memory_total; who is connected is held on. It accepts again when an
    /// eighth more is left. 0 is no reserve. Default: 5 % of the memory or 512MiB, whichever is more,
    /// but of less than 4GiB no more than an eighth.
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
        value_name = "cpu|hash"
    )]
    pub(crate) steer: Steer,
    /// Length of accept queues
    ///
    /// Of each core and port; the kernel caps it at net.core.somaxconn.
    #[arg(long, value_name = "N", default_value_t = BACKLOG_DEFAULT,
          value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) backlog: i32,
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
    /// With port 0 the kernel chooses one, which is printed. Nobody is asked for a password, so it is
    /// best an address of loopback, or of a network that only friends reach.
    #[arg(long, value_name = "ADDR:PORT", value_parser = units::own_address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Address of an unrelated small service [default: none]
    ///
    /// It gives back what it is sent, by TCP and UDP, outside the pinned cores.
    ///
    /// What becomes of it while connections are held is what becomes of others on this host: see
    /// `megaconn-client run --bystanders`. With port 0 the kernel chooses one, which is printed.
    /// Nobody is asked for a password: best an address of loopback, or of a network that only friends
    /// reach.
    #[arg(long, value_name = "ADDR:PORT", value_parser = bystander)]
    pub(crate) bystander: Option<SocketAddr>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Send every byte back, in order
    Echo,
    /// Drop them; send --push-text every --push-every
    Push,
    /// Drop them
    Sink,
}

impl Serve {
    /// The mode with what belongs to it, or why its flags contradict each other.
    pub(crate) fn traffic(&self) -> Result<mode::Mode, String> {
        let (every, text) = (self.push_every, &self.push_text);
        for (flag, is_given) in [("every", every.is_some()), ("text", text.is_some())] {
            if is_given && !matches!(self.mode, Mode::Push) {
                return Err(format!("--push-{flag} pushes nothing; fix: add --mode push"));
            }
        }
        let every = every.unwrap_or(PUSH_EVERY);
        match self.mode {
            Mode::Echo => Ok(mode::Mode::Echo),
            Mode::Sink => Ok(mode::Mode::Sink),
            Mode::Push if self.idle_timeout.is_some_and(|idle| idle + every > IDLE_TIMEOUT_MAX) => {
                Err("--idle-timeout and --push-every are more than 1h together; fix: less of \
                     either, since silence is looked at when a push is due"
                    .into())
            }
            Mode::Push => {
                let text = text.clone().unwrap_or_default();
                Ok(mode::Mode::Push(Push { every, text }))
            }
        }
    }
}

fn bystander(text: &str) -> Result<SocketAddr, String> {
    let address = units::own_address(text)?;
    // A datagram's answer has to come from where it was sent to.
    let error = || format!("`{text}` is any address; fix: write one that this host has");
    (!address.ip().is_unspecified()).then_some(address).ok_or_else(error)
}

fn push_every(text: &str) -> Result<Duration, String> {
    at_most(text, PUSH_EVERY_MAX, "24h")
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

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Steer {
    /// To the core whose CPU received the connection
    Cpu,
    /// By the kernel's hash of the addresses and ports
    Hash,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn plan --connections 1M --target 127.0.0.1:7000\n  \
    megaconn plan --connections 100k --target 10.0.0.2:7000-7003 --source 10.0.0.0/28 --format json")]
pub(crate) struct Plan {
    /// Connections to plan for
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) connections: u64,
    /// Where they go; repeatable
    #[arg(long, value_name = "ADDR:PORT[-PORT]", required = true)]
    pub(crate) target: Vec<Endpoints>,
    #[command(flatten)]
    pub(crate) ways: Ways,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn doctor --connections 2M\n  \
    megaconn doctor --side server --connections 500k --fix print")]
pub(crate) struct Doctor {
    /// Connections that this host is to hold
    #[arg(long, value_name = "N", default_value = "1M", value_parser = units::positive_count)]
    pub(crate) connections: u64,
    /// Which end of them is on this host
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) side: Side,
    /// Where they go, and so where the server listens; repeatable [default: 127.0.0.1:7000]
    #[arg(long, value_name = "ADDR:PORT[-PORT]", required_if_eq("side", "client"))]
    pub(crate) target: Vec<Endpoints>,
    #[command(flatten)]
    pub(crate) ways: Ways,
    /// Length of each core's accept queue, as for serve
    #[arg(long, value_name = "N", default_value_t = BACKLOG_DEFAULT,
          value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) backlog: i32,
    /// Lift what is short: write the files that do it, or do it now
    ///
    /// For an ordinary user, whoever asks: root passes some of the limits.
    #[arg(long, value_enum)]
    pub(crate) fix: Option<FixMode>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Side {
    /// The server's
    Server,
    /// The client's, which needs --target
    Client,
    /// Both
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FixMode {
    /// Write a sysctl.d file, a limits.d file and a systemd drop-in to stdout; change nothing
    Print,
    /// Set sysctls until reboot (root), never to less, and write the script that undoes it to stdout
    Apply,
}

/// How connections are made, and how the answer is given.
#[derive(Args)]
pub(crate) struct Ways {
    /// Where they come from: auto, an address, a CIDR block or a range A-B; repeatable
    #[arg(long, value_name = "auto|ADDR|CIDR|A-B", default_value = "auto")]
    pub(crate) source: Vec<Sources>,
    /// Source ports to use [default: net.ipv4.ip_local_port_range]
    #[arg(long, value_name = "LO-HI")]
    pub(crate) source_ports: Option<PortRange>,
    /// CPUs of each end
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn top 127.0.0.1:9100\n  \
    megaconn top 127.0.0.1:9100 127.0.0.1:9101 --every 500ms")]
pub(crate) struct Top {
    /// What --metrics of a server or a client was given
    ///
    /// Any number of them, on any hosts: one row for each core and each side, their sums, the host's
    /// counters that rise, the last three minutes. One that does not answer is waited for. `?` in the
    /// view explains its columns and keys.
    #[arg(value_name = "ADDR:PORT", required = true, value_parser = units::peer_address)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Time between two looks; at least 100ms
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = top_every)]
    pub(crate) every: Duration,
}

fn top_every(text: &str) -> Result<Duration, String> {
    let every = units::positive_duration(text)?;
    let error = || format!("`{text}` is too short; fix: write 100ms or more");
    (every >= TOP_EVERY_LEAST).then_some(every).ok_or_else(error)
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn stats runs/first/server.ndjson runs/first/client.ndjson\n  \
    megaconn stats --format json host-*.ndjson")]
pub(crate) struct Stats {
    /// What --stats or --out wrote: lines of one process each; `-` is stdin
    ///
    /// Servers and clients are kept apart; all cores, processes and hosts of a side are added up.
    /// Totals are by the last line of each core, rates from its first line to its last. Histograms are
    /// added whole, so percentiles are those of all together.
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn report runs/first\n  \
    megaconn report runs/first runs/second --out both.html")]
pub(crate) struct Report {
    /// Run directories, as megaconn-client run --out DIR leaves them, or one of scale.sh
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dir: Vec<PathBuf>,
    /// Where to; `-` is stdout [default: DIR/report.html]
    ///
    /// Of several directories: report.html in the directory in which it is run. The file needs
    /// nothing but itself. What is missing in a directory is said in it.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Text,
    /// `megaconn.plan/1`, `megaconn.doctor/1`, `megaconn.stats/1`
    Json,
}
