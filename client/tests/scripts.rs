//! What a server may do to a script of the user's: cut its answers anywhere, answer too long, twice, unasked or
//! never, and end connections in between.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use answering::{each_line, say, server};
use common::{client, number, refusal};
use serde_json::Value;
use twenty::run;

#[path = "common/answering.rs"]
mod answering;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[path = "common/twenty.rs"]
mod twenty;

/// All were held; the number of messages that were answered.
fn answered(target: SocketAddr, flags: &[&str]) -> u64 {
    let (finished, result) = run(target, &[flags, &["--hold", "1s"]].concat());
    assert_eq!((finished.code, number(&result, "established")), (Some(0), 20), "{finished:#?}");
    assert!(result["verdict"]["wall"].is_null(), "{result:#}");
    number(&result["plateaus"][0]["messages"], "received")
}

/// All came to nothing by this cause; the wall, and its evidence.
fn came_to_nothing(target: SocketAddr, cause: (&str, &str), flags: &[&str]) -> (String, String) {
    let (finished, result) = run(target, &[flags, &["--hold", "1s"]].concat());
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(number(&result[cause.0], cause.1), 20, "{result:#}");
    let verdict = &result["verdict"];
    assert!(verdict["more_walls"].as_array().is_none_or(Vec::is_empty), "{verdict:#}");
    let wall = &verdict["wall"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&wall["id"]), text(&wall["evidence"][0]))
}

const LOST: (&str, &str) = ("lost", "mismatch");
const YES: &[&str] = &["--message", "ask\\n", "--answer", "yes {any}\\r\\n"];

fn yes_with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [YES, more].concat()
}

#[test]
fn an_answer_that_is_cut_anywhere_is_one() {
    let target = server(|stream| {
        each_line(stream, |line, stream| {
            let answer: &[u8] = if line == "hi" { b"hello {}\r\n" } else { b"yes 1\r2\r\n" };
            for byte in answer {
                say(stream, &[*byte]);
                thread::sleep(Duration::from_millis(1));
            }
            true
        });
    });
    let hello =
        ["--hello", "hi\\n", "--hello-answer", "hello {any}\\r\\n", "--churn", "20/s", "--sweep"];
    let every = ["--message-every", "200ms"];
    assert!(answered(target, &yes_with(&[&hello[..], &every].concat())) >= 80);
}

#[test]
fn an_answer_that_does_not_end_is_none() {
    let target = server(|stream| {
        each_line(stream, |_, stream| {
            say(stream, b"yes ");
            say(stream, &[b'a'; 5_000]);
            true
        });
    });
    let (wall, evidence) = came_to_nothing(target, LOST, YES);
    assert_eq!(wall, "other-protocol");
    assert!(evidence.contains("\"yes aaaa"), "{evidence}");
    let hello = ["--hello", "hi\\n", "--hello-answer", "yes {any}\\r\\n"];
    let (wall, evidence) = came_to_nothing(target, ("failed", "EPROTO"), &hello);
    assert_eq!(wall, "opening-refused");
    assert!(evidence.contains("\"yes aaaa"), "{evidence}");
}

#[test]
fn a_second_answer_was_not_asked_for() {
    let target = server(|stream| {
        each_line(stream, |_, stream| {
            say(stream, b"yes 1\r\nyes 2\r\n");
            true
        });
    });
    let (wall, evidence) = came_to_nothing(target, LOST, YES);
    assert_eq!(wall, "other-protocol");
    assert!(evidence.contains("yes 2"), "{evidence}");
}

