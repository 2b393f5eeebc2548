//! Scripts over WebSocket: what a message goes out as, and which messages answer it. Python's websockets is the server,
//! and ours.

use std::net::Ipv4Addr;
use std::process::Command;

use common::{Finished, Program, World, number, refusal, result_in};
use lab::host::skipped;
use openssl::pair;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;
#[path = "common/openssl.rs"]
#[allow(dead_code, reason = "this file needs only a part of it")]
mod openssl;

/// Each path answers in a way of its own, and takes messages of one kind.
const SERVER: &str = r#"
import asyncio, json, ssl, sys, websockets

async def serve(ws):
    path = ws.path if hasattr(ws, "path") else ws.request.path
    if path == "/greeting":
        await ws.ping()
        await ws.send("ready")
    if path == "/login":
        hello = await ws.recv()
        assert hello.startswith("hello "), hello
        await ws.ping()
        await ws.send(["wel", "come "])
        await ws.send(hello[6:])
    async for message in ws:
        assert isinstance(message, bytes) == (path == "/binary"), (path, message)
        if path == "/json":
            id = json.loads(message)["id"]
            await ws.send(['{"ok":tr', 'ue,"id":"', id, '"}'])
        elif path == "/several":
            await ws.send("one,")
            await ws.send("")
            await ws.send("two")
        elif path == "/long":
            await ws.send(['{"ok":true,"rest":"', "x" * 3000, "y" * 70000, '"}'])
        elif path == "/more":
            await ws.send(message + " and more")
        else:
            await ws.send(message)

