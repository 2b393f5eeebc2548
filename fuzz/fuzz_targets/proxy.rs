//! Any bytes as what a connection begins with where a header of the PROXY protocol is awaited: the server never
//! panics, says nothing before the header, and where the bytes were cut makes no difference. What a header says is
//! written and read again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::proxy::Awaited;
use megaconn::engine::protocol::proxy::header::{Found, LINE_BYTES_MAX, Version, read};

use ends::ServerEnd;

#[expect(dead_code, reason = "the test needs more of it")]
#[path = "../../tests/websocket/ends.rs"]
mod ends;

fuzz_target!(|input: &[u8]| {
    let Some((&[how, step], bytes)) = input.split_first_chunk() else { return };
    let buffer_bytes = if how & 1 == 0 { 4_096 } else { 256 };
    let text = "welcome".repeat(usize::from(how >> 1 & 31)).parse().ok();
    let banner = text.clone().map_or(0, |text: megaconn::base::units::Text| text.bytes().len());
    let layer = Awaited::new(Banner { text, then: Mode::Echo });
    let [whole, cut] = [bytes.len().max(1), 1 + usize::from(step)].map(|piece| {
        let mut server = ServerEnd::new(&layer, buffer_bytes);
        bytes.chunks(piece).for_each(|piece| server.take(piece));
        server
    });
    assert_eq!((&whole.sent, whole.closed), (&cut.sent, cut.closed), "a cut makes a difference");
    assert!(whole.closed.is_some() || whole.kept() == cut.kept(), "so does it here");
    match read(bytes, buffer_bytes) {
        Found::NeedMore => assert!(whole.sent.is_empty() && whole.closed.is_none()),
        Found::Malformed => assert!(whole.sent.is_empty() && whole.closed.is_some()),
        Found::Header { size, ends } => {
            assert_eq!(&whole.sent[banner..], &bytes[size..], "what follows is echoed");
            let Some(ends) = ends else { return };
            for version in [Version::V1, Version::V2] {
                let mut out = [0; LINE_BYTES_MAX];
                let size = version.write(ends, &mut out);
                let found = Found::Header { size, ends: Some(ends) };
                assert_eq!(read(&out[..size], LINE_BYTES_MAX), found);
            }
        }
    }
});
