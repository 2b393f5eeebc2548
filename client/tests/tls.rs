//! TLS over real sockets: both our ends, openssl at either, and what a handshake that fails is called.

use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use common::{World, free_ports, number, until};
use openssl::{Running, openssl, pair};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[path = "common/openssl.rs"]
mod openssl;

const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(Ipv4Addr::LOCALHOST);

fn world(flags: &[&str]) -> World {
    World::with(LOOPBACK, 1, "100ms", flags)
}

/// A run to its end: its exit status and its result.
fn run(world: &World, scheme: &str, flags: &[&str]) -> (Option<i32>, Value) {
    let target = format!("{scheme}{}", world.server.address);
    let finished = world.client_to(&target, flags).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished.code, world.result())
}

#[test]
fn connections_are_opened_used_swept_and_closed_in_tls() {
    let traffic = ["--message-every", "1s", "--hold", "2s", "--churn", "30/s", "--sweep"];
    for (scheme, serve) in [("tls://", &[][..]), ("wss://", &["--websocket"][..])] {
        let world = world(&[&["--tls-self-signed"], serve].concat());
        let flags = [&["--tls-insecure", "--connections", "300"][..], &traffic].concat();
        let (code, result) = run(&world, scheme, &flags);
        assert_eq!((code, number(&result, "established")), (Some(0), 300), "{scheme} {result:#}");
        let plateau = &result["plateaus"][0];
        let [sent, received] = ["sent", "received"].map(|name| plateau["messages"][name].as_u64());
        assert!(sent > Some(300) && sent == received, "{scheme} {plateau:#}");
        let churn = &plateau["churn"];
        assert!(churn["completed"].as_u64() > Some(20), "{scheme} {churn:#}");
        assert_eq!(churn["completed"], churn["started"], "{scheme} {churn:#}");
        assert_eq!(plateau["sweep"]["answered"], 300, "{scheme} {plateau:#}");
        assert!(plateau["connect"]["opening_latency_us"]["p50"].as_u64() > Some(0), "{plateau:#}");
    }
}

#[test]
fn pushes_come_in_records() {
    let push = ["--mode", "push", "--push-every", "200ms", "--banner", "hi"];
    let world = world(&[&["--tls-self-signed"], &push[..]].concat());
    let expect = ["--expect", "push", "--push-every", "200ms", "--banner", "hi"];
    let flags = ["--tls-insecure", "--connections", "100", "--hold", "2s"];
    let (code, result) = run(&world, "tls://", &[&flags[..], &expect].concat());
    let pushes = &result["plateaus"][0]["pushes"];
    assert!(code == Some(0) && pushes["received"].as_u64() > Some(500), "{result:#}");
}

/// The wall and the reason of a handshake that fails, each way.
#[test]
fn a_handshake_that_fails_has_its_reason_and_its_fix() {
    let (tls, plain) = (world(&["--tls-self-signed"]), world(&[]));
    for (world, flags, reason, fix) in [
        (&tls, &[][..], "no authority that is trusted", "--tls-ca FILE"),
        (&plain, &["--tls-insecure"], "TLS", "openssl s_client"),
    ] {
        let flags = [&["--connections", "20", "--hold", "0s"][..], flags].concat();
        let (code, result) = run(world, "tls://", &flags);
        assert_eq!((code, &result["failed"]["EPROTO"]), (Some(1), &Value::from(20)), "{result:#}");
        let why = result["opening_failure"].as_str().unwrap_or_default();
        assert!(why.contains(reason), "{why}");
        let wall = &result["verdict"]["wall"];
        assert_eq!(wall["id"], "tls-handshake", "{wall:#}");
        assert!(wall["fix"].to_string().contains(fix), "{wall:#}");
    }
    // A client without TLS: its message is no record, and the server ends it.
    let (_, result) = run(&tls, "tcp://", &["--connections", "5", "--hold", "0s"]);
    assert_eq!(number(&result, "established"), 0, "{result:#}");
}

