//! Sections 5.5.1 and 7: the close frame, its code and its reason.

use crate::ends::{Recorder, upgraded};
use crate::http::opened;
use crate::table::Then::{Closed, Fails};
use crate::table::{row, try_all};
use crate::wire::{CLOSE, close, frame, read_all};

const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const INVALID_TEXT: u16 = 1007;

/// Codes that a close frame may carry: sections 7.4.1 and 7.4.2, and what IANA has registered since.
const VALID: [u16; 16] = [
    1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
];

/// Those that none may carry: reserved ones, and those that are no codes.
const INVALID: [u16; 16] =
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 9999, 32_768, 65_535];

#[test]
fn a_close_is_answered_by_a_close() {
    let mut rows = Vec::new();
    rows.push(row("5.5.1", "one without a code", [frame(CLOSE, b"")], [], Closed(NORMAL)));
    for code in VALID {
        let reasons = ["", "bye", "\u{20ac} \u{1f600}", &"x".repeat(123)];
        for reason in reasons {
            let rule = format!("{code} may be sent, with a reason of {} bytes", reason.len());
            let frames = [frame(CLOSE, &close(code, reason.as_bytes()))];
            rows.push(row("7.4", rule, frames, [], Closed(code)));
        }
    }
    try_all(&rows);
}

#[test]
fn a_close_that_says_what_it_may_not_is_an_error() {
    let mut rows = Vec::new();
    for byte in [0, 3, 255] {
        let rule = "a code has two bytes";
        rows.push(row("5.5.1", rule, [frame(CLOSE, &[byte])], [], Fails(PROTOCOL_ERROR)));
    }
    for code in INVALID {
        for reason in [&b""[..], b"bye"] {
            let rule = format!("{code} is never sent");
            let frames = [frame(CLOSE, &close(code, reason))];
            rows.push(row("7.4", rule, frames, [], Fails(PROTOCOL_ERROR)));
        }
    }
    for reason in [&b"\xff"[..], b"abc\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]
    {
        let rule = format!("a reason is in UTF-8, {reason:x?} is not");
        let frames = [frame(CLOSE, &close(NORMAL, reason))];
        rows.push(row("5.5.1", rule, frames, [], Fails(INVALID_TEXT)));
    }
    try_all(&rows);
}

#[test]
fn a_client_leaves_with_a_masked_close_frame() {
    let layer = upgraded(Recorder::default());
    let mut client = opened(&layer, 512);
    client.leave();
    let (frames, rest) = read_all(&client.sent);
    let [frame] = frames.as_slice() else { panic!("one frame: {frames:?}") };
    assert_eq!((frame.first, &frame.payload[..]), (CLOSE, &close(NORMAL, b"")[..]), "7.1.2");
    assert!(frame.key.is_some(), "5.1: a client masks each frame");
    assert_eq!(rest, b"");
}
