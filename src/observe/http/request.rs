//! What a client asks for, and the bytes of an answer.

use std::sync::Arc;

use crate::base::constants::{HTTP_HEADERS, HTTP_REQUEST_BYTES};
use crate::observe::http::site::Answer;

/// The kind of a text of lines.
pub(super) const LINES: &str = "text/plain; charset=utf-8";

/// What a whole request asks for.
pub(super) enum Asked {
    /// The text.
    Text,
    /// That these bytes are taken at this path, with its query.
    Post(String, Vec<u8>),
    /// By another method than this one, which is the path's.
    NotAllowed(&'static str),
    /// Nothing that is there.
    Other(Answer),
}

/// What the bytes that have come ask for, where a text is at `path` and something is done by POST at each of
/// `posts`; `None` while they are not all.
pub(super) fn asked(bytes: &[u8], path: &str, posts: &[&str]) -> Option<Asked> {
    let other = |status, text: &str| Some(Asked::Other(Answer { status, text: text.to_owned() }));
    let is_too_long = bytes.len() > HTTP_REQUEST_BYTES;
    let too_long = || other("431 Request Header Fields Too Large", "a head of more than 8 KiB\n");
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let head = match request.parse(bytes) {
        Ok(httparse::Status::Partial) => return if is_too_long { too_long() } else { None },
        Ok(httparse::Status::Complete(head)) => head,
        Err(httparse::Error::TooManyHeaders) => return too_long(),
        Err(_) => return other("400 Bad Request", "no HTTP request\n"),
    };
    let target = request.path.unwrap_or_default();
    let asked = target.split_once('?').map_or(target, |(path, _)| path);
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value)
    };
    match request.method {
        Some("GET") if asked == path => Some(Asked::Text),
        _ if asked == path => Some(Asked::NotAllowed("GET")),
        _ if !posts.contains(&asked) => {
            let posts = posts.join(", ");
            let by_post = if posts.is_empty() { posts } else { format!(", or a POST to {posts}") };
            let text = format!("there is no {asked}; fix: a GET of {path}{by_post}\n");
            Some(Asked::Other(Answer { status: "404 Not Found", text }))
        }
        // A page that a browser shows asks in the name of the user who looks at it.
        Some("POST") if header("origin").is_some() => {
            other("403 Forbidden", "this is not for pages in a browser\n")
        }
        Some("POST") if header("transfer-encoding").is_some() => {
            other("411 Length Required", "a body needs its Content-Length\n")
        }
        Some("POST") => {
            let length = header("content-length").map_or(Some(0), |value| {
                std::str::from_utf8(value).ok().and_then(|value| value.trim().parse::<usize>().ok())
            });
            let Some(length) = length else {
                return other("400 Bad Request", "a Content-Length that is no number\n");
            };
            let whole = head.saturating_add(length);
            if whole > HTTP_REQUEST_BYTES {
                return other("413 Content Too Large", "a request of more than 8 KiB\n");
            }
            let body = bytes.get(head..whole)?;
            Some(Asked::Post(target.to_owned(), body.to_vec()))
        }
        _ => Some(Asked::NotAllowed("POST")),
    }
}

/// The bytes of an answer to what is asked for by another method than `method`.
pub(super) fn not_allowed(method: &str) -> Arc<[u8]> {
    let why = format!("this path is asked for by {method}\n");
    bytes("405 Method Not Allowed", LINES, &format!("Allow: {method}\r\n"), &why)
}

/// The bytes of `answer`; what begins with a brace is JSON.
pub(super) fn answer_of(answer: &Answer) -> Arc<[u8]> {
    let kind = if answer.text.starts_with('{') { "application/json" } else { LINES };
    self::answer(answer.status, kind, &answer.text)
}

pub(super) fn answer(status: &str, kind: &str, body: &str) -> Arc<[u8]> {
    bytes(status, kind, "", body)
}

fn bytes(status: &str, kind: &str, more: &str, body: &str) -> Arc<[u8]> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         {more}Connection: close\r\n\r\n"
    );
    Arc::from((head + body).into_bytes())
}
