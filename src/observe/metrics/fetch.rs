//! Asks a metrics address, or a server of this host, for its text, within a time that is bounded,
//! whatever is there.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::Socket;

use crate::base::constants::{FETCH_BYTES, FETCH_CONNECT, FETCH_READ};
use crate::base::errno::Errno;
use crate::observe::metrics::local::LocalServer;

/// Where figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A metrics address.
    Address(SocketAddr),
    /// A server of this host.
    Local(LocalServer),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Address(address) => write!(f, "http://{address}/metrics"),
            Place::Local(LocalServer(process)) => write!(f, "process {process} of this host"),
        }
    }
}

impl Place {
    fn connect(self) -> std::io::Result<Socket> {
        match self {
            Place::Address(address) => {
                TcpStream::connect_timeout(&address, FETCH_CONNECT).map(Socket::from)
            }
            Place::Local(server) => server.connect(FETCH_CONNECT),
        }
    }

    fn host(self) -> String {
        match self {
            Place::Address(address) => address.to_string(),
            Place::Local(_) => "localhost".to_owned(),
        }
    }
}

/// Why no text came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// No process listens there.
    #[error("nothing listens there ({0})")]
    Refused(Errno),
    /// It takes too long.
    #[error("no answer in time")]
    Silent,
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
    /// It is another service, or has no text for us.
    #[error("it answers with status {0}")]
    Status(u16),
    /// It is another service.
    #[error("it does not speak HTTP")]
    NoHttp,
}

/// The text that is there now.
///
/// # Errors
/// When no whole answer comes in time, or the answer is something else.
pub fn text(place: &Place) -> Result<String, TextError> {
    let host = place.host();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    match exchange(place.connect().map_err(why)?, request.as_bytes())? {
        (200, text) => Ok(text),
        (status, _) => Err(TextError::Status(status)),
    }
}

/// Sends a whole request on a connection, and takes the whole answer: its status, and its text.
pub(in crate::observe) fn exchange(
    stream: Socket,
    request: &[u8],
) -> Result<(u16, String), TextError> {
    let answer = ask(stream, request)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(&answer) else {
        return Err(TextError::NoHttp);
    };
    let text = String::from_utf8_lossy(&answer[head..]).into_owned();
    Ok((response.code.unwrap_or(0), text))
}

/// All that comes as an answer, until the connection ends.
fn ask(mut stream: Socket, request: &[u8]) -> Result<Vec<u8>, TextError> {
    let deadline = Instant::now() + FETCH_READ;
    stream.set_write_timeout(Some(FETCH_READ)).map_err(why)?;
    stream.write_all(request).map_err(why)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) || answer.len() as u64 > FETCH_BYTES {
            return Err(TextError::Silent);
        }
        stream.set_read_timeout(Some(left)).map_err(why)?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(why(error)),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
pub(in crate::observe) fn why(error: std::io::Error) -> TextError {
    match error.kind() {
        ErrorKind::ConnectionRefused => TextError::Refused(Errno::from(&error)),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => TextError::Silent,
        _ => TextError::Broken(error.to_string()),
    }
}
