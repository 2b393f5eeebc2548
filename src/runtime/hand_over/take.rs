//! The newer server: it asks the one at its path for the sockets, and says when it accepts on them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustix::net::sockopt::{socket_acceptconn, socket_peercred, socket_protocol};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, ipproto, recvmsg,
};
use rustix::process::geteuid;
use socket2::Socket;

use crate::observe::control::socket_file::{self, BindError, Identity, SocketFile};
use crate::runtime::hand_over::{
    ASK, Entry, INVENTORY_BYTES_MAX, Inventory, Place, READY, SOCKETS_PER_MESSAGE, STEP_TIME, Use,
    VERSION, YOURS,
};
use crate::runtime::listeners::{Group, Origin};

/// A server that cannot be taken over, or a path at which none can be offered.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It refuses, or speaks another version.
    #[error(
        "--take-over {0}: the server there refuses: {1}; fix: end it (SIGTERM), and start this one then"
    )]
    Refused(PathBuf, String),
    /// What answers is no server.
    #[error(
        "--take-over {0}: what listens there is no server of megaconn ({1}); fix: another path"
    )]
    Stranger(PathBuf, String),
    /// Somebody else's server.
    #[error(
        "--take-over {0}: the server there is of user {1}, who could give any socket; fix: run as that user, or \
         another path"
    )]
    OfOther(PathBuf, u32),
    /// It does not answer.
    #[error(
        "--take-over {0}: no answer within 10 s; fix: wait until a take-over that is under way there is over, \
         or end the processes that have the path, see `ss -xlp`"
    )]
    Silent(PathBuf),
    /// There is a file.
    #[error("--take-over {0}: there is a file that is no socket; fix: another path")]
    NoSocket(PathBuf),
    /// The path cannot be used.
    #[error("--take-over {0}: {1}; fix: a path in a directory that is yours")]
    Path(PathBuf, io::Error),
}

/// What was taken, on which the older server accepts as well.
pub struct Taken {
    /// The number of the older server's process.
    pub pid: u32,
    /// The version of its program.
    pub program: String,
    /// Its listening sockets, a group for each address, in the order of the group.
    pub groups: Vec<Group>,
    /// Sockets of what it offers besides.
    pub services: Vec<(Entry, Socket)>,
    /// The file of its statistics, with no link in its path.
    pub stats: Option<PathBuf>,
    /// The path at which it takes orders for texts to all, with no link in it.
    pub broadcast_on: Option<PathBuf>,
    /// What is left of it when the rest is in use.
    pub promise: Promise,
}

/// The older server lets go when it is told that this one accepts.
pub struct Promise {
    path: PathBuf,
    identity: Option<Identity>,
    stream: Socket,
    listener: Socket,
}

/// Takes the sockets of the server that waits at `path`; `None` when there is none.
///
/// # Errors
/// When what is there gives none, with the fix.
pub fn take(path: &Path) -> Result<Option<Taken>, TakeError> {
    let refused = |error: io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => TakeError::Silent(path.into()),
        _ => TakeError::Path(path.into(), error),
    };
    let stream = match socket_file::connect(path) {
        Ok(stream) => stream,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(refused(error)),
    };
    let identity = Identity::at(path);
    let user = socket_peercred(&stream).map_err(|error| refused(error.into()))?.uid;
    let own = geteuid();
    if !own.is_root() && !user.is_root() && user != own {
        return Err(TakeError::OfOther(path.into(), user.as_raw()));
    }
    stream.set_read_timeout(Some(STEP_TIME)).map_err(refused)?;
    stream.set_write_timeout(Some(STEP_TIME)).map_err(refused)?;
    // One that has ended may have said why: it is read all the same.
    let _ = (&stream).write_all(ASK.as_bytes());
    let (inventory, sockets) = read(&stream).map_err(|error| match error.kind() {
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
            TakeError::Stranger(path.into(), error.to_string())
        }
        _ => refused(error),
    })?;
    if let Some(why) = inventory.refused {
        return Err(TakeError::Refused(path.into(), why));
    }
    let unknown = inventory.sockets.iter().any(|entry| entry.r#use == Use::Unknown);
    if inventory.version != VERSION || unknown {
        let why = format!("it is version {}, which hands over otherwise", inventory.program);
        return Err(TakeError::Refused(path.into(), why));
    }
    let stranger = |why: &str| TakeError::Stranger(path.into(), why.to_owned());
    let (mut groups, mut services, mut listener) = (Vec::<Group>::new(), Vec::new(), None);
    for (entry, socket) in inventory.sockets.into_iter().zip(sockets) {
        let origin = match entry.r#use {
            Use::Listen => Origin::Opened,
            Use::ListenGiven => Origin::Given,
            Use::TakeOver => {
                listener = Some(socket);
                continue;
            }
            _ => {
                services.push((entry, socket));
                continue;
            }
        };
        let address = listens_at(&socket).filter(|address| entry.address == Some(*address));
        let address = address.ok_or_else(|| stranger("a socket is not what it is said to be"))?;
        match groups.iter_mut().find(|group| group.address == address) {
            Some(group) => group.sockets.push(socket),
            None => groups.push(Group { address, sockets: vec![socket], origin }),
        }
    }
    let listener = listener.ok_or_else(|| stranger("it gives not all"))?;
    let Inventory { pid, program, stats, broadcast_on, .. } = inventory;
    let promise = Promise { path: path.into(), identity, stream, listener };
    Ok(Some(Taken { pid, program, groups, services, stats, broadcast_on, promise }))
}

