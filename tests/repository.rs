//! The house rules that a machine can hold: which module may use which, unsafe code in the ring
//! module alone, files of one idea, a reason for every dependency.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have. The two shards tell a connection's whole life and may be longer.
const LINES_MAX: usize = 420;
const LINES_MAX_SHARD: usize = 800;

/// Modules, and what they must never use: the arrows of the house, read backwards.
const MUST_NOT_USE: &[(&str, &[&str])] = &[
    (
        "token",
        &["crate::arena", "crate::driver", "crate::conn", "crate::stats", "std::fs", "std::net"],
    ),
    ("conn", &["crate::arena", "crate::driver", "crate::uring", "std::fs", "std::net"]),
    ("arena", &["crate::driver", "crate::uring", "crate::stats", "std::fs", "std::net"]),
    ("wheel", &["crate::driver", "crate::shard", "crate::stats", "std::fs", "std::net"]),
    ("drain", &["crate::driver", "crate::shard", "crate::stats", "glommio", "std::net"]),
    ("traffic", &["crate::driver", "crate::shard", "crate::stats", "glommio", "std::net"]),
    ("driver", &["crate::uring", "crate::arena", "crate::shard", "glommio", "std::fs"]),
    ("shard", &["crate::uring", "crate::launch", "crate::plan", "glommio", "std::fs", "std::net"]),
    ("uring", &["crate::shard", "crate::arena", "crate::launch", "crate::server"]),
    ("plan", &["crate::shard", "crate::uring", "crate::launch", "crate::doctor", "glommio"]),
    ("walls", &["crate::shard", "crate::launch", "crate::doctor", "glommio"]),
    ("doctor", &["crate::shard", "crate::uring", "crate::launch", "glommio"]),
    ("cpu", &["crate::stats", "crate::shard", "crate::launch", "glommio", "std::net"]),
    ("cgroup", &["crate::room", "crate::reserve", "crate::shard", "glommio", "std::net"]),
    ("room", &["crate::reserve", "crate::stats", "crate::shard", "glommio", "std::net"]),
    ("reserve", &["crate::shard", "crate::launch", "crate::server", "glommio", "std::net"]),
    ("report", &["crate::shard", "crate::driver", "crate::launch", "glommio", "std::net"]),
    ("report/scale/law", &["crate::", "std::fs", "std::net", "std::time"]),
    ("metrics", &["crate::shard", "crate::driver", "crate::uring", "glommio", "std::net"]),
    ("metrics/http", &["crate::stats", "crate::shard", "crate::uring", "glommio", "std::fs"]),
    ("view", &["crate::shard", "crate::launch", "glommio", "std::fs", "std::net"]),
    ("dump/merge", &["crate::shard", "glommio", "std::fs", "std::net", "std::time"]),
    ("top/rows", &["ratatui", "std::fs", "std::net", "Instant"]),
    ("top/state", &["ratatui", "std::fs", "std::net", "Instant"]),
    ("top/render", &["std::fs", "std::net", "std::io", "Instant"]),
    ("stats", &["crate::shard", "crate::driver", "glommio", "std::fs"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `dir`.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

fn all_sources() -> Vec<PathBuf> {
    let dirs = [
        "src",
        "client/src",
        "tests",
        "client/tests",
        "benches",
        "fuzz/fuzz_targets",
        "bench-scripts",
    ];
    let dirs = dirs.iter().map(|dir| root().join(dir)).filter(|dir| dir.is_dir());
    let found: Vec<_> = dirs.flat_map(|dir| sources(&dir)).collect();
    assert!(found.len() > 20, "the sources were not found");
    found
}

/// Code without its comment lines.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn arrows_point_one_way() {
    for (module, forbidden) in MUST_NOT_USE {
        let file = root().join(format!("src/{module}.rs"));
        let files =
            if file.is_file() { vec![file] } else { sources(&root().join("src").join(module)) };
        for path in files {
            let code = code(&path);
            for used in *forbidden {
                assert!(!code.contains(used), "{} uses {used}", path.display());
            }
        }
    }
}

#[test]
fn unsafe_code_is_in_the_ring_module_alone() {
    // What others would write is as they would write it.
    let is_baseline = |path: &PathBuf| path.starts_with(root().join("bench-scripts/baselines"));
    let uses = ["{", "fn", "impl"].map(|what| format!("{} {what}", concat!("un", "safe")));
    let is_ring = |path: &Path| path.starts_with(root().join("src/uring"));
    let (ring, others): (Vec<_>, Vec<_>) =
        all_sources().into_iter().filter(|p| !is_baseline(p)).partition(|path| is_ring(path));
    for path in others {
        let code = code(&path);
        assert!(!uses.iter().any(|u| code.contains(u)), "{} has unsafe code", path.display());
    }
    assert!(ring.iter().any(|path| code(path).contains(&uses[0])), "the search finds nothing");
}

#[test]
fn a_file_is_one_idea_and_says_which() {
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        let is_shard = path.ends_with("shard.rs");
        let most = if is_shard { LINES_MAX_SHARD } else { LINES_MAX };
        let lines = text.lines().count();
        assert!(lines <= most, "{} has {lines} lines, more than {most}", path.display());
        assert!(text.starts_with("//!"), "{} does not say what it is", path.display());
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    let lines = dependencies.lines().filter(|line| line.contains(" = ") && !line.contains("path"));
    for line in lines {
        assert!(line.contains(" # "), "no reason beside: {line}");
    }
}

#[test]
fn nothing_is_left_to_do_without_a_note() {
    let mark = concat!("TO", "DO");
    for path in all_sources() {
        let text = fs::read_to_string(&path).unwrap();
        let left = text.lines().find(|line| line.contains(mark) && !line.contains("notes/"));
        assert!(left.is_none(), "{}: {}", path.display(), left.unwrap_or_default());
    }
}

#[test]
fn every_wall_has_its_place_in_the_notes() {
    let notes = fs::read_to_string(root().join("notes/walls.md")).unwrap();
    let headings: String = notes.lines().filter(|line| line.starts_with("### ")).collect();
    for wall in megaconn::walls::table::all() {
        let is_there = headings.contains(&format!("`{}`", wall.id));
        assert!(is_there, "notes/walls.md has no heading with `{}`", wall.id);
    }
}
