//! Go's crypto/tls, Python's ssl and curl: both versions, certificates of clients, and sessions that are resumed.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use crate::common::{Program, Server, free_ports, number, until};
use crate::lab::host::skipped;
use crate::{CONNECTIONS, LOOPBACK, Papers, go, is_met, is_well, program, run, server};

pub(crate) const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Our server with a certificate, and more flags.
pub(crate) fn tls_server(papers: &Papers, more: &[&str]) -> Server {
    server(&[&papers.server.flags(), more].concat())
}

/// It takes those alone who show a certificate.
pub(crate) fn wants_certificates(papers: &Papers) -> [&str; 2] {
    ["--tls-client-ca", &papers.authority]
}

/// Our client at a server of TLS, which wants a certificate or not.
pub(crate) fn meets(address: SocketAddr, papers: &Papers, is_mutual: bool, more: &[&str]) {
    let target = format!("tls://{address}");
    let flags = ["--connections", CONNECTIONS, "--tls-ca", &papers.authority];
    let flags = [&flags[..], &["--message-every", "300ms", "--hold", "1500ms"], more].concat();
    let own = papers.client.flags();
    is_met(&run(&target, &[&flags[..], if is_mutual { &own } else { &[] }].concat()));
    if is_mutual {
        let (code, result) = run(&target, &flags);
        let received = number(&result["plateaus"][0]["messages"], "received");
        assert_eq!((code, received), (Some(1), 0), "without a certificate: {result:#}");
    }
}

/// A server of another kind, which listens.
fn peer(command: &mut Command, address: SocketAddr) -> Program {
    let program = Program::start(command);
    until("it listens", || TcpStream::connect(address).is_ok());
    program
}

// ---- Go -----------------------------------------------------------------------------------

fn crypto_tls(papers: &Papers) -> Option<impl Fn(&[&str]) -> Command + use<>> {
    let built = go(&program("crypto-tls/main.go"), papers.place())?;
    Some(move |words: &[&str]| {
        let mut command = Command::new(&built);
        command.args(words);
        command
    })
}

#[test]
fn clients_of_go_are_served() {
    let Some(papers) = Papers::new() else { return };
    let Some(crypto_tls) = crypto_tls(&papers) else { return };
    let plain = tls_server(&papers, &[]);
    let mutual = tls_server(&papers, &wants_certificates(&papers));
    let resuming = tls_server(&papers, &["--tls-tickets"]);
    let own = ["-cert", &papers.client.certificate, "-key", &papers.client.key];
    for version in VERSIONS {
        for (server, more) in [(&plain, &[][..]), (&mutual, &own), (&resuming, &["-resumed"])] {
            let address = server.address.to_string();
            let words = ["-connect", &address, "-version", version, "-count", CONNECTIONS];
            let words = [&words[..], &["-ca", &papers.authority], more].concat();
            is_well(&mut crypto_tls(&words));
        }
        // Without its certificate it is told so.
        let address = mutual.address.to_string();
        let words = ["-connect", &address, "-version", version, "-ca", &papers.authority];
        let finished = Program::start(&mut crypto_tls(&words)).finish();
        let said = finished.stderr.join("\n");
        assert!(finished.code == Some(1) && said.contains("certificate"), "{finished:#?}");
    }
}

#[test]
fn a_server_of_go_is_held_and_verified() {
    let Some(papers) = Papers::new() else { return };
    let Some(crypto_tls) = crypto_tls(&papers) else { return };
    for version in VERSIONS {
        for authority in [&[][..], &["-ca", &papers.authority]] {
            let address = free_ports(LOOPBACK, 1);
            let port = address.port().to_string();
            let own = ["-cert", &papers.server.certificate, "-key", &papers.server.key];
            let words = [&["-listen", &port, "-version", version], &own[..], authority].concat();
            let _peer = peer(&mut crypto_tls(&words), address);
            meets(address, &papers, !authority.is_empty(), &[]);
        }
    }
}

