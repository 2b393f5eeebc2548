//! `openssl s_client` and `s_server` on loopback: another implementation, over a socket.
//!
//! Where the program is missing they say so and pass; `bench-scripts/check.sh` counts that as skipped.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use megaconn::engine::protocol::tls::certificate::{Identity, Pem, certificates};
use megaconn::engine::protocol::tls::config::{ClientTls, ServerTls, server_name};
use megaconn::engine::protocol::tls::content::Opened;
use megaconn::engine::protocol::tls::handshake::{Finished, Handshake, Progress};
use rustls::{AlertDescription, CipherSuite, ProtocolVersion};

use crate::peer::{Ours, client_settings, server_settings};

/// Time after which a peer is given up.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const MISSING: &str = "SKIPPED: openssl is not installed; fix: apt-get install openssl";

pub(crate) fn is_there() -> bool {
    Command::new("openssl").arg("version").output().is_ok()
}

/// A child that ends with the test.
pub(crate) struct Peer {
    child: Child,
    stdin: ChildStdin,
    /// Where it says which command it has taken.
    said: BufReader<ChildStderr>,
    /// What it has read, among what it tells of the connection.
    printed: BufReader<ChildStdout>,
}

/// Our server and `s_client`, or our client and `s_server`: with a key of RSA or not, and with these arguments.
type Make = fn(bool, &[&str]) -> (Over, Peer);

