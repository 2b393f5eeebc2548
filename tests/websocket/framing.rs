//! Section 5: masks, heads, lengths, fragments, and the frames about the connection.

use crate::table::Binds::{Client, Server};
use crate::table::Then::{Closed, Fails, Open};
use crate::table::{Row, data, pong, row, try_all};
use crate::wire::{BINARY, CLOSE, LAST, PING, PONG, TEXT, close, frame, of_length, wrongly_masked};

const PROTOCOL_ERROR: u16 = 1002;
const TOO_LONG: u16 = 1009;

#[test]
fn a_mask_is_where_it_must_be() {
    let mut rows = Vec::new();
    for (first, payload) in
        [(TEXT, &b"x"[..]), (BINARY, b""), (PING, b"x"), (PONG, b""), (CLOSE, &[3, 232])]
    {
        let wrong = [wrongly_masked(first, payload)];
        let rule = format!("a client masks each frame, {first:#x} too");
        rows.push(row("5.1", rule, wrong.clone(), [], Fails(PROTOCOL_ERROR)).of(Server));
        let rule = format!("a server masks no frame, {first:#x} neither");
        rows.push(row("5.1", rule, wrong, [], Fails(PROTOCOL_ERROR)).of(Client));
    }
    // Between frames that are right, and within a message.
    let frames = [frame(TEXT & !LAST, b"a"), wrongly_masked(LAST, b"b")];
    let back = [data(TEXT & !LAST, b"a")];
    rows.push(row("5.1", "so does each fragment", frames, back, Fails(PROTOCOL_ERROR)));
    try_all(&rows);
}

#[test]
fn bits_and_opcodes_that_are_not_in_use_end_it() {
    let mut rows = Vec::new();
    for bit in [0x40, 0x20, 0x10, 0x70] {
        for first in [TEXT, BINARY, TEXT & !LAST, CLOSE, PING, PONG] {
            let rule = format!("a reserved bit is 0: {:#x}", first | bit);
            let frames = [frame(first | bit, b"x")];
            rows.push(row("5.2", rule, frames, [], Fails(PROTOCOL_ERROR)));
        }
        let frames = [frame(BINARY & !LAST, b"a"), frame(LAST | bit, b"b")];
        let back = [data(BINARY & !LAST, b"a")];
        rows.push(row("5.2", "also of a continuation", frames, back, Fails(PROTOCOL_ERROR)));
    }
    for opcode in (3..=7).chain(0xb..=0xf) {
        for last in [LAST, 0] {
            let rule = format!("opcode {opcode:#x} is not defined, last {last:#x}");
            let frames = [frame(opcode | last, b"x")];
            rows.push(row("5.2", rule, frames, [], Fails(PROTOCOL_ERROR)));
        }
    }
    try_all(&rows);
}

#[test]
fn a_length_is_the_shortest_and_one_that_can_be() {
    let wide = |len: u64| len.to_be_bytes();
    let mut rows = Vec::new();
    for len in [0_u8, 1, 125] {
        let payload = vec![b'x'; len.into()];
        let rule = format!("{len} is not said in three bytes");
        let frames = [of_length(BINARY, 126, &[0, len], &payload)];
        rows.push(row("5.2", rule, frames, [], Fails(PROTOCOL_ERROR)));
    }
    for len in [0_u16, 125, 126, 65_535] {
        let rule = format!("{len} is not said in nine bytes");
        let frames = [of_length(BINARY, 127, &wide(len.into()), &[])];
        rows.push(row("5.2", rule, frames, [], Fails(PROTOCOL_ERROR)));
    }
    for len in [1 << 63, u64::MAX, 1 << 63 | 70_000] {
        let rule = format!("the highest bit of {len:#x} is 0");
        let frames = [of_length(BINARY, 127, &wide(len), b"")];
        rows.push(row("5.2", rule, frames, [], Fails(PROTOCOL_ERROR)));
    }
    for len in [1 << 32, 1 << 40, (1 << 63) - 1] {
        let rule = format!("{len:#x} bytes are more than this end takes");
        let frames = [of_length(TEXT, 127, &wide(len), b"")];
        rows.push(row("5.2", rule, frames, [], Fails(TOO_LONG)));
    }
    for len in [0, 1, 125, 126, 127, 4_082, 4_083, 4_088, 4_096, 65_535, 65_536, 300_000] {
        let text: Vec<u8> = "h\u{e9}llo \u{20ac} ".bytes().cycle().take(len).collect();
        // What is cut within a character is no text.
        let first = if std::str::from_utf8(&text).is_ok() { TEXT } else { BINARY };
        let rule = format!("a message of {len} bytes");
        let (frames, back) = ([frame(first, &text)], [data(first, &text)]);
        rows.push(row("5.2", rule, frames, back, Open));
        let rule = format!("{len} bytes in three fragments with a ping between");
        let thirds: Vec<_> = text.chunks(len.div_ceil(3).max(1)).collect();
        let [a, b, c] = [0, 1, 2].map(|n| thirds.get(n).copied().unwrap_or_default());
        let frames = [
            frame(BINARY & !LAST, a),
            frame(PING, b"between"),
            frame(0, b),
            frame(LAST, c),
            frame(TEXT, b"next"),
        ];
        let back = [
            data(BINARY & !LAST, a),
            pong(b"between"),
            data(0, b),
            data(LAST, c),
            data(TEXT, b"next"),
        ];
        rows.push(row("5.4", rule, frames, back, Open));
    }
    try_all(&rows);
}

