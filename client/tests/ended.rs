//! Who ended the connections, and when: what the losses have in common is found, and the verdict says it.
//! Foreign servers with rules of their own, and our own one, stopped for a while.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::{Finished, PATIENCE, Program, World, client, number, result_in};
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Runs the client with `flags` against a server that treats each connection so.
fn run_against(
    treat: impl Fn(TcpStream) + Clone + Send + 'static,
    flags: &[&str],
) -> (Finished, Value) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    // However long a busy host lets its thread wait: a full queue would be a wall of its own.
    socket.listen(4096).unwrap();
    let listener = TcpListener::from(socket);
    let target = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let treat = treat.clone();
            thread::spawn(move || treat(stream));
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let mut command = client(&["run", "--target", &target, "--out", out, "--cores", "1"]);
    let finished = Program::start(command.args(flags)).finish();
    (finished, result_in(directory.path()))
}

/// Echoes until a read fails or takes longer than `patience`, and then ends.
fn echo_for(mut stream: TcpStream, patience: Duration) {
    stream.set_read_timeout(Some(patience)).unwrap();
    let mut bytes = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}

fn shared(result: &Value) -> Vec<&str> {
    let patterns = result["loss_patterns"].as_array().unwrap();
    patterns.iter().map(|pattern| pattern["shared"].as_str().unwrap()).collect()
}

fn wall(result: &Value) -> &str {
    result["verdict"]["wall"]["id"].as_str().unwrap_or("none")
}

#[test]
fn an_idle_limit_is_named_with_its_time() {
    // Opened over two seconds, so that their silence begins at different times.
    let flags = ["--connections", "60", "--rate", "30", "--hold", "4s", "--max-lost", "0"];
    let (finished, result) =
        run_against(|stream| echo_for(stream, Duration::from_millis(1_500)), &flags);
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(wall(&result), "idle-limit", "{result:#}");
    assert_eq!(shared(&result), ["idle"], "{result:#}");
    let text = result["loss_patterns"][0]["text"].as_str().unwrap();
    assert!(
        text.contains("1.5 s after the last message on them") && text.contains("FIN"),
        "{text}"
    );
    let evidence = result["verdict"]["wall"]["evidence"].to_string();
    assert!(evidence.contains("1.5 s after the last message on them"), "{evidence}");
}

#[test]
fn another_protocol_is_named_by_its_first_bytes() {
    let (finished, result) = run_against(
        |mut stream| {
            let mut message = [0; 64];
            if stream.read_exact(&mut message).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
                let _ = stream.read(&mut [0]);
            }
        },
        &["--connections", "20", "--hold", "1s"],
    );
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert_eq!(result["lost"], serde_json::json!({ "mismatch": 20 }), "{result:#}");
    assert_eq!(number(&result["plateaus"][0]["messages"], "mismatched"), 20);
    assert_eq!(wall(&result), "other-protocol", "{result:#}");
    let bytes = result["unexpected_bytes"].as_str().unwrap();
    assert_eq!(bytes, "HTTP/1.1 400 Bad Request\\r\\n\\r\\n");
    assert!(result["verdict"]["wall"]["fix"].to_string().contains("--expect"), "{result:#}");
}

#[test]
fn a_short_answer_and_an_end_is_a_mismatch_and_no_silence() {
    let (_, result) = run_against(
        |mut stream| {
            if stream.read_exact(&mut [0; 64]).is_ok() {
                let _ = stream.write_all(b"ERR\n");
            }
        },
        &["--connections", "20", "--hold", "1s"],
    );
    assert_eq!(result["lost"], serde_json::json!({ "mismatch": 20 }), "{result:#}");
    assert_eq!(result["unexpected_bytes"], "ERR\\n");
}

#[test]
fn a_limit_for_each_source_address_is_named() {
    let held: Arc<Mutex<HashMap<IpAddr, u32>>> = Arc::default();
    let treat = move |stream: TcpStream| {
        // A connection that was reset meanwhile has no peer any more.
        let Ok(from) = stream.peer_addr().map(|peer| peer.ip()) else { return };
        let is_within = {
            let mut held = held.lock().unwrap();
            let of_address = held.entry(from).or_insert(0);
            *of_address += 1;
            *of_address <= 25
        };
        if is_within {
            echo_for(stream, PATIENCE);
        } else {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    };
    // One port of every source is another's, and its tuples are passed over.
    let taken = |port| std::net::TcpListener::bind(("0.0.0.0", port)).ok();
    let _others = (31_010..31_050).find_map(taken).expect("one of them is free");
    let sources = "127.0.0.20-127.0.0.23";
    let flags = ["--source", sources, "--source-ports", "31000-31119", "--connections", "400"];
    let flags = [&flags[..], &["--hold", "2s", "--rate", "200"]].concat();
    let (_, result) = run_against(treat, &flags);
    assert!(number(&result, "tuples_skipped") >= 4, "{result:#}");
    assert_eq!(wall(&result), "source-limit", "{result:#}");
    let evidence = result["verdict"]["wall"]["evidence"].to_string();
    assert!(evidence.contains("each source address was left with 25"), "{evidence}");
}

#[test]
fn a_server_that_stops_for_a_while_is_said_also_when_nothing_is_lost() {
    let world = World::on_loopback();
    let run = ["--connections", "50", "--message-every", "500ms", "--hold", "9s"];
    let mut client = world.client(&run);
    thread::sleep(Duration::from_secs(3));
    world.server.program.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    world.server.program.signal(Signal::CONT);
    let finished = client.finish();
    let result = world.result();
    let met = result["verdict"]["met_without_loss"].as_array().unwrap();
    let named: Vec<_> =
        met.iter().map(|wall| &wall["id"]).chain([&result["verdict"]["wall"]["id"]]).collect();
    assert!(named.iter().any(|id| *id == "server-stalled"), "{finished:#?} {result:#}");
    let said = result["verdict"].to_string();
    assert!(said.contains("none was answered for"), "{said}");
}
