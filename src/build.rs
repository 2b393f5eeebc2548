//! Puts the commit into the programs: a figure without it cannot be repeated.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/build.rs");
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // In a worktree they are elsewhere, and without git nowhere: a file that is not there would have the
    // programs built again each time.
    let files = ["HEAD", "index"].map(|file| git(&["rev-parse", "--git-path", file]));
    for file in files.iter().flatten().filter(|file| Path::new(file).exists()) {
        println!("cargo:rerun-if-changed={file}");
    }
    if let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) {
        // Without writing the index, which would be a change and have the programs built again.
        let status = ["--no-optional-locks", "status", "--porcelain", "-uno"];
        let is_changed = git(&status).is_none_or(|text| !text.is_empty());
        let mark = if is_changed { "-dirty" } else { "" };
        println!("cargo:rustc-env=MEGACONN_COMMIT={commit}{mark}");
    }
}
