//! WebSocket against programs that are not ours, over loopback: curl, Python's websockets, Chromium and
//! nginx; and our own two ends, which push and hold many. `peers/` has more of them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    Finished, PATIENCE, Program, World, client, free_ports, number, result_in, scrape, sum, until,
};
use megaconn::base::layers::Layers;
use megaconn::engine::protocol::websocket::upgrade::{Asked, agree};
use megaconn::runtime::footprint;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

/// The example of RFC 6455, section 1.3.
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

fn server(flags: &[&str]) -> World {
    let flags = [&["--websocket"], flags].concat();
    World::with(Ipv4Addr::LOCALHOST.into(), 1, "100ms", &flags)
}

/// A run against `target`, which has that exit status.
fn run(target: SocketAddr, flags: &[&str], status: i32) -> (Finished, Value) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let out = directory.path().to_str().expect("temporary names are plain");
    let target = format!("ws://{target}/some/path?a=b");
    let flags = [&["run", "--target", &target, "--out", out][..], flags].concat();
    let finished = Program::start(&mut client(&flags)).finish();
    assert_eq!(finished.code, Some(status), "{finished:#?}");
    (finished, result_in(directory.path()))
}

#[expect(clippy::print_stderr, reason = "what a test leaves out is said")]
fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

/// Whether a program can be started; if not, that is said loudly.
fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        skipped(&format!("{program} against WebSocket; fix: install it"));
    }
    is_there
}

// ---- curl ---------------------------------------------------------------------------------

/// Exit status and output of curl with these headers, which gives up after two seconds.
fn curl(address: SocketAddr, headers: &[&str]) -> (Option<i32>, Vec<u8>) {
    let mut command = Command::new("curl");
    command.args(["--silent", "--include", "--no-buffer", "--http1.1", "--max-time", "2"]);
    command.args(headers.iter().flat_map(|header| ["--header", header]));
    let output = command.arg(format!("http://{address}/chat")).output().expect("curl is there");
    (output.status.code(), output.stdout)
}

#[test]
fn curl_is_upgraded_and_told_what_it_could_ask_for() {
    if !is_there("curl") {
        return;
    }
    let world = server(&["--banner", "hello", "--subprotocol", "chat"]);
    let address = world.server.address;
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    let asks = [&upgrade[..], &[KEY, "Sec-WebSocket-Protocol: soap, chat"]].concat();
    let (_, answer) = curl(address, &asks);
    let text = String::from_utf8_lossy(&answer).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{text}");
    assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
    assert!(text.contains("\r\nSec-WebSocket-Protocol: chat\r\n"), "{text}");
    assert!(answer.ends_with(b"\x81\x05hello"), "the banner is a text frame: {answer:x?}");
    for (headers, status) in
        [(&[][..], "426"), (&upgrade[..2], "426"), (&upgrade[..], "400"), (&["Host:"][..], "400")]
    {
        let (code, answer) = curl(address, headers);
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {text}");
        // It is answered whole, and closed.
        assert_eq!(code, Some(0), "{headers:?}: {text}");
    }
}

// ---- Python's websockets ------------------------------------------------------------------

/// A Python that has it: Debian's package is for Debian's own, which need not be the first in the path.
fn python() -> Option<&'static str> {
    let has_it = |python: &&str| {
        let output = Command::new(python).args(["-c", "import websockets"]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has_it);
    if found.is_none() {
        skipped("Python's websockets; fix: apt-get install python3-websockets");
    }
    found
}

const PYTHON_CLIENT: &str = r#"
import asyncio, sys, websockets

async def main():
    async with websockets.connect(sys.argv[1], max_size=None, subprotocols=["soap", "chat"]) as ws:
        assert ws.subprotocol == "chat", ws.subprotocol
        for message in ["", "plain", "h\u00e9 \u20ac \U0001f600", b"", bytes(range(256)), "x" * 65536,
                        b"y" * 300000, "\u20ac" * 30000]:
            await ws.send(message)
            assert await ws.recv() == message, len(message)
        async def fragments():
            for part in ["\u20ac one, ", "", "two, ", "z" * 5000]:
                yield part
        await ws.send(fragments())
        assert await ws.recv() == "\u20ac one, two, " + "z" * 5000
        for payload in [b"", b"?", b"p" * 125]:
            await asyncio.wait_for(await ws.ping(payload), 10)
        # Many at once, of all lengths.
        sent = [b"m" * (n * 37 % 9000) for n in range(300)]
        for message in sent:
            await ws.send(message)
        for message in sent:
            assert await ws.recv() == message
        await ws.close(4321, "bye")
        assert ws.close_code == 4321, ws.close_code

