//! The kernel is read in one place: no file of `/proc` or `/sys` is opened outside of `src/host`, and
//! within it by `src/host/procfs.rs` alone.

/// The one reader, and the log of the kernel, which is a device that it does not open.
const READERS: &[&str] = &["src/host/procfs.rs", "src/host/kernel_log.rs"];

/// What opens or lists a file.
const OPENINGS: &[&str] = &["std::fs::read", " fs::", "(fs::", "File::open", "OpenOptions::"];

/// Lines of a program's code that read the kernel by themselves. Code behind `#[cfg(test)]` is free.
pub(crate) fn beside_the_reader(name: &str, text: &str) -> Vec<String> {
    let is_of_programs = name.starts_with("src/") || name.starts_with("client/src/");
    if !is_of_programs || READERS.contains(&name) || name.ends_with("tests.rs") {
        return Vec::new();
    }
    let is_host = name.starts_with("src/host/");
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").enumerate();
    let code = code.filter(|(_, line)| !line.trim_start().starts_with("//"));
    let is_reading = |line: &str| {
        is_path(line) || is_host && OPENINGS.iter().any(|opening| line.contains(opening))
    };
    let found = code.filter(|(_, line)| is_reading(line));
    found.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())).collect()
}

/// Whether a line has a string that is a path of the kernel's, and no sentence about one.
fn is_path(line: &str) -> bool {
    let starts = ["\"/proc/", "\"/sys/"];
    starts.iter().any(|start| {
        let ends = line.match_indices(start).map(|(at, _)| &line[at + 1..]);
        ends.into_iter().any(|rest| {
            let path = rest.split('"').next().unwrap_or_default();
            // The folder of all sysctls is named as a source.
            !path.contains(' ') && path != "/proc/sys"
        })
    })
}

#[test]
fn a_reading_beside_the_reader_is_found() {
    let found = |name, line: &str| !beside_the_reader(name, line).is_empty();
    let path = "let text = read(\"/proc/self/limits\");";
    assert!(found("src/walls/host.rs", path) && found("client/src/run/mod.rs", path));
    assert!(found("src/host/cpu.rs", path) && found("src/host/cpu.rs", "File::open(path)"));
    assert!(found("src/plan/a.rs", "open(\"/sys/class/net/{name}\")"));
    assert!(!found("src/plan/a.rs", "File::open(path)"), "a file of the user's");
    assert!(!found("src/plan/a.rs", "// \"/proc/self/limits\""), "a comment");
    assert!(!found("src/plan/a.rs", "\"/proc/slabinfo is for root\""), "a sentence");
    assert!(!found("src/plan/a.rs", &format!("#[cfg(test)]\n{path}")), "a test");
    assert!(!found("tests/a.rs", path) && !found("src/host/procfs.rs", path));
}
