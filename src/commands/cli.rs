//! What is typed: the commands of `megaconn`. The flags of a command are beside the command.

use clap::{Parser, Subcommand};

use crate::commands::{broadcast, doctor, measure, merge, plan, report, serve, stats, top};

/// Holds millions of long-lived TCP connections on one host, and says what each one costs.
///
/// Connections live in io_uring's registered-file tables, not in file descriptors, one pinned
/// thread per core. It needs Linux 6.1 or newer, no root and no tuning.
#[derive(Parser)]
#[command(name = "megaconn", version = megaconn::VERSION, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    megaconn measure\n  \
    megaconn serve --listen 127.0.0.1:7000 --stats server.ndjson")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Measure this host with both ends on it: how many it holds, what stops it, what each one costs
    Measure(measure::flags::Flags),
    /// Serve connections until SIGINT or SIGTERM
    Serve(Box<serve::flags::Flags>),
    /// Have a server send one text to all its connections at once
    Broadcast(broadcast::Flags),
    /// Say by arithmetic alone whether this host can open that many connections, and what binds first
    Plan(plan::Flags),
    /// Examine this host: what each limit allows, what it takes to lift it, which settings hurt
    Doctor(doctor::Flags),
    /// Watch running servers and clients in a terminal, core by core
    Top(top::Flags),
    /// Merge per-core statistics of servers and clients: totals, rates, percentiles
    Stats(stats::Flags),
    /// Make one run directory of the parts of a run, each from a host of its own
    Merge(merge::Flags),
    /// Write one HTML file about a run, or several side by side
    Report(report::Flags),
    /// Write shell completions to stdout
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the man page to stdout
    Man,
}

#[cfg(test)]
#[path = "../../tests/common/every_flag.rs"]
mod every_flag;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_refuses_what_cannot_be_with_its_name_the_reason_and_a_fix() {
        let good = |command: &str| match command {
            "plan" => vec!["--connections", "10", "--target", "127.0.0.1:7000"],
            "top" => vec!["127.0.0.1:9100"],
            "broadcast" => vec!["./all.sock"],
            "stats" | "report" => vec!["somewhere"],
            "merge" => vec!["--out", "elsewhere", "somewhere"],
            "completions" => vec!["bash"],
            _ => Vec::new(),
        };
        let free = [
            "banner",
            "push_text",
            "stats",
            "files",
            "dir",
            "out",
            "source",
            "ends",
            "subprotocol",
            "tls_cert",
            "tls_key",
            "tls_client_ca",
            "take_over",
        ];
        every_flag::walk::<Cli>(good, &free);
    }
}
