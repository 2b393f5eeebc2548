//! Listens for those that control a run: the user whose run it is, and root.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use socket2::Socket;

use crate::base::until::Until;
use crate::host::sockets::user_of;
use crate::observe::control::place::Place;
use crate::observe::control::socket_file::{self, BindError, SocketFile};
use crate::observe::http::Listener;
use crate::observe::metrics::local;

/// Why a run cannot be controlled there.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another run is controlled there.
    #[error("--control {0}: another process listens there; fix: another path, or end that one")]
    Taken(PathBuf),
    /// Something else has that name.
    #[error("--control {0}: there is a file that is no socket; fix: another path")]
    NoSocket(PathBuf),
    /// Any host could connect to it.
    #[error(
        "--control {0}: other hosts could control the run; fix: an address of loopback, a path, or \
         --control-remote if they may"
    )]
    Remote(SocketAddr),
    /// The kernel refuses it.
    #[error("--control {0}: {1}; fix: {2}")]
    Refused(String, io::Error, &'static str),
}

/// A listener, and where it is.
pub struct Control {
    /// For [`crate::observe::http::serve`].
    pub listener: Listener,
    /// With the port that the kernel chose.
    pub place: Place,
    /// Removes the socket's file at its end.
    pub file: Option<SocketFile>,
}

/// Listens at `place`; at an address that is not of loopback only when it `may_be_remote`.
///
/// # Errors
/// When that is not allowed, or not possible; with the fix.
pub fn listen(place: &Place, may_be_remote: bool) -> Result<Control, ControlError> {
    match place {
        Place::Socket(path) => {
            let refused = |error| {
                let fix = "a path in a directory that is yours";
                ControlError::Refused(path.display().to_string(), error, fix)
            };
            let (listener, file) = socket_file::bind(path).map_err(|error| match error {
                BindError::Taken => ControlError::Taken(path.clone()),
                BindError::NoSocket => ControlError::NoSocket(path.clone()),
                BindError::Refused(error) => refused(error),
            })?;
            listener.set_nonblocking(true).map_err(refused)?;
            let until = Until::default();
            let listener = Listener { socket: listener, admits: local::admits, until };
            Ok(Control { listener, place: place.clone(), file: Some(file) })
        }
        Place::Address(address) => {
            let is_local = address.ip().to_canonical().is_loopback();
            if !is_local && !may_be_remote {
                return Err(ControlError::Remote(*address));
            }
            let refused = |error| {
                let fix = "another port, or see `ss -ltnp` and `ip addr`";
                ControlError::Refused(address.to_string(), error, fix)
            };
            let listener = TcpListener::bind(address).map_err(refused)?;
            listener.set_nonblocking(true).map_err(refused)?;
            let place = Place::Address(listener.local_addr().map_err(refused)?);
            let admits = if is_local { is_of_same_user } else { is_any_user };
            Ok(Control {
                listener: Listener { socket: listener.into(), admits, until: Until::default() },
                place,
                file: None,
            })
        }
    }
}

/// By what the kernel says of the socket at the other end of a loopback connection.
fn is_of_same_user(peer: &Socket) -> bool {
    let address = |address: io::Result<socket2::SockAddr>| address.ok()?.as_socket();
    let ends = address(peer.peer_addr()).zip(address(peer.local_addr()));
    ends.and_then(|(remote, own)| user_of(remote, own)).is_some_and(local::is_ours)
}

fn is_any_user(_peer: &Socket) -> bool {
    true
}
