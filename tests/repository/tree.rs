//! The modules of a crate, as its `mod` declarations reach them from the root file. A module is a
//! file; a module written within a file belongs to it, and is a scope of its own for names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::shown;
use crate::uses::{Child, Scope};

/// A file that is a module.
#[derive(Debug)]
pub(crate) struct Module {
    /// `engine::arena` in the library, `main::flags` in the binary, `client::run` in the client.
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

/// The scopes of all crates by their full path, whose first word is the crate's name.
#[derive(Default)]
pub(crate) struct Tree {
    pub(crate) modules: Vec<Module>,
    pub(crate) scopes: BTreeMap<Vec<String>, (usize, Scope)>,
}

impl Tree {
    pub(crate) fn read(root: &Path, crates: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (name, file) in crates {
            tree.add_file(root, vec![(*name).to_owned()], &root.join(file));
        }
        tree
    }

    fn add_file(&mut self, root: &Path, path: Vec<String>, file: &Path) {
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("{}: {error}", shown(root, file).display()));
        let parsed = syn::parse_file(&text)
            .unwrap_or_else(|error| panic!("{}: {error}", shown(root, file).display()));
        self.modules.push(Module { name: name_of(&path), file: shown(root, file) });
        let module = self.modules.len() - 1;
        let dir = dir_of_children(&path, file);
        self.add_scope(root, path, module, (file, &dir), Scope::of(&parsed.items));
    }

    /// `place` is the file of the scope and the folder in which its children are.
    fn add_scope(
        &mut self,
        root: &Path,
        path: Vec<String>,
        module: usize,
        place: (&Path, &Path),
        mut scope: Scope,
    ) {
        let (file, dir) = place;
        for child in scope.children.drain(..) {
            match child {
                Child::File { name, path: Some(named) } => {
                    self.add_file(root, below(&path, name), &file.with_file_name(named));
                }
                Child::File { name, path: None } => {
                    let beside = dir.join(format!("{name}.rs"));
                    let within = dir.join(&name).join("mod.rs");
                    let file = if beside.is_file() { beside } else { within };
                    self.add_file(root, below(&path, name), &file);
                }
                Child::Inline { name, scope } => {
                    let dir = dir.join(&name);
                    self.add_scope(root, below(&path, name), module, (file, &dir), scope);
                }
            }
        }
        self.scopes.insert(path, (module, scope));
    }

    /// The module with the longest path that `path` begins with.
    pub(crate) fn module_of(&self, path: &[String]) -> Option<usize> {
        let prefixes = (1..=path.len()).rev();
        prefixes.into_iter().find_map(|len| Some(self.scopes.get(&path[..len])?.0))
    }
}

/// `module` is `folder`, or stands below it.
pub(crate) fn is_within(module: &str, folder: &str) -> bool {
    module.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn below(path: &[String], name: String) -> Vec<String> {
    path.iter().cloned().chain([name]).collect()
}

/// A module of the library has no crate before it. The root of the client is its `main`.
fn name_of(path: &[String]) -> String {
    match path {
        [krate] if krate == "client" => "client::main".to_owned(),
        [krate, modules @ ..] if krate == "lib" && !modules.is_empty() => modules.join("::"),
        _ => path.join("::"),
    }
}

fn dir_of_children(path: &[String], file: &Path) -> PathBuf {
    let is_root = path.len() == 1;
    if is_root || file.ends_with("mod.rs") {
        file.with_file_name("")
    } else {
        file.with_extension("")
    }
}
