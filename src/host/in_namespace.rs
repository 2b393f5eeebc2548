//! Runs another test of this program in network namespaces of its own, as root of them.

use std::process::Command;

/// Runs the shell lines of `before`, then the test `name`, with flags of `unshare` such as `-Urn`. What
/// this host does not permit is skipped, and said.
pub(crate) fn passes(flags: &str, before: &str, name: &str) {
    let script = format!("set -e\n{before}\nexec \"$0\" --include-ignored --exact {name}");
    let tests = std::env::current_exe().unwrap();
    let output = Command::new("unshare").args([flags, "sh", "-c", &script]).arg(tests).output();
    let said = match &output {
        Ok(output) => {
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text)).concat()
        }
        Err(error) => error.to_string(),
    };
    // Where the test itself ran, it says how it ended.
    if said.contains("running 1 test") {
        assert!(said.contains("1 passed"), "{said}");
    } else {
        eprintln!("SKIPPED: {name} in namespaces of its own, because {said}");
    }
}
