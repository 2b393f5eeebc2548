//! The recipes of `notes/recipes.md`, as they stand there, against the real servers: with fewer connections and for
//! a shorter time; and what is named when a limit of such a server is met.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use answering::{each_line, say};
use common::{Finished, PATIENCE, Program, Server, free_ports, number, result_in, until};
use lab::host::skipped;
use real::{Place, Real, daemon};
use rustix::process::{Signal, geteuid};
use serde_json::Value;

#[path = "common/answering.rs"]
mod answering;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "common/real.rs"]
mod real;

const PAGE: &str = include_str!("../../notes/recipes.md");

/// A block of the page under a heading: the first that has such a text in it.
fn block(heading: &str, has: &str) -> &'static str {
    let section = PAGE.split(&format!("\n## {heading}\n")).nth(1).expect("it is a heading");
    let section = section.split("\n## ").next().expect("there is a first part");
    let blocks = section.split("```\n").skip(1).step_by(2);
    let mut found = blocks.filter(|block| block.contains(has));
    found.next().unwrap_or_else(|| panic!("{heading} has no block with {has}"))
}

/// A text with other words in it; each must be there.
fn with(text: &str, words: &[(&str, &str)]) -> String {
    words.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} does not stand in: {text}");
        text.replace(old, new)
    })
}

/// Runs a command of the page against a server at `port`, with `connections` of those that it says.
fn run(command: &str, port: (u16, u16), connections: (&str, &str)) -> (Finished, Value) {
    run_for(command, port, connections, "2s")
}

/// The same, and holds them for so long.
fn run_for(
    command: &str,
    port: (u16, u16),
    connections: (&str, &str),
    hold: &str,
) -> (Finished, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let exec = format!("exec {}", env!("CARGO_BIN_EXE_megaconn-client"));
    let old_port = format!("127.0.0.1:{}", port.0);
    let old_connections = format!("--connections {}", connections.0);
    let words = [
        ("megaconn-client", exec.as_str()),
        (&old_port, &format!("127.0.0.1:{}", port.1)),
        (&old_connections, &format!("--connections {}", connections.1)),
        ("--hold 1m", &format!("--hold {hold}")),
    ];
    let command = with(command, &words).replace("--message-every 10s", "--message-every 500ms");
    let command = format!("{} --out {out}", command.trim_end());
    let finished = Program::start(Command::new("sh").args(["-c", &command])).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{command}\n{finished:#?}");
    (finished, result_in(directory.path()))
}

/// All were established, held and verified, and short ones beside them where there were any.
fn is_met((finished, result): &(Finished, Value), connections: u64) {
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(number(result, "established"), connections);
    assert!(result["verdict"]["wall"].is_null(), "{result:#}");
    let plateau = &result["plateaus"][0];
    let churn = &plateau["churn"];
    assert!(churn.is_null() || number(churn, "completed") >= 30, "{churn:#}");
    let messages = &plateau["messages"];
    let is_asked = messages["sent"] != 0;
    assert!(!is_asked || number(messages, "received") >= connections, "{messages:#}");
}

/// The wall, its first evidence and its first fix.
fn wall(result: &Value) -> [&str; 3] {
    let wall = &result["verdict"]["wall"];
    let first = |key: &str| wall[key][0].as_str().unwrap_or_default();
    [wall["id"].as_str().unwrap_or_default(), first("evidence"), first("fix")]
}

fn redis(clients_max: &str) -> Option<Real> {
    let place = Place::new();
    let port = place.port();
    let flags = ["--port", &port, "--bind", "127.0.0.1", "--protected-mode", "no", "--save", ""];
    // A queue that holds all, so that a slow machine meets no wall of its own.
    let more = ["--appendonly", "no", "--tcp-backlog", "4096", "--maxclients", clients_max];
    let flags = [&flags[..], &more].concat();
    Real::start(Path::new("redis-server"), Signal::TERM, place, &flags)
}

#[test]
fn redis_is_asked() {
    let Some(server) = redis("1000") else { return };
    is_met(&run(block("redis", "ECHO"), (6379, server.port), ("10k", "200")), 200);
}

#[test]
fn what_redis_says_of_its_limit_is_understood() {
    let Some(server) = redis("100") else { return };
    let ask = block("redis", "ECHO");
    let quiet = with(ask, &[("--churn 20/s --sweep", "")]);
    let (_, result) = run(&quiet, (6379, server.port), ("10k", "200"));
    let [id, evidence, fix] = wall(&result);
    assert_eq!((number(&result, "established"), id), (100, "own-limit"), "{result:#}");
    assert!(evidence.contains("100 were told so") && evidence.contains("-ERR max number"));
    assert!(fix.contains("maxclients"), "{fix}");
    // As many as there can be are as many as it takes.
    let (finished, result) = run(&quiet, (6379, server.port), ("10k", "max"));
    assert_eq!((finished.code, number(&result, "established")), (Some(0), 100), "{finished:#?}");
    assert_eq!(wall(&result)[0], "own-limit");
    let answer = finished.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(answer.contains("stopped it: connections that the server takes"), "{answer}");
}

/// What was due on connections that were lost is a consequence, and nothing of its own.
#[test]
fn a_wrong_answer_is_all_that_is_named() {
    let Some(server) = redis("2000") else { return };
    let words = [
        ("$6\\r\\n{any:6}", "+PANG"),
        ("--churn 20/s --sweep", ""),
        ("--message-every 10s", "--message-every 200ms"),
    ];
    let command = with(block("redis", "ECHO"), &words);
    let (_, result) = run(&command, (6379, server.port), ("10k", "1000"));
    let verdict = &result["verdict"];
    assert_eq!((number(&result["lost"], "mismatch"), wall(&result)[0]), (1000, "other-protocol"));
    assert!(verdict["more_walls"].as_array().is_none_or(Vec::is_empty), "{verdict:#}");
    let missed = verdict["missed"].to_string();
    assert!(missed.contains("1,000 connections lost") && !missed.contains("not begun"), "{missed}");
}

fn mosquitto(more: &str) -> Option<Real> {
    let place = Place::of("mosquitto");
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\n{more}\nlog_dest none\n",
        place.port()
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("mosquitto"), Signal::TERM, place, &["-c", &conf])
}

