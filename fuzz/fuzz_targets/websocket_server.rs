//! Any bytes as what a client of WebSocket sends behind its upgrade: the server never panics, what it
//! sends is frames, and where the bytes were cut makes no difference.
//!
//! Few bytes are frames. So an input is read as such, or as a list of frames to be written, whose lengths
//! and masks are right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::WebSocket;

use ends::ServerEnd;

#[expect(dead_code, reason = "the test needs more of it")]
#[path = "../../tests/websocket/ends.rs"]
mod ends;
#[expect(dead_code, reason = "the test needs more of it")]
#[path = "../../tests/websocket/wire.rs"]
mod wire;
mod written;

/// An upgrade that is agreed to.
const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, step], bytes)) = bytes.split_first_chunk() else { return };
    let frames = if kind & 1 == 0 { bytes.to_vec() } else { written::frames(bytes, true) };
    let then = if kind & 2 == 0 { Mode::Echo } else { Mode::Sink };
    let layer = WebSocket { subprotocol: None, banner: None, ping_every: None, then };
    let buffer_bytes = if kind & 4 == 0 { 4096 } else { 256 };
    let stream = [REQUEST, &frames].concat();
    let [whole, cut] = [stream.len(), 1 + usize::from(step)].map(|piece| {
        let mut server = ServerEnd::new(&layer, buffer_bytes);
        stream.chunks(piece).for_each(|piece| server.take(piece));
        server
    });
    assert_eq!(whole.closed, cut.closed, "a cut makes a difference");
    if whole.closed.is_none() {
        assert_eq!((&whole.sent, whole.kept()), (&cut.sent, cut.kept()), "so does it here");
    }
    let head = cut.sent.windows(4).position(|end| end == b"\r\n\r\n").expect("it was agreed to");
    let (came, rest) = wire::read_all(&cut.sent[head + 4..]);
    assert!(came.iter().all(|frame| frame.key.is_none()), "a server masks none");
    // A frame that is longer than a buffer may be under way, or have gone wrong.
    let has_ended = matches!(cut.closed, Some(CloseReason::Finished));
    assert!(rest.is_empty() || !has_ended, "a frame was cut by a close");
    let close = came.iter().position(|frame| frame.first == wire::CLOSE);
    assert!(close.is_none_or(|at| at + 1 == came.len() && rest.is_empty() && cut.closed.is_some()));
});
