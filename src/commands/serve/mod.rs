//! `megaconn serve`: from flags to a configuration, and from what became of it to an exit status.

use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::base::stderr::talk;
use megaconn::runtime::listeners;

use crate::commands::cli;
use crate::commands::serve::run::{ServeConfig, Served, serve};

pub(crate) mod bystander;
pub(crate) mod run;

/// Serves until a signal stops it.
pub(crate) fn run(flags: cli::Serve) -> ExitCode {
    let mode = match flags.traffic() {
        Ok(mode) => mode,
        Err(reason) => return cli_support::refused(&reason),
    };
    let config = ServeConfig {
        listen: flags.listen,
        cores: flags.cores,
        connections_max: flags.max_connections,
        steer: match flags.steer {
            cli::Steer::Cpu => listeners::Steer::Cpu,
            cli::Steer::Hash => listeners::Steer::Hash,
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
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