/// Rows of section 5.4 of messages that begin with `first`.
fn fragments(first: u8) -> Vec<Row> {
    let begin = first & !LAST;
    let own = |rule: &str| format!("{first:#x}: {rule}");
    let mut rows = vec![
        row(
            "5.4",
            own("fragments come in order, and are one message"),
            [frame(begin, b"a"), frame(0, b"b"), frame(LAST, b"c"), frame(first, b"d")],
            [data(begin, b"a"), data(0, b"b"), data(LAST, b"c"), data(first, b"d")],
            Open,
        ),
        row(
            "5.4",
            own("a fragment may be empty, the first, one between, and the last"),
            [frame(begin, b""), frame(0, b""), frame(0, b"x"), frame(0, b""), frame(LAST, b"")],
            [data(begin, b""), data(0, b""), data(0, b"x"), data(0, b""), data(LAST, b"")],
            Open,
        ),
        row(
            "5.4",
            own("control frames stand between fragments"),
            [
                frame(begin, b"a"),
                frame(PING, b""),
                frame(PONG, b"x"),
                frame(0, b"b"),
                frame(PING, &[7; 125]),
                frame(PING, b"2"),
                frame(LAST, b"c"),
            ],
            [
                data(begin, b"a"),
                pong(b""),
                data(0, b"b"),
                pong(&[7; 125]),
                pong(b"2"),
                data(LAST, b"c"),
            ],
            Open,
        ),
        row(
            "5.4",
            own("a close stands between fragments"),
            [frame(begin, b"a"), frame(CLOSE, &close(1001, b"bye"))],
            [data(begin, b"a")],
            Closed(1001),
        ),
        row(
            "5.4",
            own("no continuation when the message has ended"),
            [frame(begin, b"a"), frame(LAST, b"b"), frame(LAST, b"c")],
            [data(begin, b"a"), data(LAST, b"b")],
            Fails(PROTOCOL_ERROR),
        ),
    ];
    for second in [TEXT, BINARY, TEXT & !LAST, BINARY & !LAST] {
        rows.push(row(
            "5.4",
            own("messages are not interleaved"),
            [frame(begin, b"a"), frame(second, b"b")],
            [data(begin, b"a")],
            Fails(PROTOCOL_ERROR),
        ));
    }
    rows
}

#[test]
fn fragments_are_one_message_and_control_frames_stand_between() {
    let mut rows = [fragments(TEXT), fragments(BINARY)].into_iter().flatten().collect::<Vec<_>>();
    for continuation in [0, LAST] {
        for payload in [&b""[..], b"x"] {
            rows.push(row(
                "5.4",
                "a continuation continues something",
                [frame(continuation, payload)],
                [],
                Fails(PROTOCOL_ERROR),
            ));
        }
    }
    try_all(&rows);
}

#[test]
fn control_frames_are_whole_and_short() {
    let mut rows = Vec::new();
    for first in [CLOSE, PING, PONG] {
        for payload in [&b""[..], &[3, 232]] {
            let rule = format!("{first:#x} is not fragmented");
            let frames = [frame(first & !LAST, payload)];
            rows.push(row("5.5", rule, frames, [], Fails(PROTOCOL_ERROR)));
        }
        for len in [126, 200, 70_000] {
            let rule = format!("{first:#x} has 125 bytes at most, {len} are too many");
            let frames = [frame(first, &vec![0; len])];
            rows.push(row("5.5", rule, frames, [], Fails(PROTOCOL_ERROR)));
        }
    }
    try_all(&rows);
}

#[test]
fn a_ping_is_answered_by_a_pong_of_the_same_bytes() {
    let mut rows = Vec::new();
    for len in [0, 1, 2, 124, 125] {
        let payload: Vec<u8> = (0..len).map(|n| 255 - n).collect();
        let rule = format!("a ping of {len} bytes has its pong");
        rows.push(row("5.5.2", rule, [frame(PING, &payload)], [pong(&payload)], Open));
        let rule = format!("a pong of {len} bytes is not answered");
        rows.push(row("5.5.3", rule, [frame(PONG, &payload)], [], Open));
    }
    rows.push(row(
        "5.5.2",
        "pings are answered in their order, and before what comes after them",
        [frame(PING, b"1"), frame(TEXT, b"between"), frame(PING, b"2"), frame(PING, b"3")],
        [pong(b"1"), data(TEXT, b"between"), pong(b"2"), pong(b"3")],
        Open,
    ));
    rows.push(row(
        "5.5.2",
        "and none behind a close",
        [frame(PING, b"1"), frame(CLOSE, &close(1000, b""))],
        [pong(b"1")],
        Closed(1000),
    ));
    let many: Vec<_> = (0..60).map(|n| frame(PING, &[n; 100])).collect();
    let pongs: Vec<_> = (0..60).map(|n| pong(&[n; 100])).collect();
    rows.push(row("5.5.2", "more pings than a buffer holds", many, pongs, Open));
    try_all(&rows);
}
