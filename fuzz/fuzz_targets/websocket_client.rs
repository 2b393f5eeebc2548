//! Any bytes as what a server of WebSocket sends behind its upgrade: the client never panics, what it
//! sends is masked frames, and where the bytes were cut makes no difference.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use megaconn::engine::protocol::Expectation;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::push::Pushes;
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::{Asked, agree};

use ends::{ClientEnd, Recorder, upgraded};

#[path = "../../tests/websocket/ends.rs"]
#[expect(dead_code, reason = "the test needs more of it")]
mod ends;
#[expect(dead_code, reason = "the test needs more of it")]
#[path = "../../tests/websocket/wire.rs"]
mod wire;
mod written;

/// Bytes of the message that is out.
const MESSAGE_BYTES: u16 = 64;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, step], bytes)) = bytes.split_first_chunk() else { return };
    let frames = if kind & 1 == 0 { bytes.to_vec() } else { written::frames(bytes, false) };
    let buffer_bytes = if kind & 2 == 0 { 4096 } else { 256 };
    let step = 1 + usize::from(step);
    // Whatever comes is heard: bytes that were heard are compared too.
    let layer = upgraded(Recorder::default());
    let [whole, cut] = [frames.len().max(1), step].map(|piece| {
        layer.then.0.borrow_mut().clear();
        let client = hear(&layer, &frames, piece, buffer_bytes, false);
        let heard = layer.then.0.borrow().clone();
        (client.gone, said(&client), heard)
    });
    assert_eq!((whole.0, &whole.1), (cut.0, &cut.1), "a cut makes a difference");
    assert!(whole.0.is_some() || whole.2 == cut.2, "other bytes were heard");
    for is_asked in [true, false] {
        let layer = upgraded(expected(is_asked));
        let whole = hear(&layer, &frames, frames.len().max(1), buffer_bytes, is_asked);
        let cut = hear(&layer, &frames, step, buffer_bytes, is_asked);
        assert_eq!(whole.gone.is_some(), cut.gone.is_some(), "a cut makes a difference");
        if whole.gone.is_none() {
            assert_eq!((whole.texts, &whole.answers), (cut.texts, &cut.answers));
            assert_eq!(said(&whole), said(&cut));
        }
        assert!(whole.answers.len() <= usize::from(is_asked), "an answer to no message");
    }
});

/// The echo of a message, or pushes.
fn expected(is_asked: bool) -> Expect {
    if is_asked {
        return Expect::Echo(Echoed { message_bytes: MESSAGE_BYTES });
    }
    let text = |text: &str| text.parse().expect("it is a text");
    Expect::Push(Pushes { banner: Some(text("hi")), text: text("ok"), every: None })
}

/// A client that has upgraded, and then is sent `frames` in such pieces.
fn hear<'a, E: Expectation>(
    layer: &'a Upgraded<E>,
    frames: &[u8],
    piece: usize,
    buffer_bytes: usize,
    is_asked: bool,
) -> ClientEnd<'a, Upgraded<E>> {
    let mut client = ClientEnd::new(layer, 1, buffer_bytes);
    let mut answer = client.request.clone();
    let size = answer.len();
    let Asked::Agreed { answer: size, .. } = agree(&mut answer, size, None) else {
        panic!("our server does not agree to our client");
    };
    client.take(&answer[..size]);
    assert!(client.is_open, "our client does not take our server's answer");
    if is_asked {
        let message = Message { run: 1, connection: 1, sequence: 1, due: Duration::ZERO };
        client.ask(&message, MESSAGE_BYTES);
        client.sent.clear();
    }
    frames.chunks(piece).for_each(|piece| client.take(piece));
    client
}

/// The frames that it has sent, without their masks.
fn said<E: Expectation>(client: &ClientEnd<'_, E>) -> Vec<(u8, Vec<u8>)> {
    let (frames, rest) = wire::read_all(&client.sent);
    assert!(rest.is_empty(), "a part of a frame was sent");
    assert!(frames.iter().all(|frame| frame.key.is_some()), "a client masks each");
    frames.into_iter().map(|frame| (frame.first, frame.payload)).collect()
}
