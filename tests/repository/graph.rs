//! Which module uses which: the paths of every scope, resolved against the tree of modules. A path
//! names the module with the longest path it begins with, so an item that a parent exports anew is
//! the parent's. The declaration `mod x;` uses nothing.

use std::collections::BTreeMap;
use std::path::Path;

use crate::tree::{Module, Tree};

/// Steps from name to name before an import counts as unknown.
const IMPORT_STEPS_MAX: usize = 8;

/// One arrow between two modules.
#[derive(Debug)]
pub(crate) struct Edge {
    /// The line of its first use, in the file of the module it starts from.
    pub(crate) line: usize,
    pub(crate) uses: usize,
}

/// A path that leads out of the workspace.
#[derive(Debug)]
pub(crate) struct Outside {
    pub(crate) module: usize,
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// The modules, and by their index what they use.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) modules: Vec<Module>,
    pub(crate) edges: BTreeMap<(usize, usize), Edge>,
    pub(crate) outside: Vec<Outside>,
}

impl Graph {
    pub(crate) fn read(root: &Path, crates: &[(&str, &str)]) -> Self {
        let tree = Tree::read(root, crates);
        let mut graph = Self { modules: Vec::new(), edges: BTreeMap::new(), outside: Vec::new() };
        for (scope, (from, content)) in &tree.scopes {
            for used in &content.uses {
                let inside = (!used.is_rooted)
                    .then(|| resolve(&tree, scope, &used.segments, IMPORT_STEPS_MAX))
                    .flatten();
                match inside.and_then(|path| tree.module_of(&path)) {
                    Some(to) => graph.note(*from, to, used.line),
                    None => graph.outside.push(Outside {
                        module: *from,
                        path: used.segments.join("::"),
                        line: used.line,
                    }),
                }
            }
        }
        graph.modules = tree.modules;
        graph
    }

    fn note(&mut self, from: usize, to: usize, line: usize) {
        if from != to {
            let edge = self.edges.entry((from, to)).or_insert(Edge { line, uses: 0 });
            edge.line = edge.line.min(line);
            edge.uses += 1;
        }
    }

    pub(crate) fn name(&self, module: usize) -> &str {
        &self.modules[module].name
    }

    /// `a > b  file:line (uses)`.
    pub(crate) fn shown(&self, from: usize, to: usize) -> String {
        let Edge { line, uses } = &self.edges[&(from, to)];
        let arrow = format!("{} > {}", self.name(from), self.name(to));
        let file = self.modules[from].file.display();
        let times = if *uses > 1 { format!(" ({uses} uses)") } else { String::new() };
        format!("{arrow:<52} {file}:{line}{times}")
    }
}

/// The full path of what `segments` means in `scope`, or nothing when it leads to another crate.
fn resolve(
    tree: &Tree,
    scope: &[String],
    segments: &[String],
    steps: usize,
) -> Option<Vec<String>> {
    let (first, rest) = segments.split_first()?;
    let joined = |base: &[String]| Some([base, rest].concat());
    match first.as_str() {
        "crate" => joined(&scope[..1]),
        "megaconn" if scope[0] != "lib" => joined(&["lib".to_owned()]),
        "self" => above(scope, rest),
        "super" => above(scope, segments),
        _ => joined(&module_named(tree, scope, first, steps)?),
    }
}

/// The path behind any number of `super`.
fn above(scope: &[String], segments: &[String]) -> Option<Vec<String>> {
    let up = segments.iter().take_while(|word| *word == "super").count();
    let base = scope.get(..scope.len().checked_sub(up)?)?;
    Some([base, &segments[up..]].concat())
}

/// The module that `name` alone means in `scope`: a child, or one that an import brought in.
fn module_named(tree: &Tree, scope: &[String], name: &str, steps: usize) -> Option<Vec<String>> {
    let child = [scope, &[name.to_owned()]].concat();
    if tree.scopes.contains_key(&child) {
        return Some(child);
    }
    let steps = steps.checked_sub(1)?;
    let (_, content) = tree.scopes.get(scope)?;
    let imported = content.imports.iter().filter(|(bound, _)| bound == name);
    let imported = imported.filter_map(|(_, path)| resolve(tree, scope, path, steps));
    let by_glob = content.globs.iter().filter_map(|path| resolve(tree, scope, path, steps));
    let by_glob = by_glob.filter_map(|module| module_named(tree, &module, name, steps));
    imported.chain(by_glob).find(|path| tree.scopes.contains_key(path))
}
