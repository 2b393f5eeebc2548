//! The house rules that a machine can hold: which folder may use which, no circle among modules,
//! unsafe code beside the kernel alone, one reader of the kernel's files, files of one idea, a reason for every dependency.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{fs, io};

use glommio::GlommioError;
use megaconn::base::errno::Errno;
use megaconn::runtime::start_error::LaunchError;

mod arrows;
mod circles;
mod files;
mod graph;
mod made_up;
mod readings;
mod rooms;
mod tree;
mod twice;
mod uses;

use graph::Graph;

/// The crates of the workspace: the name that stands before their modules, and their root file.
const CRATES: &[(&str, &str)] =
    &[("lib", "src/lib.rs"), ("main", "src/main.rs"), ("client", "client/src/main.rs")];

/// The modules of all crates and what they use, read once for all tests.
static HOUSE: LazyLock<Graph> = LazyLock::new(|| Graph::read(&root(), CRATES));

/// Identical lines that the two ends of a connection may have at most: what differs in nothing is the
/// endpoint's.
const IDENTICAL_MAX: usize = 20;

/// What the reading finds at least. A reading that finds less has lost its way.
const MODULES_MIN: usize = 150;
const EDGES_MIN: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Fails with all offences in one message: counted, and one a line.
fn assert_none(what: &str, offences: &[String]) {
    let count = offences.len();
    assert!(offences.is_empty(), "{count} {what}\n\n{}\n", offences.join("\n"));
}

#[test]
fn the_graph_holds_the_house() {
    let (modules, edges) = (HOUSE.modules.len(), HOUSE.edges.len());
    assert!(modules >= MODULES_MIN, "{modules} modules were found");
    assert!(edges >= EDGES_MIN, "{edges} edges were found");
    for root in ["main", "client::main"] {
        let has_edge = HOUSE.edges.keys().any(|(from, _)| HOUSE.name(*from) == root);
        assert!(has_edge, "{root} uses no module");
    }
}

#[test]
fn arrows_are_in_the_list() {
    let offences = arrows::offences(&HOUSE, rooms::ARROWS, rooms::OUTSIDE);
    assert_none("arrows or modules are not in the list of tests/repository/rooms.rs", &offences);
}

#[test]
fn a_config_is_made_of_flags_alone() {
    let strays = arrows::strays(&HOUSE, rooms::OF_FLAGS_ALONE);
    assert_none("uses of a config are not in the list of tests/repository/rooms.rs", &strays);
}

#[test]
fn no_cycle_among_modules() {
    assert_none("circles among modules", &circles::offences(&HOUSE));
}

#[test]
fn the_list_itself_has_no_circle() {
    assert_none("circles among the rooms of the list", &arrows::circles_of_list(rooms::ARROWS));
}

#[test]
fn unsafe_code_is_beside_the_kernel_alone() {
    let (inside, outside): (Vec<_>, Vec<_>) =
        files::all(&root()).into_iter().partition(|(name, _)| files::may_be_unsafe(name));
    let offences: Vec<_> =
        outside.iter().filter_map(|(n, text)| files::unsafe_in(n, text)).collect();
    assert_none("files have unsafe code outside src/sys/ and src/drivers/", &offences);
    let is_found = inside.iter().any(|(name, text)| files::unsafe_in(name, text).is_some());
    assert!(is_found, "the search finds nothing");
}

#[test]
fn a_file_is_one_idea_and_says_which() {
    let all = files::all(&root());
    let offences: Vec<_> =
        all.iter().flat_map(|(name, text)| files::shape_of(name, text)).collect();
    assert_none("files are too long or do not say what they are", &offences);
}

#[test]
fn what_both_ends_do_stands_once() {
    let identical = twice::identical(&files::all(&root()));
    assert!(identical.len() > 5, "the methods of the two ends were not found");
    if identical.len() >= IDENTICAL_MAX {
        assert_none("lines stand at both ends", &identical);
    }
}

#[test]
fn nothing_is_left_to_do_without_a_note() {
    let all = files::all(&root());
    let offences: Vec<_> = all.iter().filter_map(|(n, text)| files::left_to_do(n, text)).collect();
    assert_none("lines are left to do without a note", &offences);
}

#[test]
fn the_kernel_is_read_in_one_place() {
    let all = files::all(&root());
    let offences: Vec<_> =
        all.iter().flat_map(|(name, text)| readings::beside_the_reader(name, text)).collect();
    assert_none("lines read the kernel beside src/host/procfs.rs", &offences);
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let dependencies = manifest.split("[workspace.dependencies]").nth(1).unwrap();
    let dependencies = dependencies.split("\n[").next().unwrap();
    assert!(!manifest.contains("[workspace.dependencies."), "one line says what and why");
    let lines: Vec<&str> = dependencies
        .lines()
        .filter(|line| line.contains(" = ") && !line.contains("{ path ="))
        .collect();
    assert!(lines.len() >= 20, "{} dependencies were found", lines.len());
    for line in lines {
        assert!(line.contains(" # "), "no reason beside: {line}");
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

#[test]
fn every_wall_that_a_start_meets_is_in_the_table() {
    let errors = [Errno::ENOMEM, Errno::EMFILE, Errno::EAGAIN].map(|errno| {
        let source = GlommioError::from(io::Error::from_raw_os_error(errno.0)).into();
        LaunchError::Executor { cpu: 0, source }
    });
    for error in errors {
        let wall = error.wall().unwrap();
        let is_known = megaconn::walls::table::all().any(|known| known.id == wall);
        assert!(is_known, "{wall} is no wall: {error}");
    }
}

/// The path of `file` as seen from `root`, for a message.
fn shown(root: &Path, file: &Path) -> PathBuf {
    file.strip_prefix(root).unwrap_or(file).to_owned()
}
