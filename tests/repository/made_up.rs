//! The reading of modules and the two searches on trees made up for the purpose: what must be found
//! is found, and what must not is not.

use std::fs;

use crate::arrows::{List, circles_of_list, offences, strays};
use crate::circles;
use crate::graph::Graph;

const LIB: (&str, &str) = ("lib", "src/lib.rs");
const MAIN: (&str, &str) = ("main", "src/main.rs");
const CLIENT: (&str, &str) = ("client", "client/src/main.rs");

/// The graph of a tree with these files.
fn graph_of(files: &[(&str, &str)], crates: &[(&str, &str)]) -> Graph {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let file = dir.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    Graph::read(dir.path(), crates)
}

/// Its edges as `a > b`, in order of their names.
fn arrows(graph: &Graph) -> Vec<String> {
    let names =
        |(from, to): &(usize, usize)| format!("{} > {}", graph.name(*from), graph.name(*to));
    let mut arrows: Vec<_> = graph.edges.keys().map(names).collect();
    arrows.sort();
    arrows
}

/// What `src/user.rs` uses when it has this text, beside `a`, `a::b`, `a::b::c` and `user::own`.
fn used_by(text: &str) -> Vec<String> {
    let files = [
        ("src/lib.rs", "pub mod a; pub mod user;"),
        ("src/a/mod.rs", "pub mod b; pub struct A; pub use b::B as Renamed;"),
        ("src/a/b.rs", "pub mod c; pub struct B;"),
        ("src/a/b/c.rs", "pub struct C;"),
        ("src/user.rs", &format!("mod own; {text}")),
        ("src/user/own.rs", "pub struct Own;"),
    ];
    let arrows = arrows(&graph_of(&files, &[LIB]));
    assert!(arrows.contains(&"a > a::b".to_owned()), "a parent uses what it exports anew");
    arrows.iter().filter_map(|arrow| arrow.strip_prefix("user > ")).map(str::to_owned).collect()
}

#[test]
fn a_declaration_alone_uses_nothing() {
    assert_eq!(used_by(""), [""; 0]);
}

#[test]
fn each_leaf_of_an_import_is_found() {
    assert_eq!(used_by("use crate::a::{self, b::{B, c::C as D}};"), ["a", "a::b", "a::b::c"]);
    assert_eq!(used_by("use crate::a::b::*;"), ["a::b"]);
    assert_eq!(used_by("use super::a::b::c;"), ["a::b::c"]);
    assert_eq!(used_by("pub use self::own::Own;"), ["user::own"]);
    assert_eq!(used_by("fn f() { use crate::a::b::c::C; }"), ["a::b::c"]);
    // `super` of a module within a file is the file, and of that one the parent.
    assert_eq!(
        used_by("mod inner { use super::super::a::A; use super::own::Own; }"),
        ["a", "user::own"]
    );
    // What a parent exports anew is the parent's.
    assert_eq!(used_by("use crate::a::Renamed;"), ["a"]);
}

#[test]
fn paths_in_code_are_found() {
    assert_eq!(
        used_by("fn f() -> Vec<crate::a::b::B> { crate::a::b::c::C::new() }"),
        ["a::b", "a::b::c"]
    );
    assert_eq!(used_by("fn f() { own::run() }"), ["user::own"]);
    assert_eq!(used_by("impl crate::a::A for own::Own {}"), ["a", "user::own"]);
    assert_eq!(used_by("fn f(x: X) { match x { super::a::b::B => {} } }"), ["a::b"]);
    assert_eq!(used_by("pub(in crate::a) fn f() {}"), [""; 0]);
    assert_eq!(used_by("/// See [`crate::a::A`].\nfn f() {}"), [""; 0]);
}

#[test]
fn a_name_that_an_import_brought_in_is_followed() {
    assert_eq!(used_by("use crate::a::b; fn f() { b::c::run() }"), ["a::b", "a::b::c"]);
    assert_eq!(used_by("use crate::a as x; use x::b::c; fn f() { c::run() }"), ["a", "a::b::c"]);
    assert_eq!(used_by("use crate::a::*; fn f() { b::c::run() }"), ["a", "a::b::c"]);
    // A name of its own is no module of another place.
    assert_eq!(used_by("use x::b; fn f() { b::c::run() }"), [""; 0]);
}

#[test]
fn paths_in_macros_and_attributes_are_found() {
    assert_eq!(
        used_by("fn f() { log!(\"{}\", [crate::a::b::run(), own::run()]) }"),
        ["a::b", "user::own"]
    );
    assert_eq!(used_by("macro_rules! m { () => { use $crate::a::{A, b::B}; } }"), ["a", "a::b"]);
    assert_eq!(used_by("macro_rules! m { () => { $crate::a::b::c::run() } }"), ["a::b::c"]);
    assert_eq!(used_by("#[arg(parser = crate::a::b::parse)] struct S;"), ["a::b"]);
}

