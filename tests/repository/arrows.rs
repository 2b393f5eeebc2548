//! Holds a list of arrows against a graph: each module is in a room, and uses what the list gives
//! its room. How the list is written is told in `rooms`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::circles::circles;
use crate::graph::{Graph, Outside};
use crate::rooms::ADDRESSES;
use crate::tree::is_within;

/// A room or `folder::*`, and what it may use; or a folder, and what it must not use.
pub(crate) type List<'a> = &'a [(&'a str, &'a [&'a str])];

/// Modules in no room, arrows that no room has, and uses of what lies outside the workspace.
pub(crate) fn offences(graph: &Graph, arrows: List, outside: List) -> Vec<String> {
    let mut offences = homeless(graph, arrows);
    offences.extend(forbidden_arrows(graph, arrows));
    offences.extend(forbidden_outside(graph, outside));
    offences
}

/// The longest room that a module is in.
fn room_of<'a>(module: &str, arrows: List<'a>) -> Option<&'a str> {
    let rooms = arrows.iter().map(|(room, _)| *room);
    rooms.filter(|room| is_within(module, room)).max_by_key(|room| room.len())
}

fn is_covered(module: &str, entry: &str, arrows: List) -> bool {
    if let Some(file) = entry.strip_prefix('=') {
        return module == file;
    }
    if let Some(folder) = entry.strip_suffix("::*") {
        return is_within(module, folder);
    }
    let is_deeper = |room: &str| room.len() > entry.len() && is_within(room, entry);
    is_within(module, entry) && !room_of(module, arrows).is_some_and(is_deeper)
}

fn may_use(from: &str, to: &str, arrows: List) -> bool {
    let room = room_of(from, arrows);
    let applies = |row: &str| {
        room == Some(row) || row.strip_suffix("::*").is_some_and(|folder| is_within(from, folder))
    };
    let mut entries = arrows.iter().filter(|(row, _)| applies(row)).flat_map(|(_, uses)| *uses);
    room == room_of(to, arrows) || entries.any(|entry| is_covered(to, entry, arrows))
}

/// Folders and files that the list does not know, with the number of their modules.
fn homeless(graph: &Graph, arrows: List) -> Vec<String> {
    let mut unknown: BTreeMap<String, (usize, &Path)> = BTreeMap::new();
    for module in &graph.modules {
        if room_of(&module.name, arrows).is_none() {
            let entry = unknown.entry(top_of(&module.name)).or_insert((0, &module.file));
            entry.0 += 1;
        }
    }
    let tell = |(top, (count, file)): (String, (usize, &Path))| {
        let others = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        format!("{top} is in no room ({}{others}): add it to a room", file.display())
    };
    unknown.into_iter().map(tell).collect()
}

fn forbidden_arrows(graph: &Graph, arrows: List) -> Vec<String> {
    let mut found = Vec::new();
    for &(from, to) in graph.edges.keys() {
        let (user, used) = (graph.name(from), graph.name(to));
        let (Some(room), Some(_)) = (room_of(user, arrows), room_of(used, arrows)) else {
            continue;
        };
        if !may_use(user, used, arrows) {
            found.push(format!("{room}: {}", graph.shown(from, to)));
        }
    }
    found.sort();
    found
}

/// What the modules of `list` use beside what it names.
pub(crate) fn strays(graph: &Graph, list: List) -> Vec<String> {
    let mut found = Vec::new();
    for (module, allowed) in list {
        if !graph.modules.iter().any(|known| known.name == *module) {
            found.push(format!("{module} names no module"));
        }
        let of_module = graph.edges.keys().filter(|(from, _)| graph.name(*from) == *module);
        let is_stray =
            |to: usize| !allowed.iter().any(|entry| is_covered(graph.name(to), entry, &[]));
        let strays = of_module.filter(|(_, to)| is_stray(*to));
        found.extend(strays.map(|(from, to)| graph.shown(*from, *to)));
    }
    found
}

fn forbidden_outside(graph: &Graph, outside: List) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (folder, forbidden) in outside {
        if !graph.modules.iter().any(|module| is_within(&module.name, folder)) {
            found.insert(format!("{folder} of OUTSIDE names no module"));
        }
        for Outside { module, path, line } in &graph.outside {
            let module = &graph.modules[*module];
            let is_forbidden = forbidden.iter().any(|used| is_within(path, used));
            let is_address = ADDRESSES.iter().any(|address| is_within(path, address));
            if is_within(&module.name, folder) && is_forbidden && !is_address {
                let (name, file) = (&module.name, module.file.display());
                found.insert(format!("{folder}: {name} > {path}  {file}:{line}"));
            }
        }
    }
    found.into_iter().collect()
}

/// The folder at the top that a module, a room or an entry of the list is in.
fn top_of(name: &str) -> String {
    let words: Vec<_> = name.trim_start_matches('=').split("::").filter(|w| *w != "*").collect();
    let len = if words[0] == "client" { 2 } else { 1 };
    words[..len.min(words.len())].join("::")
}

/// Circles among the folders at the top, as the list has them.
pub(crate) fn circles_of_list(arrows: List) -> Vec<String> {
    let entries = arrows.iter().flat_map(|(row, uses)| uses.iter().chain([row]));
    let tops: Vec<_> =
        entries.map(|name| top_of(name)).collect::<BTreeSet<_>>().into_iter().collect();
    let place = |name: &str| tops.binary_search(&top_of(name)).unwrap();
    let mut next = vec![Vec::new(); tops.len()];
    for (row, uses) in arrows {
        next[place(row)].extend(uses.iter().map(|used| place(used)));
    }
    let tell = |circle: &Vec<usize>| {
        let mut names: Vec<_> = circle.iter().map(|top| tops[*top].as_str()).collect();
        names.sort_unstable();
        names.join(", ")
    };
    circles(&next).iter().map(tell).collect()
}
