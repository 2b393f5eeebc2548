//! `request`: a small request and its reply over a connection that was opened once, before the load:
//! another user's session. When it is lost, so are its requests, until it is open again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use megaconn::base::constants::{BYSTANDER_REOPEN, BYSTANDER_TIMEOUT};
use rustix::event::{PollFd, PollFlags};

use crate::bystanders::probes::connect::{begin_connect, connected};
use crate::bystanders::probes::{Answer, Probe, TAG_BYTES, Tag};

/// The session.
pub(crate) struct Request {
    target: SocketAddr,
    tag: Tag,
    session: Session,
    /// Bytes of a reply that is not whole.
    part: Vec<u8>,
    /// Requests that are with the service.
    begun: Vec<u64>,
}

enum Session {
    Open(TcpStream),
    Opening(TcpStream),
    /// To be opened again then.
    Lost(Instant),
}

impl Request {
    /// Opens the session.
    pub(crate) fn new(target: SocketAddr) -> io::Result<Request> {
        let stream = TcpStream::connect_timeout(&target, BYSTANDER_TIMEOUT)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (session, part) = (Session::Open(stream), Vec::new());
        Ok(Request { target, tag: Tag::new(), session, part, begun: Vec::new() })
    }

    /// The session is over, and with it whatever was asked over it.
    fn lose(&mut self, answers: &mut Vec<Answer>) {
        self.session = Session::Lost(Instant::now() + BYSTANDER_REOPEN);
        self.part.clear();
        answers.extend(self.begun.drain(..).map(|number| Answer { number, is_good: false }));
    }

    /// Opens it again, when it is time.
    fn reopen(&mut self) {
        match &self.session {
            Session::Lost(then) if Instant::now() >= *then => {
                self.session = begin_connect(self.target).map_or_else(
                    |_| Session::Lost(Instant::now() + BYSTANDER_REOPEN),
                    Session::Opening,
                );
            }
            Session::Opening(stream) => {
                match connected(stream).map(|ok| (ok, stream.try_clone())) {
                    None => {}
                    Some((true, Ok(stream))) => self.session = Session::Open(stream),
                    Some(_) => self.session = Session::Lost(Instant::now() + BYSTANDER_REOPEN),
                }
            }
            _ => {}
        }
    }
}

impl Probe for Request {
    fn begin(&mut self, number: u64) -> io::Result<()> {
        self.reopen();
        let Session::Open(stream) = &mut self.session else {
            return Err(ErrorKind::NotConnected.into());
        };
        // Sixteen bytes find room whole, or none: the buffer of the socket has been stuck for long.
        if stream.write(&self.tag.of(number))? < TAG_BYTES {
            return Err(ErrorKind::WriteZero.into());
        }
        self.begun.push(number);
        Ok(())
    }

    fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        match &self.session {
            Session::Open(stream) => fds.push(PollFd::new(stream, PollFlags::IN)),
            Session::Opening(stream) => fds.push(PollFd::new(stream, PollFlags::OUT)),
            Session::Lost(_) => {}
        }
    }

    fn answers(&mut self, answers: &mut Vec<Answer>) {
        self.reopen();
        let Session::Open(stream) = &mut self.session else { return };
        let mut bytes = [0; 64 * TAG_BYTES];
        let is_over = loop {
            match stream.read(&mut bytes) {
                Ok(0) => break true,
                Ok(n) => self.part.extend_from_slice(&bytes[..n]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break true,
            }
        };
        let whole = self.part.len() / TAG_BYTES * TAG_BYTES;
        let mut is_foreign = false;
        for reply in self.part.drain(..whole).as_slice().chunks(TAG_BYTES) {
            match self.tag.number(reply) {
                Some(number) => {
                    self.begun.retain(|begun| *begun != number);
                    answers.push(Answer { number, is_good: true });
                }
                // The process that answers there is not the service.
                None => is_foreign = true,
            }
        }
        if is_over || is_foreign {
            self.lose(answers);
        }
    }

    fn give_up(&mut self, number: u64) {
        self.begun.retain(|begun| *begun != number);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use crate::bystanders::probes::tests::await_answers;

    use super::*;

    fn pair() -> (Request, TcpListener, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
        let near = Request::new(listener.local_addr().expect("it is bound")).expect("it listens");
        let (far, _) = listener.accept().expect("it came");
        (near, listener, far)
    }

    #[test]
    fn replies_in_pieces_and_late_are_replies() {
        let (mut near, _listener, mut far) = pair();
        near.begin(1).expect("it is sent");
        near.begin(2).expect("it is sent");
        let mut both = [0; 2 * TAG_BYTES];
        far.read_exact(&mut both).expect("both come");
        far.set_nodelay(true).expect("a setting");
        for piece in both.chunks(5) {
            far.write_all(piece).expect("it takes");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(await_answers(&mut near, 2), [(1, true), (2, true)]);
    }

    #[test]
    fn a_lost_session_loses_its_requests_and_is_opened_again() {
        let (mut near, listener, far) = pair();
        near.begin(1).expect("it is sent");
        drop(far);
        assert_eq!(await_answers(&mut near, 1), [(1, false)]);
        assert!(near.begin(2).is_err(), "there is no session");
        thread::sleep(BYSTANDER_REOPEN);
        near.reopen();
        let (mut far, _) = listener.accept().expect("it comes again");
        while near.begin(3).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        let mut bytes = [0; TAG_BYTES];
        far.read_exact(&mut bytes).expect("it asks again");
        far.write_all(&bytes).expect("it takes");
        assert_eq!(await_answers(&mut near, 1), [(3, true)]);
    }

    #[test]
    fn a_service_that_says_something_else_is_none() {
        let (mut near, _listener, mut far) = pair();
        near.begin(1).expect("it is sent");
        far.write_all(b"220 mail.example").expect("it takes");
        assert_eq!(await_answers(&mut near, 1), [(1, false)]);
    }
}
