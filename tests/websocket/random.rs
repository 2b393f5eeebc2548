//! Random sequences of valid frames, cut anywhere: through the server's echo they come back frame by
//! frame and so message by message, and at the client each message is verified once.

use std::time::Duration;

use fastrand::Rng;
use megaconn::engine::protocol::echo::Echoed;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::WebSocket;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::ends::{ServerEnd, upgraded};
use crate::http::{REQUEST, opened};
use crate::table::behind_head;
use crate::wire::{BINARY, Came, LAST, PING, PONG, TEXT, frame, pieces, read_all};

/// What a fragment carries, and the control frames behind it.
type Fragment = (Vec<u8>, Vec<Control>);

/// Whether it is a ping, else it is a pong; and what it carries.
type Control = (bool, Vec<u8>);

/// The kind of a message, and what it carries.
type Whole = (u8, Vec<u8>);

/// A message, or a frame about the connection.
#[derive(Clone, Debug)]
enum Said {
    /// Its kind and its fragments.
    Message(u8, Vec<Fragment>),
    Control(Control),
}

fn control() -> impl Strategy<Value = Control> + Clone {
    (any::<bool>(), prop_oneof![vec(any::<u8>(), 0..10), vec(any::<u8>(), 120..=125)])
}

fn length() -> impl Strategy<Value = usize> {
    // Around the borders of the forms of a length, and of a buffer.
    prop_oneof![4 => 0..12_usize, 2 => 120..132_usize, 2 => 4_070..4_110_usize, 1 => 0..20_000_usize]
}

fn message() -> impl Strategy<Value = Said> {
    let between = vec(control(), 0..3);
    let cuts = vec((any::<Index>(), between.clone()), 0..5);
    (any::<bool>(), length(), any::<u64>(), cuts, between).prop_map(
        |(is_text, length, seed, mut cuts, last)| {
            let bytes = payload(is_text, length, seed);
            let place = |index: &Index| index.index(bytes.len() + 1);
            cuts.sort_by_key(|(index, _)| place(index));
            let mut begin = 0;
            let mut fragments = Vec::new();
            for (index, between) in cuts {
                let end = place(&index);
                fragments.push((bytes[begin..end].to_vec(), between));
                begin = end;
            }
            fragments.push((bytes[begin..].to_vec(), last));
            Said::Message(if is_text { TEXT } else { BINARY }, fragments)
        },
    )
}

/// Bytes, or characters of one to four bytes each, of about so many bytes.
fn payload(is_text: bool, length: usize, seed: u64) -> Vec<u8> {
    let mut random = Rng::with_seed(seed);
    if !is_text {
        return std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    }
    let mut text = String::new();
    while text.len() < length {
        let most = [0x7f, 0x7ff, 0xffff, 0x0010_ffff][random.usize(..4)];
        text.extend(char::from_u32(random.u32(..=most)));
    }
    text.into_bytes()
}

fn said() -> impl Strategy<Value = Said> {
    prop_oneof![
        3 => message(),
        1 => control().prop_map(Said::Control),
    ]
}

/// The frames of what is said.
fn frames(said: &[Said]) -> Vec<Whole> {
    let mut frames = Vec::new();
    let control = |is_ping: bool| if is_ping { PING } else { PONG };
    for said in said {
        match said {
            Said::Control((is_ping, payload)) => frames.push((control(*is_ping), payload.clone())),
            Said::Message(kind, fragments) => {
                for (n, (payload, between)) in fragments.iter().enumerate() {
                    let opcode = if n == 0 { kind & !LAST } else { 0 };
                    let last = if n + 1 == fragments.len() { LAST } else { 0 };
                    frames.push((opcode | last, payload.clone()));
                    let between = between.iter();
                    frames
                        .extend(between.map(|(is_ping, bytes)| (control(*is_ping), bytes.clone())));
                }
            }
        }
    }
    frames
}

/// Frames put together to messages, each with its kind; and what pongs carry.
fn assemble(frames: &[Came]) -> (Vec<Whole>, Vec<Vec<u8>>) {
    let (mut messages, mut pongs, mut begun) = (Vec::new(), Vec::new(), None);
    for Came { first, payload, .. } in frames {
        match first & 0xf {
            0 => {
                let (_, bytes): &mut Whole = begun.as_mut().expect("a message has begun");
                bytes.extend(payload);
            }
            1 | 2 => assert_eq!(begun.replace((first | LAST, payload.clone())), None),
            0xa => pongs.push(payload.clone()),
            _ => panic!("a frame that was not due: {first:#x}"),
        }
        if first & (LAST | 8) == LAST {
            messages.push(begun.take().expect("a message has begun"));
        }
    }
    assert_eq!(begun, None, "a message has no end");
    (messages, pongs)
}

