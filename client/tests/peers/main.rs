//! Programs that are not ours at the other end of WebSocket and of TLS, each at both ends of a few connections: npm's
//! ws, gorilla's websocket, Go's crypto/tls, Python's ssl, openssl, curl, nginx and HAProxy.
//!
//! What is missing is said by `SKIPPED:`, and the rest is tested.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Finished, Program, Server, number, result_in};
use lab::host::skipped;
use papers::Papers;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../lab/mod.rs"]
mod lab;
mod openssl;
mod papers;
mod proxies;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/real.rs"]
mod real;
mod tls;
mod websocket;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Connections of each peer.
const CONNECTIONS: &str = "50";

/// A file beside this one.
fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

/// One of our servers, on a core.
fn server(flags: &[&str]) -> Server {
    let cores = common::cores(1);
    let flags = [&["--cores", &cores], flags].concat();
    Server::start(&common::server_binary(), LOOPBACK, 1, &flags)
}

/// A run of our client to its end: its exit status and its result.
fn run(target: &str, flags: &[&str]) -> (Option<i32>, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let cores = common::cores(1);
    let always = ["run", "--target", target, "--cores", &cores, "--out", out];
    let finished = Program::start(&mut common::client(&[&always, flags].concat())).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished.code, result_in(directory.path()))
}

/// All connections were established and held, and each message was verified.
fn is_met((code, result): &(Option<i32>, Value)) {
    let due = CONNECTIONS.parse().expect("it is a number");
    assert_eq!((*code, number(result, "established")), (Some(0), due), "{result:#}");
    let messages = &result["plateaus"][0]["messages"];
    assert!(number(messages, "sent") > due, "{messages:#}");
    assert_eq!(messages["sent"], messages["received"], "{messages:#}");
}

/// A client of another kind has found all well.
fn is_well(command: &mut Command) {
    let finished: Finished = Program::start(command).finish();
    assert_eq!((finished.code, finished.stdout.trim()), (Some(0), "well"), "{finished:#?}");
}

/// A program of Go, built with what Debian packages; `None`, said loudly, where that is not installed.
fn go(source: &Path, place: &Path) -> Option<PathBuf> {
    const GOCODE: &str = "/usr/share/gocode";
    let built = place.join("program");
    let library = Path::new(GOCODE).join("src/github.com/gorilla/websocket");
    let is_there = library.is_dir() && Command::new("go").arg("version").output().is_ok();
    if !is_there {
        let packages = "golang-go golang-github-gorilla-websocket-dev";
        skipped(&format!("Go's crypto/tls and gorilla; fix: apt-get install {packages}"));
        return None;
    }
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(&built).arg(source);
    let output = command.env("GO111MODULE", "off").env("GOPATH", GOCODE).output();
    let output = output.expect("go was started before");
    assert!(output.status.success(), "{output:?}");
    Some(built)
}
