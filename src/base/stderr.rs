//! stderr is talk: progress, warnings, the effective configuration. Data goes to stdout.

use std::io::{Write, stderr};

/// Writes one line; when stderr is closed, the line is dropped.
pub fn talk(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
