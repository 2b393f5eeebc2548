//! The upgrade as text, written by the tests' own hand.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use megaconn::engine::protocol::Expectation;
use sha1::{Digest, Sha1};

use crate::ends::ClientEnd;

/// The request of RFC 6455, section 1.3.
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\n\
    Upgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// What its key is answered with.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The value of the one header of this name.
pub(crate) fn header<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut values = text.lines().filter_map(|line| {
        let (its, value) = line.split_once(':')?;
        its.eq_ignore_ascii_case(name).then_some(value.trim())
    });
    let value = values.next();
    assert_eq!(values.next(), None, "{name} stands twice in {text}");
    value
}

/// Section 4.2.2, point 5, of the key.
pub(crate) fn accept(key: &str) -> String {
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let mut text = [0; 28];
    BASE64_STANDARD.encode_slice(digest, &mut text).expect("20 bytes are 28 in base64");
    String::from_utf8_lossy(&text).into_owned()
}

/// What a server answers that agrees to `request`.
pub(crate) fn agreement(request: &[u8]) -> String {
    let request = std::str::from_utf8(request).expect("a request is text");
    let key = header(request, "sec-websocket-key").expect("a request has a key");
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        accept(key)
    )
}

/// A connection of `layer` to which a server has agreed.
pub(crate) fn opened<E: Expectation>(layer: &E, buffer_bytes: usize) -> ClientEnd<'_, E> {
    let mut client = ClientEnd::new(layer, 7, buffer_bytes);
    let answer = agreement(&client.request);
    client.take(answer.as_bytes());
    assert!(client.is_open && client.kept() == 0, "{answer} did not open it");
    client
}
