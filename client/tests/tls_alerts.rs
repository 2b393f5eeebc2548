//! A client that gives a handshake up tells the server why: openssl, as a server, names the alert.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;

use common::until;
use openssl::{Running, openssl, pair};

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[path = "common/openssl.rs"]
mod openssl;

/// What openssl says of connections that come with these flags, to a server with these.
fn said(place: &Path, server: &[&str], client: &[&str]) -> String {
    let address = common::free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let listen = address.to_string();
    let file = place.join("said");
    let words = [&["s_server", "-accept", &listen, "-rev"], server].concat();
    let mut command = openssl(&words);
    command.stderr(File::create(&file).expect("it is our directory"));
    let _server = Running(command.spawn().expect("openssl is there"));
    until("it listens", || TcpStream::connect(address).is_ok());
    let target = format!("tls://localhost:{}", address.port());
    let always = ["run", "--target", &target, "--connections", "1", "--hold", "0s"];
    let finished =
        common::Program::start(&mut common::client(&[&always[..], client].concat())).finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stdout.contains("tls-handshake"), "{finished:#?}");
    let text = || fs::read_to_string(&file).unwrap_or_default();
    until("openssl has said why", || text().contains("SSL alert number"));
    text()
}

#[test]
fn a_certificate_that_is_refused_is_refused_in_words() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let place = place.path();
    let [certificate, key] = pair(place);
    // One that has ended, of an authority of its own: only such a command of openssl can date it back.
    let [old, other] = ["old.pem", "other.pem"].map(|name| place.join(name).display().to_string());
    let sign = |out: &str, more: &[&str]| {
        let request = place.join("request").display().to_string();
        let words = ["req", "-new", "-key", &key, "-subj", "/CN=x", "-out", &request];
        assert!(openssl(&words).status().expect("openssl is there").success());
        let names = place.join("names").display().to_string();
        let name = more[0];
        let text = format!("subjectAltName={name}\nbasicConstraints=critical,CA:FALSE\n");
        fs::write(&names, text).expect("it is our directory");
        let words = ["x509", "-req", "-in", &request, "-signkey", &key, "-extfile", &names];
        let words = [&words[..], &["-out", out], &more[1..]].concat();
        assert!(openssl(&words).status().expect("openssl is there").success());
    };
    sign(&old, &["DNS:localhost", "-days", "-1"]);
    sign(&other, &["DNS:elsewhere.test", "-days", "2"]);
    for version in ["-tls1_2", "-tls1_3"] {
        for (shown, trusted, alert) in [
            (&certificate, None, "alert unknown ca"),
            (&old, Some(&old), "alert certificate expired"),
            (&other, Some(&other), "alert bad certificate"),
        ] {
            let server = [version, "-cert", shown, "-key", &key];
            let client: Vec<&str> = trusted.into_iter().flat_map(|it| ["--tls-ca", it]).collect();
            let said = said(place, &server, &client);
            assert!(said.contains(alert), "{version} {alert}: {said}");
        }
    }
}
