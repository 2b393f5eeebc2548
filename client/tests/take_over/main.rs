//! A server is replaced while connections come: none is refused, and none is lost but by the drain of the older
//! one. And sockets that another process has given to the server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::{
    PATIENCE, Program, client, connect, cores, echo, free_ports, number, refusal, result_in,
    scrape, server_binary, sum, until,
};
use megaconn::observe::metrics::fetch;
use megaconn::observe::metrics::local::LocalServer;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod given;
mod texts;

/// A place, an address and a command line that are the same for each server.
struct Place {
    directory: tempfile::TempDir,
    address: SocketAddr,
}

impl Place {
    fn new() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        Place { directory, address: free_ports(Ipv4Addr::LOCALHOST.into(), 2) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("take-over")
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(server_binary());
        let listen = self.address.to_string();
        command.args(["serve", "--listen", &listen, "--take-over"]).arg(self.path()).args(more);
        command
    }

    fn server(&self, more: &[&str]) -> Program {
        let mut program = Program::start(&mut self.command(more));
        assert!(program.says("listening on"), "{:#?}", program.finish());
        program
    }

    /// One echo on a connection of its own.
    fn is_served(&self) {
        assert_eq!(echo(&connect(self.address), b"hello").expect("it is served"), b"hello");
    }
}

/// It was taken over, and has ended by itself.
fn gave(mut older: Program) -> Vec<String> {
    let finished = older.finish();
    assert_eq!(finished.code, Some(0), "{finished:#?}");
    let said = finished.stderr.iter().any(|line| line.starts_with("taken over by process "));
    assert!(said, "{finished:#?}");
    finished.stderr
}

