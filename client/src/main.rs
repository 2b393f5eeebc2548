//! `megaconn-client`: flags to config, and the one place that decides an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use megaconn::talk::talk;
use megaconn::usage;

use crate::cli::{Cli, Command};
use crate::run::Outcome;

mod cli;
mod config;
mod environment;
mod figures;
mod pacer;
mod progress;
mod result;
mod run;
mod server_stats;
mod shard;

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return not_run(&error),
    };
    match command {
        Command::Run(flags) => match config::Config::new(&flags).and_then(|c| run::run(&c)) {
            Ok(Outcome::Met) => ExitCode::SUCCESS,
            Ok(Outcome::Missed) => ExitCode::FAILURE,
            Ok(Outcome::Stopped(stop)) => ExitCode::from(stop.exit_status()),
            Err(error) => refused(&error.to_string()),
        },
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "megaconn-client", &mut text);
            print(&text)
        }
        Command::Man => {
            let mut page = Vec::new();
            match clap_mangen::Man::new(Cli::command()).render(&mut page) {
                Ok(()) => print(&page),
                Err(error) => refused(&error.to_string()),
            }
        }
    }
}

/// Help and version as clap prints them, a wrong command line as any other refusal.
fn not_run(error: &clap::Error) -> ExitCode {
    if let Some(reason) = usage::refusal(error) {
        return refused(&reason);
    }
    // Whoever closed the pipe has seen enough.
    let _ = error.print();
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Exit status 2: nothing was started.
fn refused(reason: &str) -> ExitCode {
    talk(&format!("error: {reason}"));
    ExitCode::from(2)
}

fn print(text: &[u8]) -> ExitCode {
    match io::stdout().write_all(text) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(_) => ExitCode::FAILURE,
    }
}
