//! How an HTTP connection becomes one of WebSocket (RFC 6455, section 4): a client asks, a server agrees
//! or says why not. No extension is agreed to.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest, Sha1};

use crate::base::constants::HTTP_HEADERS;

/// What the key of a request is joined with before it is digested.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a key in base64, of which the nonce has 16.
const KEY: usize = 24;

/// Bytes of the digest in base64.
const ACCEPT: usize = 28;

/// What a client is told that does not ask for this upgrade: what it could ask for. A list of options may
/// stand in two headers, so that the connection also says that it is closed.
const UPGRADES: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// What the request of a client comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is not whole.
    NeedMore,
    /// It is agreed to: the answer stands in the buffer, and so many bytes were the request.
    Agreed {
        /// Bytes of the answer.
        answer: usize,
        /// Bytes of the request.
        request: usize,
    },
    /// It is not: so many bytes of an answer that says why stand in the buffer.
    Refused(usize),
}

/// Looks at a request at the beginning of `buffer`, and writes the answer over it.
pub fn agree(buffer: &mut [u8], filled: usize, subprotocol: Option<&str>) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let size = match request.parse(&buffer[..filled]) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) if filled < buffer.len() => return Asked::NeedMore,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return refuse(buffer, "431 Request Header Fields Too Large", "");
        }
        Err(_) => return refuse(buffer, "400 Bad Request", ""),
    };
    let headers = Headers(request.headers);
    if request.method != Some("GET") {
        return refuse(buffer, "405 Method Not Allowed", "Allow: GET\r\n");
    }
    if request.version != Some(1) || headers.only("host").is_none() {
        return refuse(buffer, "400 Bad Request", "");
    }
    let is_upgrade = headers.has("upgrade", "websocket") && headers.has("connection", "upgrade");
    if !is_upgrade || headers.only("sec-websocket-version") != Some(b"13") {
        return refuse(buffer, "426 Upgrade Required", UPGRADES);
    }
    let Some(accept) = headers.only("sec-websocket-key").filter(|key| is_key(key)).map(accept)
    else {
        return refuse(buffer, "400 Bad Request", "");
    };
    let chosen = subprotocol.filter(|name| headers.lists("sec-websocket-protocol", name));
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: ";
    let protocol = chosen.map_or(["", "", ""], |name| ["\r\nSec-WebSocket-Protocol: ", name, ""]);
    let [label, name, end] = protocol;
    let parts =
        [head.as_bytes(), &accept, label.as_bytes(), name.as_bytes(), end.as_bytes(), b"\r\n\r\n"];
    Asked::Agreed { answer: write(buffer, &parts), request: size }
}

/// An answer without a body, after which the connection is closed.
fn refuse(buffer: &mut [u8], status: &str, header: &str) -> Asked {
    let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
    let parts = ["HTTP/1.1 ", status, "\r\n", header, end].map(str::as_bytes);
    Asked::Refused(write(buffer, &parts))
}

fn write(buffer: &mut [u8], parts: &[&[u8]]) -> usize {
    parts.iter().fold(0, |at, part| {
        buffer[at..at + part.len()].copy_from_slice(part);
        at + part.len()
    })
}

/// What a client asks each of its connections for, but for the key.
#[derive(Clone, Debug)]
pub struct Request {
    /// The path, with what follows it.
    pub path: String,
    /// More headers, each with its end of line.
    pub headers: String,
    /// The subprotocol that is offered.
    pub subprotocol: Option<String>,
}

impl Request {
    /// Writes the request to `host` with the key of `nonce`; its size.
    ///
    /// # Panics
    /// When `out` is shorter.
    pub fn write(&self, host: &str, nonce: [u8; 16], out: &mut [u8]) -> usize {
        let [label, name, end] = match &self.subprotocol {
            Some(name) => ["Sec-WebSocket-Protocol: ", name, "\r\n"],
            None => [""; 3],
        };
        let parts = [
            b"GET ",
            self.path.as_bytes(),
            b" HTTP/1.1\r\nHost: ",
            host.as_bytes(),
            b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ",
            &key(nonce),
            b"\r\nSec-WebSocket-Version: 13\r\n",
            label.as_bytes(),
            name.as_bytes(),
            end.as_bytes(),
            self.headers.as_bytes(),
            b"\r\n",
        ];
        write(out, &parts)
    }

