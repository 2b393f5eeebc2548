//! `megaconn top` in a real terminal, which tmux plays: it shows a running server, hears keys and
//! signals, and leaves the terminal as it found it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use common::{Server, connect, cores, echo, refusal};
use rustix::process::{Pid, Signal, kill_process};
use tmux::Tmux;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;
mod tmux;

fn server() -> (Server, SocketAddr) {
    let cores = cores(1);
    let flags = ["--cores", &cores, "--metrics", "127.0.0.1:0"];
    let binary = Path::new(env!("CARGO_BIN_EXE_megaconn"));
    let server = Server::start(binary, IpAddr::V4(Ipv4Addr::LOCALHOST), 1, &flags);
    let metrics = server.program.metrics();
    (server, metrics)
}

/// A command for a shell: `megaconn top`, its process id in `pid`, and its exit status on the screen.
fn top(metrics: SocketAddr, pid: &Path) -> String {
    let binary = env!("CARGO_BIN_EXE_megaconn");
    let pid = pid.display();
    format!(
        "sh -c 'echo $$ >{pid}; exec {binary} top {metrics} --every 100ms'; echo status=$?; cat"
    )
}

#[test]
fn a_server_is_watched_until_it_is_gone_and_a_key_quits() {
    if !tmux::is_there() {
        return eprintln!("{}", tmux::MISSING);
    }
    let (server, metrics) = server();
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let mut tmux = Tmux::start(80, 24, &top(metrics, &pid));
    tmux.until("the server is seen", |screen| screen.contains("server  all           0"));
    let streams: Vec<_> = (0..3).map(|_| connect(server.address)).collect();
    for stream in &streams {
        assert_eq!(echo(stream, b"seen?").unwrap(), b"seen?");
    }
    tmux.until("its connections are", |screen| {
        screen.contains("server  all           3") && screen.contains("server    0           3")
    });
    assert!(tmux.screen().starts_with("megaconn top"), "{}", tmux.screen());
    assert!(tmux.screen().contains("q quit") && tmux.screen().contains("server memory"));

    tmux.press("s");
    tmux.until("it is sorted", |screen| screen.contains("by connections"));
    tmux.press("?");
    tmux.until("the keys are explained", |screen| screen.contains("p pause and go on"));
    tmux.press("q");
    tmux.until("it goes on", |screen| screen.contains("server  all           3"));
    tmux.press("p");
    tmux.until("it stands still", |screen| screen.contains("PAUSED"));
    drop(streams);
    tmux.press("p");
    tmux.until("they are gone", |screen| screen.contains("server  all           0"));

    tmux.resize(150, 40);
    tmux.until("there is more to see", |screen| screen.contains("what waits"));
    drop(server);
    tmux.until("the server is gone", |screen| screen.contains("nothing listens there"));
    tmux.press("q");
    tmux.until("it has ended", |screen| screen.contains("status=0"));
    tmux.is_as_before();
}

#[test]
fn a_signal_ends_it_and_the_terminal_is_given_back() {
    if !tmux::is_there() {
        return eprintln!("{}", tmux::MISSING);
    }
    for (signal, status) in [(Signal::TERM, "status=143"), (Signal::INT, "status=130")] {
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        // Nobody is there; that is no reason to end.
        let nobody = common::free_ports(Ipv4Addr::LOCALHOST.into(), 1);
        let mut tmux = Tmux::start(80, 24, &top(nobody, &pid));
        tmux.until("nobody is seen", |screen| screen.contains("not seen for"));
        let id = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
        tmux.until("it has ended", |screen| screen.contains(status));
        tmux.is_as_before();
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let top = ["top", "127.0.0.1:9100"];
    let line = refusal(Command::new(env!("CARGO_BIN_EXE_megaconn")).args(top));
    assert!(line.contains("is no terminal; fix: run it in one"), "{line}");
}
