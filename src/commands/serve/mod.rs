//! `megaconn serve`: what was typed, what it means, what the host has for it, and the server itself.
//! Here what became of the server is told by an exit status.

use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::base::stderr::talk;

use crate::commands::serve::config::Config;
use crate::commands::serve::flags::Flags;
use crate::commands::serve::run::{Served, serve};

mod broadcast;
mod bystander;
mod config;
mod cores;
mod effective;
pub(crate) mod flags;
mod housekeeping;
mod orders;
mod preflight;
mod refusal;
mod run;
mod services;
mod sockets;
mod tls;

/// Serves until a signal stops it.
pub(crate) fn run(flags: Flags) -> ExitCode {
    let config = Config::new(flags);
    match config.map_err(Into::into).and_then(serve) {
        Ok(Served::Stopped(stop)) => ExitCode::from(stop.exit_status()),
        Ok(Served::TakenOver) => ExitCode::SUCCESS,
        Ok(Served::Died(error)) => {
            talk(&format!("error: {error}"));
            ExitCode::FAILURE
        }
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
