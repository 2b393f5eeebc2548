//! Rules that hold for the text of every file, tests and benches among them.

use std::fs;
use std::path::Path;

/// Lines a file may have, without exception.
const LINES_MAX: usize = 450;

const FOLDERS: &[&str] = &[
    "src",
    "client/src",
    "tests",
    "client/tests",
    "benches",
    "examples",
    "fuzz/fuzz_targets",
    "bench-scripts",
];

/// Every Rust file of the workspace: its name from the root on, and its text.
pub(crate) fn all(root: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let folders = FOLDERS.iter().map(|folder| root.join(folder)).filter(|folder| folder.is_dir());
    folders.for_each(|folder| add(root, &folder, &mut found));
    assert!(found.len() > 20, "the sources were not found");
    found.sort();
    found
}

fn add(root: &Path, folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add(root, &path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = crate::shown(root, &path).display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The folders that talk to the kernel in pointers. A baseline is what others would write, as they
/// would write it.
pub(crate) fn may_be_unsafe(name: &str) -> bool {
    ["src/sys/", "src/drivers/", "bench-scripts/baselines/"].iter().any(|dir| name.starts_with(dir))
}

/// The first line of code that is unsafe.
pub(crate) fn unsafe_in(name: &str, text: &str) -> Option<String> {
    let uses = ["{", "fn", "impl", "extern", "trait"]
        .map(|what| format!("{} {what}", concat!("un", "safe")));
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    let mut found = code.filter(|(_, line)| uses.iter().any(|used| line.contains(used)));
    found.next().map(|(at, _)| format!("{name}:{}", at + 1))
}

/// A file that is too long, or does not say what it owns.
pub(crate) fn shape_of(name: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let too_long = (lines > LINES_MAX).then(|| format!("{name}: {lines} lines of {LINES_MAX}"));
    let is_silent = (!text.starts_with("//!")).then(|| format!("{name}: no `//!` at its head"));
    too_long.into_iter().chain(is_silent).collect()
}

/// The first line that promises work and names no note.
pub(crate) fn left_to_do(name: &str, text: &str) -> Option<String> {
    let mark = concat!("TO", "DO");
    let left = text.lines().find(|line| line.contains(mark) && !line.contains("notes/"))?;
    Some(format!("{name}: {}", left.trim()))
}

#[test]
fn what_breaks_a_rule_of_files_is_found() {
    let long = "//! Long.\n".repeat(LINES_MAX + 1);
    assert_eq!(shape_of("a.rs", &long), ["a.rs: 451 lines of 450"]);
    assert_eq!(shape_of("a.rs", "use b;\n"), ["a.rs: no `//!` at its head"]);
    assert_eq!(shape_of("a.rs", "//! Short.\n"), [""; 0]);

    let code = concat!("// un", "safe { }\nlet x = un", "safe { y() };\n");
    assert_eq!(unsafe_in("a.rs", code), Some("a.rs:2".to_owned()));
    assert_eq!(unsafe_in("a.rs", "let x = y();"), None);
    assert!(may_be_unsafe("src/sys/map.rs") && may_be_unsafe("src/drivers/uring/ring.rs"));
    assert!(!may_be_unsafe("src/system.rs") && !may_be_unsafe("client/src/sys/map.rs"));

    let promise = concat!("// TO", "DO");
    assert!(left_to_do("a.rs", &format!("{promise} later")).is_some());
    assert!(left_to_do("a.rs", &format!("{promise} notes/later.md")).is_none());
}
