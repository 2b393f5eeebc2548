//! `megaconn top`: the live view.

use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::top;

use crate::commands::cli;

/// Shows it until a key or a signal ends it.
pub(crate) fn run(flags: &cli::Top) -> ExitCode {
    // As https://no-color.org has it: set, and not empty.
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match top::run::run(&flags.addresses, flags.every, has_colours) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(stop)) => ExitCode::from(stop.exit_status()),
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
