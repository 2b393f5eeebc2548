//! Memory that becomes short: the server refuses who comes, the client opens nothing more, both hold
//! what they have and say why. And what the client says of a server that was killed all the same.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    PATIENCE, Program, World, client, connect, cores, echo, free_ports, last, number, refusal,
    result_in, server_binary, sum, until,
};
use rustix::process::Signal;
use serde_json::Value;

#[expect(dead_code, reason = "this file needs only a part of it")]
mod common;

const MIB: u64 = 1 << 20;

/// A memory cgroup of the test's own; gone when dropped.
struct Group {
    directory: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl Group {
    /// With room for everything; or why none can be made.
    fn new(name: &str) -> Result<Group, String> {
        let name = format!("megaconn-{name}-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let (directory, limit, usage) = match version_1.is_dir() {
            true => (version_1.join(name), "memory.limit_in_bytes", "memory.usage_in_bytes"),
            false => (Path::new("/sys/fs/cgroup").join(name), "memory.max", "memory.current"),
        };
        let group = Group { directory, limit, usage };
        fs::create_dir(&group.directory)
            .and_then(|()| group.write(4096 * MIB))
            .map(|()| group)
            .map_err(|error| format!("no memory cgroup can be made: {error}"))
    }

    fn write(&self, limit: u64) -> std::io::Result<()> {
        fs::write(self.directory.join(self.limit), limit.to_string())
    }

    /// Leaves so much beyond what is used.
    fn leave(&self, bytes: u64) {
        let used = fs::read_to_string(self.directory.join(self.usage)).unwrap();
        self.write(used.trim().parse::<u64>().unwrap() + bytes).unwrap();
    }

    /// `program`, which runs in it.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.directory.display());
        command.args(["-c", &enter, "sh"]).arg(program);
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Who was in it leaves a moment after its end; what is left over is empty.
        let deadline = Instant::now() + PATIENCE;
        let is_there = || fs::remove_dir(&self.directory).is_err() && self.directory.exists();
        while is_there() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A server that `command` starts, on one core, with `flags`.
fn serve(mut command: Command, directory: &Path, flags: &[&str]) -> (Program, SocketAddr) {
    let (address, stats) = (free_ports(Ipv4Addr::LOCALHOST.into(), 1), directory.join("s.ndjson"));
    command.args(["serve", "--listen", &address.to_string(), "--cores", &cores(1)]);
    command.args(["--stats-every", "50ms", "--stats"]).arg(stats).args(flags);
    let mut server = Program::start(&mut command);
    assert!(server.says("listening on"), "{:#?}", server.finish());
    (server, address)
}

/// Whether somebody who comes now is reset.
fn refuses(address: SocketAddr) -> bool {
    // The reset may come before the connect has returned.
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return true };
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream.read(&mut [0; 1]).is_err_and(|error| error.raw_os_error() == Some(libc::ECONNRESET))
}

#[test]
fn a_server_with_a_reserve_of_more_than_there_is_refuses_all_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--memory-reserve", "1000TiB"];
    let (mut server, address) = serve(Command::new(server_binary()), directory.path(), &flags);
    assert!(server.says("memory is short: new connections are refused"), "{:#?}", server.finish());
    let stats = directory.path().join("s.ndjson");
    until("it refuses", || refuses(address));
    let before = last(&stats, "accepted_total");
    for _ in 0..20 {
        assert!(refuses(address), "somebody is taken");
    }
    until("they are counted", || last(&stats, "refused_memory_total") >= 20);
    assert_eq!((last(&stats, "refused_total"), last(&stats, "accepted_total")), (0, before));
    server.signal(Signal::TERM);
    let finished = server.finish();
    let reserve = format!("memory_reserve={}", 1000_u64 << 40);
    assert!(finished.stderr.contains(&reserve), "{finished:#?}");
}