asyncio.run(asyncio.wait_for(main(), 30))
print("well")
"#;

#[test]
fn a_client_of_python_gets_every_message_back() {
    let Some(python) = python() else { return };
    let world = server(&["--subprotocol", "chat"]);
    let url = format!("ws://{}/a", world.server.address);
    let finished = Program::start(Command::new(python).args(["-c", PYTHON_CLIENT, &url])).finish();
    assert_eq!((finished.code, finished.stdout.trim()), (Some(0), "well"), "{finished:#?}");
}

const PYTHON_SERVER: &str = r#"
import asyncio, collections, sys, websockets

codes = collections.Counter()

async def echo(ws):
    headers = ws.request_headers if hasattr(ws, "request_headers") else ws.request.headers
    assert headers["X-Token"] == "a b", headers
    async for message in ws:
        await ws.send(message)
    codes[ws.close_code] += 1
    if sum(codes.values()) == int(sys.argv[1]):
        print("closed", dict(codes), file=sys.stderr, flush=True)

async def main():
    server = await websockets.serve(echo, "127.0.0.1", 0, subprotocols=["chat"],
                                    ping_interval=0.2, ping_timeout=1.5)
    print("port", server.sockets[0].getsockname()[1], file=sys.stderr, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"#;

#[test]
fn a_server_of_python_is_held_verified_and_left_in_order() {
    let Some(python) = python() else { return };
    let mut server = Program::start(Command::new(python).args(["-c", PYTHON_SERVER, "100"]));
    assert!(server.says("port "), "{:#?}", server.finish());
    let port = server.said("port ").and_then(|port| port.parse().ok()).expect("a port");
    let flags = ["--connections", "100", "--hold", "2s", "--message-every", "500ms"];
    let more = ["--header", "X-Token: a b", "--subprotocol", "chat", "--message-bytes", "3000"];
    let (finished, result) =
        run(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), &[&flags[..], &more].concat(), 0);
    assert_eq!(number(&result, "established"), 100, "{finished:#?}");
    let messages = &result["plateaus"][0]["messages"];
    assert!(number(messages, "received") >= 300, "{messages}");
    assert_eq!(number(messages, "sent"), number(messages, "received"), "{messages}");
    assert!(server.says("closed {1000: 100}"), "each was left with a close frame");
}

// ---- Chromium -----------------------------------------------------------------------------

/// A page whose loading is over when its WebSocket is: until then it waits for a picture.
const PAGE: &str = r#"<!doctype html><title>test</title><p id=out>nothing</p><img id=wait src="PICTURE">
<script>
const out = document.getElementById("out"), wait = document.getElementById("wait");
const done = text => { out.textContent = text; wait.src = "data:,"; };
const ws = new WebSocket("TARGET", ["soap", "chat"]);
ws.binaryType = "arraybuffer";
const bytes = n => Uint8Array.from({ length: n }, (_, i) => i * 7 & 255);
const texts = ["", "plain", "h\u00e9 \u20ac \u{1f600}", "x".repeat(70000)];
const messages = [...texts, ...[0, 125, 126, 65535, 65536, 300000].map(bytes)];
const same = (a, b) => typeof a == "string" ? a === b
    : b instanceof ArrayBuffer && a.length == b.byteLength && new Uint8Array(b).every((x, i) => x == a[i]);
let came = 0;
ws.onopen = () => messages.forEach(message => ws.send(message));
ws.onmessage = event => {
    if (!same(messages[came], event.data)) return done(`message ${came} is another`);
    if (++came == messages.length) ws.close(3456, "bye");
};
ws.onclose = event => done(`${came} of ${messages.length}, ${event.code}, clean ${event.wasClean}, `
    + `${ws.protocol}, extensions '${ws.extensions}'`);
