//! Asks a run for its state, and for a change, within a time that is bounded.

use std::net::TcpStream;

use serde::Deserialize;
use socket2::Socket;

use crate::base::constants::FETCH_CONNECT;
use crate::observe::control::broadcasts::{BROADCAST, Broadcasts};
use crate::observe::control::place::Place;
use crate::observe::control::socket_file;
use crate::observe::control::{STATE, State, broadcasts};
use crate::observe::metrics::fetch::{TextError, exchange, why};

/// The state of the run at `place`.
///
/// # Errors
/// One line, when there is none.
pub fn state(place: &Place) -> Result<State, String> {
    let answer = request(place, "GET", STATE, &[])?;
    serde_json::from_str(&answer).map_err(|error| format!("{place}: no state of a run ({error})"))
}

/// Posts `body` to `path` of the run at `place`; the numbers of the changes as it takes them.
///
/// # Errors
/// One line, when it is not taken: the run's own words, where it has refused it.
pub fn post(place: &Place, path: &str, body: &str) -> Result<Vec<u64>, String> {
    let answer = request(place, "POST", path, body.as_bytes())?;
    let taken: Taken = serde_json::from_str(&answer)
        .map_err(|error| format!("{place}: no answer of a run ({error})"))?;
    Ok(taken.changes)
}

/// The orders of the server at `place`.
///
/// # Errors
/// One line, when there is none.
pub fn broadcasts(place: &Place) -> Result<Broadcasts, String> {
    let answer = request(place, "GET", STATE, &[])?;
    serde_json::from_str(&answer)
        .map_err(|error| format!("{place}: no state of broadcasts ({error})"))
}

/// Has the server at `place` send `text` to the members of `topic`, or to all; the number of the order.
///
/// # Errors
/// One line, when it is not taken: the server's own words, where it has refused it.
pub fn broadcast(place: &Place, topic: Option<u16>, text: &[u8]) -> Result<u64, String> {
    let path = topic.map_or(BROADCAST.to_owned(), |topic| format!("{BROADCAST}?topic={topic}"));
    let answer = request(place, "POST", &path, text)?;
    let taken: broadcasts::Taken = serde_json::from_str(&answer)
        .map_err(|error| format!("{place}: no answer of a server ({error})"))?;
    Ok(taken.number)
}

#[derive(Deserialize)]
struct Taken {
    changes: Vec<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

fn request(place: &Place, method: &str, path: &str, body: &[u8]) -> Result<String, String> {
    let told = |error: TextError| format!("{place}: {error}");
    let socket = connect(place).map_err(|error| told(why(error)))?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    match exchange(socket, &[head.as_bytes(), body].concat()).map_err(told)? {
        (200 | 202, text) => Ok(text),
        (status, text) => Err(match serde_json::from_str::<Refused>(&text) {
            Ok(Refused { error }) => error,
            Err(_) => format!("{place}: {} (status {status})", text.trim_end()),
        }),
    }
}

/// A connection to `place`, or its error, soon.
pub(super) fn connect(place: &Place) -> std::io::Result<Socket> {
    match place {
        Place::Address(address) => {
            TcpStream::connect_timeout(address, FETCH_CONNECT).map(Socket::from)
        }
        Place::Socket(path) => socket_file::connect(path),
    }
}
