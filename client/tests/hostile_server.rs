//! Servers that do what they should not: the client tells by cause what became of every connection,
//! and its verdict is that the target was missed.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::{Finished, PATIENCE, Program, client, cores, number, result_in, sum};
use serde_json::{Value, json};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const CONNECTIONS: u64 = 20;

/// Runs the client against a server that treats each connection so; its result.
fn run_against(treat: fn(TcpStream)) -> (Finished, Value) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap().to_string();
    // It ends with the process of the test; every connection is bounded by its timeouts.
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || treat(stream));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let mut command = client(&["run", "--target", &target, "--out", out, "--cores", &cores(2)]);
    command.args(["--connections", &CONNECTIONS.to_string(), "--hold", "2s"]);
    let finished = Program::start(&mut command).finish();
    (finished, result_in(directory.path()))
}

/// What the client sends first, and the stream as far as it goes on.
fn first_message(mut stream: TcpStream) -> Option<(Vec<u8>, TcpStream)> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut message = vec![0; 64];
    // The client's look at its target says nothing.
    stream.read_exact(&mut message).ok()?;
    Some((message, stream))
}

fn all_are_lost_by(cause: &str, treat: fn(TcpStream)) -> Value {
    let (finished, result) = run_against(treat);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(result["lost"], json!({ cause: CONNECTIONS }), "{result:#}");
    assert_eq!((number(&result, "established"), sum(&result["failed"])), (0, 0));
    assert_eq!(result["verdict"]["met"], false);
    result
}

#[test]
fn an_echo_with_one_bit_changed_is_a_mismatch() {
    let result = all_are_lost_by("mismatch", |stream| {
        if let Some((mut message, mut stream)) = first_message(stream) {
            message[50] ^= 1;
            stream.write_all(&message).unwrap();
            // Held, so that the end is the client's decision.
            let _ = stream.read(&mut [0]);
        }
    });
    let messages = &result["plateaus"][0]["messages"];
    assert_eq!(number(messages, "mismatched"), CONNECTIONS);
    assert_eq!(number(messages, "received"), 0);
}

#[test]
fn bytes_that_were_not_asked_for_are_a_mismatch() {
    let result = all_are_lost_by("mismatch", |stream| {
        if let Some((message, mut stream)) = first_message(stream) {
            stream.write_all(&message).unwrap();
            thread::sleep(Duration::from_millis(100));
            // The client may have closed it by now; then it had its mismatch before.
            let _ = stream.write_all(&message);
            let _ = stream.read(&mut [0]);
        }
    });
    assert_eq!(number(&result["plateaus"][0]["messages"], "received"), CONNECTIONS);
}

#[test]
fn an_end_instead_of_the_echo_is_counted_as_such() {
    all_are_lost_by("fin", |stream| {
        if let Some((_, stream)) = first_message(stream) {
            stream.shutdown(Shutdown::Both).unwrap();
        }
    });
}

#[test]
fn a_reset_instead_of_the_echo_is_counted_as_such() {
    let result = all_are_lost_by("reset", |stream| {
        if let Some((_, stream)) = first_message(stream) {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    // It is there still, and takes who comes.
    assert_eq!(result["target_afterwards"], "accepts", "{result:#}");
    assert_eq!(number(&result["losses"], "most_in_one_second"), CONNECTIONS);
}

#[test]
fn silence_is_counted_as_such() {
    all_are_lost_by("silent", |stream| {
        if let Some((_, mut stream)) = first_message(stream) {
            let _ = stream.read(&mut [0]);
        }
    });
}

#[test]
fn an_echo_byte_by_byte_is_as_good_as_any() {
    let (finished, result) = run_against(|stream| {
        if let Some((message, mut stream)) = first_message(stream) {
            stream.set_nodelay(true).unwrap();
            for byte in message {
                stream.write_all(&[byte]).unwrap();
                thread::sleep(Duration::from_micros(200));
            }
            let _ = stream.read(&mut [0]);
        }
    });
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(number(&result, "established"), CONNECTIONS);
    assert_eq!(number(&result["plateaus"][0]["messages"], "received"), CONNECTIONS);
}
