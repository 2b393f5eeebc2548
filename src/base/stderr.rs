//! stderr is talk: progress, warnings, the effective configuration. Data goes to stdout.

use std::io::{Write, stderr};

/// Says one line; whoever closed stderr does not want to hear it.
pub fn talk(line: &str) {
    let _ = writeln!(stderr(), "{line}");
}