#[test]
fn a_server_holds_what_is_there_and_accepts_again() {
    let group = match Group::new("server") {
        Ok(group) => group,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let directory = tempfile::tempdir().unwrap();
    let command = group.command(&server_binary());
    let (mut server, address) = serve(command, directory.path(), &["--memory-reserve", "64MiB"]);
    let stats = directory.path().join("s.ndjson");
    let held: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
    let all_answer = || held.iter().all(|stream| echo(stream, b"here").unwrap() == b"here");
    assert!(all_answer());

    group.leave(32 * MIB);
    let says = server.says("memory is short: new connections are refused (");
    assert!(says, "{:#?}", server.finish());
    until("it refuses", || refuses(address));
    assert!((0..20).all(|_| refuses(address)) && all_answer());
    until("they are counted", || last(&stats, "refused_cgroup_total") >= 20);
    assert_eq!(last(&stats, "refused_memory_total"), last(&stats, "refused_cgroup_total"));
    assert_eq!(last(&stats, "refused_total"), 0);

    // More than the reserve, but not by an eighth: it stays as it is.
    group.leave(68 * MIB);
    thread::sleep(Duration::from_millis(200));
    assert!(refuses(address), "the reserve has no slack");
    group.leave(256 * MIB);
    assert!(server.says("memory is enough again: accepting ("), "{:#?}", server.finish());
    until("it accepts", || !refuses(address));
    assert_eq!(echo(&connect(address), b"new").unwrap(), b"new");
    assert!(all_answer());
    server.signal(Signal::TERM);
    let finished = server.finish();
    let place = group.directory.to_str().unwrap();
    let names_it = |line: &String| line.contains("memory is short") && line.contains(place);
    assert!(finished.stderr.iter().any(names_it), "{finished:#?}");
}

#[test]
fn a_client_opens_no_more_holds_what_is_open_and_says_why() {
    let group = match Group::new("client") {
        Ok(group) => group,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let world = World::on_loopback();
    let out = world.directory.path().to_str().unwrap();
    let mut command = group.command(Path::new(env!("CARGO_BIN_EXE_megaconn-client")));
    command.args(["run", "--target", &world.server.address.to_string(), "--out", out]);
    command.args(["--cores", &world.cores, "--memory-reserve", "64MiB", "--rate", "2k/s"]);
    command.args(["--connections", "500,6k,8k", "--churn", "100/s", "--hold", "1s"]);
    let mut client = Program::start(&mut command);
    assert!(client.says("holding 500"), "{:#?}", client.finish());
    until("the second plateau rises", || last(&world.stats(), "connections") > 1_500);
    group.leave(32 * MIB);
    let finished = client.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let said = finished.stderr.iter().filter(|line| line.starts_with("memory is short"));
    assert_eq!(said.count(), 1, "{finished:#?}");

    let result = world.result();
    let (established, untried) = (number(&result, "established"), number(&result, "untried"));
    assert_eq!((sum(&result["failed"]), sum(&result["lost"])), (0, 0), "{result:#}");
    assert_eq!(established + untried, 8_000);
    assert!((1_000..6_000).contains(&established), "{established}");
    let met = &result["memory_reserve_met"];
    assert!(number(met, "available_bytes") < number(met, "reserve_bytes"), "{met}");
    assert_eq!(met["limit"].as_str(), group.directory.to_str());
    let [first, second] = result["plateaus"].as_array().unwrap().as_slice() else {
        panic!("the third plateau was tried: {result:#}")
    };
    assert!(number(&first["churn"], "completed") > 50, "{first:#}");
    assert_eq!(number(&second["churn"], "started"), 0, "{second:#}");
    assert_eq!(number(&second["messages"], "received"), established);
    assert!(second["hold_seconds"].as_f64() >= Some(1.0));
    let wall = &result["verdict"]["wall"];
    assert_eq!((&wall["id"], &wall["side"]), (&"cgroup-memory".into(), &"client".into()));
    assert_eq!(number(wall, "lost"), untried);
}

/// With the reserve that it chooses by itself a server lives in whatever it starts in.
#[test]
fn a_server_in_a_small_cgroup_refuses_and_is_not_killed() {
    let group = match Group::new("small") {
        Ok(group) => group,
        Err(why) => return eprintln!("SKIPPED: {why}"),
    };
    let directory = tempfile::tempdir().unwrap();
    group.write(24 * MIB).unwrap();
    let mut command = group.command(&server_binary());
    let refused = Program::start(command.args(["serve", "--listen", "127.0.0.1:7999"])).finish();
    let line = refused.stderr.last().unwrap();
    assert!(line.starts_with("error: cgroup-memory: a server needs"), "{refused:?}");
    assert_eq!(refused.code, Some(2));

    group.write(64 * MIB).unwrap();
    let (server, address) = serve(group.command(&server_binary()), directory.path(), &[]);
    let stats = directory.path().join("s.ndjson");
    let mut flood = Command::new(env!("CARGO_BIN_EXE_megaconn-client"));
    flood.args(["run", "--target", &address.to_string(), "--source", "127.0.0.0/8"]);
    flood.args(["--connections", "60k", "--hold", "0s", "--close", "reset", "--cores", &cores(2)]);
    Program::start(&mut flood).finish();
    until("it has refused", || last(&stats, "refused_cgroup_total") > 0);
    until("all have left", || last(&stats, "connections") == 0);
    assert_eq!(echo(&connect(address), b"alive").unwrap(), b"alive");
    server.signal(Signal::TERM);
}

#[test]
fn a_plan_that_leaves_less_than_the_reserve_is_refused() {
    let address = free_ports(Ipv4Addr::LOCALHOST.into(), 1).to_string();
    let flags = ["run", "--target", &address, "--connections", "10", "--memory-reserve", "1000TiB"];
    let line = refusal(&mut client(&flags));
    assert!(line.contains("memory: ") && line.contains("allows 0 "), "{line}");
}

#[test]
fn a_server_that_was_killed_is_told_from_one_that_lost_connections() {
    let world = World::on_loopback();
    let mut client = world.client(&["--connections", "5k", "--hold", "30s"]);
    assert!(client.says("holding 5,000"), "{:#?}", client.finish());
    world.server.program.signal(Signal::KILL);
    let finished = client.finish();
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let result = result_in(world.directory.path());
    assert_eq!((number(&result, "established"), sum(&result["lost"])), (0, 5_000));
    let losses = &result["losses"];
    assert!(number(losses, "first_ms") <= number(losses, "last_ms"), "{losses}");
    assert!(number(losses, "most_in_one_second") > 2_500, "{losses}");
    assert_eq!(result["target_afterwards"], "refuses", "{result:#}");
    assert_eq!(result["memory_reserve_met"], Value::Null);
    let missed = result["verdict"]["missed"].as_array().unwrap();
    let says = |line: &Value| line.as_str().unwrap().starts_with("the server went away: ");
    assert!(missed.iter().any(says), "{missed:?}");
}
