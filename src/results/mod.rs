//! The format of a run directory, once: `megaconn-client` writes it, `megaconn report` reads it.
//!
//! | File | Types |
//! |---|---|
//! | `result.json` | [`result::RunResult`], with [`plateau`], [`max`], [`cost`], [`verdict`] and [`bystanders`] |
//! | `environment.json` | [`environment::Environment`] |
//! | `doctor.json` | [`doctor::Doctor`], as far as it is read: `walls::doctor` writes it |
//! | `counters.json` | [`counters::Moments`] |
//! | `histograms.json` | [`histograms::Histograms`], of a part of a run |
//! | `bystanders.ndjson` | [`bystanders::Second`], one a line |
//!
//! Dumps (`client.ndjson`, `server.ndjson`) are `observe::dump`'s.
//!
//! Any value may be missing when a file is read: each field is one of the types of [`lenient`], and
//! a missing value is not 0. A few small records, such as a latency's percentiles or an interval
//! with its bounds, come from one calculation: they are read whole or not at all.
//!
//! Writing is exact: the order of the fields is the order of the keys, and what was not measured is
//! `null`.

pub mod answer;
pub mod broadcasts;
pub mod bystanders;
pub mod cost;
pub mod counters;
pub mod doctor;
pub mod environment;
pub mod histograms;
pub mod lenient;
pub mod max;
pub mod merge;
pub mod parts;
pub mod percentiles;
pub mod plateau;
pub mod read;
pub mod result;
pub mod verdict;

#[cfg(test)]
mod tests;

/// A file of a run directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunFile {
    /// Its name in the directory.
    pub name: &'static str,
    /// What its key `schema` says.
    pub schema: &'static str,
}

/// The summary of a run.
pub const RESULT: RunFile = RunFile { name: "result.json", schema: "megaconn.result/1" };

/// The host, and how the client was called.
pub const ENVIRONMENT: RunFile =
    RunFile { name: "environment.json", schema: "megaconn.environment/1" };

/// The walls as they stood before the run.
pub const DOCTOR: RunFile = RunFile { name: "doctor.json", schema: "megaconn.doctor/1" };

/// What the kernels counted.
pub const COUNTERS: RunFile = RunFile { name: "counters.json", schema: "megaconn.counters/1" };

/// The histograms of a part of a run, whole.
pub const HISTOGRAMS: RunFile =
    RunFile { name: "histograms.json", schema: "megaconn.histograms/1" };

/// Every answer of every bystander, a line for each bystander and second.
pub const BYSTANDERS: RunFile =
    RunFile { name: "bystanders.ndjson", schema: "megaconn.bystander/1" };

/// What the client's cores counted, a line for each of them and tick.
pub const CLIENT_DUMPS: &str = "client.ndjson";

/// And the server's, when its `--stats` is there.
pub const SERVER_DUMPS: &str = "server.ndjson";

/// The text of a file that is one JSON value.
///
/// # Panics
/// Never with the types of this module: they are plain data.
#[must_use]
pub fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).expect("our own types are plain data") + "\n"
}
