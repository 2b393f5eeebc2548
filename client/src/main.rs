//! `megaconn-client`: what is typed, its dispatch, and the one place that decides an exit status.

use std::fmt::Display;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use megaconn::base::cli_support;
use megaconn::base::stdout::was_closed_at_start;
use megaconn::sys::stdio::stdout_was_closed;
use megaconn::sys::wiping::Wiping;

use crate::run::outcome::Outcome;

mod bystanders;
mod measure;
mod output;
mod run;
mod watch;

/// What TLS has on the heap is not left there.
#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

/// Opens millions of TCP connections from one host, through every source port there is.
///
/// The whole 4-tuple of every connection is planned before the first SYN and dealt out to the
/// cores. It needs Linux 6.1 or newer, no root and no tuning.
#[derive(Parser)]
#[command(name = "megaconn-client", version = megaconn::VERSION, max_term_width = 100)]
#[command(after_help = "Examples:\n  \
    megaconn-client run --target 127.0.0.1:7000 --connections 1M --hold 60s --out runs/first\n  \
    megaconn-client run --target 10.0.0.2:7000-7003 --connections 200k --rate 10k/s")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open connections, exchange a message on each, hold them, close them, and report
    Run(Box<run::flags::Flags>),
    /// Watch bystanders alone, beside whatever else goes on
    Watch(Box<watch::Flags>),
    /// Write shell completions to stdout
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Write the man page to stdout
    Man,
}

fn main() -> ExitCode {
    was_closed_at_start(stdout_was_closed());
    let command = match cli_support::parsed::<Cli>() {
        Ok(cli) => cli.command,
        Err(status) => return status,
    };
    match command {
        Command::Run(flags) => ended(run::run(*flags)),
        Command::Watch(flags) => ended(watch::watch(&flags)),
        Command::Completions { shell } => cli_support::print_completions::<Cli>(shell),
        Command::Man => cli_support::print_man::<Cli>(),
    }
}

fn ended(outcome: Result<Outcome, impl Display>) -> ExitCode {
    match outcome {
        Ok(Outcome::Met) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::FAILURE,
        Ok(Outcome::Stopped(stop)) => ExitCode::from(stop.exit_status()),
        Ok(Outcome::Undelivered(undelivered)) => undelivered.report(1),
        Err(error) => cli_support::refused(&error.to_string()),
    }
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
            "run" => vec!["--connections", "10", "--target", "127.0.0.1:7000"],
            "watch" => vec!["--out", "somewhere"],
            "completions" => vec!["bash"],
            _ => Vec::new(),
        };
        let free = [
            "banner",
            "push_text",
            "stats",
            "beside",
            "resolve",
            "out",
            "run_id",
            "source",
            "subprotocol",
            "hello",
            "hello_answer",
            "message",
            "answer",
            "keepalive_message",
            "keepalive_answer",
            "tls_ca",
            "tls_cert",
            "tls_key",
            "tls_server_name",
        ];
        every_flag::walk::<Cli>(good, &free);
    }
}
