//! How commands that answer a question give the answer: as text or as JSON.

use clap::ValueEnum;
use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Text,
    /// `megaconn.plan/1`, `megaconn.doctor/1`, `megaconn.stats/1`
    Json,
}

/// `answer` as indented JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn as_json(answer: &impl Serialize) -> Result<String, String> {
    let json = serde_json::to_string_pretty(answer);
    json.map(|json| json + "\n").map_err(|error| error.to_string())
}
