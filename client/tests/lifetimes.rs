//! Held connections whose lives end in the hold: how many there are meanwhile, how long they live, where their places
//! come from, and that a seed tells all of it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use common::{Program, Server, client, last, number, result_in, server_binary, sum};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A finished run of a client towards a server of its own.
struct Run {
    code: Option<i32>,
    stderr: String,
    result: Value,
    /// Connections that the server has accepted, with the one of the look before the run.
    accepted: u64,
}

impl Run {
    fn of(scheme: &str, serve: &[&str], flags: &[&str]) -> Run {
        let out = tempfile::tempdir().expect("a directory");
        let stats = out.path().join("served.ndjson");
        let told = ["--stats-every", "100ms", "--stats", path(&stats)];
        let mut server = Server::start(&server_binary(), LOOPBACK, 1, &[&told[..], serve].concat());
        let target = format!("{scheme}{}", server.address);
        let usual = ["run", "--target", &target, "--out", path(out.path())];
        let finished = Program::start(&mut client(&[&usual[..], flags].concat())).finish();
        server.program.signal(rustix::process::Signal::TERM);
        server.program.finish();
        let stderr = finished.stderr.join("\n");
        let (code, accepted) = (finished.code, last(&stats, "accepted_total"));
        Run { code, stderr, result: result_in(out.path()), accepted }
    }

