//! The first bytes that were not what was to come are shown as they were said, whatever they came in.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};

use common::{Server, free_ports, result_in, server_binary, until};
use openssl::{Running, openssl, pair};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[path = "common/openssl.rs"]
mod openssl;

/// The result of a run of ten connections of `scheme` to `address`.
fn result(scheme: &str, address: SocketAddr, flags: &[&str]) -> Value {
    let out = tempfile::tempdir().expect("a directory");
    let target = format!("{scheme}{address}");
    let to = ["--target", &target, "--out", out.path().to_str().expect("a path of ours")];
    let usual = ["run", "--connections", "10", "--hold", "2s", "--message-every", "500ms"];
    let flags = [&usual[..], &to, flags].concat();
    let done = common::Program::start(&mut common::client(&flags)).finish();
    assert_eq!(done.code, Some(1), "{scheme} {done:#?}");
    result_in(out.path())
}

#[test]
fn a_server_that_says_it_is_full_is_understood_in_every_layer() {
    let script = ["--message", r"PING\r\n", "--answer", r"+PONG\r\n"];
    let script_of_text = [&script[..], &["--message-kind", "text"]].concat();
    for (scheme, serve, run) in [
        ("tcp://", &[][..], &script[..]),
        ("tls://", &["--tls-self-signed"], &[&script[..], &["--tls-insecure"]].concat()),
        ("ws://", &["--websocket"], &script_of_text),
        (
            "wss://",
            &["--tls-self-signed", "--websocket"],
            &[&script_of_text[..], &["--tls-insecure"]].concat(),
        ),
    ] {
        let banner = ["--mode", "sink", r"--banner=-ERR max number of clients reached\r\n"];
        let flags = [&banner[..], serve].concat();
        let server = Server::start(&server_binary(), IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
        let result = result(scheme, server.address, run);
        assert_eq!(
            result["unexpected_bytes"], "-ERR max number of clients reached\\r\\n",
            "{scheme} {result:#}"
        );
        assert_eq!(result["verdict"]["wall"]["id"], "own-limit", "{scheme} {result:#}");
    }
}

#[test]
fn a_refusal_in_tls_is_shown_as_text() {
    let place = tempfile::tempdir().expect("a directory");
    let [certificate, key] = pair(place.path());
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let listen = address.to_string();
    let mut command =
        openssl(&["s_server", "-accept", &listen, "-www", "-cert", &certificate, "-key", &key]);
    command.stderr(File::create(place.path().join("said")).expect("it is our directory"));
    let _server = Running(command.spawn().expect("openssl is there"));
    until("it listens", || TcpStream::connect(address).is_ok());
    let result = result("wss://", address, &["--tls-insecure"]);
    let bytes = result["unexpected_bytes"].as_str().unwrap_or_default();
    assert!(bytes.starts_with("HTTP/1.0 200 ok"), "{result:#}");
    assert_eq!(result["verdict"]["wall"]["id"], "opening-refused", "{result:#}");
}
