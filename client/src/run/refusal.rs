//! Why a run was refused before it began, each with its fix.

use std::io;
use std::net::SocketAddr;

use megaconn::base::errno::Errno;
use megaconn::base::units::grouped;
use megaconn::drivers::uring::ProbeError;
use megaconn::observe::control::listen::ControlError;
use megaconn::plan::named::NameError;
use megaconn::plan::tuples::TupleError;
use megaconn::runtime::process::ProcessError;
use megaconn::runtime::topology::CoreError;
use megaconn::walls::reading::Row;

use crate::bystanders::runner::NoProbeRunner;
use crate::measure::server_metrics::NoMetrics;
use crate::output::directory::WriteError;
use crate::run::config::{FlagError, Traffic};
use crate::run::lifetime::in_words;
use crate::run::script::ScriptError;
use crate::run::tls::TlsError;

/// Why, in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Cores(#[from] CoreError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Tuples(#[from] TupleError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error("{0}")]
    DoesNotFit(String),
    #[error(transparent)]
    Flags(#[from] FlagError),
    #[error(
        "source-ports: --target {0}: every source port is taken by another socket, or in TIME_WAIT; \
         fix: --source with another address, or wait 60 s"
    )]
    NoPort(SocketAddr),
    #[error(
        "refused: --target {0}: nothing listens there ({1}); fix: start the server, or check the port"
    )]
    Refused(SocketAddr, Errno),
    #[error("unanswered: --target {0}: no answer ({1}); fix: check the route and the firewall")]
    Unreachable(SocketAddr, String),
    #[error("{first}; {dead} of {of} targets do not take connections: {names}")]
    SomeTargets { first: Box<Refusal>, dead: usize, of: usize, names: String },
    #[error(transparent)]
    ServerMetrics(#[from] NoMetrics),
    #[error(transparent)]
    Bystanders(#[from] NoProbeRunner),
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("--control: no thread for it ({0}); fix: a higher `ulimit -u`")]
    NoThread(io::Error),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(
        "--half-open: the kernel lets no connection go without a packet ({0}); fix: setcap cap_net_admin+ep on \
         megaconn-client, or root; and Linux 6.7 or newer"
    )]
    NoVanishing(Errno),
    #[error("--keep-bystanders: {0} is not watched: {1}")]
    NotWatched(&'static str, String),
}

/// The limit that the plan breaks, in one line.
pub(crate) fn does_not_fit(connections: u64, traffic: &Traffic, row: &Row) -> Refusal {
    let churn = traffic.churn_per_s().map(|rate| format!("--churn {rate}/s"));
    let lifetime = traffic.lifetime.map(|of| format!("--lifetime '{}'", in_words(of)));
    let with: Vec<String> = churn.into_iter().chain(lifetime).collect();
    let with =
        if with.is_empty() { String::new() } else { format!(" with {}", with.join(" and ")) };
    let wanted = format!("{}{with}", grouped(connections));
    let Row { id, unit, .. } = row;
    let need = grouped(row.need.unwrap_or(0));
    let have = row.have.map_or("no limit".to_owned(), grouped);
    let short = format!("need {need} {unit}, have {have}");
    // Some limits have nothing to do with the number of connections.
    let short = match row.allows_connections {
        Some(allowed) => format!("this host allows {} ({short})", grouped(allowed)),
        None => short,
    };
    Refusal::DoesNotFit(format!("{id}: --connections {wanted}: {short}; fix: {}", row.fixes()))
}