/// The one that `compare.sh` measures.
#[test]
fn the_baseline_of_go_is_held_and_verified() {
    let Some(papers) = Papers::new() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let source = root.join("bench-scripts/baselines/go-tls-echo/main.go");
    let Some(echo) = go(&source, papers.place()) else { return };
    let address = free_ports(LOOPBACK, 1);
    let words = [&address.port().to_string(), &papers.server.certificate, &papers.server.key];
    let _peer = peer(Command::new(echo).args(words), address);
    meets(address, &papers, false, &["--churn", "30/s", "--sweep"]);
}

// ---- Python -------------------------------------------------------------------------------

fn python(words: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(program("tls.py")).args(words);
    command
}

#[test]
fn clients_of_python_are_served() {
    let Some(papers) = Papers::new() else { return };
    let plain = tls_server(&papers, &[]);
    let mutual = tls_server(&papers, &wants_certificates(&papers));
    let resuming = tls_server(&papers, &["--tls-tickets"]);
    let own = [papers.client.certificate.as_str(), &papers.client.key];
    for version in VERSIONS {
        let cases =
            [("dial", &plain, &[][..]), ("dial", &mutual, &own), ("resume", &resuming, &[])];
        for (role, server, more) in cases {
            let port = server.address.port().to_string();
            let words = [role, &port, version, &papers.authority, CONNECTIONS];
            is_well(&mut python(&[&words[..], more].concat()));
        }
    }
}

#[test]
fn a_server_of_python_is_held_and_verified() {
    let Some(papers) = Papers::new() else { return };
    for version in VERSIONS {
        for authority in [&[][..], &[papers.authority.as_str()]] {
            let address = free_ports(LOOPBACK, 1);
            let port = address.port().to_string();
            let own = [papers.server.certificate.as_str(), &papers.server.key];
            let words = [&["serve", &port, version], &own[..], authority].concat();
            let _peer = peer(&mut python(&words), address);
            meets(address, &papers, !authority.is_empty(), &[]);
        }
    }
}

// ---- curl ---------------------------------------------------------------------------------

/// The status of each answer, and certificates that came, of 50 requests one after the other. Each is
/// refused by HTTP, and closed.
fn curl(server: &Server, papers: &Papers, version: &str, more: &[&str]) -> (Vec<String>, usize) {
    let mut command = Command::new("curl");
    command.args([
        "--silent",
        "--verbose",
        "--http1.1",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
    ]);
    command.args([
        "--tls-max",
        version,
        &format!("--tlsv{version}"),
        "--cacert",
        &papers.authority,
    ]);
    command.args(["--write-out", "%{http_code}\\n"]).args(more);
    let url = format!("https://{}/[1-{CONNECTIONS}]", server.address);
    let output = command.arg(url).output().expect("curl is there");
    let said = String::from_utf8_lossy(&output.stderr);
    let certificates = said.matches("(IN), TLS handshake, Certificate (11)").count();
    let used = format!("SSL connection using TLSv{version}");
    let answers = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&used) || answers.contains("000"), "{version}: {said}");
    (answers.lines().map(str::to_owned).collect(), certificates)
}

#[test]
fn curl_is_served() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skipped("curl against TLS; fix: apt-get install curl");
    }
    let Some(papers) = Papers::new() else { return };
    let plain = tls_server(&papers, &["--websocket"]);
    let mutual =
        tls_server(&papers, &[&["--websocket"], &wants_certificates(&papers)[..]].concat());
    let resuming = tls_server(&papers, &["--websocket", "--tls-tickets"]);
    let own = ["--cert", &papers.client.certificate, "--key", &papers.client.key];
    for version in VERSIONS {
        // Of TLS 1.2 it takes no tickets, whatever a server offers.
        let resumed = if version == "1.2" { 50 } else { 1 };
        let cases = [(&plain, &[][..], 50), (&mutual, &own, 50), (&resuming, &[], resumed)];
        for (server, more, certificates) in cases {
            let (answers, came) = curl(server, &papers, version, more);
            assert_eq!((answers, came), (vec!["426".to_owned(); 50], certificates), "{version}");
        }
        let (answers, _) = curl(&mutual, &papers, version, &[]);
        assert_eq!(answers, vec!["000".to_owned(); 50], "without a certificate, {version}");
    }
}
