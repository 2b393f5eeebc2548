//! A run under control: what is set takes effect and stands in the result, nonsense and other users are
//! refused, and a client that never finishes disturbs nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Program, World, cores, number, server_binary, sum, until};
use rustix::process::Signal;
use serde_json::{Value, json};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

#[path = "../../tests/tmux/mod.rs"]
#[expect(dead_code, reason = "this file needs only a part of it")]
mod tmux;

/// Another user than the one of the tests, who is root where this is tried.
const NOBODY: &str = "65534";

/// The status, and the text, of an answer.
fn exchange(mut stream: impl Read + Write, request: &str) -> (u16, String) {
    stream.write_all(request.as_bytes()).expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a head has a status"), body.to_owned())
}

fn ask(socket: &Path, request: &str) -> (u16, String) {
    exchange(UnixStream::connect(socket).expect("it listens"), request)
}

fn post(socket: &Path, path: &str, body: &str) -> (u16, Value) {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    let (status, text) = ask(socket, &(head + body));
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn state(socket: &Path) -> Value {
    let (status, text) = ask(socket, "GET /state HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).expect("a state is JSON")
}

/// A run of `flags` that is controlled at a socket in its directory.
fn controlled(world: &World, flags: &[&str]) -> (Program, std::path::PathBuf) {
    let socket = world.directory.path().join("run.sock");
    let place = socket.to_str().expect("temporary names are plain");
    let program = world.client(&[&["--control", place], flags].concat());
    until("the control listens", || UnixStream::connect(&socket).is_ok());
    (program, socket)
}

#[test]
fn what_is_set_takes_effect_and_stands_in_the_result() {
    let world = World::on_loopback();
    let (mut program, socket) = controlled(&world, &["--connections", "300", "--hold", "60s"]);
    let mode = socket.metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    until("it holds", || state(&socket)["phase"] == "holding");

    assert_eq!(post(&socket, "/set", r#"{"connections":"2k"}"#), (202, json!({ "changes": [1] })));
    until("it holds more", || {
        let now = state(&socket);
        now["phase"] == "holding" && now["connections"] == 2_000
    });
    assert_eq!(post(&socket, "/pause", "").0, 202);
    until("it is paused", || state(&socket)["paused"] == true);
    assert_eq!(post(&socket, "/set", r#"{"rate":200,"message_rate":"1k/s"}"#).0, 202);
    until("both are set", || state(&socket)["message_rate"] == 1_000);
    let before = number(&state(&socket), "messages");
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(number(&state(&socket), "messages"), before, "nothing begins in a pause");
    assert_eq!(post(&socket, "/resume", "").0, 202);
    until("messages go on", || number(&state(&socket), "messages") > before + 100);
    assert_eq!(post(&socket, "/sweep", "").0, 202);
    until("it is swept", || state(&socket)["changes"][5]["at_seconds"].is_number());
    until("it holds again", || state(&socket)["phase"] == "holding");
    assert_eq!(post(&socket, "/set", r#"{"connections":100}"#).0, 202);
    until("it holds fewer", || state(&socket)["connections"] == 100);
    assert_eq!(post(&socket, "/stop", "").0, 202);

    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(!socket.exists(), "the socket goes with the run");
    let result = world.result();
    let changes: Vec<&str> = result["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|c| c["what"].as_str())
        .collect();
    let expected = [
        "connections 2,000",
        "pause",
        "message_rate 1000/s",
        "rate 200/s",
        "resume",
        "sweep",
        "connections 100",
        "stop",
    ];
    assert_eq!(changes, expected);
    assert_eq!(result["ended_early"], "stopped by control");
    assert_eq!(
        (number(&result, "target_connections"), number(&result, "established")),
        (2_000, 2_000)
    );
    let plateaus = result["plateaus"].as_array().expect("a list");
    let held: Vec<u64> = plateaus.iter().map(|plateau| number(plateau, "established")).collect();
    assert_eq!(held, [300, 2_000, 100]);
    let sweep = &plateaus[1]["sweep"];
    assert_eq!((number(sweep, "asked"), number(sweep, "answered")), (2_000, 2_000), "{sweep}");
    assert_eq!(number(&plateaus[2]["closed"], "connections"), 1_900);
    let report = std::fs::read_to_string(world.directory.path().join("report.html"));
    assert!(report.is_ok_and(|text| text.contains("Changed by control")));
}

#[test]
fn a_stop_and_a_signal_end_the_idle_baseline_at_once() {
    let world = World::on_loopback();
    let flags = ["--connections", "50", "--hold", "1s", "--bystanders", "--bystander-idle", "50s"];
    for is_signal in [false, true] {
        let (mut program, socket) = controlled(&world, &flags);
        std::thread::sleep(Duration::from_millis(500));
        let asked = Instant::now();
        if is_signal {
            program.signal(Signal::INT);
        } else {
            assert_eq!(post(&socket, "/stop", "").0, 202);
        }
        let finished = program.finish();
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}: {finished:#?}", asked.elapsed());
        // Nothing was held.
        assert_eq!(finished.code, Some(if is_signal { 130 } else { 1 }), "{finished:#?}");
        let text = std::fs::read(world.directory.path().join("result.json"));
        let result: Value = serde_json::from_slice(&text.expect("there is one")).expect("JSON");
        assert_eq!((number(&result, "established"), number(&result, "untried")), (0, 50));
        assert_eq!(result["plateaus"], json!([]), "{result:#}");
        assert!(number(&result["bystanders"]["spans"][0]["probes"][0], "sent") > 0, "{result:#}");
        assert!(result["memory_before"]["kernel_bytes"].is_number(), "{result:#}");
        assert!(world.directory.path().join("report.html").exists());
        if !is_signal {
            assert_eq!(result["ended_early"], "stopped by control", "{result:#}");
            let change = &result["changes"][0];
            assert!(change["at_seconds"].as_f64() < Some(1.5), "{change:#}");
        }
    }
}

#[test]
fn fewer_than_are_being_opened_call_the_others_off() {
    let world = World::on_loopback();
    let flags = ["--connections", "5k", "--rate", "300/s", "--hold", "60s"];
    let (mut program, socket) = controlled(&world, &flags);
    until("some are open", || number(&state(&socket), "connections") > 50);
    assert_eq!(post(&socket, "/set", r#"{"connections":40,"rate":"unlimited"}"#).0, 202);
    until("it holds them", || {
        let now = state(&socket);
        now["phase"] == "holding" && now["connections"] == 40
    });
    assert_eq!(post(&socket, "/set", r#"{"connections":700}"#).0, 202);
    until("it holds more", || {
        let now = state(&socket);
        now["phase"] == "holding" && now["connections"] == 700
    });
    assert_eq!(post(&socket, "/stop", "").0, 202);
    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    assert_eq!(
        (number(&result, "established"), number(&result, "untried")),
        (700, 0),
        "{result:#}"
    );
}

#[test]
fn beside_short_connections_there_are_as_many_held_ones_as_their_tuples_leave() {
    let mut world = World::on_loopback();
    world.cores = cores(1);
    // More than are set aside for connections whose tuple is another's, which are 65,536 of a core.
    let sources = ["--source", "127.0.0.1-127.0.0.75", "--source-ports", "20000-20999"];
    let load = ["--connections", "100", "--churn", "200/s", "--close", "reset", "--hold", "60s"];
    let (mut program, socket) = controlled(&world, &[&sources[..], &load].concat());
    until("it holds", || state(&socket)["phase"] == "holding");
    let now = state(&socket);
    let most = number(&now, "most_connections");
    assert!(most > 72_000 && most < 75_000 && now["most_by"] == "source-ports", "{now:#}");
    let (status, why) = post(&socket, "/set", &format!(r#"{{"connections":{}}}"#, most + 1));
    assert!(status == 409 && why["error"].to_string().contains("(source-ports); fix: "), "{why}");
    // Some of the tuples that are left may be another test's.
    assert_eq!(post(&socket, "/set", r#"{"connections":72000}"#).0, 202);
    until("there are as many", || {
        let now = state(&socket);
        now["phase"] == "holding" && now["connections"] == 72_000
    });
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(post(&socket, "/stop", "").0, 202);
    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    assert_eq!(number(&result, "established"), 72_000, "{result:#}");
    let churn = &result["plateaus"][1]["churn"];
    assert!(number(churn, "completed") > 20 && sum(&churn["failed"]) == 0, "{churn:#}");
}

#[test]
fn orders_do_not_wait_behind_one_that_does() {
    let limit = ["--max-connections", "400"];
    let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", &limit);
    let sources = ["--source", "127.0.0.1-127.0.0.3", "--source-ports", "20000-20999"];
    let load = ["--connections", "max", "--rate", "300/s", "--hold", "60s", "--max-lost", "1000"];
    let (mut program, socket) = controlled(&world, &[&sources[..], &load].concat());
    until("some are open", || number(&state(&socket), "connections") > 50);
    assert_eq!(post(&socket, "/set", r#"{"connections":100}"#).0, 202);
    assert_eq!(post(&socket, "/pause", "").0, 202);
    until("it is paused", || state(&socket)["paused"] == true);
    let three = r#"{"rate":"unlimited","message_rate":0.5}"#;
    assert_eq!(post(&socket, "/set", three).0, 202);
    assert_eq!(post(&socket, "/resume", "").0, 202);
    let holds = |count: u64| {
        let now = state(&socket);
        now["phase"] == "holding" && now["connections"] == count
    };
    until("as many as there can be were held, and then what was asked for", || holds(100));
    let most = state(&socket)["most_connections"].clone();
    assert_eq!(post(&socket, "/set", r#"{"connections":300}"#).0, 202);
    until("there is room again", || holds(300));
    assert_eq!(
        post(&socket, "/set", r#"{"connections":20,"rate":"5k/s","message_rate":9}"#).0,
        202
    );
    until("all three took effect", || {
        let now = state(&socket);
        holds(20) && now["rate"] == 5_000 && now["message_rate"] == 9
    });
    assert_eq!(post(&socket, "/stop", "").0, 202);
    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    let changes = result["changes"].as_array().expect("a list");
    assert!(changes.iter().all(|change| change["at_seconds"].is_number()), "{changes:#?}");
    assert_eq!((&result["max"]["connections"], most), (&json!(400), json!(400)), "{result:#}");
    assert_eq!(result["max"]["stopped_by"], "server-full", "{result:#}");
}

#[test]
fn nonsense_is_answered_and_changes_nothing() {
    let world = World::on_loopback();
    let (mut program, socket) =
        controlled(&world, &["--connections", "50", "--expect", "nothing", "--hold", "6s"]);
    // It never finishes its request, and the others are served.
    let mut slow = UnixStream::connect(&socket).expect("it listens");
    slow.write_all(b"POST /stop HTTP/1.1\r\nContent-Length: 900\r\n\r\nx").expect("it takes that");
    for (path, body, status, why) in [
        ("/set", "{", 400, "no JSON"),
        ("/set", r#"{"connections":"many"}"#, 400, "connections: `many` is no count"),
        ("/set", r#"{"connections":100000000000}"#, 409, "is more than this run can hold"),
        ("/sweep", "", 409, "a sweep needs answers"),
        ("/stop", "now", 400, "takes no body"),
    ] {
        let (got, text) = post(&socket, path, body);
        assert_eq!(got, status, "{path} {body}: {text}");
        let text = text["error"].as_str().expect("a refusal says why");
        assert!(text.contains(why) && text.contains("fix: "), "{path} {body}: {text}");
    }
    for (request, status) in [
        ("\r\n\r\n\u{1}", 400),
        ("GET /else HTTP/1.1\r\n\r\n", 404),
        ("POST /nothing HTTP/1.1\r\n\r\n", 404),
        ("POST /stop HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST /stop HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        ("POST /stop HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("POST /stop HTTP/1.1\r\nOrigin: http://a.example\r\nContent-Length: 0\r\n\r\n", 403),
    ] {
        assert_eq!(ask(&socket, request).0, status, "{request:?}");
    }
    for (request, method) in [
        ("DELETE /state", "GET"),
        ("POST /state", "GET"),
        ("GET /set", "POST"),
        ("PUT /stop", "POST"),
        ("HEAD /pause", "POST"),
    ] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        write!(stream, "{request} HTTP/1.1\r\n\r\n").expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers in UTF-8");
        let allow = format!("\r\nAllow: {method}\r\n");
        assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains(&allow), "{answer}");
    }
    let (_, missing) = ask(&socket, "GET /nothing HTTP/1.1\r\n\r\n");
    assert!(missing.contains("fix: a GET of /state, or a POST to /set, /pause"), "{missing}");
    assert_eq!(state(&socket)["changes"], json!([]));
    let finished = program.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert!(world.result()["ended_early"].is_null());
}

#[test]
fn keys_of_the_live_view_change_it_where_that_is_allowed() {
    if !tmux::is_there() {
        return eprintln!("{}", tmux::MISSING);
    }
    let world = World::on_loopback();
    let flags = ["--connections", "200", "--hold", "60s", "--metrics", "127.0.0.1:0"];
    let (mut program, socket) = controlled(&world, &flags);
    assert!(program.says("metrics=http://"), "it says where its metrics are");
    let metrics = program.metrics();
    let top = server_binary().display().to_string() + &format!(" top {metrics} --every 100ms");
    until("it holds", || state(&socket)["phase"] == "holding");

    let mut looks = tmux::Tmux::start(80, 24, &format!("{top}; cat"));
    looks.until("the client is seen", |screen| screen.contains("client  all"));
    looks.press("-");
    looks.press("q");
    assert_eq!(state(&socket)["changes"], json!([]), "it may only look");

    let allowed = format!("{top} --allow-control {}; echo status=$?; cat", socket.display());
    let mut tmux = tmux::Tmux::start(80, 24, &allowed);
    tmux.until("the run is seen", |screen| screen.contains("control: holding 200 of 200"));
    tmux.press("-");
    tmux.until("there are fewer", |screen| screen.contains("control: holding 180 of 180"));
    tmux.press("]");
    tmux.until("there are messages", |screen| screen.contains("180, 100 messages/s"));
    tmux.press("r");
    tmux.until("it is paused", |screen| screen.contains("holding, PAUSED 180"));
    tmux.press("r");
    tmux.until("it goes on", |screen| screen.contains("control: holding 180"));
    // Each of five keys counts, however quick they are.
    tmux.press("]]]]]");
    tmux.until("all five took effect", |screen| screen.contains("180, 3200 messages/s"));
    assert_eq!(post(&socket, "/stop", "").0, 202);
    assert_eq!(program.finish().code, Some(0));
    tmux.until("it is gone", |screen| screen.contains("run.sock: "));
    tmux.press("q");
    tmux.until("it has ended", |screen| screen.contains("status=0"));
}

#[test]
fn another_user_controls_nothing() {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root can be another user");
        return;
    }
    let world = World::on_loopback();
    let flags = ["--connections", "50", "--hold", "5s", "--control", "127.0.0.1:0"];
    let mut program = world.client(&flags);
    assert!(program.says("control=http://"), "it says where it is controlled");
    let address = program.said("control=http://").expect("it said so").to_owned();
    let ask = |user: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/{} && printf 'POST /stop HTTP/1.1\\r\\nContent-Length: 0\\r\\n\\r\\n' >&3 && head -1 <&3",
            address.replace(':', "/")
        );
        let output = Command::new("setpriv")
            .args(["--reuid", user, "--regid", user, "--clear-groups", "bash", "-c", &script])
            .output();
        String::from_utf8_lossy(&output.expect("setpriv is there").stdout).into_owned()
    };
    assert!(ask(NOBODY).starts_with("HTTP/1.1 403"), "{}", ask(NOBODY));
    let own = TcpStream::connect(&address).expect("it listens");
    let (status, text) = exchange(own, "GET /state HTTP/1.1\r\n\r\n");
    let state: Value = serde_json::from_str(&text).expect("a state is JSON");
    assert_eq!((status, &state["changes"]), (200, &json!([])));
    assert_eq!(program.finish().code, Some(0));
}

#[test]
fn a_place_that_cannot_be_is_refused_and_an_old_socket_is_replaced() {
    let world = World::on_loopback();
    let path = |name: &str| world.directory.path().join(name).to_str().expect("plain").to_owned();
    std::fs::write(path("file"), "precious").expect("it is ours");
    let taken = path("taken.sock");
    let _other = std::os::unix::net::UnixListener::bind(&taken).expect("it is free");
    let old = path("old.sock");
    drop(std::os::unix::net::UnixListener::bind(&old).expect("it is free"));
    let run = |place: &str| {
        world.client(&["--connections", "10", "--hold", "0s", "--control", place]).finish()
    };
    for (place, why) in [
        (path("file"), "there is a file that is no socket"),
        (taken, "another process listens there"),
        (path("none/run.sock"), "No such file or directory"),
        ("0.0.0.0:0".to_owned(), "other hosts could control it"),
        ("127.0.0.1".to_owned(), "is no place"),
        ("192.0.2.1:9".to_owned(), "other hosts could control it"),
    ] {
        let finished = run(&place);
        assert_eq!(finished.code, Some(2), "{place}: {finished:#?}");
        let line = finished.stderr.last().expect("it says why");
        assert!(line.contains(why) && line.contains("fix: "), "{place}: {line}");
    }
    assert_eq!(std::fs::read_to_string(path("file")).expect("it is there"), "precious");
    let finished = run(&old);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
}