</script>"#;

#[test]
fn chromium_gets_every_message_back() {
    if !is_there("chromium") {
        return;
    }
    for (scheme, flags) in [("ws", &[][..]), ("wss", &["--tls-self-signed"])] {
        let world = server(&[&["--subprotocol", "chat"], flags].concat());
        // It listens and never answers.
        let picture = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
        let picture = picture.local_addr().map(|at| (at, picture)).expect("it has an address");
        let place = tempfile::tempdir().expect("there is a place for temporary files");
        let page = place.path().join("page.html");
        let target = format!("{scheme}://{}/chat", world.server.address);
        let text = PAGE.replace("PICTURE", &format!("http://{}/", picture.0));
        fs::write(&page, text.replace("TARGET", &target)).expect("it is our directory");
        let profile = format!("--user-data-dir={}", place.path().join("profile").display());
        let mut command = Command::new("timeout");
        command.args(["30", "chromium", "--headless", "--no-sandbox", "--disable-gpu", &profile]);
        command.args(["--no-first-run", "--disable-background-networking"]);
        // It has authorities of its own.
        command.args(["--disable-dev-shm-usage", "--ignore-certificate-errors"]);
        command.arg("--dump-dom").arg(format!("file://{}", page.display()));
        let finished = Program::start(command.env("HOME", place.path())).finish();
        let due = "<p id=\"out\">10 of 10, 3456, clean true, chat, extensions ''</p>";
        assert!(finished.stdout.contains(due), "{scheme}: {finished:#?}");
    }
}

// ---- servers that do not agree ------------------------------------------------------------

#[test]
fn a_server_of_http_refuses_and_is_shown() {
    if Command::new("nginx").arg("-v").output().is_err() {
        return skipped("nginx against WebSocket; fix: apt-get install nginx-light");
    }
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let at = place.path().to_str().expect("temporary names are plain");
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {at}/{name};")).concat();
    let text = format!(
        "daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;\n\
         events {{ worker_connections 100; }}\n\
         http {{ access_log off; {paths} server {{ listen {address}; return 403; }} }}\n"
    );
    let conf = format!("{at}/nginx.conf");
    fs::write(&conf, text).expect("it is our directory");
    let _nginx = Program::start(Command::new("nginx").args(["-p", at, "-c", &conf]));
    until("it listens", || TcpStream::connect(address).is_ok());
    let (finished, result) = run(address, &["--connections", "20", "--hold", "1s"], 1);
    assert_eq!(number(&result, "established"), 0, "{finished:#?}");
    assert_eq!(number(&result["failed"], "EPROTO"), 20, "{}", result["failed"]);
    assert_eq!(sum(&result["failed"]), 20, "{}", result["failed"]);
    let bytes = result["unexpected_bytes"].as_str().unwrap_or_default();
    assert!(bytes.starts_with("HTTP/1.1 403 Forbidden"), "{bytes}");
}

#[test]
fn a_server_that_says_nothing_is_waited_for_ten_seconds() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = silent.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        // Each is held until the test is over.
        let _held: Vec<_> = silent.incoming().take(100).collect();
    });
    let begun = Instant::now();
    let (finished, result) = run(address, &["--connections", "5", "--hold", "1s"], 1);
    let took = begun.elapsed();
    assert!((Duration::from_secs(10)..PATIENCE).contains(&took), "{took:?}: {finished:#?}");
    assert_eq!(number(&result, "established"), 0);
    assert_eq!(number(&result["failed"], "ETIMEDOUT"), 5, "{}", result["failed"]);
}

/// What the server reads of a client to which it has agreed, and sent a frame with a mask.
fn send_a_masked_frame(mut stream: TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    let (mut request, mut filled) = (vec![0; 4096], 0);
    while !request[..filled].ends_with(b"\r\n\r\n") {
        filled += stream.read(&mut request[filled..]).expect("a request comes");
    }
    let Asked::Agreed { answer, .. } = agree(&mut request, filled, None) else {
        panic!("the client asks for no upgrade");
    };
    stream.write_all(&request[..answer]).expect("the client is there");
    stream.write_all(b"\x81\x82\x01\x02\x03\x04hi").expect("the client is there");
    let mut last = Vec::new();
    // It may end by a reset.
    let _ = stream.read_to_end(&mut last);
    last
}

