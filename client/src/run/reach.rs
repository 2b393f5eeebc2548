//! What is tried with ordinary sockets before a run, so that it is not a million failures.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use megaconn::base::constants::REACH_TIMEOUT;
use megaconn::base::errno::Errno;
use rustix::net::sockopt::set_socket_linger;

use crate::run::refusal::Refusal;

/// Whether `address` is one of this host: it can be bound then.
pub(crate) fn own_address(address: IpAddr) -> Result<(), Refusal> {
    TcpListener::bind(SocketAddr::new(address, 0)).map_or_else(
        |error| match Errno::from(&error) {
            Errno::EADDRNOTAVAIL => Err(Refusal::NoSuchSource(address)),
            _ => Ok(()),
        },
        |_| Ok(()),
    )
}

/// One ordinary connect.
pub(crate) fn reach(target: SocketAddr) -> Result<(), Refusal> {
    match TcpStream::connect_timeout(&target, REACH_TIMEOUT) {
        // A reset: the tuple of an ordinary close would be in TIME_WAIT, and missing in the plan.
        Ok(stream) => set_socket_linger(&stream, Some(Duration::ZERO))
            .map_err(|error| Refusal::Unreachable(target, error.to_string())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(Refusal::Refused(target, Errno::from(&error)))
        }
        // A server is there and refuses the connection: why it does is for the verdict.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) if Errno::from(&error) == Errno::EADDRNOTAVAIL => Err(Refusal::NoPort(target)),
        Err(error) => Err(Refusal::Unreachable(target, error.to_string())),
    }
}
