//! The run directory: what is written to it, and why a run is refused when that cannot be.

use std::fs;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use megaconn::dump::{Dump, Side};
use megaconn::stats::CoreStats;
use serde::Serialize;

use crate::config::{Config, Refusal};

/// `client.ndjson`, which grows while the run goes.
pub(crate) fn open_dump(
    dir: &Path,
    config: &Config,
    stats: &[Arc<CoreStats>],
) -> Result<Dump, Refusal> {
    let path = dir.join("client.ndjson");
    let file = fs::File::create(&path).map_err(|error| Refusal::Out(path, error))?;
    Ok(Dump::new(Side::Client, &config.cpus, stats, Box::new(BufWriter::new(file))))
}

/// A whole JSON file.
pub(crate) fn write_json(dir: &Path, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    let path = dir.join(name);
    let text = serde_json::to_string_pretty(value).expect("our own types are plain data");
    fs::write(&path, text + "\n").map_err(|error| Refusal::Out(path, error))
}
