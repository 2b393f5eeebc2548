//! `megaconn`: flags to config, and the one place that decides an exit status.

use std::process::ExitCode;

use clap::Parser;
use megaconn::listener;
use megaconn::server::{ServeConfig, Served, serve};
use megaconn::talk::talk;
use megaconn::{report, top, usage};

use crate::cli::{Cli, Command};

mod cli;
mod show_doctor;
mod show_plan;
mod show_stats;

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return usage::not_run(&error),
    };
    match command {
        Command::Serve(flags) => run_serve(*flags),
        Command::Doctor(flags) => show_doctor::run(&flags),
        Command::Plan(flags) => show_plan::run(&flags),
        Command::Top(flags) => run_top(&flags),
        Command::Stats(flags) => show_stats::run(&flags),
        Command::Report(flags) => write_report(flags),
        Command::Completions { shell } => usage::print_completions::<Cli>(shell),
        Command::Man => usage::print_man::<Cli>(),
    }
}

fn write_report(flags: cli::Report) -> ExitCode {
    let beside = match &flags.dir[..] {
        [only] => only.join(report::FILE),
        _ => report::FILE.into(),
    };
    let out = flags.out.unwrap_or(beside);
    match report::write(&flags.dir, &out) {
        Ok(()) => {
            talk(&format!("report={}", out.display()));
            ExitCode::SUCCESS
        }
        Err(error) => usage::refused(&error.to_string()),
    }
}

fn run_top(flags: &cli::Top) -> ExitCode {
    // As https://no-color.org has it: set, and not empty.
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match top::run::run(&flags.addresses, flags.every, has_colours) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(stop)) => ExitCode::from(stop.exit_status()),
        Err(error) => usage::refused(&error.to_string()),
    }
}

fn run_serve(flags: cli::Serve) -> ExitCode {
    let mode = match flags.traffic() {
        Ok(mode) => mode,
        Err(reason) => return usage::refused(&reason),
    };
    let config = ServeConfig {
        listen: flags.listen,
        cores: flags.cores,
        connections_max: flags.max_connections,
        steer: match flags.steer {
            cli::Steer::Cpu => listener::Steer::Cpu,
            cli::Steer::Hash => listener::Steer::Hash,
        },
        backlog: flags.backlog,
        mode,
        banner: flags.banner,
        idle_timeout: flags.idle_timeout,
        send_timeout: flags.send_timeout,
        keepalive: flags.keepalive,
        drain: flags.drain,
        stats: flags.stats,
        stats_every: flags.stats_every,
        metrics: flags.metrics,
        bystander: flags.bystander,
        memory_reserve: flags.memory_reserve,
    };
    match serve(&config) {
        Ok(Served::Stopped(stop)) => ExitCode::from(stop.exit_status()),
        Ok(Served::Died(error)) => {
            talk(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => usage::refused(&error.to_string()),
    }
}