impl Peer {
    pub(crate) fn new(arguments: &[&str]) -> Peer {
        let mut command = Command::new("openssl");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let printed = BufReader::new(child.stdout.take().unwrap());
        Peer { child, stdin, said, printed }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        self.stdin.write_all(format!("{line}\n").as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    /// A line of one letter is a command. `s_client` says that it has taken it, and does it with what it sends next.
    fn command_client(&mut self, command: &str, answer: &str) {
        self.type_line(command);
        until_line(&mut self.said, answer);
    }

    /// It has read this, or it fails.
    pub(crate) fn prints(&mut self, text: &str) {
        until_line(&mut self.printed, text);
    }
}

fn until_line(from: &mut impl BufRead, text: &str) {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(from.read_line(&mut line).unwrap() > 0, "it has ended without `{text}`");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Our end over a socket.
pub(crate) struct Over {
    socket: TcpStream,
    ours: Ours,
    is_resumed: bool,
    found: Vec<(Opened, Vec<u8>)>,
}

impl Over {
    pub(crate) fn new(mut socket: TcpStream, handshake: Handshake) -> Over {
        let finished = shaken(&mut socket, handshake);
        Over::of(socket, finished)
    }

    /// Says the last bytes of a handshake that is done.
    pub(crate) fn of(mut socket: TcpStream, finished: Finished) -> Over {
        socket.write_all(&finished.outgoing).unwrap();
        let is_resumed = finished.is_resumed;
        let ours = Ours::of(finished.session, finished.rest);
        Over { socket, ours, is_resumed, found: Vec::new() }
    }

    pub(crate) fn send(&mut self, text: &[u8]) {
        let record = self.ours.seal(text);
        self.socket.write_all(&record).unwrap();
    }

    fn send_record(&mut self, record: &[u8]) {
        self.socket.write_all(record).unwrap();
    }

    /// The next record that is no ticket.
    fn next(&mut self) -> (Opened, Vec<u8>) {
        let mut buffer = [0; 1_000];
        loop {
            self.found.retain(|(opened, _)| !matches!(opened, Opened::Ticket(_)));
            if !self.found.is_empty() {
                return self.found.remove(0);
            }
            let bytes = self.socket.read(&mut buffer).unwrap();
            assert!(bytes > 0, "the peer has closed");
            self.found.extend(self.ours.open(&buffer[..bytes]));
        }
    }

    pub(crate) fn next_data(&mut self) -> Vec<u8> {
        let (opened, data) = self.next();
        assert!(matches!(opened, Opened::Data(_)), "{opened:?}");
        data
    }
}

/// Goes through a handshake up to its last bytes, which are not sent.
pub(crate) fn shaken(socket: &mut TcpStream, mut handshake: Handshake) -> Finished {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 1_000];
    let mut progress = Progress::NeedMore;
    while progress != Progress::Done {
        socket.write_all(handshake.outgoing()).unwrap();
        handshake.sent(handshake.outgoing().len());
        let bytes = socket.read(&mut buffer).unwrap();
        assert!(bytes > 0, "{}", handshake.ended());
        progress = handshake.feed(&buffer[..bytes]).unwrap();
    }
    handshake.finish().unwrap()
}

/// A key and a certificate of `localhost`, made by `openssl`, with which the suites of RSA can be had.
pub(crate) fn made(directory: &Path, is_rsa: bool) -> (String, String) {
    let [certificate, key] =
        ["cert.pem", "key.pem"].map(|name| directory.join(name).to_str().unwrap().to_owned());
    let kind: &[&str] = if is_rsa {
        &["-newkey", "rsa:2048"]
    } else {
        &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    };
    let output = Command::new("openssl")
        .args(["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(kind)
        .args(["-out", &certificate, "-keyout", &key])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (certificate, key)
}

fn identity(certificate: &str, key: &str) -> Identity {
    let [cert_bytes, key_bytes] = [certificate, key].map(|path| fs::read(path).unwrap());
    let cert = Pem { flag: "--tls-cert", path: certificate, bytes: &cert_bytes };
    let key = Pem { flag: "--tls-key", path: key, bytes: &key_bytes };
    Identity::from_pem(cert, key).unwrap()
}

/// Our server, and `openssl s_client` with these arguments.
fn served(is_rsa: bool, arguments: &[&str]) -> (Over, Peer) {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made(directory.path(), is_rsa);
    let server = ServerTls::new(server_settings(identity(&certificate, &key))).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let fixed = ["s_client", "-connect", &address, "-CAfile", &certificate];
    let verified = ["-verify_return_error", "-servername", "localhost"];
    let peer = Peer::new(&[&fixed[..], &verified, arguments].concat());
    let (socket, _) = listener.accept().unwrap();
    (Over::new(socket, Handshake::server(&server)), peer)
}

/// Our client, and `openssl s_server` with these arguments.
fn dialled(is_rsa: bool, arguments: &[&str]) -> (Over, Peer) {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made(directory.path(), is_rsa);
    let bytes = fs::read(&certificate).unwrap();
    let trusted = certificates(Pem { flag: "--tls-ca", path: &certificate, bytes: &bytes });
    let client = ClientTls::new(client_settings(&trusted.unwrap())).unwrap();
    // A port that is free: openssl does not say which one it has chosen.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let at = format!("127.0.0.1:{port}");
    let fixed = ["s_server", "-accept", &at, "-cert", &certificate, "-key", &key];
    let peer = Peer::new(&[&fixed[..], arguments].concat());
    let start = Instant::now();
    let socket = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(socket) => break socket,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                assert!(start.elapsed() < PATIENCE, "openssl does not listen");
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    };
    let name = server_name("localhost").unwrap();
    (Over::new(socket, Handshake::client(&client, &name).unwrap()), peer)
}

#[test]
fn each_suite() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    for (is_rsa, flag, suite, name) in [
        (false, "-ciphersuites", "TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
        (true, "-ciphersuites", "TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
        (
            false,
            "-ciphersuites",
            "TLS_CHACHA20_POLY1305_SHA256",
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ),
        (
            true,
            "-cipher",
            "ECDHE-RSA-AES128-GCM-SHA256",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            true,
            "-cipher",
            "ECDHE-RSA-AES256-GCM-SHA384",
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ),
        (
            true,
            "-cipher",
            "ECDHE-RSA-CHACHA20-POLY1305",
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (
            false,
            "-cipher",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
    ] {
        let version = if flag == "-cipher" { "-tls1_2" } else { "-tls1_3" };
        for make in [served, dialled] {
            let (mut over, mut peer) = make(is_rsa, &[version, flag, suite]);
            assert_eq!(over.ours.session.suite().name(), name);
            peer.type_line("typed at the other end");
            assert_eq!(over.next_data(), b"typed at the other end\n");
            over.send(b"an answer\n");
            peer.prints("an answer");
        }
    }
}

/// A client that has guessed a group which the server has not says hello again.
#[test]
fn a_second_hello() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    for (make, groups) in [(served as Make, "P-521:P-384"), (dialled, "P-384")] {
        let (mut over, mut peer) = make(false, &["-tls1_3", "-groups", groups]);
        over.send(b"after two hellos\n");
        peer.prints("after two hellos");
        peer.type_line("indeed");
        assert_eq!(over.next_data(), b"indeed\n");
    }
}

/// A client comes again with the ticket that it was given.
#[test]
fn a_ticket_is_taken() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made(directory.path(), false);
    let mut settings = server_settings(identity(&certificate, &key));
    settings.gives_tickets = true;
    let server = ServerTls::new(settings).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let kept = directory.path().join(version).to_str().unwrap().to_owned();
        for way in ["-sess_out", "-sess_in"] {
            let fixed = ["s_client", "-connect", &address, "-CAfile", &certificate, version];
            let mut peer = Peer::new(&[&fixed[..], &[way, &kept]].concat());
            let (socket, _) = listener.accept().unwrap();
            let mut over = Over::new(socket, Handshake::server(&server));
            assert_eq!(over.is_resumed, way == "-sess_in", "{version}");
            // What it prints it has read behind the ticket.
            over.send(b"behind the ticket\n");
            peer.prints("behind the ticket");
            peer.type_line("Q");
            assert_eq!(over.next().0, Opened::CloseNotify);
        }
    }
}

/// `K` changes its key and asks for ours, `k` changes its own alone.
#[test]
fn keys_change() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    for (make, is_client) in [(served as Make, true), (dialled as Make, false)] {
        let (mut over, mut peer) = make(false, &["-tls1_3"]);
        for (command, must_answer) in [("k", false), ("K", true), ("K", true), ("k", false)] {
            if is_client {
                peer.command_client(command, "KEYUPDATE");
                peer.type_line("under a new key");
                assert_eq!(over.next().0, Opened::KeyUpdate { must_answer });
            } else {
                peer.type_line(command);
                assert_eq!(over.next().0, Opened::KeyUpdate { must_answer });
                peer.type_line("under a new key");
            }
            if must_answer {
                let answer = over.ours.seal_key_update(false);
                over.send_record(&answer);
            }
            assert_eq!(over.next_data(), b"under a new key\n");
            over.send(b"and so is this\n");
            peer.prints("and so is this");
        }
        // Ours changes, and openssl answers with what it sends next.
        let update = over.ours.seal_key_update(true);
        over.send_record(&update);
        over.send(b"of our own\n");
        peer.prints("of our own");
        peer.type_line("under another");
        assert_eq!(over.next().0, Opened::KeyUpdate { must_answer: false });
        assert_eq!(over.next_data(), b"under another\n");
    }
}

#[test]
fn an_end_and_a_damaged_record() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    for version in ["-tls1_3", "-tls1_2"] {
        let (mut over, mut peer) = served(false, &[version]);
        peer.type_line("Q");
        assert_eq!(over.next().0, Opened::CloseNotify);

        for make in [served as Make, dialled] {
            let (mut over, _peer) = make(false, &[version]);
            let end = over.ours.seal_alert(AlertDescription::CloseNotify);
            over.send_record(&end);
            assert_eq!(over.next().0, Opened::CloseNotify);

            let (mut over, _peer) = make(false, &[version]);
            let mut record = over.ours.seal(b"text");
            *record.last_mut().unwrap() ^= 1;
            over.send_record(&record);
            assert_eq!(over.next().0, Opened::Alert(AlertDescription::BadRecordMac));
        }
    }
}

/// `r` at a server of TLS 1.2 asks for a new handshake, `R` at a client begins one.
#[test]
fn a_new_handshake_is_refused() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    for (make, is_client) in [(served as Make, true), (dialled as Make, false)] {
        let (mut over, mut peer) = make(false, &["-tls1_2"]);
        assert_eq!(over.ours.session.version(), ProtocolVersion::TLSv1_2);
        peer.type_line("before");
        assert_eq!(over.next_data(), b"before\n");
        if is_client {
            peer.command_client("R", "RENEGOTIATING");
        } else {
            peer.type_line("r");
        }
        assert_eq!(over.next().0, Opened::Renegotiation);
        let refusal = over.ours.seal_alert(AlertDescription::NoRenegotiation);
        over.send_record(&refusal);
        // openssl gives up: it says so, or only ends.
        let mut end = [0; 1_000];
        let bytes = over.socket.read(&mut end).unwrap();
        let said = over.ours.open_others(&end[..bytes]);
        let gave_up = [
            Opened::Alert(AlertDescription::HandshakeFailure),
            Opened::Alert(AlertDescription::NoRenegotiation),
            Opened::CloseNotify,
        ];
        assert!(said.iter().all(|opened| gave_up.contains(opened)), "{said:?}");
    }
}
