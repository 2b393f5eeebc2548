//! npm's ws and gorilla's websocket, without TLS and in it.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::common::{Program, free_ports, until};
use crate::lab::host::skipped;
use crate::{CONNECTIONS, LOOPBACK, Papers, go, is_met, is_well, program, run, server};

const TRAFFIC: [&str; 6] = ["--message-every", "300ms", "--message-bytes", "3000", "--hold", "2s"];

/// A server in each scheme, and what its address begins with.
fn servers(papers: &Papers) -> [(&'static str, Vec<&str>); 2] {
    let plain = vec!["--websocket", "--subprotocol", "chat"];
    let tls = [&plain[..], &papers.server.flags()].concat();
    [("ws", plain), ("wss", tls)]
}

// ---- npm's ws -----------------------------------------------------------------------------

/// Exactly this, so that a test says the same tomorrow.
const WS: &str = "ws@8.18.0";

static INSTALLING: Mutex<()> = Mutex::new(());

/// Where `require("ws")` finds it: installed once beside the other things that are built. `None`, said loudly, where
/// there is no npm, or it has no network.
fn ws() -> Option<PathBuf> {
    let _one_at_a_time = INSTALLING.lock().expect("no test panics while it installs");
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(WS);
    let modules = place.join("node_modules");
    if modules.join("ws/package.json").is_file() {
        return Some(modules);
    }
    let fresh = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("cargo has made it");
    let mut npm = Command::new("timeout");
    npm.args([
        "120",
        "npm",
        "install",
        "--no-save",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--fetch-retries=1",
    ]);
    let why = match npm.arg("--prefix").arg(fresh.path()).arg(WS).output() {
        // Another process may have been quicker.
        Ok(output) if output.status.success() => match fs::rename(fresh.keep(), &place) {
            Err(error) if !modules.is_dir() => error.to_string(),
            _ => return Some(modules),
        },
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            said.lines().take(2).collect::<Vec<_>>().join(", ")
        }
        Err(error) => error.to_string(),
    };
    skipped(&format!(
        "npm's {WS} could not be installed: {why}; fix: apt-get install nodejs npm, and a network"
    ));
    None
}

fn node(modules: &Path, name: &str, papers: &Papers) -> Command {
    let mut command = Command::new("node");
    command.arg(program(name)).env("NODE_PATH", modules);
    command.env("NODE_EXTRA_CA_CERTS", &papers.authority);
    command
}

#[test]
fn clients_of_ws_get_every_message_back() {
    let (Some(papers), Some(modules)) = (Papers::new(), ws()) else { return };
    for (scheme, flags) in servers(&papers) {
        let server = server(&flags);
        let url = format!("{scheme}://{}/a", server.address);
        is_well(node(&modules, "ws-client.js", &papers).args([&url, CONNECTIONS]));
    }
}

#[test]
fn a_server_of_ws_is_held_verified_and_left_in_order() {
    let (Some(papers), Some(modules)) = (Papers::new(), ws()) else { return };
    let pair = [papers.server.certificate.as_str(), &papers.server.key];
    let believed = ["--tls-ca", &papers.authority];
    for (scheme, files, flags) in [("ws", &[][..], &[][..]), ("wss", &pair, &believed)] {
        let mut command = node(&modules, "ws-server.js", &papers);
        let mut server = Program::start(command.arg(CONNECTIONS).args(files));
        assert!(server.says("port "), "{:#?}", server.finish());
        let target = format!("{scheme}://127.0.0.1:{}/", server.said("port ").unwrap_or_default());
        let asked = ["--header", "X-Token: a b", "--subprotocol", "chat"];
        let flags = [&["--connections", CONNECTIONS], &TRAFFIC[..], &asked, flags].concat();
        is_met(&run(&target, &flags));
        // A ping of ours for each message, on as many again.
        let due = r#"closed {"1000":50} answered 50"#;
        assert!(server.says(due), "{:#?}", server.finish());
    }
}

/// Each ping has its pong.
#[test]
fn a_server_of_ws_answers_pings() {
    let (Some(papers), Some(modules)) = (Papers::new(), ws()) else { return };
    let mut server = Program::start(node(&modules, "ws-server.js", &papers).arg(CONNECTIONS));
    assert!(server.says("port "), "{:#?}", server.finish());
    let target = format!("ws://127.0.0.1:{}/", server.said("port ").unwrap_or_default());
    let flags = ["--connections", CONNECTIONS, "--ping-every", "300ms", "--hold", "2s"];
    let asked = ["--header", "X-Token: a b", "--subprotocol", "chat"];
    is_met(&run(&target, &[&flags[..], &asked].concat()));
}

/// What it does not let in is told by its answer.
#[test]
fn a_server_of_ws_refuses_and_is_shown() {
    let (Some(papers), Some(modules)) = (Papers::new(), ws()) else { return };
    let mut server = Program::start(node(&modules, "ws-server.js", &papers).arg(CONNECTIONS));
    assert!(server.says("port "), "{:#?}", server.finish());
    let target = format!("ws://127.0.0.1:{}/", server.said("port ").unwrap_or_default());
    let (code, result) = run(&target, &["--connections", CONNECTIONS, "--hold", "0s"]);
    assert_eq!((code, &result["failed"]["EPROTO"]), (Some(1), &50.into()), "{result:#}");
    let bytes = result["unexpected_bytes"].as_str().unwrap_or_default();
    assert!(bytes.starts_with("HTTP/1.1 401 Unauthorized"), "{bytes}");
}

// ---- gorilla ------------------------------------------------------------------------------

#[test]
fn clients_of_gorilla_get_every_message_back() {
    let Some(papers) = Papers::new() else { return };
    let Some(gorilla) = go(&program("gorilla/main.go"), papers.place()) else { return };
    for (scheme, flags) in servers(&papers) {
        let server = server(&flags);
        let url = format!("{scheme}://{}/a", server.address);
        let mut command = Command::new(&gorilla);
        is_well(command.args([&url, CONNECTIONS]).env("SSL_CERT_FILE", &papers.authority));
    }
}

#[test]
fn a_server_of_gorilla_is_held_and_verified() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = root.join("bench-scripts/baselines/go-ws-echo/main.go");
    let Some(echo) = go(&source, place.path()) else { return };
    let address = free_ports(LOOPBACK, 1);
    let _server = Program::start(Command::new(echo).arg(address.port().to_string()));
    until("it listens", || TcpStream::connect(address).is_ok());
    let target = format!("ws://{address}/");
    is_met(&run(&target, &[&["--connections", CONNECTIONS][..], &TRAFFIC].concat()));
    let pings = ["--connections", CONNECTIONS, "--ping-every", "300ms", "--hold", "1500ms"];
    is_met(&run(&target, &pings));
}
