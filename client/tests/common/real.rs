//! Servers of other kinds, as Debian has them: each with a directory and a port of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::common::{free_ports, until};
use crate::lab::host::skipped;

/// The file of what a server says.
pub(crate) const STDOUT: &str = "stdout";

/// A server of another kind, which is ended with this.
pub(crate) struct Real {
    child: Child,
    ends_by: Signal,
    pub(crate) port: u16,
    place: Place,
}

impl Real {
    /// `None`, said loudly, where the program is not installed.
    pub(crate) fn start(
        program: &Path,
        ends_by: Signal,
        place: Place,
        flags: &[&str],
    ) -> Option<Real> {
        let mut command = Command::new(program);
        command.args(flags).current_dir(place.directory.path());
        if let Some(user) = place.user {
            command.uid(user).gid(user);
        }
        let out = File::create(place.directory.path().join(STDOUT)).expect("it is our directory");
        match command.stdin(Stdio::null()).stdout(out).stderr(Stdio::null()).spawn() {
            Ok(child) => {
                let port = place.address.port();
                until("it listens", || TcpStream::connect(place.address).is_ok());
                Some(Real { child, ends_by, port, place })
            }
            Err(error) => {
                let packages = "redis-server mosquitto nginx-light libnginx-mod-stream haproxy \
                    postgresql dovecot-imapd";
                let program = program.display();
                skipped(&format!("{program}: {error}; fix: apt-get install {packages}"));
                None
            }
        }
    }

    /// What it has written into a file of its directory.
    pub(crate) fn wrote(&self, name: &str) -> String {
        fs::read_to_string(self.place.directory.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = kill_process(Pid::from_child(&self.child), self.ends_by);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory and an address for a server.
pub(crate) struct Place {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    /// Of a server that does not run as root.
    pub(crate) user: Option<u32>,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().expect("there is a place for temporary files");
        Place { directory, address: free_ports(Ipv4Addr::LOCALHOST.into(), 1), user: None }
    }

    /// For a server that lays down root's rights before it reads anything, or has none.
    pub(crate) fn of(user: &str) -> Place {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let account = accounts.lines().find(|line| line.starts_with(&format!("{user}:")));
        let id = account.and_then(|line| line.split(':').nth(2)?.parse().ok());
        let place = Place { user: id.filter(|_| geteuid().is_root()), ..Place::new() };
        if let Some(user) = place.user {
            chown(place.directory.path(), Some(user), Some(user)).expect("we are root");
        }
        place
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("it is our directory");
        path.to_str().expect("temporary names are plain").to_owned()
    }
}

/// A program that need not be in the path of an ordinary user.
pub(crate) fn daemon(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}

/// nginx with this section for streams, whose log of errors begins at `level`.
pub(crate) fn nginx(place: Place, level: &str, stream: &str) -> Option<Real> {
    const STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !Path::new(STREAM).exists() {
        skipped(&format!("{STREAM} is missing; fix: apt-get install libnginx-mod-stream"));
        return None;
    }
    let own = place.directory.path().to_str().expect("temporary names are plain").to_owned();
    let text = format!(
        "load_module {STREAM};\ndaemon off; master_process off; pid {own}/pid; error_log {own}/errors {level};\n\
         events {{ worker_connections 2500; }}\nstream {{ {stream} }}\n"
    );
    let conf = place.write("conf", &text);
    Real::start(&daemon("nginx"), Signal::TERM, place, &["-p", &own, "-c", &conf])
}
