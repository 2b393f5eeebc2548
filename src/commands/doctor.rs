//! `megaconn doctor`: its flags; the walls as a screen or as JSON; the files that lift them; their lifting.

use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use megaconn::base::cli_support;
use megaconn::base::constants::BACKLOG_DEFAULT;
use megaconn::base::endpoints::Endpoints;
use megaconn::base::side::Side;
use megaconn::base::stderr::talk;
use megaconn::base::stdout::{Undelivered, deliver, deliver_durably};
use megaconn::base::units;
use megaconn::host::rlimit;
use megaconn::plan::demand::{Demand, Ends};
use megaconn::plan::named::Targets;
use megaconn::runtime::memory_reserve;
use megaconn::walls::doctor::{self, Report};
use megaconn::walls::host::Host;
use megaconn::walls::reading;
use megaconn::walls::remedy::{self, Applied};

use crate::commands::answer::{Format, as_json};
use crate::commands::plan::{self, Ways};
use crate::commands::serve::flags::backlog;

#[derive(Args)]
#[command(after_help = "Examples:\n  \
    megaconn doctor --connections 2M\n  \
    megaconn doctor --side server --connections 500k --fix print")]
pub(crate) struct Flags {
    /// Connections that this host is to hold
    #[arg(long, value_name = "N", default_value = "1M", value_parser = units::positive_count)]
    pub(crate) connections: u64,
    /// Which end of them is on this host
    #[arg(long, value_enum, default_value = "both")]
    pub(crate) side: EndsHere,
    /// Where they go, and so where the server listens; repeatable [default: 127.0.0.1:7000]
    #[arg(long, value_name = "HOST:PORT[-PORT]", required_if_eq("side", "client"))]
    pub(crate) target: Vec<Targets>,
    #[command(flatten)]
    pub(crate) ways: Ways,
    /// Length of each core's accept queue, as for serve
    #[arg(long, value_name = "N", default_value_t = BACKLOG_DEFAULT, value_parser = backlog)]
    pub(crate) backlog: i32,
    /// Lift what is short: write the files that do it, or do it now
    ///
    /// For an ordinary user, even when root asks: some limits do not bind root.
    #[arg(long, value_enum)]
    pub(crate) fix: Option<FixMode>,
}

/// [`Ends`] as a value of a flag.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum EndsHere {
    /// The server's
    Server,
    /// The client's, which needs --target
    Client,
    /// Both
    Both,
}

