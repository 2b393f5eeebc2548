//! What is typed: the flags of `megaconn`, and nothing of what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use megaconn::limits::BACKLOG_DEFAULT;
use megaconn::plan::tuples::{PortRange, Sources};
use megaconn::topology::CoreList;
use megaconn::units::{self, Endpoints};

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
    Serve(Serve),
    /// Say by arithmetic alone whether this host can open so many connections, and what binds first
    Plan(Plan),
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
    /// Address and port, or port range, to listen on; repeatable
    #[arg(long, value_name = "ADDR:PORT[-PORT]", default_value = "127.0.0.1:7000")]
    pub(crate) listen: Vec<Endpoints>,
    /// CPUs to run on, one pinned thread each: `all` that are allowed, or a list like 0,2-5
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// What to do with bytes that arrive
    #[arg(long, value_enum, default_value = "echo")]
    pub(crate) mode: Mode,
    /// Connections to hold at most, divided evenly over the cores; more are reset and counted
    /// [default: as many as memory and rings allow]
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) max_connections: Option<u64>,
    /// Give a connection to the core whose CPU received it, or by hash of its addresses
    #[arg(long, value_enum, default_value = "cpu")]
    pub(crate) steer: Steer,
    /// Length of each core's accept queue; the kernel caps it at net.core.somaxconn
    #[arg(long, value_name = "N", default_value_t = BACKLOG_DEFAULT,
          value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) backlog: i32,
    /// Write per-core statistics there, one JSON line per core per tick; `-` is stdout
    #[arg(long, value_name = "PATH|-")]
    pub(crate) stats: Option<PathBuf>,
    /// Time between two ticks of --stats
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = units::positive_duration)]
    pub(crate) stats_every: Duration,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Mode {
    /// Send every byte back, in order
    Echo,
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
    /// Where they come from: auto, an address, a CIDR block or a range A-B; repeatable
    #[arg(long, value_name = "auto|ADDR|CIDR|A-B", default_value = "auto")]
    pub(crate) source: Vec<Sources>,
    /// Source ports to use [default: net.ipv4.ip_local_port_range]
    #[arg(long, value_name = "LO-HI")]
    pub(crate) source_ports: Option<PortRange>,
    /// CPUs of the client
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// Form of the answer
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Text,
    /// `megaconn.plan/1`
    Json,
}
