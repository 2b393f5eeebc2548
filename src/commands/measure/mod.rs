//! `megaconn measure`: both ends on this host, as two processes that this one starts, watches and ends.
//! It is small beside them, so that it outlives them when the kernel kills one for want of memory, and
//! says so.

use std::process::ExitCode;

use megaconn::base::cli_support;

use crate::commands::measure::flags::Flags;
use crate::commands::measure::run::measure;

mod child;
mod ends;
pub(crate) mod flags;
mod killed;
mod place;
mod run;
mod stopping;

/// Measures, and gives the exit status of the whole.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    measure(flags).map_or_else(|refusal| cli_support::refused(&refusal), ExitCode::from)
}
