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

/// The flag that names the address.
const FLAG: &str = "--bystander";

/// Bytes that are given back at once: requests and datagrams are of some ten.
const CHUNK_BYTES: usize = 2048;

/// Ports that are tried, when the kernel chooses one for TCP that another socket has for UDP.
const PORTS_TRIED: usize = 8;

/// Answers at `address`, if there is one, until the process ends; says where that is.
///
/// # Errors
/// When the address cannot be listened on, or there is no thread, with the fix.
pub(crate) fn offer(address: Option<SocketAddr>) -> Result<Option<SocketAddr>, ServiceError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |error| ServiceError::new(FLAG, address, &error);
    let mut service = Service::bind_free(address).map_err(failed)?;
    let address = service.listener.local_addr().map_err(failed)?;
    let run = move || {
        loop {
            service.wait();
            service.turn();
        }
    };
    thread::Builder::new().name("bystander".into()).spawn(run).map_err(failed)?;
    Ok(Some(address))
}

/// Both sockets, and the connections that were accepted.
struct Service {
    listener: TcpListener,
    datagrams: UdpSocket,
    clients: Vec<TcpStream>,
}

impl Service {
    /// With port 0 the kernel chooses one that is free for both, in a few tries.
    fn bind_free(address: SocketAddr) -> io::Result<Service> {
        let tries = if address.port() == 0 { PORTS_TRIED } else { 1 };
        let mut bound = Service::bind(address);
        for _ in 1..tries {
            if bound.is_ok() {
                break;
            }
            bound = Service::bind(address);
        }
        bound
    }

    fn bind(address: SocketAddr) -> io::Result<Service> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG_DEFAULT)?;
        let listener = TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let datagrams = UdpSocket::bind(listener.local_addr()?)?;
        datagrams.set_nonblocking(true)?;
        Ok(Service { listener, datagrams, clients: Vec::new() })
    }

    fn wait(&self) {
        let clients = self.clients.iter().map(AsFd::as_fd);
        let fds = [self.listener.as_fd(), self.datagrams.as_fd()].into_iter().chain(clients);
        let mut fds: Vec<PollFd<'_>> =
            fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        // A signal ends it early, and the turn then finds nothing to do.
        let _ = poll(&mut fds, None);
    }

    /// Does what can be done without waiting.
    fn turn(&mut self) {
        self.clients.retain_mut(|client| give_back(client).is_ok());
        self.accept();
        let mut bytes = [0; CHUNK_BYTES];
        for _ in 0..BYSTANDER_PER_TURN {
            match self.datagrams.recv_from(&mut bytes) {
                // A datagram that finds no room is lost, as datagrams are.
                Ok((n, from)) => drop(self.datagrams.send_to(&bytes[..n], from)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // The port of a peer that was answered is closed.
                Err(_) => {}
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..BYSTANDER_PER_TURN {
            let client = match self.listener.accept() {
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
        offer(Some(any)).expect("loopback can be listened on").expect("there is one")
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
        let error = offer(Some(address)).expect_err("the port is taken").to_string();
        assert!(error.starts_with("--bystander 127.0.0.1:") && error.contains("fix: "), "{error}");
    }
}
