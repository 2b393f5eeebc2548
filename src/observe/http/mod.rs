//! A small HTTP service of a process: a text that is read at a path, and what may be asked for by POST.
//! One thread that is not pinned does all of it, and everything that a client may be slow, many or rude
//! with has a bound, so that no core is disturbed by one.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use crate::base::constants::{
    HTTP_ACCEPTS_PER_TURN, HTTP_CLIENTS, HTTP_REST, HTTP_TEXT_EVERY, READER_NICENESS,
};
use crate::base::until::Until;
use crate::observe::http::client::{Client, State};
use crate::observe::http::site::{Answer, Site};

mod client;
mod request;
pub mod site;

/// A place where it is asked.
#[derive(Debug)]
pub struct Listener {
    /// Which listens already, and does not block.
    pub socket: Socket,
    /// Which of those that connect are answered.
    pub admits: fn(&Socket) -> bool,
    /// It is closed at the first client behind its end, who is another process's then.
    pub until: Until,
}

/// Answers at `listeners` until the process ends, on a thread of this name.
///
/// # Errors
/// When there is no thread for it.
pub fn serve<T, P>(listeners: Vec<Listener>, site: Site<T, P>, thread: &str) -> io::Result<()>
where
    T: Fn() -> String + Send + 'static,
    P: Fn(&str, &[u8]) -> Answer + Send + 'static,
{
    if listeners.is_empty() {
        return Ok(());
    }
    let mut desk = Desk { listeners, site, text_at: None, clients: Vec::new() };
    let run = move || {
        // The thread's own, though the call is named for a process. Its default will do, too.
        let _ = rustix::process::setpriority_process(None, READER_NICENESS);
        loop {
            desk.wait();
            desk.turn(Instant::now());
            thread::sleep(HTTP_REST);
        }
    };
    thread::Builder::new().name(thread.into()).spawn(run).map(drop)
}

/// The listeners and the clients they have accepted.
struct Desk<T, P> {
    listeners: Vec<Listener>,
    site: Site<T, P>,
    /// When the text was last read.
    text_at: Option<Instant>,
    clients: Vec<Client>,
}

impl<T: Fn() -> String, P: Fn(&str, &[u8]) -> Answer> Desk<T, P> {
    /// Sleeps until a descriptor is ready or a time is up.
    fn wait(&self) {
        let now = Instant::now();
        let listeners = self.listeners.iter();
        let mut fds: Vec<_> =
            listeners.map(|listener| PollFd::new(&listener.socket, PollFlags::IN)).collect();
        let mut until: Option<Instant> = None;
        for client in &self.clients {
            let (flags, due) = match client.state {
                State::Reading(_) | State::Ending => (PollFlags::IN, client.deadline),
                State::Answering { .. } => (PollFlags::OUT, client.deadline),
                State::Asking => {
                    let text_at = self.text_at.map_or(now, |at| at + HTTP_TEXT_EVERY);
                    (PollFlags::empty(), text_at)
                }
                State::Gone => continue,
            };
            fds.push(PollFd::from_borrowed_fd(client.stream.as_fd(), flags));
            until = Some(until.map_or(due, |until| until.min(due)));
        }
        let left = until.map(|until| until.saturating_duration_since(now));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        // A signal ends it early, and the turn then finds nothing to do.
        let _ = poll(&mut fds, left.as_ref());
    }

    /// Does what can be done without waiting.
    fn turn(&mut self, now: Instant) {
        self.listeners.retain(|listener| !listener.until.is_over());
        for client in &mut self.clients {
            client.step(&self.site, now);
        }
        for index in 0..self.listeners.len() {
            self.accept(index, now);
        }
        self.answer(now);
        self.clients.retain(|client| !matches!(client.state, State::Gone));
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        let Listener { socket, admits, .. } = &self.listeners[listener];
        for _ in 0..HTTP_ACCEPTS_PER_TURN {
            // Whatever is wrong with a connection or with us: the next turn tries again.
            let Ok((stream, _)) = socket.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let is_admitted = admits(&stream);
            let mut client = Client::new(stream, is_admitted, now);
            // Each kind has its own places: one that is refused takes none of the others'.
            let is_alike = |other: &&Client| {
                other.is_admitted == is_admitted && !matches!(other.state, State::Gone)
            };
            if self.clients.iter().filter(is_alike).count() >= HTTP_CLIENTS {
                client.refuse();
                continue;
            }
            if !is_admitted {
                let why = "this is for the user whose process it is, and root\n";
                client.begin(request::answer("403 Forbidden", request::LINES, why), now);
            }
            client.step(&self.site, now);
            self.clients.push(client);
        }
    }

    /// Gives the text to all clients that wait for it, when it is time to read it again.
    fn answer(&mut self, now: Instant) {
        let is_asking = |client: &Client| matches!(client.state, State::Asking);
        let is_due = self.text_at.is_none_or(|at| now >= at + HTTP_TEXT_EVERY);
        if !is_due || !self.clients.iter().any(is_asking) {
            return;
        }
        self.text_at = Some(now);
        let answer = request::answer("200 OK", self.site.content_type, &(self.site.text)());
        for client in self.clients.iter_mut().filter(|client| is_asking(client)) {
            client.begin(Arc::clone(&answer), now);
            client.step(&self.site, now);
        }
    }
}