async def main():
    context = None
    if len(sys.argv) > 1:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[1:])
    server = await websockets.serve(serve, "127.0.0.1", 0, ssl=context)
    print("port", server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    await asyncio.sleep(120)

asyncio.run(main())
"#;

/// A Python that has websockets, see `websocket.rs`.
fn python(files: &[String]) -> Option<(Program, u16)> {
    let has_it = |python: &&str| {
        let output = Command::new(python).args(["-c", "import websockets"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(has_it) else {
        skipped("Python's websockets; fix: apt-get install python3-websockets");
        return None;
    };
    let mut server = Program::start(Command::new(python).args(["-c", SERVER]).args(files));
    assert!(server.says("port "), "{:#?}", server.finish());
    let port = server.said("port ").and_then(|port| port.parse().ok()).expect("a port");
    Some((server, port))
}

/// 20 connections for two seconds.
fn run(target: &str, flags: &[&str]) -> (Finished, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let always = ["run", "--target", target, "--connections", "20", "--hold", "2s", "--out", out];
    let finished = Program::start(&mut common::client(&[&always[..], flags].concat())).finish();
    assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
    (finished, result_in(directory.path()))
}

/// All were held, and each message was answered.
fn is_met((finished, result): &(Finished, Value)) {
    assert_eq!((finished.code, number(result, "established")), (Some(0), 20), "{finished:#?}");
    let messages = &result["plateaus"][0]["messages"];
    let [sent, received] = ["sent", "received"].map(|name| number(messages, name));
    assert!(sent >= 60 && received == sent, "{messages:#}");
}

const ASK: &[&str] = &["--message-every", "500ms", "--sweep", "--churn", "20/s", "--message"];

#[test]
fn messages_of_python_answer_a_script() {
    let files = tempfile::tempdir().expect("there is a place for temporary files");
    for files in [&[][..], &pair(files.path())] {
        let Some((_server, port)) = python(files) else { return };
        let (scheme, believe, scripts) = match files {
            [] => ("ws", &[][..], 7),
            _ => ("wss", &["--tls-insecure"][..], 3),
        };
        let all = [
            ("json", &["{\"id\":\"{n}\"}", "--answer", "{\"ok\":true,\"id\":\"{any:10}\"}"][..]),
            ("several", &["ask", "--answer", "one,two"]),
            ("long", &["ask", "--answer", "{\"ok\":true{any}"]),
            ("echo", &["hello {n}", "--answer", "hello {any:10}"]),
            ("binary", &["\\xff{n:04}\\x00", "--answer", "\\xff{any}\\x00"]),
            ("binary", &["plain", "--answer", "plain", "--message-kind", "binary"]),
            ("more", &["ask", "--answer", "ask{any}"]),
        ];
        for (path, script) in &all[..scripts] {
            let target = format!("{scheme}://127.0.0.1:{port}/{path}");
            is_met(&run(&target, &[ASK, script, believe].concat()));
        }
        // An answer ends where its message does.
        let target = format!("{scheme}://127.0.0.1:{port}/more");
        let strict = [&["--message", "ask", "--answer", "ask"], believe].concat();
        let (_, result) = run(&target, &strict);
        assert_eq!(number(&result["lost"], "mismatch"), 20, "{result:#}");
        // What no answer is awaited to is passed over, however long.
        let target = format!("{scheme}://127.0.0.1:{port}/long");
        let dumb = ["--message", "ask", "--message-every", "200ms"];
        let (finished, result) = run(&target, &[&dumb[..], believe].concat());
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        assert!(number(&result["plateaus"][0]["messages"], "sent") > 100, "{result:#}");
    }
}

#[test]
fn a_connection_counts_when_its_hello_is_answered() {
    let files = tempfile::tempdir().expect("there is a place for temporary files");
    for files in [&[][..], &pair(files.path())] {
        let Some((_server, port)) = python(files) else { return };
        let (scheme, believe) = match files {
            [] => ("ws", &[][..]),
            _ => ("wss", &["--tls-insecure"][..]),
        };
        let hello = ["--hello", "hello {n:04}", "--hello-answer"];
        let alive = ["--keepalive-message", "alive", "--keepalive-answer", "alive"];
        let alive = [&alive[..], &["--keepalive-every", "200ms"]].concat();
        let script = ["m{n}", "--answer", "m{any:10}"];
        let run_at = |path: &str, flags: &[&str]| {
            run(&format!("{scheme}://127.0.0.1:{port}/{path}"), &[flags, believe].concat())
        };
        let met =
            run_at("login", &[ASK, &script, &alive, &hello, &["welcome {any:4}"][..]].concat());
        is_met(&met);
        let keepalives = &met.1["plateaus"][0]["keepalives"];
        assert!(number(keepalives, "answered") >= 80, "{keepalives:#}");
        // A server that speaks first.
        is_met(&run_at("greeting", &[ASK, &script, &["--hello-answer", "ready"][..]].concat()));
        // Nothing is awaited: a connection counts when the hello is out.
        is_met(&run_at("echo", &[ASK, &["{\"id\"}", "--answer", "{any}"]].concat()));
        let dumb = ["--hello", "hello", "--message", "ask", "--message-every", "200ms"];
        let (finished, result) = run_at("echo", &dumb);
        assert_eq!((finished.code, number(&result, "established")), (Some(0), 20), "{finished:#?}");
        // Another answer, and one with more behind it, is none.
        for other in ["goodbye {any:4}", "welcome {any:2}"] {
            let (finished, result) = run_at("login", &[&hello[..], &[other]].concat());
            assert_eq!(number(&result, "established"), 0, "{finished:#?}");
            assert_eq!(number(&result["failed"], "EPROTO"), 20, "{result:#}");
            let shown = result["unexpected_bytes"].as_str().unwrap_or_default();
            assert!(shown.starts_with("wel"), "{result:#}");
        }
    }
}

/// Our server gives a hello back as any message.
#[test]
fn a_hello_is_text_or_binary() {
    for flags in [&["--websocket"][..], &["--websocket", "--tls-self-signed"]] {
        let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", flags);
        let scheme = if flags.len() > 1 { "wss" } else { "ws" };
        let target = format!("{scheme}://{}", world.server.address);
        let believe = if flags.len() > 1 { &["--tls-insecure"][..] } else { &[] };
        for hello in ["\\xff{n}", "h{n}"] {
            let answer = hello.replace("{n}", "{any:10}");
            let script = ["m{n}", "--answer", "m{any:10}", "--hello", hello, "--hello-answer"];
            is_met(&run(&target, &[ASK, &script, &[&answer], believe].concat()));
        }
    }
}

#[test]
fn what_keeps_a_connection_alive_is_a_message_too() {
    for (scheme, flags, believe) in [
        ("ws", &["--websocket"][..], &[][..]),
        ("wss", &["--websocket", "--tls-self-signed"], &["--tls-insecure"]),
    ] {
        let world = World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", flags);
        let target = format!("{scheme}://{}", world.server.address);
        let alive = ["--keepalive-message", "\\xc0{n}", "--keepalive-answer", "\\xc0{any:10}"];
        let script = ["m{n}", "--answer", "m{any:10}", "--keepalive-every", "200ms"];
        let met = run(&target, &[ASK, &script, &alive, believe].concat());
        is_met(&met);
        let keepalives = &met.1["plateaus"][0]["keepalives"];
        assert!(number(keepalives, "answered") >= 80, "{keepalives:#}");
    }
}

#[test]
fn what_websocket_has_no_place_for_is_refused() {
    let target = ["run", "--connections", "1", "--target", "ws://127.0.0.1:1"];
    let long = "x".repeat(4_095);
    for (flags, said) in [
        (&["--hello", &long][..], "--hello does not fit into a frame"),
        (&["--hello", "\\xff", "--message-kind", "text"], "--hello is no UTF-8"),
        (&["--message", "x", "--ping-every", "1s"], "--ping-every sends messages of its own"),
        (&["--message", &long], "--message does not fit into a frame"),
        (&["--message", "\\xff", "--message-kind", "text"], "--message is no UTF-8"),
    ] {
        let error = refusal(&mut common::client(&[&target[..], flags].concat()));
        assert!(error.contains(said) && error.contains("fix: "), "{error}");
    }
    let target = ["run", "--connections", "1", "--target", "127.0.0.1:1"];
    let flags = ["--message", "x", "--message-kind", "text"];
    let error = refusal(&mut common::client(&[&target[..], &flags].concat()));
    assert!(error.contains("--message-kind is of WebSocket; fix: "), "{error}");
}
