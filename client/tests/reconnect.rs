//! Connections that are lost and come back: a server that is killed and started again, one that stays away, and what
//! the result says of both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, sleep};
use std::time::Duration;

use common::{Program, Server, client, last, number, result_in, server_binary, sum, until};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Connections of each run.
const CONNECTIONS: u64 = 300;

/// A client of `scheme` towards `address`, whose connections come back as the flags say.
fn start(scheme: &str, address: SocketAddr, out: &Path, flags: &[&str]) -> Program {
    let target = format!("{scheme}{address}");
    let usual = ["--connections", "300", "--cores", "0"];
    let places = ["--target", &target, "--out", out.to_str().expect("a path of ours")];
    let stats = ["--stats-every", "50ms"];
    let mut program =
        Program::start(&mut client(&[&["run"], &places[..], &usual, &stats, flags].concat()));
    assert!(program.says("holding 300"), "it did not come to its hold");
    program
}

fn figure(out: &Path, name: &str) -> u64 {
    last(&out.join("client.ndjson"), name)
}

/// The server at `address` again.
fn again(address: SocketAddr, flags: &[&str]) -> Program {
    let listen = address.to_string();
    let mut command = Command::new(server_binary());
    let mut program = Program::start(command.args(["serve", "--listen", &listen]).args(flags));
    assert!(program.says("listening on"), "the port is not free again");
    program
}

fn reconnects(result: &Value) -> &Value {
    &result["plateaus"][0]["reconnect"]
}

#[test]
fn all_are_back_when_the_server_is() {
    for (scheme, serve, run) in [
        ("tcp://", &[][..], &[][..]),
        ("wss://", &["--tls-self-signed", "--websocket"], &["--tls-insecure"]),
    ] {
        let mut server = Server::start(&server_binary(), LOOPBACK, 1, serve);
        let out = tempfile::tempdir().expect("a directory");
        let pattern =
            ["--reconnect", "backoff 100ms-1s", "--hold", "8s", "--message-every", "500ms"];
        let mut run = start(scheme, server.address, out.path(), &[&pattern, run].concat());
        server.program.signal(Signal::KILL);
        server.program.finish();
        until("all are lost", || figure(out.path(), "returns_waiting") == CONNECTIONS);
        sleep(Duration::from_millis(500));
        let _again = again(server.address, serve);
        let finished = run.finish();
        let result = result_in(out.path());
        assert_eq!(finished.code, Some(0), "{scheme} {finished:#?} {result:#}");
        let back = reconnects(&result);
        assert_eq!(number(back, "returned"), CONNECTIONS, "{scheme} {back:#}");
        assert_eq!((number(back, "given_up"), number(back, "waiting")), (0, 0), "{back:#}");
        assert!(sum(&back["failed"]) > 0, "it was away for half a second: {back:#}");
        assert!(number(back, "tries") >= CONNECTIONS + sum(&back["failed"]), "{back:#}");
        assert!(number(&back["back_us"], "max") >= 500_000, "{back:#}");
        assert_eq!(sum(&result["lost"]), CONNECTIONS, "{scheme} {result:#}");
        assert_eq!(number(&result, "established"), CONNECTIONS);
        let messages = &result["plateaus"][0]["messages"];
        assert_eq!(number(messages, "mismatched"), 0, "{messages:#}");
        assert!(number(messages, "received") > 4 * CONNECTIONS, "they had messages again");
        assert!(finished.stdout.contains("came back  300 of those gone"), "{finished:#?}");
    }
}

#[test]
fn those_of_a_server_that_stays_away_are_given_up() {
    let mut server = Server::start(&server_binary(), LOOPBACK, 1, &[]);
    let out = tempfile::tempdir().expect("a directory");
    let pattern = ["--reconnect", "fixed 100ms", "--reconnect-max", "3", "--hold", "3s"];
    let mut run = start("", server.address, out.path(), &pattern);
    server.program.signal(Signal::KILL);
    server.program.finish();
    let finished = run.finish();
    let result = result_in(out.path());
    let back = reconnects(&result);
    assert_eq!(finished.code, Some(1), "{result:#}");
    assert_eq!(number(back, "given_up"), CONNECTIONS, "{back:#}");
    assert_eq!((number(back, "returned"), number(back, "tries")), (0, 3 * CONNECTIONS), "{back:#}");
    assert_eq!(number(&back["failed"], "ECONNREFUSED"), 3 * CONNECTIONS, "{back:#}");
    assert!(back["back_us"].is_null(), "{back:#}");
}

#[test]
fn without_the_flag_none_comes_back() {
    let mut server = Server::start(&server_binary(), LOOPBACK, 1, &[]);
    let out = tempfile::tempdir().expect("a directory");
    let mut run = start("", server.address, out.path(), &["--hold", "20s", "--reconnect", "none"]);
    server.program.signal(Signal::KILL);
    server.program.finish();
    let finished = run.finish();
    let result = result_in(out.path());
    assert!(finished.code == Some(1) && reconnects(&result).is_null(), "{result:#}");
    let held = result["plateaus"][0]["hold_seconds"].as_f64();
    assert!(held < Some(10.0), "with nothing to hold it ends: {held:?}");
}

/// Its kernel completes every handshake, and what it is given counts as connected for a moment.
#[test]
fn those_that_are_lost_again_at_once_back_off_and_are_given_up() {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("some port is free");
    let address = listener.local_addr().expect("it is bound");
    let (refuses, stops) = (AtomicBool::new(false), AtomicBool::new(false));
    let out = tempfile::tempdir().expect("a directory");
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if stops.load(Relaxed) {
                    return;
                }
                if refuses.load(Relaxed) {
                    held.clear();
                } else {
                    held.push(stream);
                }
            }
        });
        let flags = ["--reconnect", "backoff 50ms-2s", "--jitter", "none", "--reconnect-max", "4"];
        let more = ["--hold", "30s", "--expect", "nothing"];
        let mut run = start("", address, out.path(), &[&flags[..], &more].concat());
        refuses.store(true, Relaxed);
        // The next one that comes has all go.
        drop(TcpStream::connect(address));
        let finished = run.finish();
        stops.store(true, Relaxed);
        drop(TcpStream::connect(address));
        let result = result_in(out.path());
        let back = reconnects(&result);
        assert_eq!((finished.code, number(back, "given_up")), (Some(1), CONNECTIONS), "{back:#}");
        assert_eq!(number(back, "tries"), 4 * CONNECTIONS, "{back:#}");
        let held = result["plateaus"][0]["hold_seconds"].as_f64();
        assert!(held < Some(20.0), "with none to come back it ends: {held:?}");
    });
}
