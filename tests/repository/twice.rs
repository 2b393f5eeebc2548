//! What stands twice: identical lines in methods of one name at the two ends of a connection.
//!
//! Counted are lines of code, heads among them, that stand in a method of the same name at both ends, as
//! often as they do at both. Lines of brackets alone are not, and tests are not.

use std::collections::BTreeMap;

/// The folders of the two ends.
const ENDS: [&str; 2] = ["src/engine/server/", "src/engine/client/"];

/// The lines of all methods of an end, by the method's name.
type Methods<'a> = BTreeMap<&'a str, Vec<&'a str>>;

/// The identical lines of both ends, each behind its method's name.
pub(crate) fn identical(files: &[(String, String)]) -> Vec<String> {
    let [server, client] = ENDS.map(|end| {
        let of_end = files.iter().filter(|(name, _)| name.starts_with(end));
        let mut methods = Methods::new();
        of_end.for_each(|(_, text)| read(text, &mut methods));
        methods
    });
    let mut found = Vec::new();
    for (name, mut left) in client {
        for line in server.get(name).into_iter().flatten() {
            if let Some(at) = left.iter().position(|other| other == line) {
                left.swap_remove(at);
                found.push(format!("{name}: {line}"));
            }
        }
    }
    found
}

/// Adds the methods of a file: a head opens one, and a bracket as far in as its head closes it.
fn read<'a>(text: &'a str, methods: &mut Methods<'a>) {
    let code = text.split("#[cfg(test)]").next().unwrap();
    let mut open: Option<(&str, usize)> = None;
    for line in code.lines() {
        let (bare, depth) = (line.trim(), line.len() - line.trim_start().len());
        if open.is_none() {
            open = name_in_head(bare).map(|name| (name, depth));
        }
        let Some((name, head)) = open else { continue };
        let is_code = bare.contains(|c: char| !"{}();,".contains(c)) && !bare.starts_with("//");
        methods.entry(name).or_default().extend(is_code.then_some(bare));
        let is_one_line = bare.contains("fn ") && bare.ends_with('}');
        if (bare.starts_with('}') || is_one_line) && depth == head {
            open = None;
        }
    }
}

fn name_in_head(line: &str) -> Option<&str> {
    let (before, behind) = line.split_once("fn ")?;
    let is_head = before.is_empty() || before.starts_with("pub") || before == "const ";
    behind.split(['(', '<']).next().filter(|_| is_head)
}

#[test]
fn what_stands_twice_is_found() {
    let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let server =
        "impl A {\n    fn a(&self) {\n        // Why.\n        b();\n        c();\n    }\n}\n";
    let client = "impl B {\n    pub fn a(&self) {\n        c();\n        // Why.\n        b();\n        b();\n    }\n\n    fn d() {\n        c();\n    }\n}\n";
    let both = [file("src/engine/server/a.rs", server), file("src/engine/client/a.rs", client)];
    assert_eq!(identical(&both), ["a: b();", "a: c();"]);
    let other = [file("src/engine/server/a.rs", server), file("src/engine/a.rs", client)];
    assert_eq!(identical(&other), [""; 0]);
}
