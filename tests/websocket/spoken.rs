//! What a server says unasked, a banner and pushes, and what the masks of a client are like.

use std::collections::BTreeSet;
use std::time::Duration;

use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::{Push, Pushes};
use megaconn::engine::protocol::websocket::WebSocket;

use crate::ends::{ClientEnd, ServerEnd, upgraded};
use crate::http::{REQUEST, opened};
use crate::table::behind_head;
use crate::wire::{BINARY, PING, PONG, TEXT, cuts, frame, pieces, read_all};

#[test]
fn a_banner_is_the_first_text_and_what_the_client_said_before_it_is_answered() {
    let mut random = fastrand::Rng::with_seed(1);
    for len in [0, 1, 125, 126, 300, 3_000] {
        let banner = "b".repeat(len);
        let layer = WebSocket {
            subprotocol: None,
            banner: Some(banner.clone().into()),
            ping_every: None,
            then: Mode::Echo,
        };
        let mut bytes = REQUEST.as_bytes().to_vec();
        bytes.extend(frame(BINARY, b"early").bytes([1, 2, 3, 4], true));
        bytes.extend(frame(PING, b"?").bytes([5, 6, 7, 8], true));
        for cuts in cuts(1..bytes.len(), &mut random) {
            let mut server = ServerEnd::new(&layer, 4096);
            pieces(&bytes, &cuts).into_iter().for_each(|piece| server.take(piece));
            let (frames, rest) = read_all(behind_head(&server.sent));
            let frames: Vec<_> = frames.iter().map(|f| (f.first, &f.payload[..])).collect();
            let due = [(TEXT, banner.as_bytes()), (BINARY, b"early"), (PONG, b"?")];
            assert_eq!(frames, due, "{len} bytes, cut at {cuts:?}");
            assert_eq!((rest, server.closed, server.kept()), (&b""[..], None, 0));
        }
    }
}

#[test]
fn a_push_is_one_message_and_none_goes_before_the_upgrade() {
    let every = Duration::from_secs(1);
    for (text, first) in [
        ("tick", TEXT),
        ("\u{e9}\u{20ac}", TEXT),
        (r"\xff\xfe", BINARY),
        (&"long ".repeat(30), TEXT),
        (&"x".repeat(4_000), TEXT),
    ] {
        let text: megaconn::base::units::Text = text.parse().expect("it is a text");
        let push = Push { every, text: text.clone() };
        let layer =
            WebSocket { subprotocol: None, banner: None, ping_every: None, then: Mode::Push(push) };
        assert_eq!(megaconn::engine::protocol::Protocol::timer_every(&layer), Some(every));
        let mut server = ServerEnd::new(&layer, 4096);
        server.timer();
        assert_eq!(server.sent, b"", "before the upgrade there are no frames");
        server.take(REQUEST.as_bytes());
        server.timer();
        server.take(&frame(PING, b"?").bytes([9; 4], true));
        server.take(&frame(BINARY, b"dropped").bytes([9; 4], true));
        server.timer();
        let (frames, rest) = read_all(behind_head(&server.sent));
        let frames: Vec<_> = frames.iter().map(|f| (f.first, &f.payload[..])).collect();
        let due = [(first, text.bytes()), (PONG, b"?"), (first, text.bytes())];
        assert_eq!((frames.as_slice(), rest), (&due[..], &b""[..]));
    }
}

#[test]
fn a_client_follows_pushes_in_frames_of_any_kind_and_answers_pings_between() {
    let text = |text: &str| text.parse().expect("it is a text");
    let pushes = || Pushes { banner: Some(text("hello ")), text: text("tick;"), every: None };
    let mut random = fastrand::Rng::with_seed(2);
    let mut bytes = Vec::new();
    for (first, payload) in [
        (TEXT, &b"hello "[..]),
        (TEXT, b"tick;"),
        (BINARY & 0x7f, b"ti"),
        (PING, b"in between"),
        (0, b""),
        (0x80, b"ck;"),
        (PONG, b""),
        (TEXT, b""),
        (TEXT, b"tick;"),
        (PING, b""),
        (BINARY, b"tick;tick;"),
    ] {
        bytes.extend(frame(first, payload).bytes([0; 4], false));
    }
    for cuts in cuts(1..bytes.len(), &mut random) {
        let layer = upgraded(pushes());
        let mut client = opened(&layer, 512);
        pieces(&bytes, &cuts).into_iter().for_each(|piece| client.take(piece));
        assert_eq!((client.texts, client.gone, client.kept()), (5, None, 0), "cut at {cuts:?}");
        let (frames, rest) = read_all(&client.sent);
        let frames: Vec<_> = frames.iter().map(|f| (f.first, &f.payload[..])).collect();
        assert_eq!(
            (frames.as_slice(), rest),
            (&[(PONG, &b"in between"[..]), (PONG, b"")][..], &b""[..])
        );
    }
}

/// Section 5.3: each frame has a new mask, which nothing foretells.
#[test]
fn masks_are_new_and_have_no_pattern() {
    const FRAMES: u16 = 2_000;
    let layer = upgraded(Echoed { message_bytes: 64 });
    let mut client: ClientEnd<'_, _> = opened(&layer, 512);
    for _ in 0..FRAMES {
        client.take(&frame(PING, b"").bytes([0; 4], false));
    }
    let (frames, _) = read_all(&client.sent);
    let keys: Vec<_> =
        frames.iter().map(|f| u32::from_le_bytes(f.key.expect("it is masked"))).collect();
    assert_eq!(keys.len(), usize::from(FRAMES));
    let distinct: BTreeSet<_> = keys.iter().collect();
    assert!(distinct.len() >= keys.len() - 2, "{} of {} are new", distinct.len(), keys.len());
    // Each bit is set in half of them, and changes from one to the next in half of them: within six
    // standard deviations.
    let half = keys.len() / 2;
    for bit in 0..32 {
        let is_set = |key: &u32| key >> bit & 1 == 1;
        let set = keys.iter().filter(|key| is_set(key)).count();
        let changes = keys.windows(2).filter(|two| is_set(&two[0]) != is_set(&two[1])).count();
        for count in [set, changes] {
            assert!(count.abs_diff(half) < 135, "bit {bit}: {count} of {}", keys.len());
        }
    }
    // The message that is masked is the message.
    let message = Message { run: 1, connection: 2, sequence: 1, due: Duration::from_nanos(3) };
    let before = client.sent.len();
    client.ask(&message, 64);
    let (frames, rest) = read_all(&client.sent[before..]);
    assert_eq!((frames.len(), rest), (1, &b""[..]));
    assert_eq!((frames[0].first, Message::read(&frames[0].payload)), (BINARY, Ok(message)));
}
