//! `megaconn top`: its flags, and the live view.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use megaconn::base::cli_support;
use megaconn::base::constants::TOP_EVERY_LEAST;
use megaconn::base::units;
use megaconn::observe::control::place::Place;
use megaconn::top;
use megaconn::top::run::View;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn top 127.0.0.1:9100\n  \
    megaconn top 127.0.0.1:9100 127.0.0.1:9101 --every 500ms")]
pub(crate) struct Flags {
    /// What --metrics of a server or a client was given
    ///
    /// Any number of them, on any hosts: one row for each core and each side, their sums, the host's
    /// counters that rise, the last three minutes. One that does not answer is waited for. `?` in the
    /// view explains its columns and keys.
    #[arg(value_name = "ADDR:PORT", required = true, value_parser = units::peer_address)]
    pub(crate) addresses: Vec<SocketAddr>,
    /// Time between two looks; at least 100ms
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = top_every)]
    pub(crate) every: Duration,
    /// Let keys change the run that is controlled there
    ///
    /// What `megaconn-client run --control` was given; a PATH has a `/`. + and - raise and lower its connections by a tenth,
    /// ] and [ double and halve its messages per second, r pauses and resumes it. Default: keys change
    /// nothing.
    #[arg(long, value_name = "PATH|ADDR:PORT")]
    pub(crate) allow_control: Option<Place>,
}

/// Shows it until a key or a signal ends it.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    // As https://no-color.org has it: set, and not empty.
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let view = View {
        addresses: &flags.addresses,
        every: flags.every,
        has_colours,
        steered: flags.allow_control.clone(),
    };
    match top::run::run(view) {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(stop)) => ExitCode::from(stop.exit_status()),
        Err(error) => cli_support::refused(&error.to_string()),
    }
}

fn top_every(text: &str) -> Result<Duration, String> {
    let every = units::positive_duration(text)?;
    let error = || format!("`{text}` is too short; fix: write 100ms or more");
    (every >= TOP_EVERY_LEAST).then_some(every).ok_or_else(error)
}
