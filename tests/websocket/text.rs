//! Section 8.1: a text is in UTF-8, in however many fragments and pieces it comes.

use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::WebSocket;

use crate::ends::ServerEnd;
use crate::http::REQUEST;
use crate::table::Then::{Fails, Open};
use crate::table::{behind_head, data, pong, row, try_all};
use crate::wire::{BINARY, CLOSE, LAST, PING, TEXT, close, cuts, frame, pieces};

const INVALID_TEXT: u16 = 1007;

/// Texts at the borders of what UTF-8 can say.
const VALID: [&str; 8] = [
    "plain",
    "\u{7f}\u{80}",
    "\u{7ff}\u{800}",
    "\u{d7ff}\u{e000}",
    "\u{fffd}\u{fffe}\u{ffff}",
    "\u{10000}\u{3ffff}\u{40000}\u{fffff}\u{100000}\u{10ffff}",
    "\u{0}",
    "\u{3ba}\u{1f79}\u{3c3}\u{3bc}\u{3b5}",
];

/// What is none, by its reason.
const INVALID: [(&str, &[u8]); 19] = [
    ("a byte that continues nothing", b"a\x80"),
    ("many of them", b"\xbf\xbf\xbf"),
    ("a beginning without its end", b"\xc3(x"),
    ("three bytes cut short", b"\xe2\x82(x"),
    ("four bytes cut short", b"\xf0\x9f\x98(x"),
    ("overlong in two", b"\xc0\xaf"),
    ("overlong in two, the last", b"\xc1\xbf"),
    ("overlong in three", b"\xe0\x80\xaf"),
    ("overlong in three, the last", b"\xe0\x9f\xbf"),
    ("overlong in four", b"\xf0\x80\x80\xaf"),
    ("overlong in four, the last", b"\xf0\x8f\xbf\xbf"),
    ("the first half of a pair", b"\xed\xa0\x80"),
    ("the last half of a pair", b"\xed\xbf\xbf"),
    ("a pair", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("beyond 10FFFF", b"\xf4\x90\x80\x80"),
    ("far beyond", b"\xf5\x80\x80\x80"),
    ("five bytes", b"\xf8\x88\x80\x80\x80"),
    ("six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("FE and FF", b"\xfe\xff"),
];

/// What is cut within a character.
const CUT: [&[u8]; 6] =
    [b"\xc3", b"a\xe2", b"a\xe2\x82", b"\xf0", b"\xf0\x9f", b"\xce\xba\xf0\x9f\x98"];

#[test]
fn a_text_in_utf8_is_taken_at_every_cut_of_it() {
    let mut rows = Vec::new();
    for text in VALID {
        let bytes = text.as_bytes();
        let rule = format!("{text:?}");
        rows.push(row("8.1", rule, [frame(TEXT, bytes)], [data(TEXT, bytes)], Open));
        for cut in 0..=bytes.len() {
            let (a, b) = bytes.split_at(cut);
            let rule = format!("{text:?} in fragments, cut at {cut}");
            let frames = [frame(TEXT & !LAST, a), frame(LAST, b), frame(TEXT, b"\xc3\xa9")];
            let back = [data(TEXT & !LAST, a), data(LAST, b), data(TEXT, b"\xc3\xa9")];
            rows.push(row("5.6", rule, frames, back, Open));
        }
    }
    for (_, bytes) in INVALID {
        let rule = "what is binary need not be UTF-8";
        rows.push(row("5.6", rule, [frame(BINARY, bytes)], [data(BINARY, bytes)], Open));
    }
    try_all(&rows);
}

#[test]
fn what_is_no_utf8_ends_it() {
    let mut rows = Vec::new();
    for (reason, bytes) in INVALID {
        let text = [b"before ", bytes, b" behind"].concat();
        rows.push(row("8.1", reason, [frame(TEXT, &text)], [], Fails(INVALID_TEXT)));
        // A fragment is looked at with what came before it, and without what comes after.
        let begin = &b"before "[..];
        let frames = [frame(TEXT & !LAST, begin), frame(PING, b"?"), frame(LAST, bytes)];
        let back = [data(TEXT & !LAST, begin), pong(b"?")];
        rows.push(row("8.1", format!("{reason}, later"), frames, back, Fails(INVALID_TEXT)));
    }
    for bytes in CUT {
        let rule = format!("a text ends with a whole character, {bytes:x?} does not");
        rows.push(row("8.1", rule.clone(), [frame(TEXT, bytes)], [], Fails(INVALID_TEXT)));
        // The last fragment is empty, and shows that the text was cut.
        let frames = [frame(TEXT & !LAST, bytes), frame(LAST, b"")];
        let back = [data(TEXT & !LAST, bytes)];
        rows.push(row("8.1", rule, frames, back, Fails(INVALID_TEXT)));
    }
    for (begin, end) in [
        (&b"\xe2\x82"[..], &b"("[..]),
        (b"\xe0", b"\x9f\xbf"),
        (b"\xed", b"\xa0\x80"),
        (b"\xf4", b"\x90"),
    ] {
        let rule = format!("a character goes on in the next fragment: {begin:x?}, {end:x?}");
        let frames = [frame(TEXT & !LAST, begin), frame(LAST, end)];
        let back = [data(TEXT & !LAST, begin)];
        rows.push(row("8.1", rule, frames, back, Fails(INVALID_TEXT)));
    }
    try_all(&rows);
}

/// A text that is longer than a buffer goes out in pieces: when its head is out, no other frame may stand
/// within it, and the connection ends without one.
#[test]
fn a_long_text_that_goes_wrong_ends_it_where_it_does() {
    const LEN: usize = 10_000;
    let layer = WebSocket { subprotocol: None, banner: None, ping_every: None, then: Mode::Echo };
    let mut random = fastrand::Rng::with_seed(3);
    for at in [0, 100, 4_000, 4_500, 9_000, LEN - 1] {
        let mut text = vec![b'x'; LEN];
        text[at] = 0xff;
        let mut bytes = REQUEST.as_bytes().to_vec();
        bytes.extend(frame(TEXT, &text).bytes([1, 2, 3, 4], true));
        bytes.extend(frame(TEXT, b"after").bytes([1, 2, 3, 4], true));
        let whole = frame(TEXT, &text).bytes([0; 4], false);
        for cuts in cuts(1..bytes.len(), &mut random) {
            let mut server = ServerEnd::new(&layer, 4096);
            pieces(&bytes, &cuts).into_iter().for_each(|piece| server.take(piece));
            assert_eq!(server.closed, Some(CloseReason::Malformed), "{at}, cut at {cuts:?}");
            let sent = behind_head(&server.sent);
            let is_told = sent == frame(CLOSE, &close(INVALID_TEXT, b"")).bytes([0; 4], false);
            let is_cut = whole.starts_with(sent) && sent.len() < 4 + at.max(1);
            assert!(is_told || is_cut, "{at}, cut at {cuts:?}: {} bytes", sent.len());
        }
    }
}