impl From<EndsHere> for Ends {
    fn from(ends: EndsHere) -> Ends {
        match ends {
            EndsHere::Server => Ends::Server,
            EndsHere::Client => Ends::Client,
            EndsHere::Both => Ends::Both,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum FixMode {
    /// Write a sysctl.d file, a limits.d file and a systemd drop-in to stdout; change nothing
    Print,
    /// Set sysctls until reboot (root), never to less, and write the script that undoes it to stdout
    Apply,
}

/// The port of `megaconn serve`, unless --listen says otherwise.
const PORT_DEFAULT: u16 = 7000;

/// Exit status 0 when the connections fit, 1 when they do not, 2 when nothing could be examined.
pub(crate) fn run(flags: &Flags) -> ExitCode {
    match answer(flags) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Unanswered::Refused(reason)) => cli_support::refused(&reason),
        Err(Unanswered::Undelivered(undelivered)) => undelivered.report(2),
    }
}

/// Why there is no answer, or none that was delivered.
enum Unanswered {
    Refused(String),
    Undelivered(Undelivered),
}

impl From<String> for Unanswered {
    fn from(reason: String) -> Unanswered {
        Unanswered::Refused(reason)
    }
}

impl From<Undelivered> for Unanswered {
    fn from(undelivered: Undelivered) -> Unanswered {
        Unanswered::Undelivered(undelivered)
    }
}

/// Whether the plan fits, or would with what was written or applied.
fn answer(flags: &Flags) -> Result<bool, Unanswered> {
    if flags.fix.is_some() && flags.ways.format == Format::Json {
        let why = "--fix writes files or a script, which are no JSON; fix: leave out --format json";
        return Err(why.to_owned().into());
    }
    let endpoints = endpoints(flags)?;
    let demand = demand(flags, &endpoints)?;
    let reserving = if demand.ends == Ends::Server { Side::Server } else { Side::Client };
    let host = Host::read(rlimit::raise_nofile(), memory_reserve::bytes(reserving, None));
    let host = Host { ring: plan::ring(), ..host.with_tracking(demand.ends) };
    match flags.fix {
        None => {
            let targets: Vec<_> = endpoints.into_iter().flat_map(Endpoints::each).collect();
            let report = doctor::report(&host, &demand, &targets);
            deliver(as_text(&report, flags.ways.format)?.as_bytes())?;
            Ok(report.fits)
        }
        // A limit that is lifted with sudo is lifted for an ordinary user.
        Some(FixMode::Print) => {
            let host = host.for_a_user();
            let rows = reading::rows(&host, &demand);
            deliver(remedy::files(&host.procfs, &rows, &title(&demand)).as_bytes())?;
            Ok(remedy::left(&host.procfs, &rows).is_empty())
        }
        Some(FixMode::Apply) => apply(&host.for_a_user(), &demand),
    }
}

fn demand(flags: &Flags, endpoints: &[Endpoints]) -> Result<Demand, String> {
    let (demand, unused) = plan::demand(flags.connections, endpoints, &flags.ways)?;
    unused.iter().for_each(|words| talk(&format!("note: {words}")));
    let backlog = flags.backlog.unsigned_abs().into();
    Ok(match flags.side.into() {
        Ends::Server => {
            let Demand { connections, cores, memory, .. } = demand;
            Demand { backlog, ..Demand::of_server(connections, cores, memory) }
        }
        ends => Demand { ends, backlog, ..demand },
    })
}

/// Where the connections go: to what a server listens on by default, unless it is said.
fn endpoints(flags: &Flags) -> Result<Vec<Endpoints>, String> {
    if flags.target.is_empty() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        return Ok(vec![Endpoints { address, scope: 0, low: PORT_DEFAULT, high: PORT_DEFAULT }]);
    }
    plan::endpoints(&flags.target)
}

/// The undoing is on its way before the first change, and on its disk where stdout is a file.
fn apply(host: &Host, demand: &Demand) -> Result<bool, Unanswered> {
    let changes = remedy::changes(&host.procfs, &reading::rows(host, demand));
    let keys: Vec<&str> = changes.iter().map(|change| change.key).collect();
    let prepared = remedy::prepare(&host.procfs, changes).map_err(|error| {
        let keys = keys.join(", ");
        format!("--fix apply: {keys}: {error}; fix: sudo megaconn doctor --fix apply ...")
    })?;
    if let Err(undelivered) = deliver_durably(prepared.undo().as_bytes()) {
        talk("--fix apply: nothing was changed, since the script that undoes it has no place");
        return Err(undelivered.into());
    }
    let applied = prepared.apply(&host.procfs);
    for Applied { change, result } in &applied {
        let have = change.have.as_deref().unwrap_or("unknown");
        match result {
            Ok(now) => talk(&format!("{}: {have} -> {now}, until reboot", change.key)),
            Err(error) => talk(&format!("{}: not set to {}: {error}", change.key, change.want)),
        }
    }
    let rows = reading::rows(host, demand);
    let short: Vec<_> = rows.iter().filter(|row| !row.fits()).collect();
    for row in &short {
        talk(&format!("{} is still short; fix: {}", row.id, row.fixes()));
    }
    Ok(short.is_empty() && applied.iter().all(|applied| applied.result.is_ok()))
}

fn title(demand: &Demand) -> String {
    let ends = match demand.ends {
        Ends::Both => "both ends",
        Ends::Client => "the client",
        Ends::Server => "the server",
    };
    format!("{}, for {} connections, {ends} here", megaconn::VERSION, demand.connections)
}

fn as_text(report: &Report, format: Format) -> Result<String, String> {
    match format {
        Format::Text => Ok(doctor::text::text(report)),
        Format::Json => as_json(report),
    }
}
