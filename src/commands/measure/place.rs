//! Where a measurement finds the client's program and free ports, and where it leaves its files.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use megaconn::base::clock::{stamp, unix_time};
use megaconn::base::files::{self, told};
use megaconn::base::stderr::talk;
use megaconn::plan::tuples::PortRange;
use megaconn::report;
use megaconn::results::{
    BYSTANDERS, CLIENT_DUMPS, COUNTERS, DOCTOR, ENVIRONMENT, RESULT, SERVER_DUMPS,
};

/// What the server says goes here, in the run directory.
pub(crate) const SERVER_LOG: &str = "server.log";

/// The client's program.
const CLIENT: &str = "megaconn-client";

/// Ports of the server. Connections that differ in the target port share their source port's bind bucket
/// in the kernel: that is 106 bytes less for each, and a shorter search.
const PORTS: u16 = 16;

/// The first of them, unless one is taken.
const FIRST_PORT: u16 = 7000;

/// Others are looked for below this one: a port on which something listens is lost as a source port, and
/// those are above it as a rule.
const PORTS_END: u16 = 32_000;

/// The client's program: beside this one, or where the shell would find it.
pub(crate) fn client() -> Result<PathBuf, String> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = beside.iter().cloned().chain(std::env::split_paths(&path));
    let found = places.map(|place| place.join(CLIENT)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let beside = beside.map_or_else(String::new, |beside| format!(" {},", beside.display()));
        format!(
            "{CLIENT} is not found, neither in{beside} beside this program, nor in PATH; fix: put it there, \
             both are installed together"
        )
    })
}

/// The ports that were asked for, when all are free; or else sixteen that are. At a second try those
/// were taken meanwhile, and others are chosen, by chance: another measurement may choose as well.
pub(crate) fn ports(asked: Option<PortRange>, is_again: bool) -> Result<PortRange, String> {
    if let Some(ports) = asked {
        return match taken(ports) {
            None => Ok(ports),
            Some((port, error)) if error.kind() == io::ErrorKind::AddrInUse => Err(format!(
                "--ports {ports}: 127.0.0.1:{port} is in use; fix: end what listens there, or other ports"
            )),
            Some((port, error)) => {
                Err(format!("--ports {ports}: 127.0.0.1:{port}: {}", told(&error, "other ports")))
            }
        };
    }
    let mut blocks: Vec<u16> = (FIRST_PORT..PORTS_END).step_by(PORTS.into()).collect();
    if is_again {
        fastrand::shuffle(&mut blocks);
    }
    let block = |low: u16| PortRange { low, high: low + PORTS - 1 };
    let mut blocks = blocks.into_iter().map(block);
    blocks.find(|ports| taken(*ports).is_none()).ok_or_else(|| {
        format!("no {PORTS} ports in a row are free on 127.0.0.1; fix: --ports with those that are")
    })
}

/// The first of `ports` that cannot be listened on, and why.
fn taken(ports: PortRange) -> Option<(u16, io::Error)> {
    let listen = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).err().map(|e| (port, e));
    (ports.low..=ports.high).find_map(listen)
}

/// The run directory, made, and empty but for what is set aside.
pub(crate) fn directory(asked: Option<&Path>) -> Result<PathBuf, String> {
    let named = || {
        let name = format!("{}-{}", stamp(unix_time()), std::process::id());
        Path::new("runs").join(name)
    };
    let dir = asked.map_or_else(named, Path::to_owned);
    let failed = |error: io::Error| {
        format!("--out {}: {}", dir.display(), told(&error, "a directory that you may write"))
    };
    fs::create_dir_all(&dir).map_err(failed)?;
    // The name stays right for a reader in another directory.
    let dir = fs::canonicalize(&dir).map_err(failed)?;
    let failed = |error: io::Error| {
        format!("--out {}: {}", dir.display(), told(&error, "a directory that you may write"))
    };
    // A run that goes on there has it locked.
    let here = File::open(&dir).map_err(failed)?;
    files::lock(&here).map_err(failed)?;
    let json = [RESULT, ENVIRONMENT, DOCTOR, COUNTERS, BYSTANDERS].map(|file| file.name);
    let others = [SERVER_DUMPS, CLIENT_DUMPS, report::FILE, SERVER_LOG];
    let all: Vec<&Path> = json.iter().chain(&others).map(Path::new).collect();
    if let Some(aside) = files::set_aside(&dir, &all).map_err(failed)? {
        talk(&format!("files of an earlier run are set aside: {}", aside.display()));
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_are_taken_are_refused_when_asked_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = ports(Some(PortRange { low: port, high: port }), false).unwrap_err();
        assert!(error.contains(&format!("127.0.0.1:{port} is in use; fix: ")), "{error}");
        drop(listener);
        for is_again in [false, true] {
            let found = ports(None, is_again).unwrap();
            assert!(found.high - found.low == PORTS - 1 && taken(found).is_none());
        }
    }

    #[test]
    fn what_an_earlier_run_left_is_set_aside_and_a_run_that_goes_on_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("a/b");
        let made = directory(Some(&dir)).unwrap();
        fs::write(made.join(RESULT.name), "{}").unwrap();
        fs::write(made.join("notes.txt"), "mine").unwrap();
        assert_eq!(directory(Some(&dir)).unwrap(), made);
        assert!(!made.join(RESULT.name).exists() && made.join("earlier-1/result.json").exists());
        assert!(made.join("notes.txt").exists());
        let busy = File::open(&made).unwrap();
        files::lock(&busy).unwrap();
        let error = directory(Some(&dir)).unwrap_err();
        assert!(error.contains("another process is writing there; fix: "), "{error}");
    }
}
