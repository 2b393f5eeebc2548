//! What the walls of the host and of the process are met with: values of the whole host that are
//! restored however the test ends, control groups of the test's own, and cages, in which a program
//! has less than the host allows; and a scene, which is one server and the runs against it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::netns::{Namespace, Run, Sight};
use crate::common::{Program, cores, free_ports, result_in, server_binary};

/// Values of the whole host that a test has changed. One test at a time, over all processes; they are
/// restored by a process of their own, so that neither a panic nor a kill leaves them behind.
pub(crate) struct HostWide {
    keepers: Vec<Child>,
    lock: File,
}

/// Keeps what stood in a file, writes something else, and writes it back when its input ends, which
/// it does when whoever asked for it is gone.
const KEEPER: &str = "trap '' INT TERM HUP; old=$(cat \"$1\") && printf '%s\\n' \"$2\" > \"$1\" \
    && echo set && read -r _; printf '%s\\n' \"$old\" > \"$1\"";

impl HostWide {
    /// Waits until nobody else has anything changed.
    pub(crate) fn claim() -> HostWide {
        let lock = lock_file();
        lock.lock().expect("a file of ours can be locked");
        HostWide { keepers: Vec::new(), lock }
    }

    /// Sets `net.ipv4.tcp_mem` and the like; `false` where that is not ours to do, or was not asked for:
    /// on a person's own machine others would feel it.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> bool {
        if std::env::var_os("MEGACONN_HOST_WIDE").is_none() {
            skipped(&format!(
                "{name} is of the whole host; MEGACONN_HOST_WIDE=1 lets tests change it"
            ));
            return false;
        }
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        // The lock is the keeper's too: who waits for it finds everything as it was.
        let lock = self.lock.try_clone().expect("a descriptor is free");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", &path, value])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(lock)
            .process_group(0)
            .spawn()
            .expect("there is a shell");
        let mut said = String::new();
        let out = keeper.stdout.take().expect("its output is piped");
        let _ = BufReader::new(out).read_line(&mut said);
        self.keepers.push(keeper);
        said == "set\n"
    }
}

/// Waits until nobody has values of the whole host changed, and keeps them from it while it is held.
pub(crate) fn unchanged() -> File {
    let lock = lock_file();
    lock.lock_shared().expect("a file of ours can be locked");
    lock
}

/// Who changes values of the whole host, or wants to be alone on it, locks it; others share it.
fn lock_file() -> File {
    let path = std::env::temp_dir().join("megaconn-lab.lock");
    let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
    open.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

impl Drop for HostWide {
    fn drop(&mut self) {
        for mut keeper in self.keepers.drain(..).rev() {
            drop(keeper.stdin.take());
            let _ = keeper.wait();
        }
    }
}

/// A control group of the test's own, with a limit; gone when dropped, after who was in it.
pub(crate) struct ControlGroup(PathBuf);

static GROUPS: AtomicU32 = AtomicU32::new(0);

impl ControlGroup {
    /// So many bytes for who is in it, with what the kernel holds for them.
    pub(crate) fn memory(bytes: u64) -> Option<ControlGroup> {
        let bytes = bytes.to_string();
        ControlGroup::new("memory", ("memory.limit_in_bytes", &bytes), ("memory.max", &bytes))
    }

    /// So much of one CPU, in hundredths.
    pub(crate) fn cpu(percent: u32) -> Option<ControlGroup> {
        let us = percent * 1000;
        let (v1, v2) = (us.to_string(), format!("{us} 100000"));
        ControlGroup::new("cpu", ("cpu.cfs_quota_us", &v1), ("cpu.max", &v2))
    }

    /// So many threads.
    pub(crate) fn threads(count: u32) -> Option<ControlGroup> {
        let count = count.to_string();
        ControlGroup::new("pids", ("pids.max", &count), ("pids.max", &count))
    }

    /// Its directory in the tree of control groups.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Lets who is in it have so many bytes from now on.
    pub(crate) fn limit_memory(&self, bytes: u64) {
        let files = ["memory.limit_in_bytes", "memory.max"].map(|name| self.0.join(name));
        let file = files.iter().find(|file| file.exists()).expect("a memory group has a limit");
        fs::write(file, bytes.to_string()).expect("our own group may have another limit");
    }

    /// Under the controller's own tree, or under the one tree of version 2.
    fn new(controller: &str, v1: (&str, &str), v2: (&str, &str)) -> Option<ControlGroup> {
        let root = Path::new("/sys/fs/cgroup");
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let name = format!("megaconn-lab-{}-{number}", std::process::id());
        let is_v1 = root.join(controller).join("cgroup.procs").exists();
        let (parent, (file, value)) =
            if is_v1 { (root.join(controller), v1) } else { (root.to_owned(), v2) };
        if !is_v1 {
            // It is on already as a rule; where it cannot be, the write below says so.
            let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
        }
        let group = ControlGroup(parent.join(name));
        let made = fs::create_dir(&group.0).and_then(|()| fs::write(group.0.join(file), value));
        match made {
            Ok(()) => Some(group),
            Err(error) => {
                skipped(&format!("no control group for {controller} can be made: {error}"));
                None
            }
        }
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        // Who was killed in it leaves a moment later.
        while fs::remove_dir(&self.0).is_err() && self.0.exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Says that this host does not permit what a test needs.
#[expect(clippy::print_stderr, reason = "a test that was skipped must be seen")]
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// How a program is started: by a shell that gives up rights and then becomes the program.
#[derive(Clone, Default)]
pub(crate) struct Cage {
    before: String,
    without: Vec<&'static str>,
}

impl Cage {
    /// Everything that we have.
    pub(crate) fn open() -> Cage {
        Cage::default()
    }

    /// At most so much by `ulimit -flag`.
    pub(crate) fn limit(mut self, flag: char, most: u64) -> Cage {
        self.before += &format!("ulimit -{flag} {most} && ");
        self
    }

    /// Inside of `group`.
    pub(crate) fn group(mut self, group: &ControlGroup) -> Cage {
        self.before += &format!("echo $$ > {}/cgroup.procs && ", group.0.display());
        self
    }

    /// Without a capability, like `ipc_lock`; who is not root has none.
    pub(crate) fn without(mut self, capability: &'static str) -> Cage {
        self.without.push(capability);
        self
    }

    /// `program` with `flags`, inside.
    pub(crate) fn command(&self, program: &Path, flags: &[&str]) -> Command {
        self.command_by(&[], program, flags)
    }

    /// The same, started by a command that becomes what follows it.
    pub(crate) fn command_by(&self, by: &[&str], program: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{}exec \"$@\"", self.before), "sh"]).args(by);
        if !self.without.is_empty() && rustix::process::geteuid().is_root() {
            let dropped: Vec<String> = self.without.iter().map(|name| format!("-{name}")).collect();
            command.args(["setpriv", "--bounding-set", &dropped.join(","), "--"]);
        }
        command.arg(program).args(flags);
        command
    }
}

