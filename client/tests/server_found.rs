//! A server's figures without a flag: of a server of the same host by its socket, of one elsewhere by the
//! usual port. Which server it is, and whose, is checked; a flag and a file win.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use common::{Finished, Program, Server, World, client, cores, number, result_in, server_binary};
use lab::host::skipped;
use lab::netns::{Build, Lab};
use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The user that owns nothing.
const NOBODY: u32 = 65_534;

fn serve(flags: &[&str]) -> Server {
    Server::start(&server_binary(), LOOPBACK, 1, &[&["--cores", &cores(1)], flags].concat())
}

/// A run of 600 connections against `server`.
fn run(server: &Server, flags: &[&str]) -> (Finished, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let target = server.address.to_string();
    let always = ["run", "--target", &target, "--connections", "600", "--hold", "100ms"];
    let flags = [&always, &["--out", out][..], flags].concat();
    let finished = Program::start(&mut client(&flags)).finish();
    (finished, result_in(directory.path()))
}

fn wall(result: &Value) -> (&str, &str) {
    let wall = &result["verdict"]["wall"];
    (wall["id"].as_str().unwrap_or("none"), wall["confidence"].as_str().unwrap_or("none"))
}

fn says(finished: &Finished, line: &str) -> bool {
    finished.stderr.iter().any(|said| said == line)
}

#[test]
fn a_full_server_of_the_same_host_is_named_with_no_flag() {
    // Another one beside it, which is not the one that is meant.
    let (other, server) = (serve(&[]), serve(&["--max-connections", "500"]));
    let (finished, result) = run(&server, &[]);
    assert_eq!(wall(&result), ("server-full", "certain"), "{finished:#?}");
    let process = server.program.id();
    assert!(
        says(&finished, &format!("server_metrics=process {process} of this host")),
        "{finished:#?}"
    );
    let (finished, result) = run(&other, &[]);
    assert_eq!(number(&result, "established"), 600, "{finished:#?}");
    let process = other.program.id();
    assert!(
        says(&finished, &format!("server_metrics=process {process} of this host")),
        "{finished:#?}"
    );
}

#[test]
fn nothing_is_looked_for_when_that_is_asked() {
    let server = serve(&["--max-connections", "500"]);
    let (finished, result) = run(&server, &["--server-metrics", "none"]);
    assert!(says(&finished, "server_metrics=none"), "{finished:#?}");
    assert_ne!(wall(&result).0, "server-full", "it could not be seen: {finished:#?}");
}

#[test]
fn a_file_in_the_run_directory_wins() {
    let world = World::on_loopback();
    let finished = world.client(&["--connections", "100", "--hold", "1s"]).finish();
    let is_said =
        |line: &&String| line.starts_with("server_metrics=/") && line.ends_with("/server.ndjson");
    assert!(finished.stderr.iter().any(|line| is_said(&line)), "{finished:#?}");
    let result = world.result();
    let server =
        result["per_core"].as_array().expect("a list").iter().filter(|c| c["side"] == "server");
    assert!(server.count() > 0, "the file was not read: {result:#}");
}

/// The word of another user's process counts for nothing, and a server answers its own user alone.
#[test]
fn another_user_is_neither_answered_nor_believed() {
    if !rustix::process::geteuid().is_root() {
        return skipped("another user, because only root can be one");
    }
    let server = serve(&[]);
    let name = format!("megaconn-server-{}", server.program.id());
    let ask = |uid: u32| {
        let line = format!(
            "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect('\\0{name}'); \
             s.sendall(b'GET /metrics HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n'); print(s.recv(12).decode())"
        );
        let output = Command::new("python3").args(["-c", &line]).uid(uid).gid(uid).output();
        let output = output.expect("there is python3");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    assert_eq!(ask(0), (true, "HTTP/1.1 200".to_owned()));
    assert_eq!(ask(NOBODY), (true, "HTTP/1.1 403".to_owned()));
}

/// A process that only says that it is a server, and a listener that never answers, hold nothing up.
#[test]
fn what_has_the_name_and_gives_no_figures_is_passed_over() {
    let listener = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let name = SockAddr::unix(format!("\0megaconn-server-{}", u32::MAX)).expect("a name");
    listener.bind(&name).expect("the name is free");
    listener.listen(0).expect("it is bound");
    let first = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    // Its queue is full with this one: another connect waits.
    first.connect(&name).expect("there is room for one");
    let server = serve(&[]);
    let begun = std::time::Instant::now();
    let (finished, _) = run(&server, &[]);
    let process = server.program.id();
    assert!(
        says(&finished, &format!("server_metrics=process {process} of this host")),
        "{finished:#?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_server_elsewhere_is_found_at_the_usual_port_or_not_at_all() {
    let Some(mut lab) = Lab::new(Build::Link) else { return };
    lab.serve(&["--max-connections", "500"]);
    let flags = ["--connections", "600", "--hold", "100ms"];
    let blind = lab.end(lab.client(&flags));
    assert!(says(&blind.finished, "server_metrics=none"), "{blind:#?}");
    let listen = ["serve", "--listen", "10.77.0.1:7001", "--metrics", "10.77.0.1:9100"];
    let core = cores(1);
    let listen = [&listen[..], &["--max-connections", "500", "--cores", &core]].concat();
    let mut server = Program::start(&mut lab.server.command(&server_binary(), &listen));
    assert!(server.says("listening on"), "{:#?}", server.finish());
    let seen = lab.end(lab.client(&[&flags[..], &["--target", "10.77.0.1:7001"]].concat()));
    assert!(says(&seen.finished, "server_metrics=http://10.77.0.1:9100/metrics"), "{seen:#?}");
    assert_eq!(seen.named(), Some(("server-full", "server")), "{seen:#?}");
}