/// `bytes` cut at these places.
fn cut<'a>(bytes: &'a [u8], at: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = at.iter().map(|index| index.index(bytes.len() + 1)).collect();
    places.sort_unstable();
    pieces(bytes, &places)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_server_gives_every_message_back(
        said in vec(said(), 0..12), seed: u64, at in vec(any::<Index>(), 0..40),
        buffer_bytes in prop_oneof![Just(512_usize), Just(4096), 300..5_000_usize],
    ) {
        let mut random = Rng::with_seed(seed);
        let mut bytes = REQUEST.as_bytes().to_vec();
        for (first, payload) in frames(&said) {
            bytes.extend(frame(first, &payload).bytes(random.u32(..).to_le_bytes(), true));
        }
        let layer = WebSocket { subprotocol: None, banner: None, ping_every: None, then: Mode::Echo };
        let mut server = ServerEnd::new(&layer, buffer_bytes);
        cut(&bytes, &at).into_iter().for_each(|piece| server.take(piece));
        prop_assert_eq!((server.closed, server.kept()), (None, 0));
        let (came, rest) = read_all(behind_head(&server.sent));
        prop_assert_eq!(rest, b"");
        prop_assert!(came.iter().all(|frame| frame.key.is_none()));
        let (messages, pongs) = assemble(&came);
        let whole = |said: &Said| match said {
            Said::Message(kind, fragments) => {
                Some((*kind, fragments.iter().flat_map(|(bytes, _)| bytes.clone()).collect()))
            }
            Said::Control(..) => None,
        };
        prop_assert!(messages == said.iter().filter_map(whole).collect::<Vec<_>>());
        let sent = frames(&said);
        let pings = sent.iter().filter(|(first, _)| *first == PING).map(|(_, bytes)| bytes);
        prop_assert!(pongs.iter().eq(pings));
    }

    #[test]
    fn a_client_verifies_every_message_once_and_answers_every_ping(
        message_bytes in prop_oneof![40..140_u16, 3_800..3_840_u16],
        rounds in vec(
            (vec((any::<Index>(), vec(control(), 0..3)), 0..4), vec(control(), 0..3),
             vec(any::<Index>(), 0..6)),
            1..6,
        ),
    ) {
        let layer = upgraded(Expect::Echo(Echoed { message_bytes }));
        let mut client = opened(&layer, 4096);
        let (mut due, mut looked_at) = (Vec::new(), 0);
        let mut pings = Vec::new();
        for (cuts, behind, at) in rounds {
            let sequence = client.sequence().wrapping_add(1).into();
            let message = Message { run: 3, connection: 9, sequence, due: Duration::from_nanos(5) };
            client.ask(&message, message_bytes);
            due.push(message);
            // The server gives it back in fragments, and pings meanwhile.
            let (asked, rest) = read_all(&client.sent[looked_at..]);
            prop_assert_eq!(rest, b"");
            looked_at = client.sent.len();
            let asked = asked.last().expect("a message was sent");
            prop_assert_eq!((asked.first, asked.key.is_some()), (BINARY, true));
            let mut places: Vec<_> =
                cuts.iter().map(|(index, _)| index.index(asked.payload.len() + 1)).collect();
            places.sort_unstable();
            let fragments = pieces(&asked.payload, &places);
            let last = fragments.len() - 1;
            let between = cuts.into_iter().map(|(_, between)| between).chain([behind]);
            let mut bytes = Vec::new();
            for (n, (fragment, between)) in fragments.into_iter().zip(between).enumerate() {
                let opcode = if n == 0 { BINARY & !LAST } else { 0 };
                let first = opcode | if n == last { LAST } else { 0 };
                bytes.extend(frame(first, fragment).bytes([0; 4], false));
                for (is_ping, payload) in between {
                    let first = if is_ping { PING } else { PONG };
                    bytes.extend(frame(first, &payload).bytes([0; 4], false));
                    pings.extend(is_ping.then_some(payload));
                }
            }
            cut(&bytes, &at).into_iter().for_each(|piece| client.take(piece));
            prop_assert_eq!((client.gone, client.kept()), (None, 0));
            prop_assert_eq!(&client.answers, &due);
        }
        let (sent, rest) = read_all(&client.sent);
        prop_assert_eq!(rest, b"");
        prop_assert!(sent.iter().all(|frame| frame.key.is_some()));
        let sent = sent.iter().filter(|frame| frame.first == PONG).map(|frame| &frame.payload);
        prop_assert!(sent.eq(&pings));
        prop_assert_eq!(client.texts, 0);
    }
}
