//! SIGHUP has a server read its certificate again. The server is the program, and `openssl s_client` looks at it.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};

use megaconn::engine::protocol::tls::certificate::{Pem, certificates};
use megaconn::engine::protocol::tls::config::{ClientTls, server_name};
use megaconn::engine::protocol::tls::handshake::Handshake;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::common::{Server, connect, cores};
use crate::openssl::{MISSING, Over, Peer, is_there, made, shaken};
use crate::peer::client_settings;

/// A server with a pair of files, and another pair that may take its place.
struct World {
    server: Server,
    /// Where its files are.
    used: (String, String),
    /// Another pair.
    other: (String, String),
    _directories: [TempDir; 2],
}

fn world(flags: &[&str]) -> World {
    let directories = [0; 2].map(|_| tempfile::tempdir().unwrap());
    let used = made(directories[0].path(), false);
    let other = made(directories[1].path(), true);
    let cores = cores(2);
    let own = ["--cores", &cores, "--tls-cert", &used.0, "--tls-key", &used.1];
    let flags = [&own[..], flags].concat();
    let program = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let server = Server::start(program, Ipv4Addr::LOCALHOST.into(), 1, &flags);
    World { server, used, other, _directories: directories }
}

impl World {
    /// Sends SIGHUP and waits for the line that begins so; the line.
    fn reload(&mut self, start: &str) -> String {
        self.server.program.signal(Signal::HUP);
        assert!(self.server.program.says(start), "{:#?}", self.server.program.finish());
        self.server.program.said(start).unwrap().to_owned()
    }

    fn use_other(&self) {
        fs::copy(&self.other.0, &self.used.0).unwrap();
        fs::copy(&self.other.1, &self.used.1).unwrap();
    }

    /// The config of a client that trusts this certificate alone.
    fn trusting(certificate: &str) -> ClientTls {
        let bytes = fs::read(certificate).unwrap();
        let trusted = certificates(Pem { flag: "--tls-ca", path: certificate, bytes: &bytes });
        ClientTls::new(client_settings(&trusted.unwrap())).unwrap()
    }
}

fn handshake(client: &ClientTls) -> Handshake {
    Handshake::client(client, &server_name("localhost").unwrap()).unwrap()
}

/// What `openssl` says that the fingerprint of a certificate is.
fn fingerprint(certificate: &[u8]) -> String {
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-fingerprint", "-sha256"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(certificate).unwrap();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    said.trim().rsplit_once('=').unwrap().1.to_owned()
}

/// The fingerprint that a new handshake finds.
fn shown(address: SocketAddr) -> String {
    let address = address.to_string();
    let arguments = ["s_client", "-connect", &address, "-servername", "localhost", "-showcerts"];
    let output = Command::new("openssl").args(arguments).stdin(Stdio::null()).output().unwrap();
    fingerprint(&output.stdout)
}

fn of_file(certificate: &str) -> String {
    fingerprint(&fs::read(certificate).unwrap())
}

#[test]
fn a_new_pair_is_shown_and_what_goes_on_goes_on() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    let mut world = world(&[]);
    let address = world.server.address;
    let [before, after] = [&world.used.0, &world.other.0].map(|file| of_file(file));
    assert_eq!(shown(address), before);

    let place = address.to_string();
    let mut held = Peer::new(&["s_client", "-connect", &place, "-CAfile", &world.used.0]);
    held.type_line("before the reload");
    held.prints("before the reload");
    // One has had the answer of the server, and another has said half a hello.
    let mut answered = connect(address);
    let finished = shaken(&mut answered, handshake(&World::trusting(&world.used.0)));
    let (mut half, mut hello) = (connect(address), handshake(&World::trusting(&world.other.0)));
    let size = hello.outgoing().len() / 2;
    half.write_all(&hello.outgoing()[..size]).unwrap();
    hello.sent(size);

    world.use_other();
    let said = world.reload("reloaded tls_fingerprint=");
    assert_eq!(said, after);
    assert_eq!(shown(address), after);
    held.type_line("after the reload");
    held.prints("after the reload");
    for (mut over, text) in [
        (Over::of(answered, finished), b"answered before"),
        (Over::new(half, hello), b"a half hello at"),
    ] {
        over.send(text);
        assert_eq!(over.next_data(), text);
    }

    world.server.program.signal(Signal::TERM);
    assert_eq!(world.server.program.finish().code, Some(143), "it was not stopped by SIGHUP");
}

#[test]
fn a_pair_that_cannot_be_used_leaves_the_one_of_before() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    let mut world = world(&["--websocket"]);
    let address = world.server.address;
    let before = of_file(&world.used.0);
    let [certificate, key] = [&world.used.0, &world.used.1].map(|file| fs::read(file).unwrap());
    let kept = "warning: the certificate of before is still used: ";
    let [of_cert, of_key] = [&world.used.0, &world.used.1].map(String::clone);
    let other_key = fs::read(&world.other.1).unwrap();
    let broken = [
        (&of_cert, &b"no PEM"[..], format!("--tls-cert {of_cert}: no certificate")),
        (&of_cert, &certificate[..certificate.len() / 2], format!("--tls-cert {of_cert}: no PEM")),
        (&of_key, &certificate, format!("--tls-key {of_key}: no private key")),
        (&of_key, &other_key, "--tls-key: it is not the key of --tls-cert; fix: ".to_owned()),
    ];
    for (file, bytes, why) in broken {
        fs::write(file, bytes).unwrap();
        world.reload(&format!("{kept}{why}"));
        assert_eq!(shown(address), before, "{why}");
        fs::write(&of_cert, &certificate).unwrap();
        fs::write(&of_key, &key).unwrap();
    }
    fs::remove_file(&of_key).unwrap();
    world.reload(&format!("{kept}--tls-key {of_key}: "));
    assert_eq!(shown(address), before);
    // A server that was left as it was takes a good pair still.
    world.use_other();
    world.reload("reloaded tls_fingerprint=");
    assert_eq!(shown(address), of_file(&world.other.0));
}

/// `nohup` has SIGHUP ignored, which is no reason to go without a new certificate.
#[test]
fn a_server_of_nohup_hears_it() {
    if !is_there() {
        return eprintln!("{MISSING}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = made(directory.path(), false);
    let listen = crate::common::free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_megaconn"), "serve"]);
    shell.args(["--listen", &listen, "--tls-cert", &certificate, "--tls-key", &key]);
    let mut program = crate::common::Program::start(shell.args(["--cores", &cores(1)]));
    assert!(program.says("listening on"), "{:#?}", program.finish());
    program.signal(Signal::HUP);
    assert!(program.says("reloaded tls_fingerprint="), "{:#?}", program.finish());
}

/// With a certificate of its own there is no file: SIGHUP means what it means without TLS.
#[test]
fn without_files_it_ends_the_server() {
    let flags = ["--cores", &cores(1), "--tls-self-signed"];
    let program = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let mut server = Server::start(program, Ipv4Addr::LOCALHOST.into(), 1, &flags);
    server.program.signal(Signal::HUP);
    assert_eq!(server.program.finish().code, Some(129));
}
