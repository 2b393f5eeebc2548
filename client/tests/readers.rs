//! Held connections that read slowly, or not at all: who they are, that the others do not pay for them, and that what
//! a server does to them is no loss.

use std::net::{IpAddr, Ipv4Addr};

use common::{Finished, Program, Server, client, number, result_in, server_binary, sum};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What a run came to against a server of its own.
fn run(scheme: &str, serve: &[&str], flags: &[&str]) -> (Finished, Value) {
    let out = tempfile::tempdir().expect("a directory");
    let server = Server::start(&server_binary(), LOOPBACK, 1, serve);
    let target = format!("{scheme}{}", server.address);
    let usual = ["run", "--target", &target, "--out", out.path().to_str().expect("a path of ours")];
    let finished = Program::start(&mut client(&[&usual[..], flags].concat())).finish();
    (finished, result_in(out.path()))
}

#[test]
fn those_that_do_not_read_are_chosen_by_the_seed_and_apart() {
    let part = ["--silent-readers", "5%", "--slow-readers", "10%:2KiB/s", "--seed", "7"];
    let usual = ["--connections", "500", "--hold", "4s", "--message-every", "500ms", "--sweep"];
    let flags = [&usual[..], &part, &["--message-bytes", "1KiB"]].concat();
    let [one, again] = [0, 1].map(|_| {
        let (finished, result) = run("", &[], &flags);
        assert_eq!(finished.code, Some(0), "{finished:#?} {result:#}");
        result["plateaus"][0].clone()
    });
    let readers = &one["readers"];
    let [slow, silent] = ["slow", "silent"].map(|name| number(readers, name));
    // Binomial numbers: of 500 with 10 % and 5 %, five standard deviations are 34 and 24.
    assert!((16..84).contains(&slow) && (1..50).contains(&silent), "{readers:#}");
    for name in ["slow", "silent"] {
        assert_eq!(readers[name], again["readers"][name], "the seed chooses");
    }
    let ended = ["slow_ended", "silent_ended"].map(|name| number(readers, name));
    assert_eq!(ended, [0, 0], "{readers:#}");
    assert!(number(readers, "sent") > 5 * (slow + silent), "{readers:#}");
    let pace = readers["bytes_per_s"].as_f64().expect("some was read");
    // A read is a buffer at most, so that the last one may be early.
    let asked = slow as f64 * 2_048.0;
    assert!((0.3 * asked..2.0 * asked).contains(&pace), "{pace} of {asked}");
    assert_eq!(number(&one["sweep"], "answered"), 500 - slow - silent, "{one:#}");
    let messages = &one["messages"];
    assert_eq!(number(messages, "sent"), number(messages, "received"), "{messages:#}");
    assert_eq!(sum(&one["lost"]), 0);
}

#[test]
fn what_the_server_ends_of_them_is_no_loss() {
    let text = "x".repeat(4_000);
    let push = ["--push-every", "5ms", "--push-text", &text];
    let serve = [&["--mode", "push", "--send-timeout", "1s"][..], &push].concat();
    let usual = ["--connections", "6", "--silent-readers", "50%", "--seed", "1", "--max-lost", "6"];
    let flags = [&usual[..], &["--hold", "14s", "--expect", "push"], &push].concat();
    let (finished, result) = run("", &serve, &flags);
    let readers = &result["plateaus"][0]["readers"];
    let ended = number(readers, "silent_ended");
    assert!(ended > 0 && number(readers, "silent") == 0, "{finished:#?} {readers:#}");
    assert!(sum(&result["lost"]) + ended <= 6, "{result:#}");
    assert!(finished.stdout.contains("slow readers"), "{finished:#?}");
}

#[test]
fn under_tls_and_frames_they_are_closed_in_the_end() {
    let serve = ["--tls-self-signed", "--websocket"];
    let part = ["--silent-readers", "20%", "--slow-readers", "20%:1KiB/s", "--tls-insecure"];
    let usual = ["--connections", "100", "--hold", "3s", "--message-every", "exp:100ms"];
    let (finished, result) = run("wss://", &serve, &[&usual[..], &part].concat());
    assert_eq!(finished.code, Some(0), "{finished:#?} {result:#}");
    let readers = &result["plateaus"][0]["readers"];
    assert!(number(readers, "slow") > 0 && number(readers, "silent") > 0, "{readers:#}");
    assert_eq!(number(&result["close"], "timeouts"), 0, "{result:#}");
}

#[test]
fn what_cannot_be_is_refused() {
    let held = ["--connections", "9", "--message-every", "1s"];
    for (flags, why) in [
        (&["--silent-readers", "1"][..], "fix: write 1% or 0.5%"),
        (&["--slow-readers", "1%"], "fix: write 1%:10KiB/s"),
        (&["--slow-readers", "1%:0/s"], "fix: --silent-readers 1%"),
        (&["--slow-readers", "60%:1KiB/s", "--silent-readers", "60%"], "fix: 100% at most"),
        (&["--silent-readers", "1%", "--lifetime", "exp 3s"], "fix: one of the two"),
        (&["--silent-readers", "1%", "--expect", "nothing"], "fix: --expect echo or push"),
        (&["--silent-readers", "1%", "--hold", "0s"], "fix: --hold"),
    ] {
        let usual = ["run", "--target", "127.0.0.1:1"];
        let finished = Program::start(&mut client(&[&usual[..], &held, flags].concat())).finish();
        let said = finished.stderr.join("\n");
        assert!(finished.code == Some(2) && said.contains(why), "{flags:?}: {said}");
    }
}
