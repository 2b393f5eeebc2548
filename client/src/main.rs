//! `megaconn-client`: flags to config, and the one place that decides an exit status.

use std::process::ExitCode;

use clap::Parser;
use megaconn::usage;

use crate::cli::{Cli, Command};
use crate::run::Outcome;

mod aftermath;
mod agenda;
mod bystanders;
mod cli;
mod config;
mod cores;
mod cost;
mod course;
mod directory;
mod environment;
mod evidence;
mod figures;
mod fit;
mod gates;
mod notes;
mod pacer;
mod phase;
mod progress;
mod pushes;
mod reach;
mod refusal;
mod result;
mod run;
mod server_metrics;
mod server_stats;
mod shard;
mod steps;
mod summary;
mod supply;
mod vigil;
mod watch;

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage::not_run(&error),
    };
    match command {
        Command::Run(flags) => ended(config::Config::new(&flags).and_then(|c| run::run(&c))),
        Command::Watch(flags) => ended(watch::watch(&flags)),
        Command::Completions { shell } => usage::print_completions::<Cli>(shell),
        Command::Man => usage::print_man::<Cli>(),
    }
}

fn ended(outcome: Result<Outcome, refusal::Refusal>) -> ExitCode {
    match outcome {
        Ok(Outcome::Met) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::FAILURE,
        Ok(Outcome::Stopped(stop)) => ExitCode::from(stop.exit_status()),
        Err(error) => usage::refused(&error.to_string()),
    }
}
