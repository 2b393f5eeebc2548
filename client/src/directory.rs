//! The run directory: what is written to it, and why a run is refused when that cannot be.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use megaconn::dump::ticker;
use serde::Serialize;

use crate::config::{Config, Refusal};

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

/// A whole JSON file.
pub(crate) fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value).expect("our own types are plain data");
    fs::write(&path, text + "\n").map_err(|error| Refusal::Out(path, error))
}
