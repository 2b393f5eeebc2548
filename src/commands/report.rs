//! `megaconn report`: the page of a run directory, or of several.

use std::process::ExitCode;

use megaconn::base::cli_support;
use megaconn::base::stderr::talk;
use megaconn::report;

use crate::commands::cli;

/// Writes the page and says where it is.
pub(crate) fn run(flags: cli::Report) -> ExitCode {
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
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
