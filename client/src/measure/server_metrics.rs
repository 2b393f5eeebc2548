//! Asks a server's metrics address for its figures, within a time that is bounded, whatever is
//! there.

use std::net::SocketAddr;
use std::time::Instant;

use megaconn::base::constants::SERVER_METRICS_RETRY;
use megaconn::observe::metrics::fetch::{self, TextError};
use megaconn::observe::snapshot::{Snapshot, SnapshotError};

/// A metrics address, and whether it still answers.
pub(crate) struct ServerMetrics {
    address: SocketAddr,
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

/// A metrics address, and what the server says there before the run.
pub(crate) fn first(address: SocketAddr) -> Result<(ServerMetrics, Snapshot), NoMetrics> {
    let view = fetch(address).map_err(|error| NoMetrics(address, error))?;
    let now = Instant::now();
    Ok((ServerMetrics { address, unseen: None, tried_at: now, began: now }, view))
}

impl ServerMetrics {
    /// What the server says now; `None` when it does not, or did not a moment ago.
    pub(crate) fn again(&mut self) -> Option<Snapshot> {
        if self.unseen.is_some() && self.tried_at.elapsed() < SERVER_METRICS_RETRY {
            return None;
        }
        let asked = Instant::now();
        let fetched = fetch(self.address);
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

fn fetch(address: SocketAddr) -> Result<Snapshot, FetchError> {
    Ok(Snapshot::server_from_metrics(&fetch::text(address)?)?)
}
