//! What the walls of addresses, handshake and network are met with: network namespaces of the test's
//! own, which are a client's host, a server's host and the cables between them, with the real
//! programs inside. All go when they are dropped; those of a test that was killed, when the next
//! one begins.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::host::{Cage, HostWide, skipped, unchanged};
use crate::common::{Finished, Program, cores, result_in, server_binary, until};

/// Where the server listens, and where its figures are: on a cable of their own.
const SERVER: &str = "10.77.0.1";
const METRICS: &str = "10.99.0.1:9100";

/// The client's address on the server's link.
const CLIENT: &str = "10.77.0.2";

/// Whether the client sees the server: its figures, and what its kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    With,
    /// The server is in another network namespace and gives the client no figures.
    Without,
}

/// A network namespace with its loopback up, which lives as long as this.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, or why there is none.
    pub(crate) fn new() -> Result<Namespace, String> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static STALE: Once = Once::new();
        STALE.call_once(remove_stale);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace { name: format!("{PREFIX}{}-{number}", std::process::id()) };
        ip(&["netns", "add", &namespace.name])?;
        namespace.run("ip link set lo up");
        Ok(namespace)
    }

    /// A command that will run inside.
    pub(crate) fn command(&self, program: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).args(flags);
        command
    }

    /// The same in a cage. What the cage is made of, like control groups, is in sight of the program.
    pub(crate) fn caged(&self, cage: &Cage, program: &Path, flags: &[&str]) -> Command {
        cage.command_by(&["nsenter", &format!("--net={}", self.path())], program, flags)
    }

    /// The file that stands for it.
    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// Runs a line of shell inside, which must succeed; what it wrote to stdout.
    pub(crate) fn run(&self, line: &str) -> String {
        let output = self.command(Path::new("sh"), &["-c", line]).output();
        said(output.expect("ip can be run")).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Gives `nft` a table of its rules.
    pub(crate) fn nft(&self, chains: &str) {
        self.run(&format!("nft -f - <<'END'\ntable ip lab {{\n{chains}\n}}\nEND"));
    }

    /// Lays a cable to `other`, with an address for each end; both ends have its name.
    pub(crate) fn cable(&self, name: &str, address: &str, other: &Namespace, others: &str) {
        let (here, there) = (&self.name, &other.name);
        let peer = ["peer", "name", name, "netns", there];
        let add = [&["link", "add", name, "netns", here, "type", "veth"][..], &peer].concat();
        ip(&add).expect("a namespace takes a cable");
        for (namespace, address) in [(self, address), (other, others)] {
            namespace.run(&format!("ip addr add {address}/24 dev {name}; ip link set {name} up"));
        }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // A test that fails has its own words, and the next one removes what is left.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Begins the name of every namespace of a lab; the process and a number follow.
const PREFIX: &str = "megaconn-lab-";

/// Removes the namespaces of processes that are no more, and ends the programs that these have left
/// in them.
fn remove_stale() {
    for line in ip(&["netns", "list"]).unwrap_or_default().lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|id| !Path::new("/proc").join(id).exists()) {
            let left = ip(&["netns", "pids", name]).unwrap_or_default();
            for id in left.lines().filter_map(|id| Pid::from_raw(id.parse().ok()?)) {
                // It may have ended meanwhile.
                let _ = kill_process(id, Signal::KILL);
            }
            // Another process may have been faster.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output();
    said(output.map_err(|error| format!("ip cannot be run: {error}"))?)
}

fn said(output: Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A client's host, a server's host, and what is between them.
pub(crate) struct Lab {
    pub(crate) program: Option<Program>,
    pub(crate) client: Namespace,
    pub(crate) server: Namespace,
    /// A router that all goes through, if there is one.
    pub(crate) between: Option<Namespace>,
    /// Values of the whole host, where the lab changes some; then no other lab is open.
    pub(crate) host: Option<HostWide>,
    /// What the programs are started in.
    pub(crate) cages: Cages,
    sight: Sight,
    directory: tempfile::TempDir,
    _open: Option<File>,
}

/// What a lab is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// Client and server on one link.
    Link,
    /// The same, and values of the whole host will be changed.
    HostWide,
    /// A router between them.
    Router,
}

/// The cages of both ends.
#[derive(Default)]
pub(crate) struct Cages {
    pub(crate) client: Option<Cage>,
    pub(crate) server: Option<Cage>,
}

impl Lab {
    /// A lab whose runs see the server; `None`, said loudly, where none can be made.
    pub(crate) fn new(build: Build) -> Option<Lab> {
        Lab::with(build, Sight::With)
    }

    /// A lab whose runs see as much.
    pub(crate) fn with(build: Build, sight: Sight) -> Option<Lab> {
        let alone = build == Build::HostWide;
        let host = alone.then(HostWide::claim);
        let open = (!alone).then(unchanged);
        Lab::made(build, sight, host, open)
            .map_err(|error| skipped(&format!("no network namespace can be made: {error}")))
            .ok()
    }

    fn made(
        build: Build,
        sight: Sight,
        host: Option<HostWide>,
        open: Option<File>,
    ) -> Result<Lab, String> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        let between = (build == Build::Router).then(Namespace::new).transpose()?;
        client.cable("figures0", "10.99.0.2", &server, "10.99.0.1");
        match &between {
            None => client.cable("link0", CLIENT, &server, SERVER),
            Some(router) => {
                client.cable("near0", "10.76.0.2", router, "10.76.0.1");
                router.cable("link0", "10.77.0.254", &server, SERVER);
                client.run("ip route add default via 10.76.0.1");
                server.run("ip route add default via 10.77.0.254");
                router.run("sysctl -qw net.ipv4.ip_forward=1");
            }
        }
        // A connect that nobody answers fails after three seconds, not two minutes.
        client.run("sysctl -qw net.ipv4.tcp_syn_retries=1");
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let cages = Cages::default();
        let (program, _open) = (None, open);
        Ok(Lab { program, client, server, between, host, cages, sight, directory, _open })
    }

    /// Ends the server, if there is one, and starts one with `flags` on port 7000.
    pub(crate) fn serve(&mut self, flags: &[&str]) {
        self.serve_ports("7000", flags);
    }

    /// The same on `ports`.
    pub(crate) fn serve_ports(&mut self, ports: &str, flags: &[&str]) {
        self.serve_at(&format!("{SERVER}:{ports}"), flags);
    }

    /// The same at `listen`.
    pub(crate) fn serve_at(&mut self, listen: &str, flags: &[&str]) {
        drop(self.program.take());
        let core = cores(1);
        // One core: where its connections go is no matter of luck then.
        let always = ["serve", "--listen", listen, "--metrics", METRICS, "--cores", &core];
        let flags = [&always[..], flags].concat();
        // The kernel takes a moment to close what the rings of the one before had open.
        let mut program = None;
        until("the server listens", || {
            let mut command = self.in_cage(Place::Server, &server_binary(), &flags);
            let begun = Program::start(&mut command);
            program.insert(begun).says("listening on")
        });
        self.program = program;
    }

    /// A client with `flags` that has begun.
    pub(crate) fn client(&self, flags: &[&str]) -> Program {
        let out = self.directory.path().to_str().expect("temporary names are plain");
        self.client_elsewhere(&[&["--out", out], flags].concat())
    }

    /// What the last run has left.
    pub(crate) fn result(&self) -> Value {
        result_in(self.directory.path())
    }

    /// The same without a run directory: somebody else's.
    pub(crate) fn client_elsewhere(&self, flags: &[&str]) -> Program {
        let (target, cores) = (format!("{SERVER}:7000"), cores(2));
        let target = if flags.contains(&"--target") { &[][..] } else { &["--target", &target] };
        let cores = if flags.contains(&"--cores") { &[][..] } else { &["--cores", &cores] };
        let flags = [&["run"], cores, target, flags].concat();
        let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
        Program::start(&mut self.in_cage(Place::Client, client, &flags))
    }

    fn in_cage(&self, place: Place, program: &Path, flags: &[&str]) -> Command {
        let (namespace, cage) = match place {
            Place::Client => (&self.client, &self.cages.client),
            Place::Server => (&self.server, &self.cages.server),
        };
        match cage {
            None => namespace.command(program, flags),
            Some(cage) => namespace.caged(cage, program, flags),
        }
    }

    /// A client with `flags` that sees of the server what is to be seen in this lab.
    pub(crate) fn seeing_client(&self, flags: &[&str]) -> Program {
        let sight = match self.sight {
            Sight::With => &["--server-metrics", METRICS][..],
            Sight::Without => &[],
        };
        self.client(&[sight, flags].concat())
    }

    /// A whole run, which sees so much.
    pub(crate) fn run(&self, flags: &[&str]) -> Run {
        self.end(self.seeing_client(flags))
    }

    /// A run that has begun, to its end.
    pub(crate) fn end(&self, mut client: Program) -> Run {
        let finished = client.finish();
        assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
        Run { finished, result: result_in(self.directory.path()) }
    }

    /// Whether a firewall can be made; said loudly if not.
    pub(crate) fn has_nft(&self) -> bool {
        let found = Command::new("nft").arg("--version").output();
        if let Err(error) = &found {
            skipped(&format!("no firewall can be made: nft: {error}; fix: install nftables"));
        }
        found.is_ok()
    }

    /// Changes a value of the whole host; `false`, said loudly, where that is not permitted.
    pub(crate) fn host_wide(&mut self, name: &str, value: &str) -> bool {
        let host = self.host.as_mut().expect("this lab is for values of the whole host");
        let is_set = host.set(name, value);
        if !is_set {
            skipped(&format!("{name} cannot be set"));
        }
        is_set
    }

    /// Runs a fix, `sysctl -w NAME=VALUE`, on the whole host.
    pub(crate) fn host_wide_fix(&mut self, fix: &str) -> bool {
        let setting = fix.strip_prefix("sysctl -w ").expect("the fix is a sysctl");
        let (name, value) = setting.split_once('=').expect("it has a value");
        self.host_wide(name, value)
    }
}

/// An end of a lab.
enum Place {
    Client,
    Server,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) finished: Finished,
    pub(crate) result: Value,
}

