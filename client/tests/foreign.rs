//! Servers that are not ours, behind the name of a host: socat as an echo, nginx as one that holds
//! connections and speaks HTTP.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use common::{Finished, Program, client, free_ports, number, result_in, until};
use lab::host::skipped;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
#[expect(dead_code, reason = "this file needs only a part of it")]
mod lab;

/// A program of somebody else's that listens, and ends with this.
struct Foreign {
    child: Child,
    address: SocketAddr,
    _place: tempfile::TempDir,
}

impl Foreign {
    /// `None`, said loudly, where the program is not installed.
    fn start(program: &str, flags: impl Fn(SocketAddr, &str) -> Vec<String>) -> Option<Foreign> {
        let place = tempfile::tempdir().expect("there is a place for temporary files");
        let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
        let flags = flags(address, place.path().to_str().expect("temporary names are plain"));
        let mut command = Command::new(program);
        let command = command.args(flags).stdin(Stdio::null()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => {
                until("it listens", || TcpStream::connect(address).is_ok());
                Some(Foreign { child, address, _place: place })
            }
            Err(error) => {
                skipped(&format!("{program}: {error}; fix: apt-get install socat nginx-light"));
                None
            }
        }
    }

    /// A run against it by the name of this host.
    fn run(&self, flags: &[&str]) -> (Finished, Value) {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let out = directory.path().to_str().expect("temporary names are plain");
        let target = format!("{NAME}:{}", self.address.port());
        let flags = [&["run", "--target", &target, "--out", out][..], flags].concat();
        let finished = Program::start(&mut client(&flags)).finish();
        assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
        (finished, result_in(directory.path()))
    }
}

/// The name of this host; at ::1, which it may be as well, no server listens.
const NAME: &str = "localhost";

impl Drop for Foreign {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(address: SocketAddr, place: &str, connections: u32) -> Vec<String> {
    let conf = format!("{place}/nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
         events {{ worker_connections {connections}; }}\n\
         http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b;\n\
         fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
         server {{ listen {address}; return 200; }} }}\n"
    );
    fs::write(&conf, text).expect("it is our directory");
    ["-p", place, "-c", &conf].map(str::to_owned).into()
}

#[test]
fn an_echo_of_socat_is_held_and_verified() {
    let flags = |address: SocketAddr, _: &str| {
        let port = address.port();
        let listen = format!("TCP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024");
        vec![listen, "PIPE".into()]
    };
    let Some(socat) = Foreign::start("socat", flags) else { return };
    let (finished, result) =
        socat.run(&["--connections", "100", "--hold", "1s", "--message-every", "500ms"]);
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    assert_eq!(number(&result, "established"), 100);
    assert!(finished.stderr.iter().any(|line| line.starts_with("note: --target localhost: ")));
    assert!(result["cost_per_connection"]["server_user_bytes"].is_null(), "it is not ours");
}

#[test]
fn nginx_holds_and_is_not_taken_for_an_echo() {
    let Some(server) = Foreign::start("nginx", |at, place| nginx(at, place, 1000)) else { return };
    let (finished, result) =
        server.run(&["--connections", "300", "--hold", "1s", "--expect", "nothing"]);
    assert_eq!((finished.code, number(&result, "established")), (Some(0), 300), "{finished:#?}");
    let (finished, result) = server.run(&["--connections", "20", "--hold", "1s"]);
    let wall = &result["verdict"]["wall"];
    assert_eq!((finished.code, &wall["id"]), (Some(1), &"other-protocol".into()), "{finished:#?}");
    let evidence = wall["evidence"][0].as_str().unwrap_or_default();
    assert!(evidence.contains("HTTP/1.1 400"), "its first bytes are shown: {evidence}");
}

#[test]
fn a_limit_of_nginx_has_the_number_and_no_wrong_name() {
    let Some(server) = Foreign::start("nginx", |at, place| nginx(at, place, 100)) else { return };
    let (finished, result) =
        server.run(&["--connections", "300", "--hold", "1s", "--expect", "nothing"]);
    let established = number(&result, "established");
    assert!((50..100).contains(&established), "{established}: {finished:#?}");
    let wall = &result["verdict"]["wall"];
    let (id, evidence) = (wall["id"].as_str(), wall["evidence"][0].as_str().unwrap_or_default());
    assert!(matches!(id, Some("unknown")), "{wall:#}");
    assert!(evidence.contains("(fin)"), "who ended them is said: {wall:#}");
}
