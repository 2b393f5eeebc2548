//! Asks a server for its figures, at its metrics address or by the socket that it has for programs of its
//! own host, within a time that is bounded, whatever is there.

use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Instant;

use megaconn::base::constants::{METRICS_PORT, SERVER_METRICS_RETRY};
use megaconn::base::files::{is_being_written, open_regular};
use megaconn::base::units;
use megaconn::host::addresses::Addresses;
use megaconn::host::procfs::ProcFs;
use megaconn::observe::metrics::fetch::{self, Place, TextError};
use megaconn::observe::metrics::local;
use megaconn::observe::snapshot::{Snapshot, SnapshotError};
use megaconn::results::SERVER_DUMPS;

/// Where a server's figures are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Wherever they can be found.
    Auto,
    /// Nowhere but in the run directory.
    Off,
    /// At this address.
    At(SocketAddr),
}

impl FromStr for Look {
    type Err = String;

    fn from_str(text: &str) -> Result<Look, String> {
        match text {
            "auto" => Ok(Look::Auto),
            "none" => Ok(Look::Off),
            _ => units::peer_address(text).map(Look::At),
        }
    }
}

/// A server that gives figures, and whether it still answers.
pub(crate) struct ServerMetrics {
    place: Place,
    /// When it first did not answer after it last had, and what was wrong then.
    unseen: Option<(Instant, FetchError)>,
    tried_at: Instant,
    began: Instant,
}

/// Why the figures did not come.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}; fix: {fix}", fix = fix(.0))]
    Text(#[from] TextError),
    #[error("these are no figures of a server: {0}; fix: the address of the server's --metrics")]
    View(#[from] SnapshotError),
}

/// A metrics address that did not answer before the run.
#[derive(Debug, thiserror::Error)]
#[error("--server-metrics {0}: {1}")]
pub(crate) struct NoMetrics(SocketAddr, FetchError);

/// What the user can do about it at the server.
fn fix(error: &TextError) -> &'static str {
    match error {
        TextError::Refused(_) => "start the server with that --metrics",
        TextError::Silent => "check the route, the firewall and the server's load",
        TextError::Broken(_) => "check the route and the firewall",
        TextError::Status(_) | TextError::NoHttp => "the address of the server's --metrics",
    }
}

/// The server of all `targets`, and what it says before the run; `None` when it is not asked. A server
/// that writes its dumps into the run directory `dir` is seen by these.
///
/// # Errors
/// When an address that was given does not answer.
pub(crate) fn find(
    look: Look,
    targets: &[SocketAddr],
    dir: Option<&Path>,
) -> Result<Option<(ServerMetrics, Snapshot)>, NoMetrics> {
    match look {
        Look::Off => Ok(None),
        Look::At(address) => {
            let place = Place::Address(address);
            let view = fetch(place).map_err(|error| NoMetrics(address, error))?;
            Ok(Some((ServerMetrics::new(place), view)))
        }
        Look::Auto if dir.is_some_and(has_dumps) => Ok(None),
        Look::Auto => Ok(places(targets).into_iter().find_map(|place| {
            let view = fetch(place).ok()?;
            let takes = |target: &SocketAddr| view.listen.iter().any(|own| own.takes(*target));
            targets.iter().all(takes).then(|| (ServerMetrics::new(place), view))
        })),
    }
}

/// Whether a server writes its dumps there now.
pub(crate) fn has_dumps(dir: &Path) -> bool {
    let file = open_regular(&dir.join(SERVER_DUMPS));
    matches!(file, Ok(Some(file)) if is_being_written(&file))
}

/// Where the server of `targets` may give its figures: by its socket, when all are addresses of this host,
/// and at the usual port of the first.
fn places(targets: &[SocketAddr]) -> Vec<Place> {
    let host = ProcFs::host();
    let ours = Addresses::read(&host);
    let are_ours = ours.is_some_and(|ours| targets.iter().all(|target| ours.is_ours(target.ip())));
    let servers = if are_ours { local::servers(&host) } else { Vec::new() };
    let at_usual_port = targets.first().map(|target| {
        let mut address = *target;
        address.set_port(METRICS_PORT);
        Place::Address(address)
    });
    servers.into_iter().map(Place::Local).chain(at_usual_port).collect()
}

impl ServerMetrics {
    fn new(place: Place) -> ServerMetrics {
        let now = Instant::now();
        ServerMetrics { place, unseen: None, tried_at: now, began: now }
    }

    /// Where it gives them.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// What the server says now; `None` when it does not, or did not a moment ago.
    pub(crate) fn again(&mut self) -> Option<Snapshot> {
        if self.unseen.is_some() && self.tried_at.elapsed() < SERVER_METRICS_RETRY {
            return None;
        }
        let asked = Instant::now();
        let fetched = fetch(self.place);
        self.tried_at = Instant::now();
        match fetched {
            Ok(view) => {
                self.unseen = None;
                Some(view)
            }
            Err(error) => {
                self.unseen.get_or_insert((asked, error));
                None
            }
        }
    }

    /// Since when the server cannot be seen, and why, if it cannot.
    pub(crate) fn unseen(&self) -> Option<String> {
        let (since, error) = self.unseen.as_ref()?;
        let seconds = since.duration_since(self.began).as_secs_f64();
        Some(format!("could not be seen since {seconds:.1} s into the run: {error}"))
    }
}

fn fetch(place: Place) -> Result<Snapshot, FetchError> {
    Ok(Snapshot::server_from_metrics(&fetch::text(&place)?)?)
}