#[test]
fn what_only_tests_compile_is_left_out() {
    assert_eq!(used_by("#[cfg(test)] use crate::a::A;"), [""; 0]);
    assert_eq!(used_by("#[cfg(all(test, unix))] fn f() { crate::a::run() }"), [""; 0]);
    assert_eq!(used_by("#[cfg(test)] mod tests { use crate::a::A; }"), [""; 0]);
    // The files are not even there.
    assert_eq!(
        used_by("#[cfg(test)] mod tests; #[cfg(test)] #[path = \"../x.rs\"] mod x;"),
        [""; 0]
    );
    assert_eq!(used_by("#[cfg(not(test))] use crate::a::A;"), ["a"]);
    assert_eq!(used_by("#[cfg(any(test, unix))] use crate::a::A;"), ["a"]);
}

#[test]
fn three_crates_are_one_graph() {
    let files = [
        ("src/lib.rs", "pub mod a; pub const VERSION: u8 = 1;"),
        ("src/a.rs", "pub fn run() -> u8 { crate::VERSION }"),
        ("src/main.rs", "mod flags; fn main() { megaconn::a::run(); flags::parse() }"),
        ("src/flags.rs", "pub fn parse() { crate::main() }"),
        ("client/src/main.rs", "mod run; fn main() { run::run(megaconn::VERSION) }"),
        ("client/src/run/mod.rs", "use megaconn::a; #[path = \"other.rs\"] mod named;"),
        ("client/src/run/other.rs", "use crate::run;"),
    ];
    let graph = graph_of(&files, &[LIB, MAIN, CLIENT]);
    assert_eq!(
        arrows(&graph),
        [
            "a > lib",
            "client::main > client::run",
            "client::main > lib",
            "client::run > a",
            "client::run::named > client::run",
            "main > a",
            "main > main::flags",
            "main::flags > main",
        ]
    );
}

#[test]
fn a_circle_is_found_with_a_line_for_each_edge() {
    let files = [
        ("src/lib.rs", "pub mod a; pub mod b; pub mod c; pub mod d;"),
        ("src/a.rs", "\nuse crate::b::B;\nfn f() { crate::b::run() }"),
        ("src/b.rs", "use crate::c::C; use crate::d::D;"),
        ("src/c/mod.rs", "mod deep; use deep::Deep;"),
        ("src/c/deep.rs", "pub struct Deep;\nfn f(a: crate::a::A) {}"),
        ("src/d.rs", "pub struct D;"),
    ];
    let found = circles::offences(&graph_of(&files, &[LIB]));
    let words: Vec<Vec<_>> =
        found[0].lines().map(|line| line.split_whitespace().collect()).collect();
    let lines: Vec<_> = words.iter().map(|line| line.join(" ")).collect();
    assert_eq!(found.len(), 1);
    assert_eq!(
        lines,
        [
            "circle of 4, 4 edges: a, b, c, c::deep",
            "a > b src/a.rs:2 (2 uses)",
            "b > c src/b.rs:1",
            "c > c::deep src/c/mod.rs:1",
            "c::deep > a src/c/deep.rs:2",
        ]
    );
}

#[test]
fn each_circle_is_told_apart() {
    let next = [vec![1], vec![2], vec![0], vec![2, 4], vec![3], vec![5], vec![0, 3]];
    let mut found = circles::circles(&next);
    found.iter_mut().for_each(|circle| circle.sort_unstable());
    assert_eq!(found, [vec![0, 1, 2], vec![3, 4]]);
    assert_eq!(circles::circles(&[vec![1, 2], vec![2], vec![]]), [[0; 0]; 0]);
}

const HOUSE: &[(&str, &str)] = &[
    ("src/lib.rs", "pub mod base; pub mod engine; pub mod top;"),
    ("src/base.rs", "pub struct Base;"),
    ("src/engine/mod.rs", "pub mod arena; pub mod client; pub mod server;"),
    ("src/engine/arena.rs", "use crate::base::Base;"),
    ("src/engine/client.rs", "use crate::engine::arena::Arena;"),
    ("src/top/mod.rs", "pub mod rows;"),
    ("src/top/rows.rs", "pub struct Rows;"),
];

const ROOMS: List = &[
    ("lib", &[]),
    ("base", &[]),
    ("engine", &["base"]),
    ("engine::*", &["base"]),
    ("engine::client", &["engine"]),
    ("engine::server", &["engine"]),
    ("top", &["=engine"]),
];