/// A server, and the runs against it.
pub(crate) struct Scene {
    pub(crate) server: Program,
    pub(crate) address: SocketAddr,
    pub(crate) directory: tempfile::TempDir,
    /// Where the client is first, and where the server last; none where no namespace can be made.
    places: Vec<Namespace>,
}

impl Scene {
    /// A server with `flags` in `cage`, which listens; `None`, said loudly, where it would have to be
    /// apart from the client and cannot.
    pub(crate) fn new(sight: Sight, cage: &Cage, flags: &[&str]) -> Option<Scene> {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        let places = match sight {
            // What others do on this host is counted elsewhere then.
            Sight::With => Namespace::new().into_iter().collect(),
            Sight::Without => Scene::apart().map_err(|error| skipped(&error)).ok()?,
        };
        let address = match (sight, places.is_empty()) {
            (Sight::With, true) => free_ports(Ipv4Addr::LOCALHOST.into(), 1),
            (Sight::With, false) => SocketAddr::from((Ipv4Addr::LOCALHOST, 7000)),
            (Sight::Without, _) => SocketAddr::from(([10, 77, 0, 1], 7000)),
        };
        let stats = directory.path().join("server.ndjson");
        let stats = stats.to_str().expect("temporary names are plain");
        let listen = address.to_string();
        let stats = match sight {
            Sight::With => &["--stats", stats, "--stats-every", "100ms"][..],
            Sight::Without => &[],
        };
        let always = [&["serve", "--listen", &listen], stats].concat();
        let two = cores(2);
        let flags = [&always[..], &with_cores(flags, &two)].concat();
        let program = &mut placed(places.last(), cage, &server_binary(), &flags);
        let mut server = Program::start(program);
        if !server.says("listening on") {
            panic!("the server did not start: {:#?}", server.finish());
        }
        Some(Scene { server, address, directory, places })
    }

    fn apart() -> Result<Vec<Namespace>, String> {
        let (client, server) = (Namespace::new()?, Namespace::new()?);
        client.cable("link0", "10.77.0.2", &server, "10.77.0.1");
        Ok(vec![client, server])
    }

    /// A client with `flags` in `cage` that has begun.
    pub(crate) fn client(&self, cage: &Cage, flags: &[&str]) -> Program {
        let out = self.directory.path().to_str().expect("temporary names are plain");
        let target = self.address.to_string();
        let always = ["run", "--target", &target, "--out", out];
        let two = cores(2);
        let flags = [&always[..], &with_cores(flags, &two)].concat();
        let client = Path::new(env!("CARGO_BIN_EXE_megaconn-client"));
        Program::start(&mut placed(self.places.first(), cage, client, &flags))
    }

    /// A whole run.
    pub(crate) fn run(&self, cage: &Cage, flags: &[&str]) -> Run {
        self.end(self.client(cage, flags))
    }

    /// A run that has begun, to its end.
    pub(crate) fn end(&self, mut client: Program) -> Run {
        let finished = client.finish();
        assert!(matches!(finished.code, Some(0 | 1)), "{finished:#?}");
        Run { finished, result: result_in(self.directory.path()) }
    }
}

fn placed(place: Option<&Namespace>, cage: &Cage, program: &Path, flags: &[&str]) -> Command {
    match place {
        None => cage.command(program, flags),
        Some(place) => place.caged(cage, program, flags),
    }
}

fn with_cores<'a>(flags: &[&'a str], cores: &'a str) -> Vec<&'a str> {
    let is_said = flags.contains(&"--cores");
    let cores = if is_said { &[][..] } else { &["--cores", cores] };
    [flags, cores].concat()
}
