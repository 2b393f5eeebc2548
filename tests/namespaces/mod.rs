//! Runs the program as root of namespaces of its own, and as somebody who may do nothing to the host.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

/// Somebody without rights: root of a namespace of root's could change the whole host.
const NOBODY: u32 = 65_534;

/// A command that has no rights on this host, whoever runs the test.
pub(crate) fn without_rights(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    if rustix::process::geteuid().is_root() {
        chown(directory, Some(NOBODY), Some(NOBODY)).expect("root may give its own away");
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Runs `script` as root of namespaces of its own, with `$1` the program and `$2` a directory, or says
/// why that cannot be done here.
pub(crate) fn in_namespaces(script: &str, directory: &Path) -> Result<Output, String> {
    let (flags, program) = ("-Urn", env!("CARGO_BIN_EXE_megaconn"));
    let tried = without_rights("unshare", directory).args([flags, program, "--version"]).output();
    if !tried.as_ref().is_ok_and(|output| output.status.success()) {
        return Err(format!("unshare {flags} is not permitted, or not with {program}: {tried:?}"));
    }
    let mut command = without_rights("unshare", directory);
    command.args([flags, "sh", "-c", script, "sh", program]).arg(directory);
    Ok(command.output().expect("it just ran"))
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