#[test]
fn mosquitto_is_subscribed_to_and_pinged() {
    let Some(server) = mosquitto("") else { return };
    is_met(&run(block("mosquitto", "--hello"), (1883, server.port), ("10k", "200")), 200);
}

/// With a keep-alive of 1 s in place of 10, so that what says nothing is ended in 1.5 s.
#[test]
fn mosquitto_keeps_what_pings_and_ends_what_does_not() {
    let Some(server) = mosquitto("") else { return };
    let quickly = [
        ("\\x02\\x00\\x0a\\x00", "\\x02\\x00\\x01\\x00"),
        ("--keepalive-every 8s", "--keepalive-every 700ms"),
    ];
    let command = with(block("mosquitto", "--keepalive-message"), &quickly);
    let (finished, result) = run_for(&command, (1883, server.port), ("10k", "100"), "6s");
    assert_eq!((finished.code, number(&result, "established")), (Some(0), 100), "{finished:#?}");
    let keepalives = &result["plateaus"][0]["keepalives"];
    let (sent, answered) = (number(keepalives, "sent"), number(keepalives, "answered"));
    assert!(sent >= 500 && answered <= sent && sent - answered <= 100, "{keepalives:#}");
    let place = command.find("\\\n    --keepalive-message").expect("it is the last line");
    let (_, result) = run_for(&command[..place], (1883, server.port), ("10k", "100"), "6s");
    assert_eq!(number(&result, "established"), 0, "{result:#}");
    assert!(
        number(&result["lost"], "fin") == 100 || number(&result["lost"], "reset") > 0,
        "{result:#}"
    );
}

#[test]
fn mosquitto_ends_what_is_too_many_and_that_is_its_limit() {
    let Some(server) = mosquitto("max_connections 100") else { return };
    let gently = [("--churn 20/s --sweep", "--rate 100/s")];
    let command = with(block("mosquitto", "--hello"), &gently);
    let (_, result) = run(&command, (1883, server.port), ("10k", "200"));
    let established = number(&result, "established");
    assert!((100..110).contains(&established), "{established}");
    let [id, evidence, _] = wall(&result);
    assert_eq!(id, "own-limit", "{result:#}");
    assert!(evidence.contains("ended by the server before it answered"), "{evidence}");
}