#[test]
fn a_server_that_speaks_first_is_told_from_one_that_answers() {
    let target = server(|stream| {
        say(stream, b"220 welcome\r\n");
        each_line(stream, |_, stream| {
            say(stream, b"yes 1\r\n");
            true
        });
    });
    // Also where the greeting may be the beginning of an answer, and before any message.
    for answer in ["yes {any}\\r\\n", "{any}yes {any}\\r\\n"] {
        let flags = ["--message", "ask\\n", "--answer", answer, "--message-every", "900ms"];
        let (wall, evidence) = came_to_nothing(target, LOST, &flags);
        assert_eq!(wall, "other-protocol", "{answer}");
        assert!(evidence.contains("220 welcome"), "{answer}: {evidence}");
    }
    let greeted = yes_with(&["--hello-answer", "220{any}\\r\\n", "--churn", "20/s"]);
    assert_eq!(answered(target, &greeted), 20);
    // A banner alone, and what comes first passed over.
    assert_eq!(answered(target, &["--hello-answer", "220{any}\\r\\n"]), 0);
    assert_eq!(answered(target, &["--message", "ask\\n"]), 0);
}

#[test]
fn behind_an_open_end_anything_comes_until_the_next_message() {
    let target = server(|stream| {
        each_line(stream, |_, stream| {
            say(stream, b"yes");
            thread::sleep(Duration::from_millis(50));
            say(stream, b" and more\r\n");
            true
        });
    });
    let flags = ["--message", "ask\\n", "--answer", "yes{any}", "--message-every", "300ms"];
    assert!(answered(target, &flags) >= 60);
}

#[test]
fn a_hello_alone_is_said_once_on_each() {
    let said = Arc::new(Mutex::new(BTreeSet::new()));
    let hellos = Arc::clone(&said);
    let target = server(move |stream| {
        each_line(stream, |line, _| {
            hellos.lock().expect("no thread panics").insert(line.to_owned())
        });
    });
    assert_eq!(answered(target, &["--hello", "hi {n:04}\\n"]), 0);
    let said = said.lock().expect("no thread panics");
    // A source port on which another test listens is passed over, and its number with it.
    let numbers: Vec<u32> = said.iter().filter_map(|line| number_of(line)).collect();
    assert_eq!((said.len(), numbers.len()), (20, 20), "{said:?}");
    assert!(numbers.iter().all(|number| *number < 40), "{said:?}");
}

/// The number of four digits behind `hi `.
fn number_of(line: &str) -> Option<u32> {
    let digits = line.strip_prefix("hi ").filter(|digits| digits.len() == 4)?;
    digits.parse().ok()
}

#[test]
fn a_hello_that_is_not_answered_has_its_wall() {
    const HELLO: &[&str] = &["--hello", "hi\\n", "--hello-answer", "hello{any}\\n"];
    let ends = server(|stream| each_line(stream, |_, _| false));
    let (wall, _) = came_to_nothing(ends, ("failed", "ECONNABORTED"), HELLO);
    assert_eq!(wall, "opening-unanswered");
    let is_silent = server(|stream| each_line(stream, |_, _| true));
    let (wall, _) = came_to_nothing(is_silent, ("failed", "ETIMEDOUT"), HELLO);
    assert_eq!(wall, "opening-unanswered");
}

#[test]
fn a_script_that_cannot_be_is_refused() {
    let empty = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
    let long = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
    std::fs::write(&long, [b'x'; 4097]).expect("it is ours");
    let at = |file: &tempfile::NamedTempFile| format!("@{}", file.path().display());
    let (empty, long) = (at(&empty), at(&long));
    for (flags, words) in [
        (&["--message", "a", "--answer", &empty][..], "--answer: 0 bytes"),
        (&["--hello", &empty], "--hello: 0 bytes"),
        (&["--hello", &long], "--hello: 4097 bytes"),
        (&["--hello", "@/nowhere"], "--hello: /nowhere: "),
        (&["--hello", "@"], "names no file"),
        (&["--message", "a", "--message-bytes", "64"], "--message-bytes"),
        (&["--answer", "a"], "--answer answers nothing"),
    ] {
        let always = ["run", "--target", "127.0.0.1:9", "--connections", "1"];
        let line = refusal(&mut client(&[&always[..], flags].concat()));
        assert!(line.contains(words), "{flags:?}: {line}");
    }
}
