//! The layers of the PROXY protocol at both ends: bytes cut anywhere, what waits for a header, and what is written
//! is what is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ends::{ClientEnd, ServerEnd};
use megaconn::base::units::Text;
use megaconn::engine::client::role::Calling;
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::echo::{Echo, Echoed};
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::proxy::client::Announced;
use megaconn::engine::protocol::proxy::header::{Ends, Found, LINE_BYTES_MAX, Version, read};
use megaconn::engine::protocol::proxy::{Awaited, State};
use megaconn::engine::protocol::push::Push;
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::Request;
use megaconn::engine::protocol::{Expectation, Protocol};
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::Slot;
use proptest::prelude::*;

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "websocket/ends.rs"]
mod ends;

const BUFFER_BYTES: usize = 4_096;

const VERSIONS: [Version; 2] = [Version::V1, Version::V2];

fn header(version: Version) -> Vec<u8> {
    let ends = Ends {
        source: (Ipv4Addr::new(127, 0, 0, 2), 40_000).into(),
        target: (Ipv4Addr::LOCALHOST, 7_000).into(),
    };
    let mut out = [0; LINE_BYTES_MAX];
    let size = version.write(ends, &mut out);
    out[..size].to_vec()
}

fn text(bytes: usize) -> Text {
    "a".repeat(bytes).parse().expect("a text")
}

/// A server that is given `pieces`.
fn given<'a, P: Protocol>(protocol: &'a P, pieces: &[&[u8]]) -> ServerEnd<'a, P> {
    let mut server = ServerEnd::new(protocol, BUFFER_BYTES);
    pieces.iter().for_each(|piece| server.take(piece));
    server
}

#[test]
fn what_follows_a_header_is_the_protocols_at_every_cut() {
    let layer = Awaited::new(Echo);
    for version in VERSIONS {
        let header = header(version);
        let stream = [&header[..], b"hello"].concat();
        for one in 0..=stream.len() {
            for other in one..=stream.len() {
                let server =
                    given(&layer, &[&stream[..one], &stream[one..other], &stream[other..]]);
                assert_eq!((&server.sent[..], server.closed), (&b"hello"[..], None));
                assert_eq!(server.kept(), 0, "a connection at rest holds no buffer");
            }
            let server = given(&layer, &[&stream[..one.min(header.len())]]);
            assert!(server.sent.is_empty() && server.closed.is_none());
        }
    }
}

#[test]
fn a_connection_without_a_header_is_malformed() {
    let layer = Awaited::new(Banner { text: Some(text(9)), then: Mode::Echo });
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], b"PROXY TCP4 1 2 3 4\r\nhello"] {
        let server = given(&layer, &[bytes]);
        assert_eq!((&server.sent[..], server.closed), (&b""[..], Some(CloseReason::Malformed)));
    }
}

/// Also where neither has room beside the other, and what is said first goes out in pieces.
#[test]
fn what_is_said_first_waits_for_the_header_and_stands_before_all_else() {
    for (banner, payload) in
        [(1, 0), (9, 5), (300, 4_000), (4_096, 4_000), (4_096, 0), (100, 9_000)]
    {
        let then = Banner { text: Some(text(banner)), then: Mode::Echo };
        let layer = Awaited::new(then);
        assert!(!layer.speaks_first());
        for version in VERSIONS {
            let mut stream = header(version);
            stream.extend(vec![b'p'; payload]);
            let server = given(&layer, &[&stream]);
            let expected = [vec![b'a'; banner], vec![b'p'; payload]].concat();
            assert!(server.sent == expected && server.closed.is_none(), "{banner} {payload}");
        }
    }
}

#[test]
fn nothing_is_pushed_and_no_farewell_said_before_the_header() {
    let every = std::time::Duration::from_secs(1);
    let layer = Awaited::new(Mode::Push(Push { every, text: text(3) }));
    assert_eq!(layer.timer_every(), Some(every));
    let mut server = given(&layer, &[]);
    server.timer();
    assert!(server.sent.is_empty());
    server.take(&header(Version::V2));
    server.timer();
    assert_eq!(server.sent, b"aaa");
}

#[test]
fn a_client_says_the_header_first_and_its_upgrade_behind_it() {
    let targets = vec!["127.0.0.1:7000".parse().expect("an address")];
    for version in VERSIONS {
        let echoed = Echoed { message_bytes: 64 };
        let layer = Announced { version, targets: targets.clone(), then: echoed };
        assert!(!layer.awaits_opening(), "no answer is awaited");
        assert_eq!(ClientEnd::new(&layer, 0, BUFFER_BYTES).request, header(version));
        let request = Request { path: "/".to_owned(), headers: String::new(), subprotocol: None };
        let then = Upgraded::new(request, vec!["a".into()], echoed);
        let layer = Announced { version, targets: targets.clone(), then };
        assert!(layer.awaits_opening());
        let said = ClientEnd::new(&layer, 0, BUFFER_BYTES).request;
        let upgrade = said.strip_prefix(&header(version)[..]).expect("the header is first");
        assert!(upgrade.starts_with(b"GET / HTTP/1.1\r\n"), "{}", upgrade.escape_ascii());
    }
}

/// A client that announces needs no byte more in its slot, a server that awaits it four.
#[test]
fn a_connection_at_rest_stays_small() {
    assert_eq!(size_of::<Slot<Serving<State<()>>>>(), 36);
    let client = size_of::<Slot<Calling<<Announced<Echoed> as Expectation>::State>>>();
    assert_eq!(client, 32);
}

fn pair() -> impl Strategy<Value = Ends> {
    let v4 = || any::<[u8; 4]>().prop_map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let v6 = || any::<[u8; 16]>().prop_map(|octets| IpAddr::from(Ipv6Addr::from(octets)));
    let addresses = prop_oneof![(v4(), v4()), (v6(), v6())];
    (addresses, any::<[u16; 2]>()).prop_map(|((source, target), ports)| Ends {
        source: SocketAddr::new(source, ports[0]),
        target: SocketAddr::new(target, ports[1]),
    })
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(ends in pair(), v1: bool, more: Vec<u8>) {
        let version = VERSIONS[usize::from(!v1)];
        let mut out = [0; LINE_BYTES_MAX];
        let size = version.write(ends, &mut out);
        for cut in 0..size {
            prop_assert_eq!(read(&out[..cut], BUFFER_BYTES), Found::NeedMore);
        }
        let found = Found::Header { size, ends: Some(ends) };
        prop_assert_eq!(read(&[&out[..size], &more].concat(), BUFFER_BYTES), found);
    }

    /// A byte of a header is another one: what is read is a header of as many bytes, or none, at every cut the same.
    #[test]
    fn a_header_that_is_damaged_is_read_alike_at_every_cut(
        ends in pair(), v1: bool, at: prop::sample::Index, byte: u8, cut: prop::sample::Index
    ) {
        let version = VERSIONS[usize::from(!v1)];
        let mut out = [0; LINE_BYTES_MAX];
        let size = version.write(ends, &mut out);
        out[at.index(size)] = byte;
        let stream = [&out[..size], b"hello\r\n"].concat();
        let layer = Awaited::new(Echo);
        let cut = cut.index(stream.len());
        let (whole, pieces) =
            (given(&layer, &[&stream]), given(&layer, &[&stream[..cut], &stream[cut..]]));
        prop_assert_eq!((&whole.sent, whole.closed), (&pieces.sent, pieces.closed));
        prop_assert!(whole.closed.is_some() || whole.kept() == pieces.kept());
    }
}
