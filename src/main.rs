//! `megaconn`: parses, dispatches, and gives the exit status.

use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::base::stdout::was_closed_at_start;
use megaconn::sys::stdio::stdout_was_closed;
use megaconn::sys::wiping::Wiping;

use crate::commands::cli::{Cli, Command};
use crate::commands::{broadcast, doctor, measure, merge, plan, report, serve, stats, top};

mod commands;

/// What TLS has on the heap is not left there.
#[global_allocator]
static ALLOCATOR: Wiping = Wiping;

fn main() -> ExitCode {
    was_closed_at_start(stdout_was_closed());
    let command = match cli_support::parsed::<Cli>() {
        Ok(cli) => cli.command,
        Err(status) => return status,
    };
    match command {
        Command::Measure(flags) => measure::run(&flags),
        Command::Serve(flags) => serve::run(*flags),
        Command::Broadcast(flags) => broadcast::run(&flags),
        Command::Doctor(flags) => doctor::run(&flags),
        Command::Plan(flags) => plan::run(&flags),
        Command::Top(flags) => top::run(&flags),
        Command::Stats(flags) => stats::run(&flags),
        Command::Merge(flags) => merge::run(&flags),
        Command::Report(flags) => report::run(flags),
        Command::Completions { shell } => cli_support::print_completions::<Cli>(shell),
        Command::Man => cli_support::print_man::<Cli>(),
    }
}
