//! `megaconn-client`: flags to config, and the one place that decides an exit status.

use std::process::ExitCode;

use clap::Parser;
use megaconn::base::cli_support;

use crate::run::Outcome;
use crate::run::config::Config;
use crate::run::flags::{Cli, Command};
use crate::run::refusal::Refusal;

mod bystanders;
mod measure;
mod output;
mod run;
mod watch;

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return cli_support::not_run(&error),
    };
    match command {
        Command::Run(flags) => ended(Config::new(&flags).and_then(|c| run::run(&c))),
        Command::Watch(flags) => ended(watch::watch(&flags)),
        Command::Completions { shell } => cli_support::print_completions::<Cli>(shell),
        Command::Man => cli_support::print_man::<Cli>(),
    }
}

fn ended(outcome: Result<Outcome, Refusal>) -> ExitCode {
    match outcome {
        Ok(Outcome::Met) => ExitCode::SUCCESS,
        Ok(Outcome::Missed) => ExitCode::FAILURE,
        Ok(Outcome::Stopped(stop)) => ExitCode::from(stop.exit_status()),
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
