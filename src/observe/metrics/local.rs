//! A server's figures for other programs of the same host: a Unix socket with an abstract name, which is
//! no file and no port, and is seen in the server's network namespace alone. Both ends see the other's
//! user, from the kernel: the server answers its own user and root, and a client believes its own user
//! and root; root believes every server.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::host::procfs::ProcFs;

/// What the name of each such socket begins with; the number of the process follows.
const NAME: &str = "megaconn-server-";

/// Unix sockets of this network namespace; an abstract name begins with `@`.
const SOCKETS: &str = "proc/net/unix";

/// A process of this host that gives its figures, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalServer(pub u32);

impl LocalServer {
    fn name(self) -> String {
        format!("{NAME}{}", self.0)
    }

    /// A socket that is connected to it.
    ///
    /// # Errors
    /// When it is not there, has no room, or belongs to a user whose word counts for nothing here.
    pub fn connect(self, patience: Duration) -> io::Result<Socket> {
        let socket = connect(format!("\0{}", self.name()), patience)?;
        let peer = socket_peercred(&socket)?.uid;
        let own = geteuid();
        if own.is_root() || peer.is_root() || peer == own {
            Ok(socket)
        } else {
            Err(io::Error::from(io::ErrorKind::PermissionDenied))
        }
    }
}

/// A stream to the Unix socket of this path or, after a zero byte, of this abstract name.
pub(in crate::observe) fn connect(
    name: impl AsRef<Path>,
    patience: Duration,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose queue is full would hold us up.
    socket.set_write_timeout(Some(patience))?;
    socket.connect(&SockAddr::unix(name)?)?;
    Ok(socket)
}

/// The servers of this network namespace that give figures; none when that cannot be read.
#[must_use]
pub fn servers(procfs: &ProcFs) -> Vec<LocalServer> {
    let text = procfs.read(SOCKETS).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split('@').nth(1)?.strip_prefix(NAME));
    let mut found: Vec<_> = names.filter_map(|pid| pid.parse().ok().map(LocalServer)).collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The listener of this process.
///
/// # Errors
/// When the kernel refuses it.
pub fn listen() -> io::Result<Socket> {
    let name = LocalServer(std::process::id()).name();
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    listener.set_nonblocking(true)?;
    Ok(Socket::from(listener))
}

/// Whether the process at the other end belongs to our user, or to root.
#[must_use]
pub fn admits(peer: &Socket) -> bool {
    socket_peercred(peer).is_ok_and(|peer| is_ours(peer.uid.as_raw()))
}

/// Whether a process of this user is answered: ours, or root.
#[must_use]
pub fn is_ours(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::fetch::{Place, text};
    use crate::observe::metrics::http::Endpoint;

    #[test]
    fn a_server_of_this_host_is_found_by_its_socket_and_asked() {
        let endpoint = Endpoint::bind(None, true).expect("a name is free");
        endpoint.serve(|| "megaconn_x 1\n".to_owned()).expect("there is a thread");
        let own = LocalServer(std::process::id());
        let found = servers(&ProcFs::host());
        assert!(found.contains(&own), "{found:?}");
        assert_eq!(text(&Place::Local(own)), Ok("megaconn_x 1\n".to_owned()));
        assert!(LocalServer(u32::MAX).connect(Duration::from_millis(100)).is_err());
    }

    #[test]
    fn names_that_are_not_ours_are_passed_over() {
        let host = tempfile::tempdir().expect("there is a place for temporary files");
        let file = host.path().join("proc/net/unix");
        std::fs::create_dir_all(file.parent().expect("it has one")).expect("it is ours");
        let text = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 1 @megaconn-server-77\n\
                    0000000000000000: 00000003 00000000 00000000 0001 03 2 @megaconn-server-77\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 3 @megaconn-server-x\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 4 /run/megaconn-server-9\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 5\n\
                    0000000000000000: 00000002 00000000 00010000 0001 01 6 @megaconn-server-5\n";
        std::fs::write(&file, text).expect("it is ours");
        assert_eq!(servers(&ProcFs::at(host.path())), [LocalServer(5), LocalServer(77)]);
        std::fs::remove_file(&file).expect("it is there");
        assert_eq!(servers(&ProcFs::at(host.path())), []);
    }
}
