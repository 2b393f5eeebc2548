//! The run directory: what is written to it, and why a run is refused when that cannot be.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use megaconn::base::stderr::talk;
use megaconn::observe::dump::ticker;
use megaconn::report;
use serde::Serialize;

use crate::run::config::Config;
use crate::run::refusal::Refusal;

/// Where the dumps go: `--stats`, or `client.ndjson`, which grows while the run goes.
pub(crate) fn open_stats(config: &Config) -> Result<Option<Box<dyn Write + Send>>, Refusal> {
    let of_directory = |dir: &PathBuf| {
        let path = dir.join("client.ndjson");
        ticker::open(&path).map_err(|error| Refusal::Out(path, error))
    };
    let given =
        |path: &PathBuf| ticker::open(path).map_err(|error| Refusal::Stats(path.clone(), error));
    let stats = config.stats.as_ref().map(given);
    stats.or_else(|| config.out.as_ref().map(of_directory)).transpose()
}

/// Takes away what an earlier run in the same directory has come to: should this one be killed, that
/// would be taken for its own.
pub(crate) fn forget_earlier(dir: &Path) -> Result<(), Refusal> {
    for name in ["result.json", "counters.json", report::FILE] {
        let path = dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Refusal::Out(path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A whole JSON file.
pub(crate) fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value).expect("our own types are plain data");
    // Whoever looks sees a whole file, or none.
    let part = dir.join(format!(".{name}"));
    fs::write(&part, text + "\n")
        .and_then(|()| fs::rename(&part, &path))
        .map_err(|error| Refusal::Out(path, error))
}

/// `report.html`, of all that was written; without it a run is none the worse.
pub(crate) fn write_report(dir: &Path) {
    let file = dir.join(report::FILE);
    match report::write(&[dir.to_owned()], &file) {
        Ok(()) => talk(&format!("report={}", file.display())),
        Err(error) => talk(&format!("warning: no report: {error}")),
    }
}
