//! From what was typed to what will be done: everything is checked here, before anything starts.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use megaconn::errno::Errno;
use megaconn::launch::LaunchError;
use megaconn::limits::{REACH_TIMEOUT, SOURCES_TRIED_MAX, TARGETS_TRIED_MAX};
use megaconn::plan::tuples::{TupleError, TuplePlan, resolve_sources};
use megaconn::plan::{self, Demand, Host, Row};
use megaconn::rlimits;
use megaconn::topology::CoreError;
use megaconn::units::grouped;
use megaconn::uring::{self, ProbeError};

use crate::cli;

/// A run that can be begun.
pub(crate) struct Config {
    pub(crate) cpus: Vec<u16>,
    pub(crate) plan: Arc<TuplePlan>,
    pub(crate) connections: u64,
    pub(crate) rate_per_s: Option<u64>,
    pub(crate) hold: Duration,
    pub(crate) message_bytes: u16,
    pub(crate) message_count: u16,
    pub(crate) slots_per_segment: u32,
    pub(crate) out: Option<PathBuf>,
    pub(crate) run_id: u64,
    pub(crate) ends_here: u64,
}

/// Why a run was refused, with the fix.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Cores(#[from] CoreError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Tuples(#[from] TupleError),
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error("{0}")]
    DoesNotFit(String),
    #[error("--source {0}: this host has no such address; fix: ip addr add {0} dev INTERFACE")]
    NoSuchSource(IpAddr),
    #[error("--target {0}: nobody listens there ({1}); fix: start the server, or check the port")]
    Refused(SocketAddr, Errno),
    #[error("--target {0}: no answer ({1}); fix: check the route and the firewall")]
    Unreachable(SocketAddr, String),
    #[error("--out {0}: {1}; fix: a directory that you may write")]
    Out(PathBuf, io::Error),
    #[error("signal handlers: {0}; fix: none known, please report it")]
    Signals(io::Error),
}

impl Config {
    pub(crate) fn new(flags: &cli::Run) -> Result<Config, Refusal> {
        uring::probe()?;
        let cpus = flags.cores.resolve()?;
        let targets: Vec<_> = flags.target.iter().flat_map(|endpoints| endpoints.each()).collect();
        let range = flags.source_ports.map_or_else(plan::ephemeral_ports, |p| p.low..=p.high);
        let sources = resolve_sources(&flags.source, &targets)?;
        let ends_here = plan::ends_here(&targets);
        let plan = TuplePlan::new(targets, &sources, plan::usable_ports(range), cpus.len())?;
        let nofile = rlimits::raise_nofile();
        let demand = Demand {
            connections: flags.connections,
            tuples: plan.capacity(),
            cores: cpus.len() as u64,
            ends_here,
        };
        let rows = plan::plan(&demand, &Host::read(nofile)).rows;
        if let Some(row) = rows.iter().find(|row| !row.fits) {
            return Err(does_not_fit(flags.connections, row));
        }
        plan.addresses_for(flags.connections).take(SOURCES_TRIED_MAX).try_for_each(own_address)?;
        plan.targets().iter().take(TARGETS_TRIED_MAX).try_for_each(|target| reach(*target))?;
        if let Some(dir) = &flags.out {
            std::fs::create_dir_all(dir).map_err(|error| Refusal::Out(dir.clone(), error))?;
        }
        Ok(Config {
            cpus,
            plan: Arc::new(plan),
            connections: flags.connections,
            rate_per_s: flags.rate,
            hold: flags.hold,
            message_bytes: flags.message_bytes,
            message_count: flags.message_count,
            slots_per_segment: rlimits::slots_per_segment(nofile),
            out: flags.out.clone(),
            run_id: fastrand::u64(..),
            ends_here,
        })
    }

    /// Connections of each core: as even as can be.
    pub(crate) fn share(&self, core: usize) -> u64 {
        plan::share(self.connections, self.cpus.len(), core)
    }

    /// The effective configuration, one `key=value` a line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let cores: Vec<String> = self.cpus.iter().map(u16::to_string).collect();
        let targets = self.plan.targets();
        let addresses = self.connections.div_ceil(self.plan.per_source().max(1));
        let rate = self.rate_per_s.map_or("unlimited".to_owned(), |rate| format!("{rate}/s"));
        vec![
            format!("version={}", megaconn::VERSION),
            format!("targets={} (first {})", targets.len(), targets[0]),
            format!("cores={}", cores.join(",")),
            format!("connections={}", self.connections),
            format!("source_addresses={addresses} ({} tuples each)", self.plan.per_source()),
            format!("tuples={}", self.plan.capacity()),
            format!("rate={rate}"),
            format!("message_bytes={}", self.message_bytes),
            format!("message_count={}", self.message_count),
            format!("hold={:?}", self.hold),
            format!("slots_per_segment={}", self.slots_per_segment),
        ]
    }
}

/// The limit that the plan breaks, in one line.
fn does_not_fit(connections: u64, row: &Row) -> Refusal {
    let wanted = grouped(connections);
    let Row { id, unit, fix, .. } = row;
    let allowed = grouped(row.allows_connections.unwrap_or(u64::MAX));
    let (need, have) = (grouped(row.need), grouped(row.have.unwrap_or(u64::MAX)));
    Refusal::DoesNotFit(format!(
        "--connections {wanted}: {id} allows {allowed} here (need {need} {unit}, have {have}); \
         fix: {fix}"
    ))
}

/// An address that can be bound is ours.
fn own_address(address: IpAddr) -> Result<(), Refusal> {
    TcpListener::bind(SocketAddr::new(address, 0)).map_or_else(
        |error| match Errno::from(&error) {
            Errno::EADDRNOTAVAIL => Err(Refusal::NoSuchSource(address)),
            _ => Ok(()),
        },
        |_| Ok(()),
    )
}

/// One ordinary connect, so that a run is not a million failures.
fn reach(target: SocketAddr) -> Result<(), Refusal> {
    match TcpStream::connect_timeout(&target, REACH_TIMEOUT) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Refusal::Refused(target, Errno::from(&error)))
        }
        Err(error) => Err(Refusal::Unreachable(target, error.to_string())),
    }
}
