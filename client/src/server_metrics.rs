//! Asks a server's metrics address for its figures, within a time that is bounded, whatever is
//! there.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use megaconn::errno::Errno;
use megaconn::limits::{
    SERVER_METRICS_BYTES, SERVER_METRICS_CONNECT, SERVER_METRICS_READ, SERVER_METRICS_RETRY,
};
use megaconn::walls::server_view::{ServerView, ViewError};

use crate::config::Refusal;

/// A metrics address, and whether it still answers.
pub(crate) struct ServerMetrics {
    address: SocketAddr,
    /// When it first did not answer after it last had, and what was wrong then.
    unseen: Option<(Instant, FetchError)>,
    tried_at: Instant,
    began: Instant,
}

/// Why the figures did not come.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("nobody listens there ({0}); fix: start the server with that --metrics")]
    Refused(Errno),
    #[error("no answer in time; fix: check the route, the firewall and the server's load")]
    Silent,
    #[error("{0}; fix: check the route and the firewall")]
    Broken(String),
    #[error("it answers with status {0}; fix: the address of the server's --metrics")]
    Status(u16),
    #[error("it does not speak HTTP; fix: the address of the server's --metrics")]
    NoHttp,
    #[error("these are no figures of a server: {0}; fix: the address of the server's --metrics")]
    View(#[from] ViewError),
}

/// A metrics address, and what the server says there before the run.
pub(crate) fn first(address: SocketAddr) -> Result<(ServerMetrics, ServerView), Refusal> {
    let view = fetch(address).map_err(|error| Refusal::ServerMetrics(address, error))?;
    let now = Instant::now();
    Ok((ServerMetrics { address, unseen: None, tried_at: now, began: now }, view))
}

impl ServerMetrics {
    /// What the server says now; `None` when it does not, or did not a moment ago.
    pub(crate) fn again(&mut self) -> Option<ServerView> {
        if self.unseen.is_some() && self.tried_at.elapsed() < SERVER_METRICS_RETRY {
            return None;
        }
        let asked = Instant::now();
        let fetched = fetch(self.address);
        self.tried_at = Instant::now();
        match fetched {
            Ok(view) => {
                self.unseen = None;
                Some(view)
            }
            Err(error) => {
                self.unseen.get_or_insert((asked, error));
                None
            }
        }
    }

    /// Since when the server cannot be seen, and why, if it cannot.
    pub(crate) fn unseen(&self) -> Option<String> {
        let (since, error) = self.unseen.as_ref()?;
        let seconds = since.duration_since(self.began).as_secs_f64();
        Some(format!("could not be seen since {seconds:.1} s into the run: {error}"))
    }
}

fn fetch(address: SocketAddr) -> Result<ServerView, FetchError> {
    let answer = ask(address)?;
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(&answer) else {
        return Err(FetchError::NoHttp);
    };
    match response.code {
        Some(200) => {}
        status => return Err(FetchError::Status(status.unwrap_or(0))),
    }
    Ok(ServerView::from_metrics(&String::from_utf8_lossy(&answer[head..]))?)
}

/// All that comes as an answer, until the connection ends.
fn ask(address: SocketAddr) -> Result<Vec<u8>, FetchError> {
    let mut stream = TcpStream::connect_timeout(&address, SERVER_METRICS_CONNECT).map_err(why)?;
    let deadline = Instant::now() + SERVER_METRICS_READ;
    stream.set_write_timeout(Some(SERVER_METRICS_READ)).map_err(why)?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(why)?;
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left < Duration::from_millis(1) || answer.len() as u64 > SERVER_METRICS_BYTES {
            return Err(FetchError::Silent);
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
fn why(error: std::io::Error) -> FetchError {
    match error.kind() {
        ErrorKind::ConnectionRefused => FetchError::Refused(Errno::from(&error)),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => FetchError::Silent,
        _ => FetchError::Broken(error.to_string()),
    }
}
