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
    #[error("{0} {1}: another process listens there; fix: another path, or end that one")]
    Taken(&'static str, PathBuf),
    /// Something else has that name.
    #[error("{0} {1}: there is a file that is no socket; fix: another path")]
    NoSocket(&'static str, PathBuf),
    /// Any host could connect to it.
    #[error(
        "{0} {1}: other hosts could control it; fix: an address of loopback, or a path{or}",
        or = .2.map(|flag| format!(", or {flag} if they may")).unwrap_or_default()
    )]
    Remote(&'static str, SocketAddr, Option<&'static str>),
    /// The kernel refuses it.
    #[error("{0} {1}: {2}; fix: {3}")]
    Refused(&'static str, String, io::Error, &'static str),
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

/// Whether other hosts may control it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// They may.
    May,
    /// Only with this flag.
    MayBy(&'static str),
    /// Never.
    Never,
}

/// Listens at `place`, which was given by `flag`; at an address that is not of loopback only when others may.
///
/// # Errors
/// When that is not allowed, or not possible; with the fix.
pub fn listen(flag: &'static str, place: &Place, remote: Remote) -> Result<Control, ControlError> {
    match place {
        Place::Socket(path) => {
            let refused = |error| {
                let fix = "a path in a directory that is yours";
                ControlError::Refused(flag, path.display().to_string(), error, fix)
            };
            let (listener, file) = socket_file::bind(path).map_err(|error| match error {
                BindError::Taken => ControlError::Taken(flag, path.clone()),
                BindError::NoSocket => ControlError::NoSocket(flag, path.clone()),
                BindError::Refused(error) => refused(error),
            })?;
            listener.set_nonblocking(true).map_err(refused)?;
            let until = Until::default();
            let listener = Listener { socket: listener, admits: local::admits, until };
            Ok(Control { listener, place: place.clone(), file: Some(file) })
        }
        Place::Address(address) => {
            let is_local = address.ip().to_canonical().is_loopback();
            let may_by = match remote {
                Remote::MayBy(flag) => Some(flag),
                Remote::May | Remote::Never => None,
            };
            if !is_local && remote != Remote::May {
                return Err(ControlError::Remote(flag, *address, may_by));
            }
            let refused = |error| {
                let fix = "another port, or see `ss -ltnp` and `ip addr`";
                ControlError::Refused(flag, address.to_string(), error, fix)
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

/// The same at a socket that listens already, which another process of this user has opened for `place` and given; its
/// file is that process's still.
#[must_use]
pub fn at(socket: Socket, place: &Place) -> Control {
    let admits = match place {
        Place::Socket(_) => local::admits,
        Place::Address(_) => is_of_same_user,
    };
    let listener = Listener { socket, admits, until: Until::default() };
    Control { listener, place: place.clone(), file: None }
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
