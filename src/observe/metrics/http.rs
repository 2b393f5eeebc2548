//! Answers `GET /metrics`, at an address and for programs of this host. One thread that is not pinned does
//! all of it, and everything that a scraper may be slow, many or rude with has a bound, so that no core is
//! disturbed by one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::Socket;

use crate::base::constants::{
    METRICS_ACCEPTS_PER_TURN, METRICS_CLIENTS, METRICS_HEAD_BYTES, METRICS_HEADERS, METRICS_REST,
    METRICS_TEXT_EVERY, METRICS_TIMEOUT, READER_NICENESS,
};
pub use crate::base::service_error::ServiceError;
use crate::observe::metrics::{CONTENT_TYPE, Metrics, local};

/// The flag that names the address.
const FLAG: &str = "--metrics";

/// Answers scrapers at `address`, if there is one, and programs of this host with `for_this_host`, until
/// the process ends; says what the address is. What this host does not permit for its own programs
/// is not offered.
///
/// # Errors
/// As [`Endpoint::bind`] and [`Endpoint::serve`].
pub fn offer(
    address: Option<SocketAddr>,
    for_this_host: bool,
    metrics: Metrics,
) -> Result<Option<SocketAddr>, ServiceError> {
    let endpoint = Endpoint::bind(address, for_this_host)?;
    let address = endpoint.address();
    match (endpoint.serve(move || metrics.text()), address) {
        (Err(error), Some(address)) => Err(ServiceError::new(FLAG, address, &error)),
        _ => Ok(address),
    }
}

/// Where the figures of a metrics address are, as the effective configuration has it.
#[must_use]
pub fn url(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| format!("http://{address}/metrics"))
}

/// Places where figures are asked for, which give no answers yet.
#[derive(Debug)]
pub struct Endpoint {
    listeners: Vec<Listener>,
    address: Option<SocketAddr>,
}

/// One of them.
#[derive(Debug)]
struct Listener {
    socket: Socket,
    /// Which of those that connect are answered.
    admits: fn(&Socket) -> bool,
}

impl Endpoint {
    /// Listens at `address`, where the kernel chooses port 0, and with `for_this_host` on a socket for
    /// programs of this host.
    ///
    /// # Errors
    /// When the address cannot be listened on, with the fix.
    pub fn bind(
        address: Option<SocketAddr>,
        for_this_host: bool,
    ) -> Result<Endpoint, ServiceError> {
        let mut endpoint = Endpoint { listeners: Vec::new(), address: None };
        if let Some(address) = address {
            let failed = |error| ServiceError::new(FLAG, address, &error);
            let listener = TcpListener::bind(address).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            endpoint.address = Some(listener.local_addr().map_err(failed)?);
            endpoint.listeners.push(Listener { socket: listener.into(), admits: |_| true });
        }
        if let (true, Ok(socket)) = (for_this_host, local::listen()) {
            endpoint.listeners.push(Listener { socket, admits: local::admits });
        }
        Ok(endpoint)
    }

    /// The address at which it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers with `text`, as it is when it is asked for, until the process ends.
    ///
    /// # Errors
    /// When there is no thread for it.
    pub fn serve(self, text: impl Fn() -> String + Send + 'static) -> io::Result<()> {
        let Endpoint { listeners, .. } = self;
        if listeners.is_empty() {
            return Ok(());
        }
        let mut desk = Desk { listeners, text, text_at: None, clients: Vec::new() };
        let run = move || {
            // The thread's own, though the call is named for a process. Its default will do, too.
            let _ = rustix::process::setpriority_process(None, READER_NICENESS);
            loop {
                desk.wait();
                desk.turn(Instant::now());
                thread::sleep(METRICS_REST);
            }
        };
        let thread = thread::Builder::new().name("metrics".into()).spawn(run);
        thread.map(drop)
    }
}

/// The listeners and the clients they have accepted.
struct Desk<T> {
    listeners: Vec<Listener>,
    text: T,
    /// When the text was last read.
    text_at: Option<Instant>,
    clients: Vec<Client>,
}

