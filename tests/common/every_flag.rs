//! Walks every flag of a program, by clap's own list, with values that cannot be: each is refused in
//! one line that names the flag, the reason and a fix. A new flag is walked as well.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, Parser};
use megaconn::base::command_line::{parse, refusal};

/// Values that no flag takes, but those of free text.
const BAD: [&str; 8] =
    ["", "-1", "-5s", "NaN", "1furlong", "1e400", "99999999999999999999999", "a,b"];

/// Refuses all bad values of all commands of `C`. `good` is what a command needs beside the flag
/// that is tried; flags of `free` take any text that is not empty.
pub(crate) fn walk<C: Parser + CommandFactory>(good: fn(&str) -> Vec<&'static str>, free: &[&str]) {
    let mut all = C::command();
    all.build();
    let mut tried = 0;
    for command in all.get_subcommands().filter(|command| command.get_name() != "help") {
        let is_asked = |arg: &&Arg| !["help", "version"].contains(&arg.get_id().as_str());
        for arg in command.get_arguments().filter(is_asked) {
            let bad: &[&str] = if arg.get_action().takes_values() { &BAD } else { &["yes"] };
            for value in bad {
                let line = line(&all, command, arg, value, &good(command.get_name()));
                check::<C>(arg, value, line, free);
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "only {tried} were tried");
}

/// The command line; what is good of the same flag is left out.
fn line(all: &Command, of: &Command, arg: &Arg, value: &str, good: &[&str]) -> Vec<String> {
    let mut words = vec![all.get_name().to_owned(), of.get_name().to_owned()];
    let flag = arg.get_long().map(|long| format!("--{long}"));
    for pair in good.chunks(2) {
        if Some(pair[0]) != flag.as_deref() && (flag.is_some() || pair.len() == 2) {
            words.extend(pair.iter().map(|word| (*word).to_owned()));
        }
    }
    match flag {
        Some(flag) if arg.get_action().takes_values() => words.extend([flag, value.to_owned()]),
        Some(flag) => words.push(format!("{flag}={value}")),
        None => words.push(value.to_owned()),
    }
    words
}

fn check<C: Parser>(arg: &Arg, value: &str, line: Vec<String>, free: &[&str]) {
    let told = line.join(" ");
    let refused = match parse::<C>(line.into_iter().map(OsString::from)) {
        Err(error) => refusal(&error).unwrap_or_else(|| panic!("{told:?}: is no refusal")),
        Ok(_) => {
            let is_free = free.contains(&arg.get_id().as_str()) && !value.is_empty();
            assert!(is_free, "{told:?} is taken");
            return;
        }
    };
    let name = arg.get_long().map_or_else(String::new, |long| format!("--{long}"));
    assert!(refused.contains(&name), "{told:?}: which flag? {refused}");
    assert_eq!(refused.lines().count(), 1, "{told:?}: {refused}");
    assert_eq!(refused.matches("fix: ").count(), 1, "{told:?}: {refused}");
    let (reason, fix) = refused.split_once("; fix: ").unwrap_or_default();
    assert!(reason.len() > name.len() + 10, "{told:?}: no reason: {refused}");
    assert!(fix.len() > 2 && !fix.starts_with("see --help"), "{told:?}: no fix: {refused}");
}
