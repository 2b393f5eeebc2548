//! `LISTEN_FDS`: the sockets that a process gives to the server which it starts.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use crate::common::{PATIENCE, Program, connect, cores, echo, free_ports, refusal, server_binary};
use crate::{Place, gave};

/// Makes descriptors from 3 on, one for each word, and becomes the server.
const GIVER: &str = r#"
import os, socket, sys
words, line = sys.argv[1].split(","), sys.argv[2:]
made = []
for word in words:
    kind, _, port = word.partition(":")
    at = ("127.0.0.1", int(port or 0))
    if kind == "file":
        made.append(os.open("/dev/null", os.O_RDONLY))
        continue
    if kind == "closed":
        made.append(None)
        continue
    if kind == "unix":
        one = socket.socket(socket.AF_UNIX)
        one.bind("\0megaconn-test-%d" % os.getpid())
        one.listen()
    else:
        one = socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        one.bind(at)
        if kind == "tcp":
            one.listen(64)
            one.setblocking(False)
    made.append(one.detach())
high = [None if fd is None else os.dup2(fd, 100 + n) for n, fd in enumerate(made)]
for n, fd in enumerate(high):
    if fd is None:
        try: os.close(3 + n)
        except OSError: pass
    else:
        os.dup2(fd, 3 + n, inheritable=True)
        os.close(fd)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
os.environ.setdefault("LISTEN_FDS", str(len(words)))
os.environ["LISTEN_FDNAMES"] = ":".join("name%d" % n for n in range(len(words)))
os.execv(line[0], line)
"#;

/// `serve`, with these descriptors.
fn given(words: &str, flags: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", GIVER, words]).arg(server_binary()).arg("serve").args(flags);
    command
}

#[test]
fn given_sockets_are_used_in_place_of_binding() {
    let cores = cores(2);
    let first = free_ports(Ipv4Addr::LOCALHOST.into(), 2);
    let (a, b) = (first.port(), first.port() + 1);
    let typed = format!("{first}-{b}");
    for listen in [None, Some(&*typed)] {
        let listen: Vec<&str> = listen.into_iter().flat_map(|typed| ["--listen", typed]).collect();
        let flags = [&listen[..], &["--cores", &cores]].concat();
        let mut server = Program::start(&mut given(&format!("tcp:{a},tcp:{b}"), &flags));
        assert!(server.says("listening on"), "{:#?}", server.finish());
        let said = server.said("LISTEN_FDS: 2 listening sockets");
        assert!(said.is_some(), "it says where they are from");
        for port in [a, b] {
            // Each core accepts from both.
            for _ in 0..32 {
                let stream = connect((Ipv4Addr::LOCALHOST, port).into());
                assert_eq!(echo(&stream, b"given").expect("it is served"), b"given");
            }
        }
        // What it starts is not given them once more.
        let environment = std::fs::read(format!("/proc/{}/environ", server.id()));
        assert!(environment.is_ok(), "it runs");
        server.signal(Signal::TERM);
        assert_eq!(server.finish().code, Some(143));
    }
}

#[test]
fn what_is_no_listening_socket_of_tcp_is_refused() {
    for (words, expected) in [
        ("file", "descriptor 3 (name0) is no socket"),
        ("closed", "descriptor 3 (name0) is not open"),
        ("tcp,unix", "descriptor 4 (name1) is no socket of IP"),
        ("udp", "descriptor 3 (name0) is a socket of 127.0.0.1:"),
        ("bound", "that does not listen"),
    ] {
        let line = refusal(&mut given(words, &[]));
        assert!(line.contains(expected) && line.contains("LISTEN_FDS"), "{words}: {line}");
    }
    let line = refusal(given("tcp", &[]).env("LISTEN_FDS", "many"));
    assert!(line.contains("LISTEN_FDS=many: no number of descriptors"), "{line}");
    let line = refusal(&mut given("tcp", &["--listen", "127.0.0.1:9"]));
    assert!(line.contains("fix: leave out --listen"), "{line}");
}

