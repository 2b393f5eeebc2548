//! The server seen through its metrics address, the client through its own: what a run reports with
//! them, whom it refuses to believe, and what it says of a server that is lost on the way.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Finished, Program, Server, client, cores, free_ports, http, number, refusal, result_in, scrape,
    server_binary,
};
use megaconn::base::constants::{FETCH_CONNECT, FETCH_READ};
use megaconn::observe::snapshot::{Snapshot, SnapshotError};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// A server that writes no statistics, as one on another host.
fn server() -> Server {
    let flags = ["--cores", &cores(2), "--metrics", "127.0.0.1:0"];
    Server::start(&server_binary(), IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags)
}

/// A client that sees `server` through `metrics`, and its run directory.
fn run(server: &Server, metrics: SocketAddr, flags: &[&str]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().to_str().unwrap();
    let (target, metrics) = (server.address.to_string(), metrics.to_string());
    let always = ["run", "--target", &target, "--server-metrics", &metrics, "--out", out];
    (Program::start(&mut client(&[&always, flags].concat())), directory)
}

fn per_core<'a>(result: &'a Value, side: &str) -> Vec<&'a Value> {
    result["per_core"].as_array().unwrap().iter().filter(|core| core["side"] == side).collect()
}

#[test]
fn a_server_elsewhere_is_seen_by_its_metrics() {
    let server = server();
    let flags = ["--connections", "20k", "--hold", "1s"];
    let (mut client, directory) = run(&server, server.program.metrics(), &flags);
    let finished = client.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = result_in(directory.path());
    let of_server = per_core(&result, "server");
    let total = |key| of_server.iter().map(|core| number(core, key)).sum::<u64>();
    assert_eq!((of_server.len(), total("messages_total")), (cores(2).split(',').count(), 20_000));
    assert!(total("connections_peak") >= 20_000, "{of_server:?}");
    let bytes = result["cost_per_connection"]["server_user_bytes"].as_f64();
    assert!(bytes.is_some_and(|bytes| bytes > 32.0), "a slot alone is 32 bytes: {bytes:?}");
    assert!(number(&result["file_descriptors"], "server") > 3);
    assert!(result["close"]["server_seconds"].as_f64() > Some(0.0), "{}", result["close"]);
    assert_eq!(result["notes"].get("server_metrics"), None);
    let url = format!("server_metrics=http://{}/metrics", server.program.metrics());
    assert!(finished.stderr.contains(&url), "{finished:#?}");
}

#[test]
fn a_client_can_be_watched_and_is_not_taken_for_a_server() {
    let server = server();
    let flags = ["--connections", "500", "--hold", "10m", "--metrics", "127.0.0.1:0"];
    let (mut client, _directory) = run(&server, server.program.metrics(), &flags);
    assert!(client.says("holding 500"), "{:#?}", client.finish());
    let text = scrape(client.metrics());
    let connections = text.lines().filter(|line| line.starts_with("megaconn_connections{side"));
    let connections = connections.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>());
    assert_eq!(connections.map(Result::unwrap).sum::<u64>(), 500);
    assert_eq!(
        Snapshot::server_from_metrics(&text),
        Err(SnapshotError::OtherSide("client".into()))
    );
    let line = refused(&server, client.metrics());
    assert!(line.contains("it is of a client"), "{line}");
    client.signal(Signal::INT);
    assert_eq!(client.finish().code, Some(130));
}

/// The line by which a run is refused for its `--server-metrics`.
fn refused(server: &Server, metrics: SocketAddr) -> String {
    let (target, metrics) = (server.address.to_string(), metrics.to_string());
    let flags = ["run", "--target", &target, "--connections", "5", "--server-metrics", &metrics];
    let line = refusal(&mut client(&flags));
    assert!(line.contains(&format!("--server-metrics {metrics}: ")), "{line}");
    line
}

/// An address where everybody gets `answer`, or nothing, until the test is over.
fn says(answer: Option<String>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut streams = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            if let Some(answer) = &answer {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer.as_bytes());
            } else {
                streams.push(stream);
            }
        }
    });
    address
}

#[test]
fn what_is_no_server_is_refused() {
    let server = server();
    let nobody = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let line = refused(&server, nobody);
    assert!(line.contains("nothing listens") && line.contains("--metrics"), "{line}");

    let began = Instant::now();
    let line = refused(&server, says(None));
    assert!(line.contains("no answer in time"), "{line}");
    let most = FETCH_CONNECT + FETCH_READ + Duration::from_secs(2);
    assert!(began.elapsed() < most, "it took {:?}", began.elapsed());

    let line = refused(&server, server.address);
    assert!(line.contains("does not speak HTTP") || line.contains("no answer"), "{line}");
    let page = |status, text: &str| says(Some(format!("HTTP/1.1 {status}\r\n\r\n{text}")));
    for (address, words) in [
        (page("200 OK", "node_load1 0.5\n"), "no figure of megaconn"),
        (page("200 OK", ""), "no figure of megaconn"),
        (page("503 Service Unavailable", "as many\n"), "status 503"),
        (page("404 Not Found", ""), "status 404"),
        (says(Some(String::new())), "does not speak HTTP"),
        (says(Some("HTTP/1.1 200 OK\r\nA: ".to_owned() + &"b".repeat(9999))), "speak HTTP"),
    ] {
        let line = refused(&server, address);
        assert!(line.contains(words), "no word of `{words}`: {line}");
    }
    // A good text that comes only in part.
    let text = http(server.program.metrics(), b"GET /metrics HTTP/1.1\r\n\r\n");
    let line = refused(&server, says(Some(text[..text.len() - 7].to_owned())));
    assert!(line.contains("cut short"), "{line}");
}

#[test]
fn a_server_that_is_lost_on_the_way_is_noted() {
    let server = server();
    let flags = ["--connections", "500", "--hold", "1m"];
    let (mut client, directory) = run(&server, server.program.metrics(), &flags);
    assert!(client.says("holding 500"), "{:#?}", client.finish());
    server.program.signal(Signal::KILL);
    let Finished { code, stderr, .. } = client.finish();
    assert_eq!(code, Some(1), "{stderr:#?}");
    let result = result_in(directory.path());
    let note = result["notes"]["server_metrics"].as_str().unwrap();
    for word in ["could not be seen since", "s into the run", "nothing listens there"] {
        assert!(note.contains(word), "no word of `{word}`: {note}");
    }
    // What was seen of it before it went is still there.
    assert_eq!(per_core(&result, "server").len(), cores(2).split(',').count());
    assert_eq!(result["plateaus"][0]["memory"]["server_user_bytes"], Value::Null);
}