impl Run {
    /// The wall that cost most, and its side.
    pub(crate) fn named(&self) -> Option<(&str, &str)> {
        of(&self.result["verdict"]["wall"])
    }

    /// The walls that were met without a loss, and their sides.
    pub(crate) fn met(&self) -> Vec<(&str, &str)> {
        let met = self.result["verdict"]["met_without_loss"].as_array();
        met.expect("a list").iter().filter_map(of).collect()
    }

    /// The fix for `wall` that begins so.
    pub(crate) fn fix(&self, wall: &str, start: &str) -> &str {
        let verdict = &self.result["verdict"];
        let met = verdict["met_without_loss"].as_array().expect("a list");
        let mut charges = met.iter().chain([&verdict["wall"]]);
        let charge = charges.find(|charge| charge["id"] == wall).expect("it is named");
        let fixes = charge["fix"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let fix = fixes.into_iter().find(|fix| fix.starts_with(start));
        fix.unwrap_or_else(|| panic!("no fix begins with {start:?}: {charge:#}"))
    }

    /// The same, as flags for the program that its first word is.
    pub(crate) fn flags(&self, wall: &str, start: &str) -> Vec<&str> {
        self.fix(wall, start).split(' ').skip_while(|word| !word.starts_with("--")).collect()
    }
}

fn of(charge: &Value) -> Option<(&str, &str)> {
    Some((charge["id"].as_str()?, charge["side"].as_str()?))
}
