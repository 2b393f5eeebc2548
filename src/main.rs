//! `megaconn`: flags to config, and the one place that decides an exit status.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use megaconn::listener;
use megaconn::server::{ServeConfig, serve};
use megaconn::talk::talk;
use megaconn::usage;

use crate::cli::{Cli, Command};

mod cli;
mod show_plan;

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return not_run(&error),
    };
    match command {
        Command::Serve(flags) => run_serve(flags),
        Command::Plan(flags) => show_plan::run(&flags),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "megaconn", &mut text);
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

fn run_serve(flags: cli::Serve) -> ExitCode {
    let cli::Mode::Echo = flags.mode;
    let config = ServeConfig {
        listen: flags.listen,
        cores: flags.cores,
        connections_max: flags.max_connections,
        steer: match flags.steer {
            cli::Steer::Cpu => listener::Steer::Cpu,
            cli::Steer::Hash => listener::Steer::Hash,
        },
        backlog: flags.backlog,
        stats: flags.stats,
        stats_every: flags.stats_every,
    };
    match serve(&config) {
        Ok(stop) => ExitCode::from(stop.exit_status()),
        Err(error) => refused(&error.to_string()),
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
