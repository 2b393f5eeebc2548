//! A Unix socket that listens at a path, for the user whose process it is; and its file, which goes with the
//! process.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::Socket;

use crate::base::constants::FETCH_CONNECT;
use crate::observe::metrics::local;

/// Why nothing can listen at a path.
#[derive(Debug)]
pub enum BindError {
    /// Another process listens there.
    Taken,
    /// There is a file that is no socket.
    NoSocket,
    /// The kernel refuses it.
    Refused(io::Error),
}

/// Which file is at a path, by device and inode: another file may have the name later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(u64, u64);

impl Identity {
    /// Of what is at `path` now.
    #[must_use]
    pub fn at(path: &Path) -> Option<Identity> {
        fs::symlink_metadata(path).ok().map(|file| Identity(file.dev(), file.ino()))
    }
}

/// The file of a socket; it goes with this.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    identity: Option<Identity>,
}

impl SocketFile {
    fn at(path: &Path) -> SocketFile {
        SocketFile { path: path.into(), identity: Identity::at(path) }
    }

    /// The file at `path`, if it is still the one that was `identity`.
    #[must_use]
    pub fn adopt(path: &Path, identity: Option<Identity>) -> Option<SocketFile> {
        let file = SocketFile { path: path.into(), identity };
        file.is_there().then_some(file)
    }

    fn is_there(&self) -> bool {
        self.identity.is_some() && Identity::at(&self.path) == self.identity
    }

    /// Lets it be: it is another process's now.
    pub fn leave(mut self) {
        self.identity = None;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there() {
            // A failure leaves a socket behind that nothing listens at; the next process replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, where a socket of a process that is over is replaced.
///
/// # Errors
/// When something else is there, or the kernel refuses it.
pub fn bind(path: &Path) -> Result<(Socket, SocketFile), BindError> {
    clear(path)?;
    let listener = UnixListener::bind(path).map_err(BindError::Refused)?;
    let file = SocketFile::at(path);
    // Other users are refused by their number as well.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(BindError::Refused)?;
    Ok((listener.into(), file))
}

/// A connection to the socket at `path`, or its error, soon.
///
/// # Errors
/// What the kernel says: `ConnectionRefused` where nothing listens.
pub fn connect(path: &Path) -> io::Result<Socket> {
    local::connect(path, FETCH_CONNECT)
}

/// Removes the socket of a process that is over.
fn clear(path: &Path) -> Result<(), BindError> {
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NoSocket);
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            let _ = fs::remove_file(path);
            Ok(())
        }
        _ => Err(BindError::Taken),
    }
}
