//! What the server does by itself, and what takes connections in its name: with real peers, the verdict
//! names it by what was counted.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use common::{Program, Server, client, cores, number, result_in, server_binary};
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// Runs a client against `target` with `flags`, to its end.
fn run(target: SocketAddr, flags: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let (target, out) = (target.to_string(), directory.path().to_str().unwrap());
    let always = ["run", "--target", &target, "--out", out, "--cores", "1", "--close", "reset"];
    let finished = Program::start(&mut client(&[&always, flags].concat())).finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    result_in(directory.path())
}

fn named(result: &Value) -> (&str, &str, &str) {
    let wall = &result["verdict"]["wall"];
    let text = |key| wall[key].as_str().unwrap_or_default();
    (text("id"), text("side"), text("confidence"))
}

/// B6 and B21: the server ends what is idle, as it was told, and counts it.
#[test]
fn an_idle_timeout_of_ours_is_certain() {
    let flags = ["--cores", &cores(1), "--metrics", "127.0.0.1:0", "--idle-timeout", "1s"];
    let server = Server::start(&server_binary(), IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
    let metrics = server.program.metrics().to_string();
    let flags = ["--connections", "200", "--hold", "3s", "--server-metrics", &metrics];
    let result = run(server.address, &flags);
    assert_eq!(named(&result), ("idle-timeout", "server", "certain"), "{result:#}");
    assert_eq!(number(&result["verdict"]["wall"], "lost"), 200);
    let fix = result["verdict"]["wall"]["fix"][0].as_str().unwrap();
    assert!(fix.starts_with("serve --idle-timeout "), "{fix}");
}

/// B7: a foreign server that accepts thirty and then no more.
#[test]
fn a_server_that_stops_accepting_shows_in_its_queue() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    // The client's look at its target is one of them.
    thread::spawn(move || {
        let taken: Vec<TcpStream> = listener.incoming().take(31).map_while(Result::ok).collect();
        for stream in &taken {
            let stream = stream.try_clone().unwrap();
            thread::spawn(move || echo(stream, &mut [0; 4096]));
        }
        thread::sleep(Duration::from_secs(60));
        drop((listener, taken));
    });
    let result = run(target, &["--connections", "100", "--hold", "1s"]);
    assert_eq!(named(&result), ("accept-stalled", "server", "likely"), "{result:#}");
    let evidence = result["verdict"]["wall"]["evidence"][0].as_str().unwrap();
    assert!(evidence.contains("wait in the accept queue of port"), "{evidence}");
}

/// B8: two listeners on one port, one of which has stopped accepting.
#[test]
fn one_of_two_listeners_that_stops_accepting_is_told_apart() {
    let listener = |address: SocketAddr| {
        let (domain, kind) = (socket2::Domain::IPV4, socket2::Type::STREAM);
        let socket = socket2::Socket::new(domain, kind, None).unwrap();
        rustix::net::sockopt::set_socket_reuseport(&socket, true).unwrap();
        socket.bind(&address.into()).unwrap();
        socket.listen(1024).unwrap();
        TcpListener::from(socket)
    };
    let stopped = listener(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let target = stopped.local_addr().unwrap();
    let works = listener(target);
    thread::spawn(move || {
        for stream in works.incoming().map_while(Result::ok) {
            thread::spawn(move || echo(stream, &mut [0; 4096]));
        }
    });
    let result = run(target, &["--connections", "100", "--hold", "1s"]);
    assert_eq!(named(&result), ("accept-stalled", "server", "likely"), "{result:#}");
    let evidence = result["verdict"]["wall"]["evidence"][0].as_str().unwrap();
    assert!(evidence.contains("2 listeners on the target's ports have "), "{evidence}");
    drop(stopped);
}

fn echo(mut stream: TcpStream, bytes: &mut [u8]) {
    while let Ok(n @ 1..) = stream.read(bytes) {
        if stream.write_all(&bytes[..n]).is_err() {
            return;
        }
    }
}

/// B21: a proxy takes a hundred connections and passes fifty on. The server accepted fewer than the client
/// connected.
#[test]
fn a_proxy_between_shows_by_what_the_server_never_accepted() {
    let flags = ["--cores", &cores(1), "--metrics", "127.0.0.1:0"];
    let server = Server::start(&server_binary(), IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
    let behind = server.address;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            thread::spawn(move || pass_on(stream, (number < 50).then_some(behind)));
        }
    });
    let metrics = server.program.metrics().to_string();
    let result =
        run(target, &["--connections", "100", "--hold", "2s", "--server-metrics", &metrics]);
    let overflows = result["verdict"].to_string().contains("ListenOverflows");
    if overflows {
        return eprintln!("SKIPPED: a proxy between, because other programs fill accept queues");
    }
    assert_eq!(named(&result), ("proxy-between", "between", "certain"), "{result:#}");
    let evidence = result["verdict"]["wall"]["evidence"][0].as_str().unwrap();
    assert!(evidence.contains("client: 100 connected; server: accepted_total 0 -> "), "{evidence}");
}

/// Both ways, or for a while and not at all.
fn pass_on(mut stream: TcpStream, behind: Option<SocketAddr>) {
    let Some(behind) = behind else {
        let _ = stream.read(&mut [0; 4096]);
        return thread::sleep(Duration::from_millis(500));
    };
    let Ok(mut server) = TcpStream::connect(behind) else { return };
    let (mut there, mut back) = (stream.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || std::io::copy(&mut back, &mut there));
    let _ = std::io::copy(&mut stream, &mut server);
    let _ = server.shutdown(std::net::Shutdown::Both);
}