#[test]
fn a_server_that_masks_is_told_so_and_counted_as_wrong() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = server.local_addr().expect("a bound socket has an address");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // One more than connections: the client looks first whether something listens.
        for stream in server.incoming().flatten() {
            let tell = tell.clone();
            thread::spawn(move || {
                let mut byte = [0];
                let has_come = stream.peek(&mut byte).is_ok_and(|bytes| bytes > 0);
                if has_come {
                    drop(tell.send(send_a_masked_frame(stream)));
                }
            });
        }
    });
    let (finished, result) = run(address, &["--connections", "3", "--hold", "1s"], 1);
    assert_eq!(number(&result["lost"], "mismatch"), 3, "{finished:#?}");
    assert_eq!(sum(&result["lost"]), 3, "{}", result["lost"]);
    let bytes = result["unexpected_bytes"].as_str().unwrap_or_default();
    assert!(bytes.starts_with("\\x81\\x82"), "{bytes}");
    for _ in 0..3 {
        let last = told.recv_timeout(PATIENCE).expect("each is told");
        let [0x88, 0x82, a, b, _, _, c, d] = last[..] else { panic!("no close: {last:x?}") };
        assert_eq!(u16::from_be_bytes([a ^ c, b ^ d]), 1002);
    }
}

// ---- our own two ends ---------------------------------------------------------------------

#[test]
fn pushes_come_in_time_over_websocket() {
    const CONNECTIONS: u64 = 200;
    let pushes = ["--push-every", "300ms", "--push-text", "tick", "--banner", "hello"];
    let world = server(&[&["--mode", "push", "--metrics", "127.0.0.1:0"], &pushes[..]].concat());
    let flags = ["--connections", "200", "--expect", "push", "--hold", "2500ms"];
    let (_, result) = run(world.server.address, &[&flags[..], &pushes].concat(), 0);
    let pushes = &result["plateaus"][0]["pushes"];
    let received = number(pushes, "received");
    assert!((7 * CONNECTIONS..=10 * CONNECTIONS).contains(&received), "{pushes}");
    assert_eq!(number(pushes, "missing"), 0, "{pushes}");
    assert_eq!((number(&result, "established"), sum(&result["lost"])), (CONNECTIONS, 0));
    // Each was left by a close frame, and was not malformed.
    let metrics = scrape(world.server.program.metrics());
    let malformed = |line: &&str| line.starts_with("megaconn_malformed_total");
    let malformed: Vec<_> = metrics.lines().filter(malformed).collect();
    let is_none = !malformed.is_empty() && malformed.iter().all(|line| line.ends_with(" 0"));
    assert!(is_none, "{malformed:?}");
}

/// What an idle connection takes is known here to some bytes: 48 at each end are asserted by the sizes of
/// slots, and what else a process does is in this figure. Buffers of the last burst go back within the hold.
#[test]
fn twenty_thousand_are_held_and_what_each_costs_is_told() {
    let world = server(&[]);
    let target = format!("ws://{}/", world.server.address);
    let flags = ["--connections", "5k,20k", "--hold", "4s", "--message-count", "1"];
    let finished = world.client_to(&target, &flags).finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let result = world.result();
    assert_eq!(number(&result, "established"), 20_000);
    assert_eq!((sum(&result["failed"]), sum(&result["lost"])), (0, 0));
    let cost = &result["cost_per_connection"];
    let bytes = |key: &str| cost[key].as_f64();
    let (server, client) = (bytes("server_user_bytes"), bytes("client_user_bytes"));
    // It is about what a plan says. A buffer for each would be 4,096.
    let reckoned = footprint::of(Layers { websocket: true, ..Layers::default() });
    for (taken, reckoned) in [(server, reckoned.server_bytes), (client, reckoned.client_bytes)] {
        let near = (reckoned as f64 / 2.0)..(reckoned as f64 + 350.0);
        assert!(taken.is_none_or(|bytes| near.contains(&bytes)), "{reckoned}: {cost}");
    }
    println!("user bytes of an idle connection: server {server:?}, client {client:?}");
    assert!(client.is_some(), "{cost}");
}