#[test]
fn no_connect_is_refused_while_servers_follow_each_other() {
    let (place, cores) = (Place::new(), cores(2));
    let metrics = free_ports(Ipv4Addr::LOCALHOST.into(), 2).to_string();
    let stats = place.directory.path().join("stats");
    let stats = stats.to_str().expect("temporary names are plain");
    let flags = ["--cores", &cores, "--drain", "1s", "--metrics", &metrics, "--stats", stats];
    let mut server = place.server(&flags);
    let out = place.directory.path().join("run");
    let out = out.to_str().expect("temporary names are plain");
    let target = place.address.to_string();
    let run = ["run", "--target", &target, "--connections", "1", "--churn", "1k/s", "--out", out];
    let run =
        [&run[..], &["--hold", "12s", "--cores", &cores, "--server-metrics", &metrics]].concat();
    // Ports in TIME_WAIT are those of addresses that no other test uses.
    let run = [&run[..], &["--source", "127.77.0.0/28"]].concat();
    let mut run = Program::start(&mut client(&run));
    assert!(run.says("holding"));
    // Beside it, a peer that connects as fast as it can.
    let (is_over, count) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let stream = TcpStream::connect(place.address).expect("no connect is refused");
                // As above.
                let at_once = Some(Duration::ZERO);
                set_socket_linger(&stream, at_once).expect("a TCP socket has this option");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..4 {
            thread::sleep(Duration::from_millis(700));
            let newer = place.server(&flags);
            gave(std::mem::replace(&mut server, newer));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    run.finish();
    let result = result_in(std::path::Path::new(out));
    let churn = &result["plateaus"][0]["churn"];
    assert!(number(churn, "started") > 5_000, "{churn}");
    assert_eq!((sum(&churn["failed"]), sum(&churn["lost"])), (0, 0), "{churn}");
    assert_eq!(number(churn, "completed"), number(churn, "started"), "{churn}");
    // Figures of the newest server are not those of all.
    assert_ne!(result["verdict"]["wall"]["id"], "proxy-between", "{result:#}");
    assert!(count.load(Ordering::Relaxed) > 1_000, "{count:?}");
    // The same address has the figures of the newest one, and the file its statistics.
    place.is_served();
    let text = scrape(metrics.parse().expect("an address"));
    let accepted = text.lines().filter(|line| line.starts_with("megaconn_accepted_total{"));
    let accepted: u64 =
        accepted.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
    assert!(accepted > 0 && fs::metadata(stats).is_ok_and(|file| file.len() > 0), "{text}");
    server.signal(Signal::TERM);
    assert_eq!(server.finish().code, Some(143));
    assert!(!place.path().exists(), "the file of the socket goes with the last server");
}

#[test]
fn what_is_held_drains_as_the_older_one_says() {
    let place = Place::new();
    let older = place.server(&["--drain", "2s"]);
    let held: Vec<TcpStream> = (0..50).map(|_| connect(place.address)).collect();
    held.iter().for_each(|one| drop(echo(one, b"up").expect("it is served")));
    let newer = place.server(&["--drain", "2s"]);
    // The first ones are still served by the older server, which ends the last ones late.
    let is_open = |stream: &TcpStream| echo(stream, b"still").is_ok();
    assert!(held.iter().rev().take(5).any(is_open));
    let said = gave(older);
    let drained = said.iter().any(|line| line.starts_with("drained 50 connections in"));
    assert!(drained, "{said:#?}");
    for mut stream in &held {
        let mut rest = [0; 16];
        assert_eq!(std::io::Read::read(&mut stream, &mut rest).expect("in order"), 0);
    }
    place.is_served();
    drop(newer);
}

/// By where a server listens a client finds the figures of its target: one that drains does not say so any more.
#[test]
fn a_client_finds_the_newer_server_while_the_older_one_drains() {
    let place = Place::new();
    let older = place.server(&["--drain", "100s"]);
    let held = connect(place.address);
    echo(&held, b"up").expect("it is served");
    let listens = |server: &Program| {
        let at = fetch::Place::Local(LocalServer(server.id()));
        let text = fetch::text(&at).expect("a server answers programs of its host");
        text.contains(&format!(
            "megaconn_listen_info{{side=\"server\",address=\"{}\"",
            place.address
        ))
    };
    assert!(listens(&older));
    let newer = place.server(&[]);
    until("the older one listens no more", || !listens(&older));
    assert!(listens(&newer));
    drop((held, older));
}

#[test]
fn cores_may_be_more_or_fewer() {
    let all = cores(2);
    let one = all.split(',').next().expect("there is a CPU").to_owned();
    let place = Place::new();
    let mut server = place.server(&["--cores", &all]);
    for cores in [&one, &all, &one] {
        let newer = place.server(&["--cores", cores, "--steer", "hash", "--backlog", "77"]);
        gave(std::mem::replace(&mut server, newer));
        // Whichever socket of the group they arrive at.
        (0..64).for_each(|_| place.is_served());
    }
    let group = server.said("taking over from process ").expect("it has said so");
    assert!(all == one || group.ends_with(": 2 listening sockets"), "{group}");
    let port = format!(":{}", place.address.port());
    let queues = out_of(Command::new("ss").args(["-ltnH", "sport", "=", &port]));
    let is_old = |line: &&String| !line.split_whitespace().any(|word| word == "77");
    let old: Vec<_> = queues.iter().filter(is_old).collect();
    assert!(old.is_empty(), "queues are as long as the newest server has them: {old:#?}");
}

/// Lines of a program, none where it is not installed.
fn out_of(command: &mut Command) -> Vec<String> {
    let out = command.output().map(|out| out.stdout).unwrap_or_default();
    String::from_utf8_lossy(&out).lines().map(str::to_owned).collect()
}

#[test]
fn addresses_may_be_added_and_not_left_out() {
    let place = Place::new();
    let second = SocketAddr::new(place.address.ip(), place.address.port() + 1);
    let older = place.server(&[]);
    let both = place.server(&["--listen", &second.to_string()]);
    gave(older);
    assert_eq!(echo(&connect(second), b"two").expect("it is served"), b"two");
    let line = refusal(&mut place.command(&[]));
    assert!(line.contains(&format!("listens on {second} as well")), "{line}");
    assert!(line.contains(&format!("fix: add --listen {second}")), "{line}");
    // Nothing has happened to the older one; without --listen both are taken as they are.
    place.is_served();
    let mut command = Command::new(server_binary());
    let mut newest = Program::start(command.args(["serve", "--take-over"]).arg(place.path()));
    assert!(newest.says(&format!("listening on {second}")));
    gave(both);
    place.is_served();
}

/// Asks as a newer server does; what the older one answers.
fn ask(place: &Place) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(place.path()).expect("it waits there");
    stream.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
    stream.write_all(b"megaconn take-over 1\n").expect("it reads");
    let mut line = String::new();
    // The sockets behind it are closed by the kernel.
    BufReader::with_capacity(1, &stream).read_line(&mut line).expect("it answers");
    (stream, line)
}