#[test]
fn sockets_for_another_process_are_left_alone() {
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1);
    let mut command = given("tcp", &["--listen", &address.to_string()]);
    let mut server = Program::start(command.env("LISTEN_PID", "1"));
    assert!(server.says(&format!("listening on {address}")), "{:#?}", server.finish());
    assert!(server.said("LISTEN_FDS").is_none());
}

#[test]
fn connections_wait_at_a_given_socket_while_no_server_runs() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = listener.local_addr().expect("it is bound");
    fcntl_setfd(&listener, FdFlags::empty()).expect("it is open");
    let script = "exec 3<&\"$1\"; shift; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let start = || {
        let mut command = Command::new("bash");
        let command = command.args(["-c", script, "bash", &listener.as_raw_fd().to_string()]);
        let flags = ["serve", "--drain", "1s"];
        let mut server = Program::start(command.arg(server_binary()).args(flags));
        assert!(server.says("listening on"), "{:#?}", server.finish());
        server
    };
    let mut server = start();
    for round in 0..3 {
        assert_eq!(echo(&connect(address), b"up").expect("it is served"), b"up");
        server.signal(Signal::TERM);
        assert_eq!(server.finish().code, Some(143), "round {round}");
        // Nobody accepts, and nobody is refused.
        let waiting = connect(address);
        thread::sleep(Duration::from_millis(50));
        server = start();
        assert_eq!(echo(&waiting, b"waited").expect("it is served at last"), b"waited");
    }
}

/// Two servers share one socket. The kernel wakes one of them for a connection, which may stand still and be killed: the
/// other one looks anew.
#[test]
fn connections_for_which_another_server_was_woken_are_served() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port is free");
    let address = listener.local_addr().expect("it is bound");
    fcntl_setfd(&listener, FdFlags::empty()).expect("it is open");
    let script = "exec 3<&\"$1\"; shift; export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\"";
    let start = || {
        let mut command = Command::new("bash");
        let command = command.args(["-c", script, "bash", &listener.as_raw_fd().to_string()]);
        let mut server = Program::start(command.arg(server_binary()).arg("serve"));
        assert!(server.says("listening on"), "{:#?}", server.finish());
        server
    };
    let stays = start();
    for _ in 0..3 {
        let mut goes = start();
        goes.signal(Signal::STOP);
        let waiting: Vec<_> = (0..4).map(|_| connect(address)).collect();
        thread::sleep(Duration::from_millis(100));
        goes.signal(Signal::KILL);
        goes.finish();
        for stream in &waiting {
            stream.set_read_timeout(Some(PATIENCE)).expect("it may have one");
        }
        // What the killed one had accepted is reset; none waits for ever.
        let timeouts = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
        let waits = |stream: &&TcpStream| {
            echo(stream, b"waits").is_err_and(|error| timeouts.contains(&error.kind()))
        };
        assert_eq!(waiting.iter().filter(waits).count(), 0);
    }
    drop(stays);
}

#[test]
fn what_was_given_is_handed_over_and_stays_what_it_is() {
    let place = Place::new();
    let path = place.path();
    let path = path.to_str().expect("temporary names are plain");
    let words = format!("tcp:{}", place.address.port());
    let mut older = Program::start(&mut given(&words, &["--take-over", path]));
    assert!(older.says("listening on"), "{:#?}", older.finish());
    // Both at once are too many.
    let line = refusal(&mut given("tcp", &["--take-over", path]));
    assert!(line.contains("LISTEN_FDS and --take-over"), "{line}");
    let newer = place.server(&[]);
    gave(older);
    (0..32).for_each(|_| place.is_served());
    drop(newer);
}

#[test]
fn systemd_gives_as_it_does() {
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let mut command = Command::new("systemd-socket-activate");
    if command.arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-socket-activate");
        return;
    }
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address]).arg(server_binary()).arg("serve");
    let mut server = Program::start(&mut command);
    assert!(server.says("Listening on"));
    // The first connection starts the server.
    let stream = connect(address.parse().expect("an address"));
    assert_eq!(echo(&stream, b"activated").expect("it is served"), b"activated");
    assert!(server.says(&format!("listening on {address}")));
}