    fn lives(&self) -> &Value {
        &self.result["plateaus"][0]["lifetimes"]
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

fn real(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or_else(|| panic!("no {name} in {value:#}"))
}

/// 1,000 with exponential lives of two seconds: 500 leave in a second, and 1,000 stay.
#[test]
fn the_number_stays_what_it_is_while_lives_end() {
    let flags = ["--connections", "1000", "--hold", "10s", "--lifetime", "exp 2s"];
    let run = Run::of("", &[], &[&flags[..], &["--message-every", "exp:1s"]].concat());
    assert_eq!(run.code, Some(0), "{} {:#}", run.stderr, run.result);
    let lives = run.lives();
    let left = number(lives, "departures");
    // A Poisson number about 5,000, of which five standard deviations are 354.
    assert!((4_600..5_400).contains(&left), "{lives:#}");
    assert_eq!((number(lives, "arrivals"), number(lives, "waiting")), (left, 0), "{lives:#}");
    assert_eq!(sum(&lives["failed"]), 0, "{lives:#}");
    assert_eq!(number(&run.result, "established"), 1_000);
    assert_eq!(sum(&run.result["lost"]), 0, "none that left was lost");
    assert_eq!(run.accepted, 1_000 + left + 1, "what came is what the server took");
    let mean = real(lives, "connections_mean");
    assert!((990.0..=1_000.0).contains(&mean), "{lives:#}");
    // Of each core its own fewest, on a machine that does other things meanwhile.
    assert!(number(lives, "connections_min") >= 700, "{lives:#}");
    let lived = real(lives, "mean_seconds");
    assert!((1.8..2.2).contains(&lived), "{lives:#}");
    // Of an exponential that is looked at for five means.
    let [p50, p99] = ["p50", "p99"].map(|name| number(&lives["lived_us"], name));
    assert!((1_000_000..1_500_000).contains(&p50), "{lives:#}");
    assert!((5_000_000..9_000_000).contains(&p99), "{lives:#}");
    let messages = &run.result["plateaus"][0]["messages"];
    let sent = number(messages, "sent");
    // 1,000 a second for ten seconds, each with a first one that comes no later because of it.
    assert!((9_500..10_500).contains(&sent), "{messages:#}");
    assert_eq!((number(messages, "mismatched"), number(messages, "received")), (0, sent));
}

#[test]
fn fixed_lives_end_at_the_pace_at_which_their_connections_were_made() {
    let flags = ["--connections", "300", "--rate", "150/s", "--hold", "6s"];
    let run = Run::of("", &[], &[&flags[..], &["--lifetime", "fixed 2s"]].concat());
    assert_eq!(run.code, Some(0), "{} {:#}", run.stderr, run.result);
    let lives = run.lives();
    assert!((840..=960).contains(&number(lives, "departures")), "three rounds of 300: {lives:#}");
    let p50 = number(&lives["lived_us"], "p50");
    assert!((1_900_000..2_300_000).contains(&p50), "{lives:#}");
    assert!(real(lives, "connections_mean") > 297.0, "{lives:#}");
}

#[test]
fn with_tls_and_frames_and_resets_places_are_filled_as_well() {
    let layers = ["--tls-self-signed", "--websocket"];
    let flags = ["--connections", "100", "--hold", "4s", "--lifetime", "pareto 500ms 2"];
    for (scheme, serve, more) in [
        ("wss://", &layers[..], &["--tls-insecure", "--message-every", "500ms"][..]),
        ("", &[], &["--close", "reset", "--sweep"]),
        (
            "",
            &["--mode", "push", "--push-every", "200ms"],
            &["--expect", "push", "--push-every", "200ms"],
        ),
    ] {
        let run = Run::of(scheme, serve, &[&flags[..], more].concat());
        assert_eq!(run.code, Some(0), "{scheme} {} {:#}", run.stderr, run.result);
        let lives = run.lives();
        let left = number(lives, "departures");
        // The mean is a second, of which a half passes first.
        assert!((300..550).contains(&left), "{scheme} {lives:#}");
        assert_eq!(number(lives, "arrivals"), left, "{scheme} {lives:#}");
        assert_eq!(run.accepted, 100 + left + 1, "{scheme}");
    }
}

/// Few tuples: those that were left are taken again, and a plan that has too few is refused.
#[test]
fn places_take_tuples_that_were_left_long_enough_ago() {
    let few = ["--source", "127.0.9.1", "--source-ports", "40000-40999", "--connections", "100"];
    let lives = ["--lifetime", "exp 1s", "--hold", "2s", "--close", "reset"];
    let run = Run::of("", &[], &[&few[..], &lives].concat());
    assert_eq!(run.code, Some(0), "{} {:#}", run.stderr, run.result);
    assert!((130..280).contains(&number(run.lives(), "departures")), "{:#}", run.lives());
    let most = ["--lifetime", "exp 1s", "--hold", "1m"];
    let server = Server::start(&server_binary(), LOOPBACK, 1, &[]);
    let target = server.address.to_string();
    let flags = [&["run", "--target", &target][..], &few, &most].concat();
    let finished = Program::start(&mut client(&flags)).finish();
    let refused = finished.stderr.join("\n");
    assert_eq!(finished.code, Some(2), "{refused}");
    for words in ["source-ports: --connections 100 with --lifetime 'exp 1s'", "have 1,000", "fix: "]
    {
        assert!(refused.contains(words), "{refused}");
    }
}

/// One core, so that one run is as the other: the same lives have ended after as long.
#[test]
fn a_seed_tells_which_lives_end() {
    let run = |seed: &str| {
        let flags = ["--connections", "200", "--cores", "0", "--hold", "3s", "--seed", seed];
        let run = Run::of("", &[], &[&flags[..], &["--lifetime", "exp 30s"]].concat());
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert_eq!(run.result["seed"], seed.parse::<u64>().expect("it is a number"));
        assert!(run.stderr.contains(&format!("seed={seed}")), "{}", run.stderr);
        number(run.lives(), "departures")
    };
    let [one, again] = ["4711", "4711"].map(run);
    // The hold begins and ends some milliseconds sooner or later.
    assert!(one.abs_diff(again) <= 1, "{one} and {again}");
}

#[test]
fn what_cannot_be_is_refused() {
    for (flags, why) in [
        (&["--connections", "9", "--lifetime", "gamma 3s"][..], "fix: 'fixed 60s', 'exp 60s'"),
        (&["--connections", "9", "--lifetime", "pareto 3s 1"], "fix: ALPHA above 1"),
        (&["--connections", "9", "--seed", "-1"], "fix: a whole number"),
        (&["--churn", "9/s", "--lifetime", "exp 3s"], "fix: add --connections"),
        (&["--connections", "9", "--hold", "0s", "--lifetime", "exp 3s"], "fix: --hold 60s"),
        (&["--connections", "max", "--lifetime", "exp 3s"], "fix: --connections with a number"),
        (&["--connections", "9,5", "--lifetime", "exp 3s"], "fix: --connections that rise"),
        (&["--connections", "9", "--message-every", "exp:0s"], "fix: write 500ms"),
    ] {
        let usual = ["run", "--target", "127.0.0.1:1"];
        let finished = Program::start(&mut client(&[&usual[..], flags].concat())).finish();
        let said = finished.stderr.join("\n");
        assert!(finished.code == Some(2) && said.contains(why), "{flags:?}: {said}");
    }
}
