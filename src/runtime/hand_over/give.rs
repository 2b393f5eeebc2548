//! The older server: it waits at its path for a newer one, gives it the sockets, and is told when that one accepts.
//! A thread of its own does it, and touches no core.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use socket2::Socket;

use crate::VERSION as PROGRAM;
use crate::base::stderr::talk;
use crate::observe::control::socket_file::SocketFile;
use crate::observe::metrics::local::admits;
use crate::runtime::hand_over::{
    ASK, Entry, Inventory, Place, READY, SOCKETS_PER_MESSAGE, STEP_TIME, Use, VERSION, YOURS,
};

/// Longest line of a newer server, and some more.
const LINE_BYTES_MAX: usize = 256;

/// A server that may be taken over.
pub struct Giver {
    /// The number of the process that accepts now; 0 while there is none.
    successor: Arc<AtomicU32>,
    let_go: Sender<()>,
    over: Receiver<Socket>,
    file: Option<SocketFile>,
}

/// What a newer server is given.
pub struct Goods {
    /// Each with what it is for; those of one address in the order of their group.
    pub sockets: Vec<(Entry, Socket)>,
    /// The file of the statistics, with no link in its path.
    pub stats: Option<PathBuf>,
    /// The path at which texts to all are ordered, in the same way.
    pub broadcast_on: Option<PathBuf>,
}

/// What the thread has.
struct Desk {
    /// The socket at the path.
    listener: Socket,
    goods: Goods,
    successor: Arc<AtomicU32>,
    let_go: Receiver<()>,
}

impl Giver {
    /// Waits at this place for a server that takes `goods`.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn begin((listener, file): Place, goods: Goods) -> io::Result<Giver> {
        let successor = Arc::new(AtomicU32::new(0));
        let (let_go, is_let_go) = mpsc::channel();
        let (end, over) = mpsc::channel();
        listener.set_nonblocking(false)?;
        let desk = Desk { listener, goods, successor: Arc::clone(&successor), let_go: is_let_go };
        let run = move || {
            // Gone is who would hear it when the process ends without waiting.
            let _ = end.send(desk.wait());
        };
        thread::Builder::new().name("take-over".into()).spawn(run)?;
        Ok(Giver { successor, let_go, over, file: Some(file) })
    }

    /// The number of the process that accepts on the sockets now, when there is one.
    #[must_use]
    pub fn successor(&self) -> Option<u32> {
        Some(self.successor.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    /// The number of that process, which is known before this server is told that it is taken over.
    #[must_use]
    pub fn watch(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.successor)
    }

    /// This server has let go of its sockets: tells the newer one, and gives up the last hold of them. The stream to it,
    /// over which it may order texts to all.
    pub fn hand_over(mut self) -> Option<Socket> {
        if let Some(file) = self.file.take() {
            file.leave();
        }
        self.let_go.send(()).ok()?;
        // It only writes a word.
        self.over.recv_timeout(STEP_TIME).ok()
    }
}

impl Desk {
    /// Until there is a successor, and everything was handed over to it: the stream to it.
    fn wait(self) -> Socket {
        loop {
            let Ok((stream, _)) = self.listener.accept() else {
                // Out of descriptors, or of memory.
                thread::sleep(STEP_TIME / 100);
                continue;
            };
            match self.give(&stream) {
                Ok(pid) => {
                    self.successor.store(pid, Ordering::Release);
                    // The process may end without: then the stream ends, which says the same.
                    let _ = self.let_go.recv();
                    let _ = (&stream).write_all(YOURS.as_bytes());
                    return stream;
                }
                Err(why) => talk(&format!("not taken over: {why}; this server serves on")),
            }
        }
    }

    /// Gives all to the process at the other end; its number, when it accepts.
    fn give(&self, stream: &Socket) -> Result<u32, String> {
        let told = |error: io::Error| format!("the other process: {error}");
        stream.set_read_timeout(Some(STEP_TIME)).map_err(told)?;
        stream.set_write_timeout(Some(STEP_TIME)).map_err(told)?;
        let refuse = |why: &str| {
            let refused = Inventory { refused: Some(why.to_owned()), ..self.inventory(false) };
            // It is refused, whether it hears why or not.
            let _ = send_line(stream, &refused);
            Err(why.to_owned())
        };
        if !admits(stream) {
            return refuse("this is for the user whose server it is, and root");
        }
        match read_line(stream) {
            Ok(line) if line == ASK => {}
            Ok(line) if line.starts_with("megaconn take-over ") => {
                return refuse("it was asked by another version of the protocol");
            }
            Ok(_) => return refuse("it was asked for something else"),
            Err(error) => return Err(told(error)),
        }
        let peer = socket_peercred(stream).map_err(|error| told(error.into()))?;
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).unwrap_or(0);
        send_line(stream, &self.inventory(true)).map_err(told)?;
        let own = [self.listener.as_fd()];
        let sockets: Vec<BorrowedFd<'_>> =
            self.goods.sockets.iter().map(|(_, socket)| socket.as_fd()).chain(own).collect();
        for some in sockets.chunks(SOCKETS_PER_MESSAGE) {
            send_descriptors(stream, some).map_err(told)?;
        }
        // How long a server takes to start is its own affair; it may end instead.
        stream.set_read_timeout(None).map_err(told)?;
        match read_line(stream) {
            Ok(line) if line == READY => Ok(pid),
            Ok(line) if line.is_empty() => Err(format!("process {pid} ended before it was ready")),
            Ok(_) => Err(format!("process {pid} said something else than that it is ready")),
            Err(error) => Err(format!("process {pid} ended before it was ready ({error})")),
        }
    }

    fn inventory(&self, is_whole: bool) -> Inventory {
        let own = Entry { r#use: Use::TakeOver, address: None };
        let sockets = self.goods.sockets.iter().map(|(entry, _)| entry.clone()).chain([own]);
        Inventory {
            version: VERSION,
            refused: None,
            pid: std::process::id(),
            program: PROGRAM.to_owned(),
            stats: self.goods.stats.clone(),
            broadcast_on: self.goods.broadcast_on.clone(),
            sockets: sockets.filter(|_| is_whole).collect(),
        }
    }
}

fn send_line(mut stream: &Socket, inventory: &Inventory) -> io::Result<()> {
    let mut line = serde_json::to_vec(inventory)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// With one byte, since descriptors do not travel alone.
fn send_descriptors(stream: &Socket, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)), "there is room for them");
    sendmsg(stream, &[IoSlice::new(b"+")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A line with its end; what there is of it where the stream ends before.
fn read_line(mut stream: &Socket) -> io::Result<String> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < LINE_BYTES_MAX && !line.ends_with(b"\n") {
        match stream.read(&mut byte) {
            Ok(0) => break,
            Ok(_) => line.push(byte[0]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
