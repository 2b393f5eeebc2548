//! One client of the service, from its connect to its end.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::Instant;

use socket2::Socket;

use crate::base::constants::{HTTP_REQUEST_BYTES, HTTP_TIMEOUT};
use crate::observe::http::request::{self, Asked};
use crate::observe::http::site::{Answer, Site};

/// One connection.
pub(super) struct Client {
    pub(super) stream: Socket,
    /// Whether it may ask at all.
    pub(super) is_admitted: bool,
    /// Until then it must have done what its state waits for.
    pub(super) deadline: Instant,
    pub(super) state: State,
}

/// In the order of a connection's life.
pub(super) enum State {
    /// Its request comes; what there is of it.
    Reading(Vec<u8>),
    /// It has asked for the text.
    Asking,
    /// It is being sent `bytes`, of which `sent` are gone.
    Answering { bytes: Arc<[u8]>, sent: usize },
    /// It has its answer, and is let read it: a close before it has closed could take it away.
    Ending,
    /// Its connection is to be closed.
    Gone,
}

impl Client {
    pub(super) fn new(stream: Socket, is_admitted: bool, now: Instant) -> Client {
        Client {
            stream,
            is_admitted,
            deadline: now + HTTP_TIMEOUT,
            state: State::Reading(Vec::new()),
        }
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn step<T, P>(&mut self, site: &Site<T, P>, now: Instant)
    where
        P: Fn(&str, &[u8]) -> Answer,
    {
        if let State::Reading(_) = self.state {
            self.read(site, now);
        }
        if let State::Answering { .. } = self.state {
            self.write();
        }
        if let State::Ending = self.state {
            self.end();
        }
        if now >= self.deadline {
            self.state = State::Gone;
        }
    }

    fn read<T, P>(&mut self, site: &Site<T, P>, now: Instant)
    where
        P: Fn(&str, &[u8]) -> Answer,
    {
        let State::Reading(head) = &mut self.state else { return };
        let had = head.len();
        let mut is_over = false;
        // One byte more than may be tells a head that is too long.
        while head.len() <= HTTP_REQUEST_BYTES && !is_over {
            let mut chunk = [0; 1024];
            let room = chunk.len().min(HTTP_REQUEST_BYTES + 1 - head.len());
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => is_over = true,
                Ok(n) => head.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => is_over = true,
            }
        }
        let asked =
            if head.len() > had { request::asked(head, site.path, site.posts) } else { None };
        match asked {
            Some(Asked::Text) => {
                self.state = State::Asking;
                // How long it waits for the text is up to us.
                self.deadline = now + HTTP_TIMEOUT;
            }
            Some(Asked::Post(path, body)) => {
                self.begin(request::answer_of(&(site.post)(&path, &body)), now);
            }
            Some(Asked::NotAllowed(method)) => self.begin(request::not_allowed(method), now),
            Some(Asked::Other(answer)) => self.begin(request::answer_of(&answer), now),
            None if is_over => self.state = State::Gone,
            None => {}
        }
    }

    pub(super) fn begin(&mut self, bytes: Arc<[u8]>, now: Instant) {
        self.deadline = now + HTTP_TIMEOUT;
        self.state = State::Answering { bytes, sent: 0 };
    }

    fn write(&mut self) {
        let State::Answering { bytes, sent } = &mut self.state else { return };
        while *sent < bytes.len() {
            match self.stream.write(&bytes[*sent..]) {
                Ok(n) => *sent += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.state = State::Gone;
                    return;
                }
            }
        }
        let ended = self.stream.shutdown(Shutdown::Write);
        self.state = if ended.is_ok() { State::Ending } else { State::Gone };
    }

    /// Throws away what still comes, until its end.
    fn end(&mut self) {
        let mut rest = [0; HTTP_REQUEST_BYTES];
        match self.stream.read(&mut rest) {
            Ok(n) if n > 0 => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => self.state = State::Gone,
        }
    }

    /// Says that there are too many; all that it takes is a moment.
    pub(super) fn refuse(&mut self) {
        let why = "as many clients as are served at once; try again\n";
        let answer = request::answer("503 Service Unavailable", request::LINES, why);
        // What is unread at a close takes the answer away, so what has come is read.
        self.end();
        // It fits what the kernel keeps for a new connection.
        let _ = self.stream.write(&answer);
    }
}
