//! `connect`: a fresh connection to a listener that has nothing to do with the run, closed as soon as
//! it is there.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

use megaconn::base::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};

use crate::bystanders::probes::{Answer, Probe};

/// Connects that are on their way.
pub(crate) struct Connect {
    target: SocketAddr,
    begun: Vec<(u64, TcpStream)>,
}

impl Connect {
    pub(crate) fn new(target: SocketAddr) -> Connect {
        Connect { target, begun: Vec::new() }
    }
}

impl Probe for Connect {
    fn begin(&mut self, number: u64) -> io::Result<()> {
        let socket = begin_connect(self.target)?;
        self.begun.push((number, socket));
        Ok(())
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        let streams = self.begun.iter().map(|(_, stream)| stream.as_fd());
        fds.extend(streams.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
    }

    fn answers(&mut self, answers: &mut Vec<Answer>) {
        self.begun.retain(|(number, stream)| {
            let came_to = connected(stream);
            answers.extend(came_to.map(|is_good| Answer { number: *number, is_good }));
            came_to.is_none()
        });
    }

    fn give_up(&mut self, number: u64) {
        self.begun.retain(|(begun, _)| *begun != number);
    }
}

/// A connect that goes on by itself.
pub(crate) fn begin_connect(target: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&target.into()) {
        Err(error) if Errno::from(&error) != Errno::EINPROGRESS => Err(error),
        _ => Ok(socket.into()),
    }
}

/// What a connect has come to; `None` while it is on its way.
pub(crate) fn connected(stream: &TcpStream) -> Option<bool> {
    let mut fds = [PollFd::new(stream, PollFlags::OUT)];
    let is_over = poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
    is_over.then(|| matches!(stream.take_error(), Ok(None)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use crate::bystanders::probes::tests::await_answers;

    use super::*;

    #[test]
    fn a_listener_answers_and_is_left_again() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let mut probe = Connect::new(listener.local_addr().expect("it is bound"));
        probe.begin(5).expect("it begins");
        assert_eq!(await_answers(&mut probe, 1), [(5, true)]);
        let (mut stream, _) = listener.accept().expect("a connection came");
        let read = io::Read::read(&mut stream, &mut [0; 8]);
        assert_eq!(read.expect("in order"), 0, "it has gone again");
    }

    #[test]
    fn a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let mut probe = Connect::new(listener.local_addr().expect("it is bound"));
        drop(listener);
        // On loopback the refusal may be there before the call returns.
        match probe.begin(6) {
            Ok(()) => assert_eq!(await_answers(&mut probe, 1), [(6, false)]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
        }
    }

    #[test]
    fn a_full_queue_gives_no_answer_until_it_is_given_up() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        socket.bind(&any.into()).expect("loopback has ports");
        socket.listen(0).expect("it listens");
        let listener = TcpListener::from(socket);
        let mut probe = Connect::new(listener.local_addr().expect("it is bound"));
        // One has room; the kernel drops the SYNs of the others.
        for number in 0..4 {
            probe.begin(number).expect("it begins");
        }
        let answered = await_answers(&mut probe, 1);
        let waits = (0..4).find(|n| !answered.contains(&(*n, true))).expect("one is enough");
        probe.give_up(waits);
        let next = probe.begun.iter().map(|(number, _)| *number).collect::<Vec<u64>>();
        assert!(!next.contains(&waits) && next.len() < 3, "{answered:?} {next:?}");
    }
}
