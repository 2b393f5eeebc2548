//! What a server offers beside its connections, at sockets of its own: the figures (`--metrics`) and the bystander
//! (`--bystander`). A server that takes over from another one offers them at that one's sockets, from when it
//! accepts on.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use megaconn::base::service_error::ServiceError;
use megaconn::base::until::Until;
use megaconn::observe::metrics::Metrics;
use megaconn::observe::metrics::http::{self, Endpoint};
use megaconn::runtime::hand_over::{Entry, Use};
use socket2::Socket;

use crate::commands::serve::bystander::{self, Sockets};

/// The sockets, at which nothing is answered yet.
pub(crate) struct Services {
    metrics: Option<TcpListener>,
    bystander: Option<Sockets>,
}

impl Services {
    /// Those of the older server among `taken` where the address is the same, and else new ones.
    ///
    /// # Errors
    /// When an address cannot be listened on, with the fix.
    pub(crate) fn open(
        metrics: Option<SocketAddr>,
        bystander: Option<SocketAddr>,
        taken: Vec<(Entry, Socket)>,
    ) -> Result<Services, ServiceError> {
        let mut taken = taken;
        let mut take = |r#use: Use, at: SocketAddr| {
            let entry = Entry { r#use, address: Some(at) };
            let index = taken.iter().position(|(one, _)| *one == entry)?;
            Some(taken.swap_remove(index).1)
        };
        let metrics = metrics.map(|at| match take(Use::Metrics, at) {
            Some(socket) => Ok(socket.into()),
            None => http::bind(at),
        });
        let bystander = bystander.map(|at| {
            let both = take(Use::BystanderStream, at).zip(take(Use::BystanderDatagram, at));
            match both {
                Some((stream, datagrams)) => {
                    Ok(Sockets { listener: stream.into(), datagrams: datagrams.into() })
                }
                None => bystander::bind(at),
            }
        });
        Ok(Services { metrics: metrics.transpose()?, bystander: bystander.transpose()? })
    }

    /// Where the figures are, and the bystander.
    pub(crate) fn addresses(&self) -> [Option<SocketAddr>; 2] {
        let bystander = self.bystander.as_ref().map(|sockets| &sockets.listener);
        [self.metrics.as_ref(), bystander].map(|listener| listener?.local_addr().ok())
    }

    /// The same sockets, for the server that takes over from this one.
    ///
    /// # Errors
    /// When the process may have no more descriptors.
    pub(crate) fn try_clone(&self) -> io::Result<Vec<(Entry, Socket)>> {
        let mut all = Vec::new();
        let mut add = |r#use, socket: Socket| {
            let address = socket.local_addr().ok().and_then(|address| address.as_socket());
            all.push((Entry { r#use, address }, socket));
        };
        let stream = |socket: &TcpListener| socket.try_clone().map(Socket::from);
        let datagrams = |socket: &UdpSocket| socket.try_clone().map(Socket::from);
        if let Some(metrics) = &self.metrics {
            add(Use::Metrics, stream(metrics)?);
        }
        if let Some(bystander) = &self.bystander {
            add(Use::BystanderStream, stream(&bystander.listener)?);
            add(Use::BystanderDatagram, datagrams(&bystander.datagrams)?);
        }
        Ok(all)
    }
}

/// What is offered at the sockets.
pub(crate) struct Offer {
    pub(crate) services: Services,
    pub(crate) metrics: Metrics,
}

impl Offer {
    /// Answers, until the time is over; nothing of the offer is left to be begun.
    ///
    /// # Errors
    /// When there is no thread for it, with the fix.
    pub(crate) fn begin(self, until: &Until) -> Result<Option<Offer>, ServiceError> {
        let Offer { services: Services { metrics: listener, bystander }, metrics } = self;
        Endpoint::at(listener, true, until)?.offer(metrics)?;
        bystander.map_or(Ok(()), |sockets| bystander::begin(sockets, until.clone()))?;
        Ok(None)
    }
}
