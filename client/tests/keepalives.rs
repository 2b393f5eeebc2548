//! What keeps a connection alive on which nothing else is sent: beside messages, without an answer, and where the answer
//! does not come.

use std::net::SocketAddr;

use answering::{each_line, say, server};
use common::{Finished, client, number, refusal};
use serde_json::Value;
use twenty::run;

#[path = "common/answering.rs"]
mod answering;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[path = "common/twenty.rs"]
mod twenty;

/// Keepalives that were sent and answered, of a run in which all were held.
fn kept((finished, result): &(Finished, Value)) -> [u64; 2] {
    assert_eq!((finished.code, number(result, "established")), (Some(0), 20), "{finished:#?}");
    let plateau = &result["plateaus"][0];
    let messages = &plateau["messages"];
    assert_eq!(number(messages, "mismatched"), 0, "{messages:#}");
    ["sent", "answered"].map(|name| number(&plateau["keepalives"], name))
}

const PING: &[&str] = &["--keepalive-message", "PING\\n", "--keepalive-every"];

/// A server that answers either in its own words.
fn redis_like() -> SocketAddr {
    server(|stream| {
        each_line(stream, |line, stream| {
            say(stream, if line == "PING" { b"+PONG\n" } else { b"yes\n" });
            true
        });
    })
}

#[test]
fn they_go_out_beside_messages_and_their_answers_are_told_apart() {
    let target = redis_like();
    let script = ["--message", "ask\n", "--answer", "yes\n", "--keepalive-answer", "+PONG\n"];
    let load = ["--hold", "3s", "--message-every", "1s", "--churn", "20/s", "--sweep"];
    let met = run(target, &[&script[..], &load, PING, &["300ms"]].concat());
    let [sent, answered] = kept(&met);
    // Three or two between two messages of a connection.
    assert!(sent > 80 && sent < 200 && sent - answered <= 20, "{sent} {answered}");
    let messages = &met.1["plateaus"][0]["messages"];
    assert!(number(messages, "received") >= 60, "{messages:#}");
    // Where messages come more often, none is needed.
    let often = ["--hold", "2s", "--message-every", "200ms"];
    let (_, result) = run(target, &[&script[..], &often, PING, &["900ms"]].concat());
    assert!(result["plateaus"][0]["keepalives"].is_null(), "{result:#}");
}

#[test]
fn without_an_answer_none_is_awaited() {
    let mute = server(|stream| each_line(stream, |_, _| true));
    let [sent, answered] = kept(&run(mute, &[PING, &["250ms", "--hold", "2s"]].concat()));
    assert!(sent >= 100 && answered == 0, "{sent} {answered}");
}

#[test]
fn a_connection_whose_answer_does_not_come_is_silent() {
    let mute = server(|stream| each_line(stream, |_, _| true));
    let flags = [PING, &["500ms", "--keepalive-answer", "+PONG\n", "--hold", "12s"]].concat();
    let (finished, result) = run(mute, &flags);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(number(&result["lost"], "silent"), 20, "{result:#}");
    assert_eq!(number(&result["plateaus"][0]["keepalives"], "sent"), 20, "{result:#}");
}

#[test]
fn one_flag_needs_the_other() {
    for flags in [
        &["--keepalive-message", "x"][..],
        &["--keepalive-every", "1s"],
        &["--keepalive-answer", "x"],
    ] {
        let always = ["run", "--target", "127.0.0.1:1", "--connections", "1"];
        let error = refusal(&mut client(&[&always[..], flags].concat()));
        assert!(error.contains(flags[0]) && error.contains("fix: add --keepalive-"), "{error}");
    }
}
