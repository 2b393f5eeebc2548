//! What one scope of a file uses: every path in its imports, its code and the tokens of its macros,
//! and the modules it declares. Items that only tests compile are left out. Links in doc comments
//! and paths within string literals are not seen.

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{
    Attribute, Expr, Ident, ImplItemFn, Item, ItemConst, ItemEnum, ItemFn, ItemImpl, ItemMacro,
    ItemMod, ItemStatic, ItemStruct, ItemTrait, ItemType, ItemUse, Lit, Local, Meta, UseTree,
};

/// A path as it is written, and its line.
pub(crate) struct Use {
    pub(crate) segments: Vec<String>,
    /// It begins with `::`, and so names another crate.
    pub(crate) is_rooted: bool,
    pub(crate) line: usize,
}

/// A module that a scope declares.
pub(crate) enum Child {
    /// `mod x;`, with the value of its `#[path]`.
    File { name: String, path: Option<String> },
    /// `mod x { ... }`.
    Inline { name: String, scope: Scope },
}

/// One scope: a file, or a module written within it.
#[derive(Default)]
pub(crate) struct Scope {
    pub(crate) uses: Vec<Use>,
    /// A name that a `use` brings in, and the path it stands for.
    pub(crate) imports: Vec<(String, Vec<String>)>,
    /// Paths whose names come in by `*`.
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) children: Vec<Child>,
}

impl Scope {
    pub(crate) fn of(items: &[Item]) -> Self {
        let mut scope = Self::default();
        items.iter().for_each(|item| scope.visit_item(item));
        scope
    }

    fn note(&mut self, segments: Vec<String>, is_rooted: bool, at: &Ident) {
        self.uses.push(Use { segments, is_rooted, line: at.span().start().line });
    }

    /// Each leaf of a `use` is one use.
    fn note_tree(&mut self, prefix: &[String], tree: &UseTree, is_rooted: bool) {
        match tree {
            UseTree::Path(path) => {
                let prefix = joined(prefix, &path.ident);
                if matches!(*path.tree, UseTree::Glob(_)) {
                    self.note(prefix.clone(), is_rooted, &path.ident);
                    self.globs.push(prefix);
                } else {
                    self.note_tree(&prefix, &path.tree, is_rooted);
                }
            }
            UseTree::Name(name) => self.note_leaf(prefix, &name.ident, None, is_rooted),
            UseTree::Rename(as_) => {
                self.note_leaf(prefix, &as_.ident, Some(&as_.rename), is_rooted);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.note_tree(prefix, tree, is_rooted));
            }
            UseTree::Glob(_) => {}
        }
    }

    fn note_leaf(&mut self, prefix: &[String], leaf: &Ident, name: Option<&Ident>, rooted: bool) {
        let is_prefix_itself = leaf == "self" && !prefix.is_empty();
        let segments = if is_prefix_itself { prefix.to_vec() } else { joined(prefix, leaf) };
        let name = name.map(ToString::to_string).or_else(|| segments.last().cloned());
        self.imports.extend(name.map(|name| (name, segments.clone())));
        self.note(segments, rooted, leaf);
    }

    /// Paths in the tokens of a macro: what it means is not known, yet its paths are.
    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = match &tokens[at] {
                TokenTree::Group(group) => {
                    self.note_tokens(group.stream());
                    at + 1
                }
                TokenTree::Ident(word) if word == "use" => self.note_use_in_tokens(&tokens, at),
                TokenTree::Ident(word) => self.note_path_in_tokens(&tokens, at, word),
                TokenTree::Punct(_) | TokenTree::Literal(_) => at + 1,
            };
        }
    }

    /// A whole `use ...;` at `at`. Returns the place behind what was read.
    fn note_use_in_tokens(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let Some(len) = tokens[at..].iter().position(|token| is_punct(token, ';')) else {
            return at + 1;
        };
        let statement = tokens[at..=at + len].iter().filter(|token| !is_punct(token, '$'));
        match syn::parse2::<ItemUse>(statement.cloned().collect()) {
            Ok(item) => {
                self.visit_item_use(&item);
                at + len + 1
            }
            Err(_) => at + 1,
        }
    }

    /// A path of two words or more at `at`. Returns the place behind it.
    fn note_path_in_tokens(&mut self, tokens: &[TokenTree], at: usize, first: &Ident) -> usize {
        let mut segments = vec![first.to_string()];
        let mut rest = &tokens[at + 1..];
        while let [colon, second, TokenTree::Ident(word), behind @ ..] = rest
            && is_punct(colon, ':')
            && is_punct(second, ':')
        {
            segments.push(word.to_string());
            rest = behind;
        }
        if segments.len() > 1 {
            self.note(segments, false, first);
        }
        tokens.len() - rest.len()
    }
}

impl<'ast> Visit<'ast> for Scope {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        if !is_for_tests(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if !is_for_tests(&local.attrs) {
            visit::visit_local(self, local);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        self.children.push(match &module.content {
            Some((_, items)) => Child::Inline { name, scope: Self::of(items) },
            None => Child::File { name, path: path_of(&module.attrs) },
        });
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.note_tree(&[], &item.tree, item.leading_colon.is_some());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One word alone is a name of this scope, which an import has brought in if anything has.
        if path.segments.len() > 1 {
            let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.note(segments, path.leading_colon.is_some(), &path.segments[0].ident);
        }
        visit::visit_path(self, path);
    }

    /// `pub(in crate::x)` uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_token_stream(&mut self, tokens: &'ast TokenStream) {
        self.note_tokens(tokens.clone());
    }
}

fn joined(prefix: &[String], word: &Ident) -> Vec<String> {
    prefix.iter().cloned().chain([word.to_string()]).collect()
}

fn is_punct(token: &TokenTree, sign: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(ItemConst { attrs, .. })
        | Item::Enum(ItemEnum { attrs, .. })
        | Item::Fn(ItemFn { attrs, .. })
        | Item::Impl(ItemImpl { attrs, .. })
        | Item::Macro(ItemMacro { attrs, .. })
        | Item::Mod(ItemMod { attrs, .. })
        | Item::Static(ItemStatic { attrs, .. })
        | Item::Struct(ItemStruct { attrs, .. })
        | Item::Trait(ItemTrait { attrs, .. })
        | Item::Type(ItemType { attrs, .. })
        | Item::Use(ItemUse { attrs, .. }) => attrs,
        _ => &[],
    }
}

/// `#[test]`, `#[cfg(test)]` or `#[cfg(all(test, ...))]`: a build for use has none of it.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) => list.path.is_ident("cfg") && needs_test(list.tokens.clone()),
        Meta::NameValue(_) => false,
    })
}

fn needs_test(condition: TokenStream) -> bool {
    let tokens: Vec<_> = condition.into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(word), TokenTree::Group(group)] if word == "all" => {
            let parts: Vec<_> = group.stream().into_iter().collect();
            parts
                .split(|token| is_punct(token, ','))
                .any(|part| needs_test(part.iter().cloned().collect()))
        }
        _ => false,
    }
}

/// The file that `#[path = "..."]` names.
fn path_of(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(value) => match &value.lit {
                Lit::Str(file) => Some(file.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
