//! `openssl s_client` and `s_server`: certificates of clients, sessions that are resumed, and keys that change.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use crate::common::{
    PATIENCE, Program, Server, client, cores, free_ports, number, result_in, until,
};
use crate::tls::{VERSIONS, tls_server, wants_certificates};
use crate::{LOOPBACK, Papers};

/// openssl, to which lines are typed, and what it prints.
struct Openssl {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Openssl {
    fn start(words: &[&str]) -> Openssl {
        let mut command = Command::new("openssl");
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("openssl is there");
        let stdin = child.stdin.take().expect("stdin is piped");
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (tell, lines) = channel();
        thread::spawn(move || {
            // A test that is over has dropped the receiver.
            out.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
        });
        Openssl { child, stdin, lines }
    }

    fn types(&mut self, line: &str) {
        // In one piece: what it reads at once is a line to it, and a command is a line of one letter.
        self.stdin.write_all(format!("{line}\n").as_bytes()).expect("it takes a line");
    }

    /// The next line that has one of these texts in it; `None` when it has ended before.
    fn line_with(&self, texts: &[&str]) -> Option<String> {
        let mut lines = std::iter::from_fn(|| self.lines.recv_timeout(PATIENCE).ok());
        lines.find(|line| texts.iter().any(|text| line.contains(text)))
    }