fn nginx(connections: &str, behind: u16) -> Option<Real> {
    let place = Place::new();
    let own = place.directory.path().to_str().expect("temporary names are plain").to_owned();
    let names = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = names.map(|name| format!("{name}_temp_path {own}/{name};")).join(" ");
    let text = with(
        block("nginx", "worker_connections"),
        &[
            ("20000", connections),
            ("127.0.0.1:8080", &place.address.to_string()),
            ("127.0.0.1:7000", &format!("127.0.0.1:{behind}")),
            ("http {", &format!("http {{ access_log off; {paths}")),
        ],
    );
    let always =
        format!("daemon off; master_process off; pid {own}/pid; error_log {own}/log warn;");
    let conf = place.write("conf", &format!("{always}\n{text}"));
    Real::start(&daemon("nginx"), Signal::TERM, place, &["-p", &own, "-c", &conf])
}

#[test]
fn nginx_keeps_http_alive() {
    let Some(server) = nginx("1000", 9) else { return };
    is_met(&run(block("nginx", "GET /"), (8080, server.port), ("10k", "200")), 200);
}

#[test]
fn nginx_is_a_proxy_of_websocket_up_to_its_limit() {
    let websocket = Server::start(
        &common::server_binary(),
        Ipv4Addr::LOCALHOST.into(),
        1,
        &["--cores", &common::cores(1), "--websocket"],
    );
    let behind = websocket.address.port();
    let command = block("nginx", "ws://");
    let Some(server) = nginx("1000", behind) else { return };
    is_met(&run(command, (8080, server.port), ("10k", "200")), 200);
    let Some(server) = nginx("100", behind) else { return };
    let command = with(command, &[("--churn 20/s --sweep", "")]);
    let (_, result) = run(&command, (8080, server.port), ("10k", "200"));
    let established = number(&result, "established");
    assert!((30..50).contains(&established), "{established}");
    assert_eq!(wall(&result)[0], "own-limit", "{result:#}");
}

#[test]
fn haproxy_says_where_connections_come_from() {
    let server = Server::start(
        &common::server_binary(),
        Ipv4Addr::LOCALHOST.into(),
        1,
        &["--cores", &common::cores(1), "--proxy-protocol"],
    );
    let (place, behind) = (Place::new(), free_ports(Ipv4Addr::LOCALHOST.into(), 1));
    let text = with(
        block("HAProxy", "accept-proxy"),
        &[
            ("127.0.0.1:8081", &place.address.to_string()),
            ("127.0.0.1:8082", &behind.to_string()),
            ("127.0.0.1:7000", &server.address.to_string()),
            ("maxconn 45000", "maxconn 2000"),
            ("maxconn 20000", "maxconn 1000"),
        ],
    );
    let conf = place.write("conf", &text);
    let flags = ["-db", "-f", &conf];
    let Some(before) = Real::start(&daemon("haproxy"), Signal::TERM, place, &flags) else { return };
    for (typed, port) in [(8081, before.port), (8082, behind.port())] {
        let command = block("HAProxy", &format!("--target 127.0.0.1:{typed}"));
        is_met(&run(command, (typed, port), ("10k", "200")), 200);
    }
}

/// A cluster of its own, with as many sessions as 100.
fn postgres() -> Option<Real> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let bins = versions.map(|version| version.path().join("bin"));
    let bin = bins.filter(|bin| bin.join("initdb").exists()).max().unwrap_or_default();
    let place = Place::of("postgres");
    let data = place.directory.path().join("data");
    let data = data.to_str().expect("temporary names are plain").to_owned();
    let mut init = Command::new(bin.join("initdb"));
    init.args(["-D", &data, "-A", "trust", "-U", "postgres", "--no-sync"]).stdin(Stdio::null());
    if let Some(user) = place.user {
        init.uid(user).gid(user);
    }
    match init.current_dir(place.directory.path()).output() {
        Ok(made) => assert!(made.status.success(), "{made:?}"),
        Err(error) => {
            skipped(&format!("initdb: {error}; fix: apt-get install postgresql"));
            return None;
        }
    }
    let (port, address) = (place.port(), place.address);
    place.write("data/pg_hba.conf", "host all all 127.0.0.0/8 trust\n");
    let flags =
        ["-D", &data, "-p", &port, "-k", "", "-c", "max_connections=100", "-c", "fsync=off"];
    let flags = [&flags[..], &["-c", "listen_addresses=127.0.0.1"]].concat();
    let server = Real::start(&bin.join("postgres"), Signal::QUIT, place, &flags)?;
    until("it takes sessions", || says_hello(address));
    Some(server)
}

