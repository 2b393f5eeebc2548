//! The run directory: what is written to it, and why a run is refused when that cannot be.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use megaconn::base::stderr::talk;
use megaconn::observe::dump::ticker;
use megaconn::report;
use megaconn::results::{self, COUNTERS, RESULT};
use serde::Serialize;

/// A file or directory that cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("--out {0}: {1}; fix: a directory that you may write")]
    Out(PathBuf, io::Error),
}

/// Makes the run directory `dir`, if it is not there.
pub(crate) fn create(dir: &Path) -> Result<(), WriteError> {
    fs::create_dir_all(dir).map_err(|error| WriteError::Out(dir.to_owned(), error))
}

/// Where the dumps go that the run directory keeps. They grow while the run goes on.
pub(crate) fn open_dumps(dir: &Path) -> Result<Box<dyn Write + Send>, WriteError> {
    let path = dir.join("client.ndjson");
    ticker::open(&path).map_err(|error| WriteError::Out(path, error))
}

/// Removes the results of an earlier run in the same directory. If this run were killed, they would be
/// taken for its own.
pub(crate) fn forget_earlier(dir: &Path) -> Result<(), WriteError> {
    for name in [RESULT.name, COUNTERS.name, report::FILE] {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(WriteError::Out(path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A whole JSON file.
pub(crate) fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), WriteError> {
    let path = dir.join(name);
    // A reader sees a whole file, or none.
    let part = dir.join(format!(".{name}"));
    fs::write(&part, results::text(value))
        .and_then(|()| fs::rename(&part, &path))
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
