//! `megaconn report`: its flags, and the page of a run directory, or of several.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use megaconn::base::cli_support;
use megaconn::base::stderr::talk;
use megaconn::report::{self, ReportError};

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn report runs/first\n  \
    megaconn report runs/first runs/second --out both.html")]
pub(crate) struct Flags {
    /// Run directories, as megaconn-client run --out DIR leaves them, or one of scale.sh
    #[arg(value_name = "DIR", required = true)]
    pub(crate) dir: Vec<PathBuf>,
    /// Where to; `-` is stdout [default: DIR/report.html]
    ///
    /// Of several directories: report.html in the directory in which it is run. The file needs
    /// nothing but itself. What is missing in a directory is said in it.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) out: Option<PathBuf>,
}

/// Writes the page and says where it is.
pub(crate) fn run(flags: Flags) -> ExitCode {
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
        Err(ReportError::Undelivered(undelivered)) => undelivered.report(2),
        Err(error) => cli_support::refused(&error.to_string()),
    }
}
