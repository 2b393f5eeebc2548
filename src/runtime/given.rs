//! Listening sockets that the process which started the server has given to it, as systemd does for a unit with a
//! socket: see sd_listen_fds(3). They are used in place of binding.
//!
//! They are that process's, which keeps them: connections wait there while no server runs. All cores accept from
//! each of them. A group of members of our own beside them would lose what waits in their queues at our end.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::net::sockopt::{socket_acceptconn, socket_protocol, socket_type};
use rustix::net::{SocketType, ipproto};
use socket2::Socket;

use crate::runtime::listeners::{Group, Origin};
use crate::sys::passed::{FIRST, take, take_variables};

/// Descriptors that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The number is none.
    #[error(
        "LISTEN_FDS={0}: no number of descriptors; fix: unset LISTEN_FDS, or start the server by its socket unit"
    )]
    NoNumber(String),
    /// One of them is nothing that connections arrive at.
    #[error(
        "LISTEN_FDS: descriptor {number} ({name}) is {what}; fix: sockets of TCP that listen, as \
         ListenStream=127.0.0.1:7000 in the socket unit, with Accept=no"
    )]
    NotListening {
        /// Its number.
        number: i32,
        /// Its name, of `LISTEN_FDNAMES`.
        name: String,
        /// What it is instead.
        what: String,
    },
}

/// The sockets that were given to this process, a group for each address; none where there are none, or where
/// they are for another process. To be called once, on the first thread, before anything is opened.
///
/// # Errors
/// When one of them is no listening socket of TCP.
pub fn sockets() -> Result<Vec<Group>, GivenError> {
    let [pid, count, names] = take_variables().map(|value| value.map(text));
    let own = std::process::id().to_string();
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(Vec::new()) };
    if pid != own {
        return Ok(Vec::new());
    }
    let count = count.parse::<u16>().map_err(|_| GivenError::NoNumber(count))?;
    let names: Vec<&str> = names.as_deref().map_or(Vec::new(), |names| names.split(':').collect());
    let mut groups: Vec<Group> = Vec::new();
    for (index, descriptor) in take(count).into_iter().enumerate() {
        let name = names.get(index).filter(|name| !name.is_empty()).unwrap_or(&"unnamed");
        let number = FIRST + i32::try_from(index).expect("it is below a u16");
        let not = |what| GivenError::NotListening { number, name: (*name).to_owned(), what };
        let (address, socket) = listening(descriptor).map_err(not)?;
        match groups.iter_mut().find(|group| group.address == address) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Group { address, sockets: vec![socket], origin: Origin::Given }),
        }
    }
    Ok(groups)
}

/// The address of a socket of TCP that listens, or what it is instead.
fn listening(descriptor: Option<OwnedFd>) -> Result<(SocketAddr, Socket), String> {
    let descriptor = descriptor.ok_or("not open")?;
    let kind = socket_type(&descriptor).map_err(|_| "no socket")?;
    let socket = Socket::from(descriptor);
    let address = socket.local_addr().ok().and_then(|address| address.as_socket());
    let address = address.ok_or("no socket of IP")?;
    if kind != SocketType::STREAM || !matches!(socket_protocol(&socket), Ok(Some(ipproto::TCP))) {
        return Err(format!("a socket of {address}, and not of TCP"));
    }
    if !matches!(socket_acceptconn(&socket), Ok(true)) {
        return Err(format!("a socket of {address} that does not listen"));
    }
    // A ring waits for connections of a socket that blocks.
    socket.set_nonblocking(false).map_err(|error| error.to_string())?;
    Ok((address, socket))
}

fn text(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}
