//! Section 4: what a server needs to agree to, what a client takes for an agreement, and what it asks.

use std::collections::BTreeSet;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastrand::Rng;
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::Expectation;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::WebSocket;
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::Request;

use crate::ends::{ClientEnd, Gone, Recorder, ServerEnd, upgraded};
use crate::http::{ACCEPT, REQUEST, accept, agreement, header};
use crate::wire::{cuts, pieces};

/// What a server answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Agreed,
    /// It agrees, and to this subprotocol.
    Chosen(&'static str),
    /// It does not, with this status, and a header that helps.
    Refused(&'static str, &'static str),
}

use Answer::{Agreed, Chosen, Refused};

const BAD: Answer = Refused("400", "");
const UPGRADE: Answer = Refused("426", "Upgrade: websocket");
const VERSION: Answer = Refused("426", "Sec-WebSocket-Version: 13");

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Section, rule, what is put in the place of what in the request, and the answer.
const REQUESTS: [(&str, &str, &str, &str, Answer); 46] = [
    ("4.2.2", "the example", "", "", Agreed),
    ("4.2.1", "the method is GET", "GET", "POST", Refused("405", "Allow: GET")),
    ("4.2.1", "so is its case", "GET", "get", Refused("405", "Allow: GET")),
    ("4.2.1", "HTTP/1.1 at least", "HTTP/1.1", "HTTP/1.0", BAD),
    ("4.2.1", "it is HTTP", "HTTP/1.1", "SPDY/3", BAD),
    ("4.2.1", "a URI of more parts", "/chat", "/chat/a?b=c%20d&e", Agreed),
    ("4.2.1", "an absolute URI", "/chat", "http://server.example.com/chat", Agreed),
    ("4.2.1", "there is a host", "Host: server.example.com\r\n", "", BAD),
    ("4.2.1", "there is one", "Host: ", "Host: a\r\nHost: ", BAD),
    ("4.2.1", "it may have a port", "example.com\r\nU", "example.com:8080\r\nU", Agreed),
    ("4.2.1", "an upgrade", "Upgrade: websocket\r\n", "", UPGRADE),
    ("4.2.1", "to websocket", "Upgrade: websocket", "Upgrade: h2c", UPGRADE),
    ("4.2.1", "and not to one like it", "websocket\r\n", "websockets\r\n", UPGRADE),
    ("4.2.1", "in any case", "Upgrade: websocket", "UPGRADE: WebSocket", Agreed),
    ("4.2.1", "in a list", "Upgrade: websocket", "Upgrade: h2c , websocket", Agreed),
    ("4.2.1", "in lists", "Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket", Agreed),
    ("4.2.1", "by the connection", "Connection: Upgrade\r\n", "", UPGRADE),
    ("4.2.1", "of it", "Connection: Upgrade", "Connection: keep-alive", UPGRADE),
    ("4.2.1", "in any case", "Connection: Upgrade", "connection: uPgRaDe", Agreed),
    ("4.2.1", "in a list", "Connection: Upgrade", "Connection: keep-alive,Upgrade", Agreed),
    ("4.2.1", "there is a key", KEY, "", BAD),
    ("4.2.1", "under its name", "Sec-WebSocket-Key", "Sec-WebSocket-Keys", BAD),
    ("4.2.1", "a name has no case", "Sec-WebSocket-Key", "SEC-websocket-kEY", Agreed),
    (
        "4.2.1",
        "one key",
        KEY,
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        BAD,
    ),
    ("4.2.1", "not an empty one", "dGhlIHNhbXBsZSBub25jZQ==", "", BAD),
    ("4.2.1", "of 16 bytes, not 15", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", BAD),
    ("4.2.1", "nor 17", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZWU=", BAD),
    ("4.2.1", "in base64", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j!Q==", BAD),
    ("4.2.1", "filled up", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", BAD),
    ("4.2.1", "spaces are not of it", "Key: dGh", "Key:  \t dGh", Agreed),
    ("4.4", "there is a version", "Sec-WebSocket-Version: 13\r\n", "", VERSION),
    ("4.4", "not an earlier one", "Version: 13", "Version: 8", VERSION),
    ("4.4", "nor a later one", "Version: 13", "Version: 25", VERSION),
    ("4.4", "one, and not a list", "Version: 13", "Version: 8, 13", VERSION),
    (
        "4.4",
        "nor two",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Version",
        VERSION,
    ),
    ("4.2.1", "an origin may be missing", "Origin: http://example.com\r\n", "", Agreed),
    ("4.2.1", "other headers are passed over", "Origin", "Cookie: a=b\r\nX-Origin", Agreed),
    (
        "9.1",
        "no extension is agreed to",
        "Origin: ",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nOrigin: ",
        Agreed,
    ),
    (
        "4.2.2",
        "a subprotocol that is known",
        "Origin: ",
        "Sec-WebSocket-Protocol: chat\r\nOrigin: ",
        Chosen("chat"),
    ),
    (
        "4.2.2",
        "of a list",
        "Origin: ",
        "Sec-WebSocket-Protocol: superchat,chat , x\r\nOrigin: ",
        Chosen("chat"),
    ),
    (
        "4.2.2",
        "of two",
        "Origin: ",
        "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: chat\r\nOrigin: ",
        Chosen("chat"),
    ),
    (
        "4.2.2",
        "in another case it is another",
        "Origin: ",
        "Sec-WebSocket-Protocol: Chat\r\nOrigin: ",
        Agreed,
    ),
    (
        "4.2.2",
        "none that is not known",
        "Origin: ",
        "Sec-WebSocket-Protocol: soap\r\nOrigin: ",
        Agreed,
    ),
    ("4.1", "a line of a header has a name", "Origin: ", ": x\r\nOrigin: ", BAD),
    ("4.1", "what is no HTTP at all", "GET /chat HTTP/1.1", "\u{16}\u{3}\u{1}", BAD),
    ("4.1", "a head has an end", "\r\n\r\n", "\r\n", Refused("431", "")),
];

/// A target that is found later is called by the host of one of the same name.
#[test]
fn a_later_target_has_the_host_of_its_name() {
    let request = Request { path: "/".to_owned(), headers: String::new(), subprotocol: None };
    let hosts = ["a.test:80", "b.test:81"].map(Into::into).to_vec();
    let mut layer = Upgraded::new(request, hosts, Recorder::default());
    let address = "127.0.0.9:81".parse().expect("an address");
    layer.learn_targets(&[address; 3], &[0, 1, 1]);
    layer.learn_targets(&[address; 4], &[0, 1, 1, 0]);
    let hosts: Vec<&str> = layer.hosts.iter().map(AsRef::as_ref).collect();
    assert_eq!(hosts, ["a.test:80", "b.test:81", "b.test:81", "a.test:80"]);
}

#[test]
fn a_server_agrees_to_what_is_right_and_says_what_is_wrong() {
    let layer = WebSocket {
        subprotocol: Some("chat".to_owned()),
        banner: None,
        ping_every: None,
        then: Mode::Echo,
    };
    let mut random = Rng::with_seed(4);
    for (section, rule, part, other, answer) in REQUESTS {
        assert!(REQUEST.contains(part), "{section} {rule}: there is no {part}");
        let mut request = REQUEST.replacen(part, other, 1);
        if !request.ends_with("\r\n\r\n") {
            // Without an end the head fills the buffer.
            request.push_str(&"X: y\r\n".repeat(1_000));
        }
        for cuts in cuts(1..request.len(), &mut random) {
            let mut server = ServerEnd::new(&layer, 1024);
            pieces(request.as_bytes(), &cuts).into_iter().for_each(|piece| server.take(piece));
            let sent = std::str::from_utf8(&server.sent).expect("an answer is text");
            let told = format!("{section} {rule}, cut at {cuts:?}: {sent}");
            check_answer(answer, sent, &told);
            let closed = matches!(answer, Refused(..)).then_some(CloseReason::Malformed);
            assert_eq!(server.closed, closed, "{told}");
        }
    }
}

fn check_answer(answer: Answer, sent: &str, told: &str) {
    assert_eq!(sent.find("\r\n\r\n"), Some(sent.len() - 4), "{told}");
    assert_eq!(header(sent, "Sec-WebSocket-Extensions"), None, "{told}");
    let chosen = match answer {
        Refused(status, help) => {
            assert!(sent.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
            assert!(sent.contains(help), "{told}");
            assert!(sent.contains("\r\nConnection: close\r\n"), "{told}");
            assert_eq!(header(sent, "Content-Length"), Some("0"), "{told}");
            return;
        }
        Agreed => None,
        Chosen(name) => Some(name),
    };
    assert!(sent.starts_with("HTTP/1.1 101 "), "{told}");
    assert_eq!(header(sent, "Upgrade"), Some("websocket"), "{told}");
    assert_eq!(header(sent, "Connection"), Some("Upgrade"), "{told}");
    assert_eq!(header(sent, "Sec-WebSocket-Accept"), Some(ACCEPT), "{told}");
    assert_eq!(header(sent, "Sec-WebSocket-Protocol"), chosen, "{told}");
}

#[test]
fn a_head_that_is_too_long_is_refused_and_one_that_fits_is_not() {
    let layer = WebSocket { subprotocol: None, banner: None, ping_every: None, then: Mode::Echo };
    for (bytes, is_agreed) in [(4_000, true), (4_096, true), (4_097, false), (20_000, false)] {
        let value = "x".repeat(bytes - REQUEST.len() - "X: \r\n".len());
        let request = REQUEST.replacen("Origin", &format!("X: {value}\r\nOrigin"), 1);
        assert_eq!(request.len(), bytes);
        let mut server = ServerEnd::new(&layer, 4096);
        server.take(request.as_bytes());
        let status = if is_agreed { "HTTP/1.1 101 " } else { "HTTP/1.1 431 " };
        assert!(server.sent.starts_with(status.as_bytes()), "{bytes} bytes");
    }
}

/// Section, rule, what is put in the place of what in the answer, and whether it is taken. The
/// client offers the subprotocol `chat`.
const ANSWERS: [(&str, &str, &str, &str, bool); 28] = [
    ("4.1", "an agreement", "", "", true),
    ("4.1", "the status is 101", "101 Switching Protocols", "200 OK", false),
    ("4.1", "and not another", "101 Switching Protocols", "401 Unauthorized", false),
    ("4.1", "which is not followed", "101 Switching Protocols", "301 Moved\r\nLocation: /x", false),
    ("4.1", "nor one like it", "101", "100", false),
    ("4.1", "the words are free", "Switching Protocols", "Welcome", true),
    ("4.1", "and may be missing", " Switching Protocols", "", true),
    ("4.1", "an upgrade", "Upgrade: websocket\r\n", "", false),
    ("4.1", "to websocket", "Upgrade: websocket", "Upgrade: h2c", false),
    ("4.1", "in any case", "Upgrade: websocket", "uPGRADE: WebSocket", true),
    ("4.1", "by the connection", "Connection: Upgrade\r\n", "", false),
    ("4.1", "of it", "Connection: Upgrade", "Connection: close", false),
    ("4.1", "in any case", "Connection: Upgrade", "CONNECTION: UPGRADE", true),
    ("4.1", "in a list", "Connection: Upgrade", "Connection: keep-alive, upgrade", true),
    ("4.1", "the proof is there", "Sec-WebSocket-Accept", "Sec-WebSocket-Accepts", false),
    ("4.1", "of this key", "Accept: ", "Accept: A", false),
    ("4.1", "whole", "=\r\n", "\r\n", false),
    ("4.1", "spaces are not of it", "Accept: ", "Accept: \t  ", true),
    (
        "4.1",
        "no extension that was not offered",
        "Upg",
        "Sec-WebSocket-Extensions: permessage-deflate\r\nUpg",
        false,
    ),
    ("4.1", "nor any other", "Upg", "sec-websocket-extensions: x-own\r\nUpg", false),
    ("4.1", "the subprotocol that was offered", "Upg", "Sec-WebSocket-Protocol: chat\r\nUpg", true),
    ("4.1", "not one that was not", "Upg", "Sec-WebSocket-Protocol: soap\r\nUpg", false),
    ("4.1", "nor in another case", "Upg", "Sec-WebSocket-Protocol: Chat\r\nUpg", false),
    ("4.2.2", "nor a list", "Upg", "Sec-WebSocket-Protocol: chat, chat\r\nUpg", false),
    (
        "11.3.4",
        "nor twice",
        "Upg",
        "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\nUpg",
        false,
    ),
    ("4.1", "other headers are passed over", "Upg", "Server: x\r\nDate: y\r\nUpg", true),
    ("4.1", "it is HTTP", "HTTP/1.1 101", "SSH-2.0-x", false),
    ("4.1", "and no TLS", "HTTP/1.1", "\u{15}\u{3}\u{3}", false),
];

#[test]
fn a_client_takes_an_agreement_and_nothing_else() {
    let mut random = Rng::with_seed(5);
    let mut layer = upgraded(Recorder::default());
    layer.request.subprotocol = Some("chat".to_owned());
    let agreement = agreement(&ClientEnd::new(&layer, 7, 1024).request);
    for (section, rule, part, other, is_agreed) in ANSWERS {
        assert!(agreement.contains(part), "{section} {rule}: there is no {part}");
        let answer = agreement.replacen(part, other, 1);
        for cuts in cuts(1..answer.len(), &mut random) {
            let mut client = ClientEnd::new(&layer, 7, 1024);
            pieces(answer.as_bytes(), &cuts).into_iter().for_each(|piece| client.take(piece));
            let gone = (!is_agreed).then_some(Gone::Refused);
            let told = format!("{section} {rule}, cut at {cuts:?}: {answer}");
            assert_eq!((client.gone, client.is_open), (gone, is_agreed), "{told}");
            assert!(client.sent.is_empty(), "nothing is sent before, or to what refused: {told}");
        }
    }
    // The key of another connection proves nothing.
    let mut other = ClientEnd::new(&layer, 8, 1024);
    other.take(agreement.as_bytes());
    assert_eq!(other.gone, Some(Gone::Refused));
    // What has no end is none.
    let mut endless = ClientEnd::new(&layer, 7, 1024);
    endless.take(b"HTTP/1.1 101 Switching Protocols\r\n");
    (0..400).for_each(|_| endless.take(b"X: y\r\n"));
    assert_eq!(endless.gone, Some(Gone::Refused));
}

#[test]
fn a_client_asks_as_it_must() {
    let request = Request {
        path: "/chat?a=b".to_owned(),
        headers: "Origin: http://a\r\nCookie: b=c\r\n".to_owned(),
        subprotocol: Some("graphql-ws".to_owned()),
    };
    let layer = Upgraded::new(request, vec!["[::1]:9000".into()], Recorder::default());
    let mut keys = BTreeSet::new();
    for number in 0..500 {
        let request = ClientEnd::new(&layer, number, 1024).request;
        assert_eq!(request, ClientEnd::new(&layer, number, 1024).request, "it can be asked again");
        let request = String::from_utf8(request).expect("a request is text");
        assert!(request.starts_with("GET /chat?a=b HTTP/1.1\r\n"), "4.1, 1 to 3: {request}");
        assert_eq!(request.find("\r\n\r\n"), Some(request.len() - 4), "{request}");
        for (name, value) in [
            ("Host", "[::1]:9000"),
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", "graphql-ws"),
            ("Origin", "http://a"),
            ("Cookie", "b=c"),
        ] {
            assert_eq!(header(&request, name), Some(value), "4.1: {request}");
        }
        assert_eq!(header(&request, "Sec-WebSocket-Extensions"), None);
        let key = header(&request, "Sec-WebSocket-Key").expect("4.1, 7: there is a key");
        let mut nonce = [0; 18];
        assert_eq!(BASE64_STANDARD.decode_slice(key, &mut nonce), Ok(16), "4.1, 7: 16 bytes");
        assert!(keys.insert(key.to_owned()), "4.1, 7: the key of each connection is its own");
    }
    let another = Upgraded::new(layer.request.clone(), layer.hosts.clone(), Recorder::default());
    let request = ClientEnd::new(&another, 0, 1024).request;
    let key = header(std::str::from_utf8(&request).expect("it is text"), "Sec-WebSocket-Key");
    assert!(!keys.contains(key.expect("it has one")), "a key can be foretold");
    assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), ACCEPT, "the example of section 1.3");
}