    /// Its size to `host`.
    #[must_use]
    pub fn size(&self, host: &str) -> usize {
        let mut out = vec![0; 512 + self.path.len() + self.headers.len() + host.len() + 512];
        self.write(host, [0; 16], &mut out)
    }
}

/// What the answer of a server comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// It is not whole.
    NeedMore,
    /// It agrees; so many bytes were the answer.
    Agreed(usize),
    /// It does not, or not to what was asked.
    Refused,
}

/// Looks at the answer at the beginning of `bytes` to the request with the key of `nonce`.
#[must_use]
pub fn agreed(bytes: &[u8], nonce: [u8; 16], subprotocol: Option<&str>) -> Answered {
    let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let size = match response.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        // What is refused need not be whole: its status is enough.
        Ok(httparse::Status::Partial) => {
            let is_other = response.code.is_some_and(|code| code != 101);
            return if is_other { Answered::Refused } else { Answered::NeedMore };
        }
        Err(_) => return Answered::Refused,
    };
    let headers = Headers(response.headers);
    let is_agreed = response.code == Some(101)
        && headers.has("upgrade", "websocket")
        && headers.has("connection", "upgrade")
        && headers.only("sec-websocket-accept") == Some(&accept(&key(nonce)))
        && headers.named("sec-websocket-extensions").next().is_none()
        && match headers.only("sec-websocket-protocol") {
            None => headers.named("sec-websocket-protocol").next().is_none(),
            chosen => chosen == subprotocol.map(str::as_bytes),
        };
    if is_agreed { Answered::Agreed(size) } else { Answered::Refused }
}

/// Whether it is base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    let mut nonce = [0; 18];
    key.len() == KEY && BASE64_STANDARD.decode_slice(key, &mut nonce) == Ok(16)
}

fn key(nonce: [u8; 16]) -> [u8; KEY] {
    let mut out = [0; KEY];
    BASE64_STANDARD.encode_slice(nonce, &mut out).expect("16 bytes are 24 in base64");
    out
}

/// The proof that a server has understood the request with this key.
fn accept(key: &[u8]) -> [u8; ACCEPT] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut out = [0; ACCEPT];
    BASE64_STANDARD.encode_slice(digest, &mut out).expect("20 bytes are 28 in base64");
    out
}