impl<T: Fn() -> String> Desk<T> {
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
                    let text_at = self.text_at.map_or(now, |at| at + METRICS_TEXT_EVERY);
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
        for client in &mut self.clients {
            client.step(now);
        }
        for index in 0..self.listeners.len() {
            self.accept(index, now);
        }
        self.answer(now);
        self.clients.retain(|client| !matches!(client.state, State::Gone));
    }

    fn accept(&mut self, listener: usize, now: Instant) {
        let Listener { socket, admits } = &self.listeners[listener];
        for _ in 0..METRICS_ACCEPTS_PER_TURN {
            // Whatever is wrong with a connection or with us: the next turn tries again.
            let Ok((stream, _)) = socket.accept() else { return };
            if !admits(&stream) || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let live = |client: &&Client| !matches!(client.state, State::Gone);
            let mut client = Client::new(stream, now);
            if self.clients.iter().filter(live).count() >= METRICS_CLIENTS {
                client.refuse();
                continue;
            }
            client.step(now);
            self.clients.push(client);
        }
    }

    /// Gives the text to all clients that wait for it, when it is time to read it again.
    fn answer(&mut self, now: Instant) {
        let is_asking = |client: &Client| matches!(client.state, State::Asking);
        let is_due = self.text_at.is_none_or(|at| now >= at + METRICS_TEXT_EVERY);
        if !is_due || !self.clients.iter().any(is_asking) {
            return;
        }
        self.text_at = Some(now);
        let answer = answer("200 OK", CONTENT_TYPE, &(self.text)());
        for client in self.clients.iter_mut().filter(|client| is_asking(client)) {
            client.begin(Arc::clone(&answer), now);
            client.step(now);
        }
    }
}

/// One connection.
struct Client {
    stream: Socket,
    /// Until then it must have done what its state waits for.
    deadline: Instant,
    state: State,
}

/// In the order of a connection's life.
enum State {
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
    fn new(stream: Socket, now: Instant) -> Client {
        Client { stream, deadline: now + METRICS_TIMEOUT, state: State::Reading(Vec::new()) }
    }

    /// Goes on as far as it can without waiting.
    fn step(&mut self, now: Instant) {
        if let State::Reading(_) = self.state {
            self.read(now);
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

    fn read(&mut self, now: Instant) {
        let State::Reading(head) = &mut self.state else { return };
        let had = head.len();
        let mut is_over = false;
        // One byte more than may be tells a head that is too long.
        while head.len() <= METRICS_HEAD_BYTES && !is_over {
            let mut chunk = [0; 1024];
            let room = chunk.len().min(METRICS_HEAD_BYTES + 1 - head.len());
            match self.stream.read(&mut chunk[..room]) {
                Ok(0) => is_over = true,
                Ok(n) => head.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => is_over = true,
            }
        }
        let asked = if head.len() > had { asked(head) } else { None };
        match asked {
            Some(Asked::Metrics) => {
                self.state = State::Asking;
                // How long it waits for the text is up to us.
                self.deadline = now + METRICS_TIMEOUT;
            }
            Some(Asked::Other(status, why)) => {
                self.begin(answer(status, "text/plain; charset=utf-8", why), now);
            }
            None if is_over => self.state = State::Gone,
            None => {}
        }
    }

    fn begin(&mut self, bytes: Arc<[u8]>, now: Instant) {
        self.deadline = now + METRICS_TIMEOUT;
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
        let mut rest = [0; METRICS_HEAD_BYTES];
        match self.stream.read(&mut rest) {
            Ok(n) if n > 0 => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            _ => self.state = State::Gone,
        }
    }

    /// Says that there are too many; all that it takes is a moment.
    fn refuse(&mut self) {
        let why = "as many clients as are served at once; try again\n";
        let answer = answer("503 Service Unavailable", "text/plain; charset=utf-8", why);
        // What is unread at a close takes the answer away, so what has come is read.
        self.end();
        // It fits what the kernel keeps for a new connection.
        let _ = self.stream.write(&answer);
    }
}

/// What a whole head asks for.
enum Asked {
    Metrics,
    /// Nothing that is there: the status, and why.
    Other(&'static str, &'static str),
}

/// What `head` asks for; `None` while it is not whole.
fn asked(head: &[u8]) -> Option<Asked> {
    let too_long =
        Asked::Other("431 Request Header Fields Too Large", "a head of more than 8 KiB\n");
    let mut headers = [httparse::EMPTY_HEADER; METRICS_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) if head.len() > METRICS_HEAD_BYTES => return Some(too_long),
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Some(too_long),
        Err(_) => return Some(Asked::Other("400 Bad Request", "no HTTP request\n")),
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    Some(match (request.method, path) {
        (Some("GET"), "/metrics") => Asked::Metrics,
        (Some("GET"), _) => Asked::Other("404 Not Found", "the figures are at /metrics\n"),
        _ => Asked::Other("405 Method Not Allowed", "GET is all there is\n"),
    })
}

fn answer(status: &str, kind: &str, body: &str) -> Arc<[u8]> {
    let allow = if status.starts_with("405") { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         {allow}Connection: close\r\n\r\n"
    );
    Arc::from((head + body).into_bytes())
}