/// openssl as a client: both versions, and a change of keys each way.
#[test]
fn openssl_speaks_to_our_server() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let [certificate, key] = pair(place.path());
    let world = world(&["--tls-cert", &certificate, "--tls-key", &key]);
    let address = world.server.address.to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let words = ["s_client", "-connect", &address, version, "-CAfile", &certificate];
        let words = [&words[..], &["-verify_return_error"]].concat();
        let mut client = Running(openssl(&words).spawn().expect("openssl is there"));
        let mut input = client.0.stdin.take().expect("stdin is piped");
        // `K` and `k` are commands of it in TLS 1.3 alone.
        let lines: &[&str] =
            if version == "-tls1_3" { &["one", "K", "k", "two"] } else { &["one", "two"] };
        for line in lines {
            sleep(Duration::from_millis(300));
            writeln!(input, "{line}").expect("it takes a line");
        }
        sleep(Duration::from_millis(300));
        writeln!(input, "Q").expect("it takes a line");
        let output = {
            let mut text = String::new();
            let mut out = client.0.stdout.take().expect("stdout is piped");
            std::io::Read::read_to_string(&mut out, &mut text).map(|_| text)
        };
        let output = output.expect("it is text");
        for word in ["\none\n", "\ntwo\n"] {
            assert!(output.contains(word), "{version}: {output}");
        }
    }
}

/// openssl as a server, believed by its certificate and by its name.
#[test]
fn our_client_speaks_to_openssl() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let [certificate, key] = pair(place.path());
    for version in ["-tls1_2", "-tls1_3"] {
        let address = free_ports(LOOPBACK, 1);
        let (place, listen) = (address.to_string(), address.to_string());
        let words = ["s_server", "-accept", &listen, version, "-cert", &certificate, "-key", &key];
        let words = [&words[..], &["-rev", "-quiet"]].concat();
        let server = Running(openssl(&words).spawn().expect("openssl is there"));
        until("it listens", || TcpStream::connect(address).is_ok());
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let out = directory.path().to_str().expect("temporary names are plain");
        // It serves one connection after the other.
        let flags = ["--tls-ca", &certificate, "--connections", "1", "--hold", "1s", "--out", out];
        let script = ["--message", "hello\\n", "--answer", "olleh\\n", "--message-every", "200ms"];
        let target = format!("tls://{place}");
        let flags = [&["run", "--target", &target][..], &flags, &script].concat();
        let finished = common::Program::start(&mut common::client(&flags)).finish();
        assert_eq!(finished.code, Some(0), "{version}: {finished:#?}");
        let result = common::result_in(directory.path());
        let received = &result["plateaus"][0]["messages"]["received"];
        assert!(received.as_u64() > Some(2), "{version}: {result:#}");
        drop(server);
    }
}

/// Python's `ssl`, which is openssl: records of 16 KiB to our server and from it, a whole one and a part of one at a
/// time.
#[test]
fn our_server_takes_records_of_any_length() {
    let world = world(&["--tls-self-signed"]);
    let port = world.server.address.port();
    let program = format!(
        "import socket, ssl\n\
         context = ssl._create_unverified_context()\n\
         for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:\n\
         \x20   context.minimum_version = context.maximum_version = version\n\
         \x20   link = context.wrap_socket(socket.create_connection(('127.0.0.1', {port})))\n\
         \x20   for size in 1, 2047, 4096, 4097, 16384, 100000:\n\
         \x20       sent = bytes(at * at >> 7 & 255 for at in range(size))\n\
         \x20       link.sendall(sent)\n\
         \x20       came = b''\n\
         \x20       while len(came) < size:\n\
         \x20           piece = link.recv(65536)\n\
         \x20           assert piece, (version, size, len(came))\n\
         \x20           came += piece\n\
         \x20       assert came == sent, (version, size)\n"
    );
    let python = Command::new("timeout").args(["30", "python3", "-c", &program]).output();
    let output = python.expect("python3 is there; fix: apt-get install python3");
    assert!(output.status.success(), "{output:?}");
}