/// The headers of a message.
struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn named(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of_name = move |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.0.iter().filter(of_name).map(|header| header.value.trim_ascii())
    }

    /// The value of the only header of this name.
    fn only(&self, name: &'a str) -> Option<&'a [u8]> {
        let mut named = self.named(name);
        named.next().filter(|_| named.next().is_none())
    }

    fn items(&self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.named(name).flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
    }

    /// Whether the lists of this name have the item, in letters of any case.
    fn has(&self, name: &'a str, item: &str) -> bool {
        self.items(name).any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
    }

    /// Whether the lists of this name have the item.
    fn lists(&self, name: &'a str, item: &str) -> bool {
        self.items(name).any(|found| found == item.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; 16] = *b"the sample nonce";

    fn request() -> Request {
        Request {
            path: "/chat?a=b".into(),
            headers: "Origin: http://a\r\n".into(),
            subprotocol: None,
        }
    }

    fn asked(text: &str, subprotocol: Option<&str>) -> (Asked, Vec<u8>) {
        let mut buffer = vec![0; 4096];
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        let asked = agree(&mut buffer, text.len(), subprotocol);
        (asked, buffer)
    }

    #[test]
    fn the_example_of_the_rfc() {
        // Section 1.3.
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), *b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(key(NONCE), *b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn what_one_end_asks_the_other_agrees_to() {
        for subprotocol in [None, Some("chat")] {
            let request = Request { subprotocol: subprotocol.map(str::to_owned), ..request() };
            let mut text = vec![0; 4096];
            let size = request.write("example.org:80", NONCE, &mut text);
            assert_eq!(request.size("example.org:80"), size);
            for cut in 0..size {
                let mut buffer = text.clone();
                assert_eq!(agree(&mut buffer, cut, Some("chat")), Asked::NeedMore, "cut at {cut}");
            }
            let Asked::Agreed { answer, request } = agree(&mut text, size + 3, Some("chat")) else {
                panic!("it was not agreed to");
            };
            assert_eq!(request, size);
            assert!(answer <= size, "an answer fits where its request was");
            for cut in 0..answer {
                let answered = agreed(&text[..cut], NONCE, subprotocol);
                assert_eq!(answered, Answered::NeedMore, "cut at {cut}");
            }
            let agreed = |nonce, subprotocol| agreed(&text[..answer + 2], nonce, subprotocol);
            assert_eq!(agreed(NONCE, subprotocol), Answered::Agreed(answer));
            assert_eq!(agreed([0; 16], subprotocol), Answered::Refused, "another key");
            if subprotocol.is_some() {
                assert_eq!(agreed(NONCE, Some("Chat")), Answered::Refused, "another subprotocol");
                assert_eq!(agreed(NONCE, None), Answered::Refused, "none was asked for");
            }
        }
    }

    #[test]
    fn what_is_no_upgrade_is_refused_by_its_reason() {
        let good = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: foo, WebSocket\r\nConnection: keep-alive, \
                    Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                    Sec-WebSocket-Version: 13\r\n\r\n";
        assert!(matches!(asked(good, None).0, Asked::Agreed { .. }));
        for (part, other, status) in [
            ("GET", "POST", "405"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Host: a\r\n", "", "400"),
            ("Host: a\r\n", "Host: a\r\nHost: b\r\n", "400"),
            ("foo, WebSocket", "foo", "426"),
            ("keep-alive, Upgrade", "keep-alive", "426"),
            (": 13", ": 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "400"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZT==", "400"),
            ("Sec-WebSocket-Key", "Sec-WebSocket-Kex", "400"),
            ("GET / HTTP/1.1", "\x16\x03\x01", "400"),
        ] {
            assert!(good.contains(part));
            let (asked, buffer) = asked(&good.replace(part, other), None);
            let Asked::Refused(size) = asked else { panic!("{part} -> {other}: {asked:?}") };
            let text = std::str::from_utf8(&buffer[..size]).expect("it is text");
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{part} -> {other}: {text}");
            assert!(text.ends_with("\r\n\r\n"));
            assert_eq!(agreed(text.as_bytes(), NONCE, None), Answered::Refused);
        }
        let long = good.replace("/ ", &format!("/{} ", "x".repeat(4096)));
        let mut buffer = long.as_bytes()[..4096].to_vec();
        let Asked::Refused(size) = agree(&mut buffer, 4096, None) else { panic!("it has no end") };
        assert!(buffer[..size].starts_with(b"HTTP/1.1 431 "));
    }

    #[test]
    fn an_answer_is_taken_for_what_it_is() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            str::from_utf8(&accept(&key(NONCE))).expect("it is text")
        );
        let answered = |text: &str| agreed(text.as_bytes(), NONCE, None);
        assert_eq!(answered(&good), Answered::Agreed(good.len()));
        let added = |line: &str| good.replace("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"));
        assert_eq!(answered(&added("Sec-WebSocket-Extensions: foo")), Answered::Refused);
        assert_eq!(answered(&added("Sec-WebSocket-Protocol: foo")), Answered::Refused);
        for other in
            ["HTTP/1.1 200 OK\r\n", "HTTP/1.1 403 Forbidden\r\nA: b", "SSH-2.0-x\r\n", "\x15\x03"]
        {
            assert_eq!(answered(other), Answered::Refused, "{other}");
        }
        assert_eq!(answered("HTTP/1.1 1"), Answered::NeedMore);
    }
}