    fn prints(&self, text: &str) {
        assert!(self.line_with(&[text]).is_some(), "it has not printed `{text}`");
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `s_client` at our server.
fn s_client(server: &Server, papers: &Papers, version: &str, more: &[&str]) -> Openssl {
    let (address, version) = (server.address.to_string(), version.replace('.', "_"));
    let version = format!("-tls{version}");
    let words = ["s_client", "-connect", &address, &version, "-CAfile", &papers.authority];
    let believed = ["-verify_return_error", "-verify_hostname", "localhost"];
    Openssl::start(&[&words[..], &believed, more].concat())
}

#[test]
fn s_client_shows_a_certificate() {
    let Some(papers) = Papers::new() else { return };
    let server = tls_server(&papers, &wants_certificates(&papers));
    let own = ["-cert", &papers.client.certificate, "-key", &papers.client.key];
    for version in VERSIONS {
        let mut with = s_client(&server, &papers, version, &own);
        with.types("has one");
        with.prints("has one");
        // Without one its line does not come back: it ends.
        let mut without = s_client(&server, &papers, version, &[]);
        // It may be gone already.
        let _ = writeln!(without.stdin, "has none");
        let echo = without.line_with(&["has none"]);
        assert_eq!((echo, without.child.wait().ok().and_then(|end| end.code())), (None, Some(1)));
    }
}

#[test]
fn s_client_comes_again_with_its_ticket() {
    let Some(papers) = Papers::new() else { return };
    let server = tls_server(&papers, &["--tls-tickets"]);
    for version in VERSIONS {
        let kept = papers.place().join(version).display().to_string();
        for (way, kind) in [("-sess_out", "New, TLSv"), ("-sess_in", "Reused, TLSv")] {
            let mut peer = s_client(&server, &papers, version, &[way, &kept]);
            let line = peer.line_with(&["New, ", "Reused, "]).unwrap_or_default();
            assert!(line.starts_with(&format!("{kind}{version}")), "{way}: {line}");
            peer.types("behind the ticket");
            peer.prints("behind the ticket");
            peer.types("Q");
            assert!(peer.child.wait().is_ok_and(|end| end.success()));
        }
    }
}

/// A change of keys that has come, as `-msg` has it.
const CAME: &str = "<<< TLS 1.3, Handshake [length 0005], KeyUpdate";

/// One that was sent. Until then nothing more is typed.
const WENT: &str = ">>> TLS 1.3, Handshake [length 0005], KeyUpdate";

/// `K` changes its key and asks for ours, `k` changes its own alone.
#[test]
fn keys_of_s_client_and_of_our_server_change() {
    let Some(papers) = Papers::new() else { return };
    let server = tls_server(&papers, &[]);
    let mut peer = s_client(&server, &papers, "1.3", &["-msg"]);
    for round in 0..3 {
        for (command, is_answered) in [("K", true), ("k", false)] {
            peer.types(command);
            peer.prints(WENT);
            let line = format!("round {round} of {command}");
            peer.types(&line);
            let mut answers = 0;
            while let Some(said) = peer.line_with(&[CAME, &line]) {
                if said == line {
                    break;
                }
                answers += 1;
            }
            assert_eq!(answers, u32::from(is_answered), "{line}");
        }
    }
}

/// `s_server` for our client, at a free port.
fn s_server(papers: &Papers, version: &str, more: &[&str]) -> (SocketAddr, Openssl) {
    let address = free_ports(LOOPBACK, 1);
    let (at, version) = (address.to_string(), format!("-tls{}", version.replace('.', "_")));
    let own = ["-cert", &papers.server.certificate, "-key", &papers.server.key];
    let words = [&["s_server", "-accept", &at, &version], &own[..], more].concat();
    let peer = Openssl::start(&words);
    until("it listens", || TcpStream::connect(address).is_ok());
    (address, peer)
}

/// Our client, with one connection, since `s_server` has one at a time: its program, and its run directory.
fn our_client(address: SocketAddr, papers: &Papers, more: &[&str]) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let (target, cores) = (format!("tls://{address}"), cores(1));
    let out = directory.path().to_str().expect("temporary names are plain");
    let always = ["run", "--target", &target, "--cores", &cores, "--out", out];
    let flags = ["--connections", "1", "--tls-ca", &papers.authority, "--message-every", "200ms"];
    let flags = [&always[..], &flags, &["--hold", "2s"], more].concat();
    (Program::start(&mut client(&flags)), directory)
}

#[test]
fn s_server_wants_a_certificate() {
    let Some(papers) = Papers::new() else { return };
    let wants = ["-Verify", "1", "-verify_return_error", "-CAfile", &papers.authority];
    let wants = [&wants[..], &["-rev", "-quiet"]].concat();
    let script = ["--message", "hello\\n", "--answer", "olleh\\n"];
    for version in VERSIONS {
        for (is_shown, own) in [(true, &papers.client.flags()[..]), (false, &[])] {
            let (address, _peer) = s_server(&papers, version, &wants);
            let flags = [&script[..], own].concat();
            let (mut client, directory) = our_client(address, &papers, &flags);
            let finished = client.finish();
            let result = result_in(directory.path());
            let received = number(&result["plateaus"][0]["messages"], "received");
            let seen = (finished.code, received > 4);
            let due = if is_shown { (Some(0), true) } else { (Some(1), false) };
            assert_eq!(seen, due, "{version}: {finished:#?}");
        }
    }
}

#[test]
fn keys_of_s_server_and_of_our_client_change() {
    let Some(papers) = Papers::new() else { return };
    let (address, mut peer) = s_server(&papers, "1.3", &["-msg"]);
    let script = ["--message", "ask {n}\\n", "--answer", "yes\\n"];
    let (mut client, directory) = our_client(address, &papers, &script);
    let (mut asked, mut due, mut answers) = (0_u32, 0, 0);
    while let Some(line) = peer.line_with(&["ask ", CAME, "shutting down SSL"]) {
        if line.contains(CAME) {
            answers += 1;
        } else if line.contains("ask ") {
            let command = ["K", "k", ""][asked as usize % 3];
            if !command.is_empty() {
                peer.types(command);
                peer.prints(WENT);
                due += u32::from(command == "K");
            }
            peer.types("yes");
            asked += 1;
        } else if asked > 0 {
            // Before it were those that looked whether it listens.
            break;
        }
    }
    let finished = client.finish();
    assert_eq!((finished.code, answers), (Some(0), due), "{finished:#?}");
    let messages = &result_in(directory.path())["plateaus"][0]["messages"];
    assert!(asked > 5 && number(messages, "received") == u64::from(asked), "{asked} {messages:#}");
}