/// The same at our client, from a server whose answers are longer than a buffer of ours.
#[test]
fn our_client_takes_records_of_any_length() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let [certificate, key] = pair(place.path());
    let address = free_ports(LOOPBACK, 1);
    let port = address.port();
    let program = format!(
        "import socket, ssl, threading\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         context.load_cert_chain('{certificate}', '{key}')\n\
         listener = socket.create_server(('127.0.0.1', {port}), backlog=100)\n\
         def serve(link):\n\
         \x20   link = context.wrap_socket(link, server_side=True)\n\
         \x20   while link.recv(4):\n\
         \x20       link.sendall(b'yes' + bytes(40000))\n\
         while True:\n\
         \x20   threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()\n"
    );
    let mut server = Command::new("python3");
    server.args(["-c", &program]).stderr(Stdio::null());
    let _server = Running(server.spawn().expect("python3 is there; fix: apt-get install python3"));
    until("it listens", || TcpStream::connect(address).is_ok());
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let target = format!("tls://{address}");
    let flags = ["run", "--target", &target, "--tls-ca", &certificate, "--connections", "10"];
    let script = ["--message", "ask\n", "--answer", "yes{any}", "--message-every", "200ms"];
    let flags = [&flags[..], &["--hold", "2s", "--out", out], &script].concat();
    let finished = common::Program::start(&mut common::client(&flags)).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = common::result_in(directory.path());
    let received = &result["plateaus"][0]["messages"]["received"];
    assert!(received.as_u64() > Some(50), "{result:#}");
}

/// Each end asks for the other's certificate.
#[test]
fn a_client_shows_its_certificate_where_it_is_asked_for() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let [certificate, key] = pair(place.path());
    let own = ["--tls-cert", &certificate, "--tls-key", &key];
    let world = world(&[&own[..], &["--tls-client-ca", &certificate]].concat());
    let believe = ["--tls-ca", &certificate, "--connections", "50", "--hold", "0s"];
    let (code, result) = run(&world, "tls://", &[&believe[..], &own].concat());
    assert_eq!((code, number(&result, "established")), (Some(0), 50), "{result:#}");
    let (code, result) = run(&world, "tls://", &believe);
    assert!(
        code == Some(1) && number(&result["plateaus"][0]["messages"], "received") == 0,
        "{result:#}"
    );
}

/// Flags that are of TLS, without it, and files that are none.
#[test]
fn what_cannot_be_is_refused_by_its_flag() {
    let refused = |program: &mut Command| {
        let finished = common::Program::start(program).finish();
        assert_eq!(finished.code, Some(2), "{finished:#?}");
        finished.stderr.join("\n")
    };
    let run = |target: &str, flags: &[&str]| {
        let words = ["run", "--connections", "1", "--target", target];
        refused(&mut common::client(&[&words[..], flags].concat()))
    };
    for (said, flag) in [
        (run("tcp://127.0.0.1:1", &["--tls-insecure"]), "--tls-insecure"),
        (run("ws://127.0.0.1:1", &["--tls-resume"]), "--tls-resume is of TLS"),
        (run("tls://127.0.0.1:1", &["--tls-ca", "/nowhere"]), "--tls-ca /nowhere"),
        (run("tls://127.0.0.1:1", &["--tls-ca", "/etc/passwd"]), "--tls-ca /etc/passwd"),
        (run("tls://127.0.0.1:1", &["--tls-insecure", "--tls-cert", "/x"]), "--tls-cert"),
        (
            run("tls://127.0.0.1:1", &["--tls-insecure", "--tls-server-name", "a b"]),
            "--tls-server-name",
        ),
    ] {
        assert!(said.contains(flag) && said.contains("fix: "), "{flag}: {said}");
    }
    for flags in [
        &["--tls-cert", "/nowhere"][..],
        &["--tls-cert", "/nowhere", "--tls-key", "/nowhere"],
        &["--tls-client-ca", "/nowhere"],
        &["--tls-tickets"],
    ] {
        let mut command = Command::new(common::server_binary());
        let said = refused(command.args(["serve", "--listen", "127.0.0.1:7999"]).args(flags));
        assert!(said.contains(flags[0]) && said.contains("fix: "), "{flags:?}: {said}");
    }
}