/// Where a socket of TCP listens.
fn listens_at(socket: &Socket) -> Option<SocketAddr> {
    let is_tcp = matches!(socket_protocol(socket), Ok(Some(ipproto::TCP)));
    let listens = is_tcp && matches!(socket_acceptconn(socket), Ok(true));
    socket.local_addr().ok()?.as_socket().filter(|_| listens)
}

/// What the older server tells, and the sockets in the order in which it names them.
fn read(stream: &Socket) -> io::Result<(Inventory, VecDeque<Socket>)> {
    let invalid = |error: serde_json::Error| io::Error::new(ErrorKind::InvalidData, error);
    let (mut bytes, mut sockets) = (Vec::new(), VecDeque::new());
    loop {
        receive(stream, &mut bytes, &mut sockets)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let inventory: Inventory = serde_json::from_slice(&bytes[..end]).map_err(invalid)?;
            while sockets.len() < inventory.sockets.len() {
                receive(stream, &mut bytes, &mut sockets)?;
            }
            return Ok((inventory, sockets));
        }
        if bytes.len() > INVENTORY_BYTES_MAX {
            return Err(io::Error::new(ErrorKind::InvalidData, "a line without end"));
        }
    }
}

/// Some bytes and the descriptors that came with them.
fn receive(stream: &Socket, bytes: &mut Vec<u8>, sockets: &mut VecDeque<Socket>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut some = [0; 4096];
    let into = &mut [IoSliceMut::new(&mut some)];
    let received = recvmsg(stream, into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // The kernel gives what there is room for, in the message and among our open files.
        return Err(io::Error::from_raw_os_error(libc::EMFILE));
    }
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors.map(Socket::from));
        }
    }
    if received.bytes == 0 {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "it has ended"));
    }
    bytes.extend_from_slice(&some[..received.bytes]);
    Ok(())
}

impl Promise {
    /// Tells the older server that this one accepts, and waits until it has let go. When it has ended instead, that is
    /// the same.
    #[must_use]
    pub fn redeem(self) -> Redeemed {
        let mut answer = [0; YOURS.len()];
        let said = (&self.stream)
            .write_all(READY.as_bytes())
            .and_then(|()| (&self.stream).read_exact(&mut answer));
        let has_let_go = said.is_ok() && answer == YOURS.as_bytes();
        // Who listens is seen by those who connect, as of the last call.
        let _ = self.listener.listen(PLACE_BACKLOG);
        let place = match SocketFile::adopt(&self.path, self.identity) {
            Some(file) => Ok((self.listener, file)),
            None => offer(&self.path),
        };
        Redeemed { has_let_go, place, stream: self.stream }
    }
}

/// What the older server has left.
pub struct Redeemed {
    /// Whether it has said that it has let go.
    pub has_let_go: bool,
    /// Where the next server asks; or why that place, which was removed, cannot be made anew.
    pub place: Result<Place, TakeError>,
    /// The stream to it.
    pub stream: Socket,
}

/// Servers that wait to take over.
const PLACE_BACKLOG: i32 = 16;

/// Makes the place at `path` where the next server asks.
///
/// # Errors
/// When there is something else, with the fix.
pub fn offer(path: &Path) -> Result<Place, TakeError> {
    socket_file::bind(path).map_err(|error| match error {
        BindError::Taken => TakeError::Silent(path.into()),
        BindError::NoSocket => TakeError::NoSocket(path.into()),
        BindError::Refused(error) => TakeError::Path(path.into(), error),
    })
}
