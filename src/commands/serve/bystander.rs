//! An unrelated small service beside the cores: it gives back what it is sent, by TCP and by UDP, at
//! one address. Clients ask it to learn what becomes of other services while connections are held. One
//! thread that is not pinned does all of it, with ordinary sockets; it has nothing of the cores.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Socket, Type};

use megaconn::base::constants::{
    BACKLOG_DEFAULT, BYSTANDER_CLIENTS, BYSTANDER_PER_TURN, BYSTANDER_REST,
};
use megaconn::base::service_error::ServiceError;
use megaconn::base::until::Until;

/// The flag that names the address.
const FLAG: &str = "--bystander";

/// Bytes that are given back at once: requests and datagrams are of some ten.
const CHUNK_BYTES: usize = 2048;

/// Ports that are tried, when the kernel chooses one for TCP that another socket has for UDP.
const PORTS_TRIED: usize = 8;

/// Both sockets, at one address.
pub(crate) struct Sockets {
    pub(crate) listener: TcpListener,
    pub(crate) datagrams: UdpSocket,
}

/// Opens both at `address`; with port 0 the kernel chooses one that is free for both, in a few tries.
///
/// # Errors
/// When the address cannot be listened on, with the fix.
pub(crate) fn bind(address: SocketAddr) -> Result<Sockets, ServiceError> {
    let tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
    let mut bound = Sockets::bind(address);
    for _ in 1..tries {
        if bound.is_ok() {
            break;
        }
        bound = Sockets::bind(address);
    }
    bound.map_err(|error| ServiceError::new(FLAG, address, &error))
}

/// Answers there until the process ends, and new clients `until` that time is over.
///
/// # Errors
/// When there is no thread for it, with the fix.
pub(crate) fn begin(sockets: Sockets, until: Until) -> Result<(), ServiceError> {
    let nowhere = SocketAddr::from(([0; 4], 0));
    let address = sockets.listener.local_addr().unwrap_or(nowhere);
    let mut service = Service { sockets: Some(sockets), clients: Vec::new() };
    let run = move || {
        loop {
            service.wait();
            if until.is_over() {
                service.sockets = None;
            }
            service.turn();
        }
    };
    let begun = thread::Builder::new().name("bystander".into()).spawn(run);
    begun.map(drop).map_err(|error| ServiceError::new(FLAG, address, &error))
}

/// The sockets, while it is asked there, and the connections that were accepted.
struct Service {
    sockets: Option<Sockets>,
    clients: Vec<TcpStream>,
}

impl Sockets {
    fn bind(address: SocketAddr) -> io::Result<Sockets> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG_DEFAULT)?;
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let datagrams = UdpSocket::bind(listener.local_addr()?)?;
        datagrams.set_nonblocking(true)?;
        Ok(Sockets { listener, datagrams })
    }
}

impl Service {
    fn wait(&self) {
        let clients = self.clients.iter().map(AsFd::as_fd);
        let sockets = self.sockets.iter();
        let sockets = sockets.flat_map(|two| [two.listener.as_fd(), two.datagrams.as_fd()]);
        let fds = sockets.chain(clients);
        let mut fds: Vec<PollFd<'_>> =
            fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // A signal ends it early, and the turn then finds nothing to do.
        let _ = poll(&mut fds, None);
    }

    /// Does what can be done without waiting.
    fn turn(&mut self) {
        self.clients.retain_mut(|client| give_back(client).is_ok());
        self.accept();
        let Some(Sockets { datagrams, .. }) = &self.sockets else { return };
        let mut bytes = [0; CHUNK_BYTES];
        for _ in 0..BYSTANDER_PER_TURN {
            match datagrams.recv_from(&mut bytes) {
                // A datagram that finds no room is lost, as datagrams are.
                Ok((n, from)) => drop(datagrams.send_to(&bytes[..n], from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The port of a peer that was answered is closed.
                Err(_) => {}
            }
        }
    }

    fn accept(&mut self) {
        let Some(Sockets { listener, .. }) = &self.sockets else { return };
        for _ in 0..BYSTANDER_PER_TURN {
            let client = match listener.accept() {
                Ok((client, _)) => client,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Out of files, or of memory: it waits, and so is ready again at once.
                Err(_) => return thread::sleep(BYSTANDER_REST),
            };
            let is_ready = client.set_nonblocking(true).and_then(|()| client.set_nodelay(true));
            if is_ready.is_ok() && self.clients.len() < BYSTANDER_CLIENTS {
                self.clients.push(client);
            }
        }
    }
}

/// Gives back what has come on a connection; an error when it is over, or takes nothing.
fn give_back(client: &mut TcpStream) -> io::Result<()> {
    let mut bytes = [0; CHUNK_BYTES];
    match client.read(&mut bytes) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(n) => client.write_all(&bytes[..n]),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn service() -> SocketAddr {
        let any = "127.0.0.1:0".parse().expect("an address");
        let sockets = bind(any).expect("loopback can be listened on");
        let address = sockets.listener.local_addr().expect("it is bound");
        begin(sockets, Until::default()).expect("there is a thread");
        address
    }

    #[test]
    fn streams_and_datagrams_come_back() {
        let address = service();
        let mut stream = TcpStream::connect(address).expect("it listens");
        for text in [&b"one"[..], b"and two"] {
            stream.write_all(text).expect("it takes");
            let mut back = vec![0; text.len()];
            stream.read_exact(&mut back).expect("it gives back");
            assert_eq!(back, text);
        }
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket.send_to(b"three", address).expect("it is sent");
        let mut back = [0; 16];
        let (n, from) = socket.recv_from(&mut back).expect("it comes back");
        assert_eq!((&back[..n], from), (&b"three"[..], address));
    }

    #[test]
    fn a_peer_that_reads_nothing_is_closed_and_others_are_served() {
        let address = service();
        let mut rude = TcpStream::connect(address).expect("it listens");
        rude.set_nonblocking(true).expect("it can be asked not to wait");
        let flood = [7; 65_536];
        for _ in 0..20_000 {
            match rude.write(&flood) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                // It was let go.
                Err(_) => break,
            }
        }
        let mut stream = TcpStream::connect(address).expect("it listens still");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.write_all(b"served").expect("it takes");
        let mut back = [0; 6];
        stream.read_exact(&mut back).expect("others are served");
        assert_eq!(&back, b"served");
    }

    #[test]
    fn an_address_that_is_taken_is_refused_with_the_fix() {
        let address = service();
        let error = bind(address).err().expect("the port is taken").to_string();
        assert!(error.starts_with("--bystander 127.0.0.1:") && error.contains("fix: "), "{error}");
    }
}
