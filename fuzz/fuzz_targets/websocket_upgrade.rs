//! Any bytes as an upgrade, at each end: neither panics, what is agreed to is whole and has its proof, and
//! what a part of the bytes says, the whole does not take back.
//!
//! An input is read as it is, or as changes of a head that is right.

#![no_main]

use libfuzzer_sys::fuzz_target;
use megaconn::engine::protocol::websocket::upgrade::{Answered, Asked, agree, agreed};

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: chat\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

const ACCEPT: &str = "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

/// The nonce of the request.
const NONCE: [u8; 16] = *b"the sample nonce";

/// Bytes of a buffer: shorter than the real one, so that heads are too long for it.
const BUFFER_BYTES: usize = 512;

fuzz_target!(|bytes: &[u8]| {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let is_changed = kind & 1 == 1;
    let request = if is_changed { changed(REQUEST, bytes) } else { bytes.to_vec() };
    check_request(&request);
    let answer = if is_changed { changed(ANSWER, bytes) } else { bytes.to_vec() };
    check_answer(&answer);
});

/// `head` with some bytes of it replaced: a place, how many, by how many, and by which.
fn changed(head: &[u8], mut changes: &[u8]) -> Vec<u8> {
    let mut head = head.to_vec();
    while let Some((&[place, gone, come], rest)) = changes.split_first_chunk() {
        let place = usize::from(place) % (head.len() + 1);
        let end = (place + usize::from(gone % 16)).min(head.len());
        let (put, rest) = rest.split_at(usize::from(come % 16).min(rest.len()));
        head.splice(place..end, put.iter().copied());
        changes = rest;
    }
    head
}

fn check_request(request: &[u8]) {
    // As it comes in, byte by byte, until something is said to it.
    for filled in 1..=request.len().min(BUFFER_BYTES) {
        let mut buffer = [0xa5; BUFFER_BYTES];
        buffer[..filled].copy_from_slice(&request[..filled]);
        let asked = agree(&mut buffer, filled, Some("chat"));
        let answer = match asked {
            Asked::NeedMore => {
                assert!(filled < BUFFER_BYTES, "a full buffer takes no more");
                continue;
            }
            Asked::Agreed { answer, request: size } => {
                assert_eq!(size, filled, "the end of a request is the first that says something");
                let text = std::str::from_utf8(&buffer[..answer]).expect("an answer is text");
                assert!(text.starts_with("HTTP/1.1 101 ") && text.contains("Accept: "));
                answer
            }
            Asked::Refused(answer) => {
                let text = std::str::from_utf8(&buffer[..answer]).expect("an answer is text");
                assert!(text.starts_with("HTTP/1.1 4") && text.contains("Connection: close\r\n"));
                assert_eq!(agreed(&buffer[..answer], NONCE, None), Answered::Refused);
                answer
            }
        };
        assert!(buffer[..answer].ends_with(b"\r\n\r\n"));
        // With more behind it, it says the same.
        let more = request.len().min(BUFFER_BYTES);
        let mut buffer = [0xa5; BUFFER_BYTES];
        buffer[..more].copy_from_slice(&request[..more]);
        assert_eq!(agree(&mut buffer, more, Some("chat")), asked, "more makes a difference");
        return;
    }
}

fn check_answer(answer: &[u8]) {
    let answered = agreed(answer, NONCE, None);
    let first = (0..=answer.len())
        .map(|cut| (cut, agreed(&answer[..cut], NONCE, None)))
        .find(|(_, answered)| *answered != Answered::NeedMore);
    assert_eq!(first.map_or(Answered::NeedMore, |(_, answered)| answered), answered);
    if let Answered::Agreed(size) = answered {
        assert_eq!(first.map(|(cut, _)| cut), Some(size), "it says so as soon as it is whole");
        let text = String::from_utf8_lossy(&answer[..size]).to_ascii_lowercase();
        let proof = ACCEPT.trim_start().trim_end().split_once(": ").expect("a header").1;
        assert!(text.contains(&proof.to_ascii_lowercase()), "agreed to without a proof: {text}");
    }
}