/// Whether a session begins; while the server starts it is an error.
fn says_hello(address: SocketAddr) -> bool {
    let hello = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut first = [0];
    stream.write_all(hello).and_then(|()| stream.read_exact(&mut first)).is_ok() && first == *b"R"
}

#[test]
fn postgres_has_sessions_up_to_its_limit() {
    let Some(server) = postgres() else { return };
    let session = block("postgres", "SELECT");
    is_met(&run(session, (5432, server.port), ("1k", "40")), 40);
    is_met(&run(block("postgres", "hello-answer 'N'"), (5432, server.port), ("1k", "40")), 40);
    let command = with(session, &[("--churn 20/s --sweep", "")]);
    let (_, result) = run(&command, (5432, server.port), ("1k", "200"));
    let [id, evidence, fix] = wall(&result);
    assert_eq!((number(&result, "established"), id), (100, "own-limit"), "{result:#}");
    assert!(evidence.contains("too many clients already"), "{evidence}");
    assert!(fix.contains("max_connections in postgresql.conf"), "{fix}");
}

/// It begins as root, and goes on as users of its own.
fn dovecot(clients: &str, sessions: &str) -> Option<Real> {
    if !geteuid().is_root() {
        skipped("dovecot is started by root alone");
        return None;
    }
    let place = Place { user: None, ..Place::of("dovecot") };
    let own = place.directory.path().to_str().expect("temporary names are plain").to_owned();
    let text = with(
        block("dovecot", "passdb"),
        &[
            ("/tmp/dovecot.log", "/dev/null"),
            ("/tmp/dovecot", &format!("{own}/run")),
            ("/tmp/mail", &format!("{own}/mail")),
            ("port = 1143", &format!("port = {}", place.port())),
            ("client_limit = 20000", &format!("client_limit = {clients}")),
            ("client_limit = 20100", "client_limit = 3000"),
            ("process_limit = 2000", &format!("process_limit = {sessions}")),
        ],
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("dovecot"), Signal::TERM, place, &["-F", "-c", &conf])
}

#[test]
fn dovecot_greets_and_is_asked() {
    let Some(server) = dovecot("2000", "2000") else { return };
    is_met(&run(block("dovecot", "'a NOOP"), (1143, server.port), ("10k", "200")), 200);
    is_met(&run(block("dovecot", "LOGIN"), (1143, server.port), ("1k", "40")), 40);
}

#[test]
fn what_dovecot_says_of_its_limit_is_understood() {
    let Some(server) = dovecot("100", "2000") else { return };
    let command = with(block("dovecot", "'a NOOP"), &[("--churn 20/s --sweep", "")]);
    let (_, result) = run(&command, (1143, server.port), ("10k", "200"));
    let [id, evidence, fix] = wall(&result);
    assert_eq!((number(&result["lost"], "mismatch"), id), (100, "own-limit"), "{result:#}");
    assert!(evidence.contains("BYE Connection queue full"), "{evidence}");
    assert!(fix.contains("client_limit and process_limit"), "{fix}");
}

/// It greets all, and those that it has no session for wait for one.
#[test]
fn the_sessions_of_dovecot_are_its_limit() {
    let Some(server) = dovecot("2000", "20") else { return };
    let command = with(block("dovecot", "LOGIN"), &[("--churn 20/s --sweep", "")]);
    let (_, result) = run(&command, (1143, server.port), ("1k", "40"));
    let [id, evidence, fix] = wall(&result);
    assert_eq!((number(&result["failed"], "ETIMEDOUT"), id), (20, "own-limit"), "{result:#}");
    assert!(evidence.contains("20 were connected, and had no answer in 10 s"), "{evidence}");
    assert!(fix.contains("process_limit"), "{fix}");
}

#[test]
fn a_server_that_greets_is_greeted() {
    let target = answering::server(|stream| {
        say(stream, b"220 mail.example ESMTP\r\n");
        each_line(stream, |_, stream| {
            say(stream, b"250 2.0.0 Ok\r\n");
            true
        });
    });
    let command = block("A server that greets first", "220");
    is_met(&run(command, (2525, target.port()), ("10k", "100")), 100);
}