/// What is wrong with the made-up house when `text` stands in `file` as well.
fn wrong_with(file: &str, text: &str, rooms: List, outside: List) -> Vec<String> {
    let rest = HOUSE.iter().filter(|(name, _)| *name != file);
    let server = [("src/engine/server.rs", "")];
    let server = server.iter().filter(|(name, _)| *name != file);
    let files: Vec<_> = rest.chain(server).copied().chain([(file, text)]).collect();
    let found = offences(&graph_of(&files, &[LIB]), rooms, outside);
    found.iter().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn an_arrow_in_the_list_is_allowed() {
    let wrong = |file, text| wrong_with(file, text, ROOMS, &[]);
    assert_eq!(wrong("src/engine/server.rs", ""), [""; 0]);
    assert_eq!(wrong("src/engine/server.rs", "use crate::{base::Base, engine::arena};"), [""; 0]);
    assert_eq!(wrong("src/top/rows.rs", "use crate::engine::Exported; use super::X;"), [""; 0]);
}

#[test]
fn an_arrow_beside_the_list_is_found() {
    let wrong = |file, text| wrong_with(file, text, ROOMS, &[]);
    assert_eq!(
        wrong("src/base.rs", "\nuse crate::top::rows;"),
        ["base: base > top::rows src/base.rs:2"]
    );
    // The two ends never meet, and what both stand on knows neither.
    assert_eq!(
        wrong("src/engine/server.rs", "use super::client::X;"),
        ["engine::server: engine::server > engine::client src/engine/server.rs:1"]
    );
    assert_eq!(
        wrong("src/engine/arena.rs", "use crate::engine::server::X;"),
        ["engine: engine::arena > engine::server src/engine/arena.rs:1"]
    );
    // The file of a folder is not what is in the folder.
    assert_eq!(
        wrong("src/top/rows.rs", "use crate::engine::arena::X;"),
        ["top: top::rows > engine::arena src/top/rows.rs:1"]
    );
}

#[test]
fn a_folder_without_a_room_is_found() {
    let found = wrong_with("src/base.rs", "", &ROOMS[..6], &[]);
    assert_eq!(found, ["top is in no room (src/top/mod.rs and 1 more): add it to a room"]);
}

#[test]
fn a_use_of_what_lies_outside_is_found() {
    let outside: List = &[("engine", &["std::fs", "std::net", "clap"])];
    let wrong = |text| wrong_with("src/engine/arena.rs", text, ROOMS, outside);
    let tell = |path: &str| format!("engine: engine::arena > {path} src/engine/arena.rs:1");
    assert_eq!(wrong("use std::net::{IpAddr, SocketAddr, Ipv4Addr as V4}; use std::io;"), [""; 0]);
    assert_eq!(wrong("use std::net::{IpAddr, TcpStream};"), [tell("std::net::TcpStream")]);
    assert_eq!(wrong("use std::net::*;"), [tell("std::net")]);
    assert_eq!(wrong("fn f() { ::std::fs::read(x); }"), [tell("std::fs::read")]);
    assert_eq!(wrong("fn f() { dbg!(std::fs::read(x)) }"), [tell("std::fs::read")]);
    assert_eq!(wrong("#[derive(clap::Parser)] struct S;"), [tell("clap::Parser")]);
    let gone = wrong_with("src/base.rs", "", ROOMS, &[("gone", &["std::fs"])]);
    assert_eq!(gone, ["gone of OUTSIDE names no module"]);
}

#[test]
fn a_stray_use_of_a_module_that_stands_alone_is_found() {
    let server = [("src/engine/server.rs", "")];
    let files: Vec<_> = HOUSE.iter().chain(&server).copied().collect();
    let graph = graph_of(&files, &[LIB]);
    let found = |list| strays(&graph, list);
    assert_eq!(found(&[("engine::arena", &["base"])]), [""; 0]);
    let [stray] = &found(&[("engine::arena", &["=engine"])])[..] else { panic!("there is one") };
    assert!(stray.starts_with("engine::arena > base "), "{stray}");
    assert_eq!(found(&[("gone", &["base"])]), ["gone names no module"]);
}

#[test]
fn a_circle_of_the_list_is_found() {
    let list: List = &[("a", &["b::c"]), ("b", &["d::*", "b::x"]), ("d", &["=a"]), ("e", &["a"])];
    assert_eq!(circles_of_list(list), ["a, b, d"]);
    assert_eq!(circles_of_list(ROOMS), [""; 0]);
}
