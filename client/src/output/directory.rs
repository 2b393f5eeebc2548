//! The run directory: it is this run's alone, what is of an earlier run is set aside, files are
//! written whole; and why a run is refused when that cannot be.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use megaconn::base::files::{self, told};
use megaconn::base::stderr::talk;
use megaconn::observe::dump::place;
use megaconn::report;
use megaconn::results::{
    self, BYSTANDERS, CLIENT_DUMPS, COUNTERS, DOCTOR, ENVIRONMENT, HISTOGRAMS, RESULT, SERVER_DUMPS,
};
use serde::Serialize;

/// A file or directory that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("--out {path}: {}", told(.1, "a directory that you may write"), path = .0.display())]
    Out(PathBuf, io::Error),
    #[error("--out {0}: another run is writing there; fix: another directory, or wait for its end")]
    Busy(PathBuf),
}

/// Makes the run directory `dir`, if it is not there.
pub(crate) fn create(dir: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(dir).map_err(|error| WriteError::Out(dir.to_owned(), error))
}

/// A run directory that this process alone writes, until it is dropped.
#[derive(Debug)]
pub(crate) struct Taken(#[expect(dead_code, reason = "its lock is held")] File);

/// Takes `dir`, which is there, for this process. What an earlier run left in it is set aside, and
/// told: if this run were killed, it would be taken for its own. The dumps of a server that runs stay,
/// since it goes on writing them; others are of a server that has ended.
pub(crate) fn take(dir: &Path) -> Result<Taken, WriteError> {
    let failed = |error| WriteError::Out(dir.to_owned(), error);
    let lock = File::open(dir).map_err(failed)?;
    files::lock(&lock).map_err(|_| WriteError::Busy(dir.to_owned()))?;
    let of_client =
        [RESULT, ENVIRONMENT, DOCTOR, COUNTERS, HISTOGRAMS, BYSTANDERS].map(|file| file.name);
    let mut earlier: Vec<&Path> =
        of_client.iter().chain(&[CLIENT_DUMPS, report::FILE]).map(Path::new).collect();
    let of_server = Path::new(SERVER_DUMPS);
    let path = dir.join(of_server);
    if path.is_file() && !File::open(&path).is_ok_and(|dumps| files::is_being_written(&dumps)) {
        earlier.push(of_server);
    }
    if let Some(name) = earlier.iter().find(|name| dir.join(name).is_dir()) {
        return Err(WriteError::Out(dir.join(name), io::ErrorKind::IsADirectory.into()));
    }
    if let Some(aside) = files::set_aside(dir, &earlier).map_err(failed)? {
        let (dir, aside) = (dir.display(), aside.display());
        talk(&format!("--out {dir}: files of an earlier run are set aside: {aside}"));
    }
    Ok(Taken(lock))
}

/// Where the dumps go that the run directory keeps. They grow while the run goes on.
pub(crate) fn open_dumps(dir: &Path) -> Result<Box<dyn Write + Send>, WriteError> {
    let path = dir.join(CLIENT_DUMPS);
    place::open(&path).map_err(|error| WriteError::Out(path, error))
}

/// A whole JSON file. A reader sees all of it, or none.
pub(crate) fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), WriteError> {
    let path = dir.join(name);
    files::write_whole(&path, results::text(value).as_bytes())
        .map_err(|error| WriteError::Out(path, error))
}

/// `report.html`, of all that was written; a run succeeds without it.
pub(crate) fn write_report(dir: &Path) {
    let file = dir.join(report::FILE);
    match report::write(&[dir.to_owned()], &file) {
        Ok(()) => talk(&format!("report={}", file.display())),
        Err(error) => talk(&format!("warning: no report: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_of_one_run_and_what_was_there_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(dir.path().join(name), name).unwrap();
        [RESULT.name, BYSTANDERS.name, SERVER_DUMPS, "notes.txt"].iter().copied().for_each(write);
        let taken = take(dir.path()).unwrap();
        let there = |name: &str| dir.path().join(name).exists();
        assert!(there("notes.txt") && !there(RESULT.name) && !there(SERVER_DUMPS));
        for name in [RESULT.name, BYSTANDERS.name, SERVER_DUMPS] {
            let earlier = dir.path().join("earlier-1").join(name);
            assert_eq!(fs::read_to_string(earlier).unwrap(), name);
        }
        let refused = take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains("another run") && refused.contains("fix: "), "{refused}");
        drop(taken);
        // A server that runs goes on writing its own.
        let mut server = place::open(&dir.path().join(SERVER_DUMPS)).unwrap();
        server.write_all(b"tick\n").unwrap();
        server.flush().unwrap();
        let _taken = take(dir.path()).unwrap();
        assert!(there(SERVER_DUMPS) && !there("earlier-2"));
    }
}
