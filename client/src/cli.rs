//! What is typed: the flags of `megaconn-client`, and nothing of what they mean.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use megaconn::limits::BUFFER_BYTES;
use megaconn::plan::tuples::{PortRange, Sources};
use megaconn::topology::CoreList;
use megaconn::units::{self, Endpoints};
use megaconn::wire::HEADER_BYTES;

/// Opens millions of TCP connections from one host, through every source port there is.
///
/// The whole 4-tuple of every connection is planned before the first SYN and dealt out to the
/// cores. It needs Linux 6.1 or newer, no root and no tuning.
#[derive(Parser)]
#[command(name = "megaconn-client", version = megaconn::VERSION, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    megaconn-client run --target 127.0.0.1:7000 --connections 1M --hold 60s --out runs/first\n  \
    megaconn-client run --target 10.0.0.2:7000-7003 --connections 200k --rate 10k/s")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Open connections, exchange a message over each, hold them, close them, and report
    Run(Box<Run>),
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
    megaconn-client run --target 127.0.0.1:7000 --connections 1M --hold 60s --out runs/first\n  \
    megaconn-client run --target '[::1]:7000-7003' --connections 50k --cores 1 --rate 5k/s\n\n\
    Exit status: 0 every connection was established, verified and held; 1 some were not;\n\
    2 refused before starting, with the fix; 130 or 143 after a signal, with a partial report.")]
pub(crate) struct Run {
    /// Server address and port, or port range; repeatable
    #[arg(long, value_name = "ADDR:PORT[-PORT]", required = true)]
    pub(crate) target: Vec<Endpoints>,
    /// Where connections come from; repeatable. `auto` takes 127.0.0.2 to 127.255.255.254 on
    /// loopback, else all addresses of the outgoing interface
    #[arg(long, value_name = "auto|ADDR|CIDR|A-B", default_value = "auto")]
    pub(crate) source: Vec<Sources>,
    /// Source ports to use [default: net.ipv4.ip_local_port_range]
    #[arg(long, value_name = "LO-HI")]
    pub(crate) source_ports: Option<PortRange>,
    /// CPUs to run on, one pinned thread each: `all` that are allowed, or a list like 0,2-5
    #[arg(long, value_name = "all|LIST", default_value = "all")]
    pub(crate) cores: CoreList,
    /// Connections to open
    #[arg(long, value_name = "N", value_parser = units::positive_count)]
    pub(crate) connections: u64,
    /// Connects per second over all cores [default: as fast as they go]
    #[arg(long, value_name = "N/s", value_parser = units::rate)]
    pub(crate) rate: Option<u64>,
    /// Time to hold the connections once they are open and verified
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = units::duration)]
    pub(crate) hold: Duration,
    /// Length of a message in bytes, header of 40 included
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u16).range(HEADER_BYTES as i64..=BUFFER_BYTES as i64))]
    pub(crate) message_bytes: u16,
    /// Messages on each connection, each sent when the echo of the one before it is verified
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) message_count: u16,
    /// Directory for result.json, environment.json and client.ndjson; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}
