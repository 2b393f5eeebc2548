//! The figures by HTTP: at the address of `--metrics`, and for programs of this host.

use std::io;
use std::net::{SocketAddr, TcpListener};

pub use crate::base::service_error::ServiceError;
use crate::base::until::Until;
use crate::observe::http::site::Site;
use crate::observe::http::{Listener, serve};
use crate::observe::metrics::{CONTENT_TYPE, Metrics, local};

/// The flag that names the address.
const FLAG: &str = "--metrics";

/// Answers scrapers at `address`, if there is one, and programs of this host with `for_this_host`, until
/// the process ends; says what the address is. What this host does not permit for its own programs
/// is not offered.
///
/// # Errors
/// As [`Endpoint::bind`] and [`Endpoint::serve`].
pub fn offer(
    address: Option<SocketAddr>,
    for_this_host: bool,
    metrics: Metrics,
) -> Result<Option<SocketAddr>, ServiceError> {
    Endpoint::bind(address, for_this_host)?.offer(metrics)
}

/// Where the figures of a metrics address are, as the effective configuration has it.
#[must_use]
pub fn url(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| format!("http://{address}/metrics"))
}

/// Listens at `address`, where the kernel chooses port 0.
///
/// # Errors
/// When it cannot be listened on, with the fix.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ServiceError> {
    TcpListener::bind(address).map_err(|error| ServiceError::new(FLAG, address, &error))
}

/// Places where figures are asked for, which give no answers yet.
#[derive(Debug)]
pub struct Endpoint {
    listeners: Vec<Listener>,
    address: Option<SocketAddr>,
}

impl Endpoint {
    /// Listens at `address`, and with `for_this_host` on a socket for programs of this host.
    ///
    /// # Errors
    /// When the address cannot be listened on, with the fix.
    pub fn bind(
        address: Option<SocketAddr>,
        for_this_host: bool,
    ) -> Result<Endpoint, ServiceError> {
        Endpoint::at(address.map(bind).transpose()?, for_this_host, &Until::default())
    }

    /// The same, at a socket that listens already; it is asked there `until` its time is over.
    ///
    /// # Errors
    /// When the socket is none.
    pub fn at(
        listener: Option<TcpListener>,
        for_this_host: bool,
        until: &Until,
    ) -> Result<Endpoint, ServiceError> {
        let mut endpoint = Endpoint { listeners: Vec::new(), address: None };
        if let Some(listener) = listener {
            let nowhere = SocketAddr::from(([0; 4], 0));
            let failed = |error| ServiceError::new(FLAG, nowhere, &error);
            listener.set_nonblocking(true).map_err(failed)?;
            endpoint.address = Some(listener.local_addr().map_err(failed)?);
            let (socket, until) = (listener.into(), until.clone());
            endpoint.listeners.push(Listener { socket, admits: |_| true, until });
        }
        if let (true, Ok(socket)) = (for_this_host, local::listen()) {
            let until = Until::default();
            endpoint.listeners.push(Listener { socket, admits: local::admits, until });
        }
        Ok(endpoint)
    }

    /// The address at which it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers with `metrics` until the process ends; says what its address is.
    ///
    /// # Errors
    /// As [`Endpoint::serve`], where there is an address.
    pub fn offer(self, metrics: Metrics) -> Result<Option<SocketAddr>, ServiceError> {
        let address = self.address();
        match (self.serve(move || metrics.text()), address) {
            (Err(error), Some(address)) => Err(ServiceError::new(FLAG, address, &error)),
            _ => Ok(address),
        }
    }

    /// Answers with `text`, as it is when it is asked for, until the process ends.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn serve(self, text: impl Fn() -> String + Send + 'static) -> io::Result<()> {
        let site = Site {
            path: "/metrics",
            content_type: CONTENT_TYPE,
            text,
            posts: &[],
            post: |_: &str, _: &[u8]| unreachable!("nothing is done by POST"),
        };
        serve(self.listeners, site, "metrics")
    }
}