#[test]
fn a_newer_one_that_ends_before_it_is_ready_changes_nothing() {
    let place = Place::new();
    let mut server = place.server(&[]);
    let (stream, line) = ask(&place);
    assert!(line.contains("\"use\":\"listen\""), "{line}");
    place.is_served();
    drop(stream);
    assert!(server.says("not taken over: "));
    // One is killed while it has the sockets and has not accepted yet.
    for _ in 0..5 {
        let mut command = place.command(&[]);
        let mut newer = Program::start(&mut command);
        assert!(newer.says("taking over from process "));
        newer.signal(Signal::KILL);
        newer.finish();
        if TcpStream::connect(place.address).is_err() {
            // On a host that is busy it had come to accept before it was killed.
            server = place.server(&[]);
        }
    }
    (0..64).for_each(|_| place.is_served());
    let newer = place.server(&[]);
    place.is_served();
    drop((server, newer));
}

#[test]
fn one_that_waits_behind_another_says_so() {
    let place = Place::new();
    let mut server = place.server(&[]);
    let (stream, _) = ask(&place);
    let line = refusal(&mut place.command(&[]));
    assert!(line.contains("no answer within 10 s"), "{line}");
    drop(stream);
    assert!(server.says("not taken over: "));
    let newer = place.server(&[]);
    gave(server);
    drop(newer);
}

#[test]
fn what_is_at_the_path_and_no_server_is_refused() {
    let place = Place::new();
    fs::write(place.path(), "a file").expect("it is our directory");
    let line = refusal(&mut place.command(&[]));
    assert!(line.contains("a file that is no socket"), "{line}");
    fs::remove_file(place.path()).expect("it is there");
    let listener = UnixListener::bind(place.path()).expect("the name is free");
    for answer in ["", "hello\n", "{}\n", "{\"version\":1,\"pid\":1,\"program\":\"x\"}\n"] {
        let serves = listener.try_clone().expect("there are descriptors");
        let served = thread::spawn(move || {
            let (mut stream, _) = serves.accept().expect("it asks");
            stream.write_all(answer.as_bytes()).expect("it reads");
        });
        let line = refusal(&mut place.command(&[]));
        assert!(line.contains("no server of megaconn"), "{answer:?}: {line}");
        served.join().expect("it has asked");
    }
    // A version that is not known yet, or that hands over something unknown.
    for answer in [
        "{\"version\":2,\"pid\":1,\"program\":\"9.9\"}\n",
        "{\"version\":1,\"pid\":1,\"program\":\"9.9\",\"refused\":\"not now\"}\n",
    ] {
        let serves = listener.try_clone().expect("there are descriptors");
        let served = thread::spawn(move || {
            let (mut stream, _) = serves.accept().expect("it asks");
            stream.write_all(answer.as_bytes()).expect("it reads");
        });
        let line = refusal(&mut place.command(&[]));
        assert!(line.contains("the server there refuses: "), "{answer:?}: {line}");
        served.join().expect("it has asked");
    }
    // What is left behind by a process that is over is replaced.
    drop(listener);
    assert!(fs::metadata(place.path()).is_ok_and(|file| file.file_type().is_socket()));
    let mut server = place.server(&[]);
    // A stranger asks for something else.
    let mut stream = UnixStream::connect(place.path()).expect("it waits there");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it reads");
    assert!(server.says("not taken over: it was asked for something else"));
    place.is_served();
}

#[test]
fn another_user_gets_nothing() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can be another user");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::new();
    let mut server = place.server(&[]);
    let open = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    open(place.directory.path(), 0o755);
    let binary = place.directory.path().join("megaconn");
    fs::copy(server_binary(), &binary).expect("there is room");
    open(&binary, 0o755);
    let mut as_other = Command::new(&binary);
    as_other.uid(65_534).gid(65_534).args(["serve", "--take-over"]).arg(place.path());
    let line = refusal(&mut as_other);
    assert!(line.contains("Permission denied"), "{line}");
    // Also where the file would let them.
    open(&place.path(), 0o666);
    let line = refusal(&mut as_other);
    assert!(line.contains("refuses: this is for the user whose server it is, and root"), "{line}");
    assert!(server.says("not taken over: this is for the user"));
    place.is_served();
}
