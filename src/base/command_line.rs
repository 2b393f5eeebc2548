//! A command line is read, and a wrong one refused in one line: the flag, the reason, and the fix. clap
//! reads it; what it says is made such a line here.

use std::ffi::OsString;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What was typed; `args` begin with the program's name.
///
/// # Errors
/// When it is help or the version that is asked for, or it is wrong; see [`refusal`].
pub fn parse<C: Parser>(args: impl IntoIterator<Item = OsString>) -> Result<C, clap::Error> {
    C::try_parse_from(with_negatives(args)).map_err(|error| error.with_cmd(&C::command()))
}

/// The arguments with a negative number behind a flag made the value of that flag: it is no flag of its
/// own, and the flag says why it is wrong.
fn with_negatives(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    for arg in args {
        let is_negative = arg.to_str().and_then(|text| text.strip_prefix('-'));
        let is_negative =
            is_negative.is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()));
        let takes_it = |flag: &OsString| {
            flag.to_str().is_some_and(|flag| flag.starts_with("--") && !flag.contains('='))
        };
        match all.last_mut() {
            Some(flag) if is_negative && takes_it(flag) && *flag != "--" => {
                flag.push("=");
                flag.push(arg);
            }
            _ => all.push(arg),
        }
    }
    all
}

/// The refusal behind `error: `; `None` for what is no refusal: help and the version.
#[must_use]
pub fn refusal(error: &clap::Error) -> Option<String> {
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || is_help {
        return None;
    }
    let said = condensed(&error.render().to_string());
    Some(if said.contains("fix: ") { said } else { format!("{said}; fix: {}", fix(error)) })
}

/// clap's own text without usage and pointer to the help, its tips as the fix.
fn condensed(rendered: &str) -> String {
    let is_ours = |line: &&str| !line.starts_with("Usage:") && !line.starts_with(MORE);
    let lines = rendered.trim().lines().take_while(is_ours).map(str::trim);
    let mut text = String::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(_) if text.contains("fix: ") => {}
            // What stands behind `--` is for others than the program.
            Some(tip) if tip.starts_with(AS_VALUE) => {}
            Some(tip) => text += &format!("; fix: {tip}"),
            None if text.is_empty() => text += line.trim_start_matches("error: "),
            None => text += &format!(" {line}"),
        }
    }
    text
}

/// How clap's tip begins that a flag may stand behind `--`.
const AS_VALUE: &str = "to pass '";

/// How clap's last line begins.
const MORE: &str = "For more information";

/// What sets right what clap has found, where neither the value's own error nor a tip says it.
fn fix(error: &clap::Error) -> String {
    let all = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(several)) => several.clone(),
        _ => Vec::new(),
    };
    let (named, valid) = (all(ContextKind::InvalidArg), all(ContextKind::ValidValue));
    let first = named.first().map_or("it", String::as_str);
    let is_empty = all(ContextKind::InvalidValue).iter().all(String::is_empty);
    match error.kind() {
        ErrorKind::InvalidValue if !valid.is_empty() => format!("write {}", one_of(&valid)),
        ErrorKind::InvalidValue if is_empty => format!("give a value, as in {first}"),
        ErrorKind::InvalidSubcommand => {
            format!("write {}", one_of(&all(ContextKind::ValidSubcommand)))
        }
        ErrorKind::MissingRequiredArgument => format!("add {}", named.join(" and ")),
        ErrorKind::MissingSubcommand => "name a command, see --help".to_owned(),
        ErrorKind::ArgumentConflict => format!("leave out {first}, or the other one"),
        ErrorKind::UnknownArgument => format!("leave {first} out, or see --help for what there is"),
        ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            format!("one value for {first}")
        }
        ErrorKind::NoEquals => format!("write {first} with an equals sign"),
        ErrorKind::InvalidUtf8 => "write every argument in UTF-8".to_owned(),
        _ => format!("another value for {first}, see --help"),
    }
}

fn one_of(words: &[String]) -> String {
    match words {
        [all @ .., last] if !all.is_empty() => format!("{} or {last}", all.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> clap::Command {
        let mode = clap::Arg::new("mode").long("mode").value_parser(["echo", "push"]);
        clap::Command::new("program")
            .arg(clap::Arg::new("cores").long("cores").required(true))
            .arg(
                clap::Arg::new("out")
                    .long("out")
                    .value_parser(clap::value_parser!(std::path::PathBuf)),
            )
            .arg(clap::Arg::new("sweep").long("sweep").num_args(0).conflicts_with("mode"))
            .arg(mode)
    }

    fn refused(line: &[&str]) -> String {
        let words = ["program"].iter().chain(line).map(OsString::from);
        let error = command().try_get_matches_from(with_negatives(words)).unwrap_err();
        refusal(&error).unwrap()
    }

    #[test]
    fn a_refusal_is_one_line_with_one_fix() {
        for (bad, words) in [
            (["--core=1"].as_slice(), ["--core", "'--cores'"]),
            (&["--cores"], ["--cores", "give a value"]),
            (&["--cores", "1", "--out", ""], ["--out", "give a value"]),
            (&["--cores", "1", "--mode", "pull"], ["--mode", "write echo or push"]),
            (&["--cores", "1", "--mode", "one\ntwo"], ["--mode", "write echo or push"]),
            (&["--cores", "1", "--mode", "-1"], ["'-1' for '--mode", "write echo or push"]),
            (&["--cores", "1", "--mode", "echo", "--sweep"], ["--sweep", "leave out"]),
            (&["--cores", "1", "--cores", "2"], ["--cores", "fix: "]),
            (&["--cores", "1", "more"], ["'more'", "leave more out"]),
            (&["--cores", "1", "--sweep=-1"], ["--sweep", "fix: "]),
            (&[], ["--cores", "add --cores"]),
        ] {
            let line = refused(bad);
            assert_eq!(line.lines().count(), 1, "{bad:?}: {line}");
            assert_eq!(line.matches("fix: ").count(), 1, "{bad:?}: {line}");
            assert!(!line.contains("Usage") && !line.contains("error: "), "{bad:?}: {line}");
            assert!(words.iter().all(|word| line.contains(word)), "{bad:?}: {line}");
        }
    }

    #[test]
    fn a_negative_number_is_the_value_of_the_flag_before_it() {
        let words = |line: &[&str]| -> Vec<String> {
            let all = with_negatives(line.iter().map(OsString::from));
            all.into_iter().map(|word| word.into_string().unwrap()).collect()
        };
        assert_eq!(words(&["p", "--n", "-1", "-1s"]), ["p", "--n=-1", "-1s"]);
        for same in [["p", "--n=2", "-1"], ["p", "--", "-1"], ["p", "-n", "-1"], ["p", "--n", "-x"]]
        {
            assert_eq!(words(&same), same);
        }
    }

    #[test]
    fn a_fix_of_the_value_itself_goes_before_a_tip() {
        let text = "error: invalid value 'x': `x` is no count; fix: write 10k\n\n  tip: other\n";
        assert_eq!(condensed(text), "invalid value 'x': `x` is no count; fix: write 10k");
        assert_eq!(condensed("error: gone\n\nUsage: program\n"), "gone");
        let text = "error: unexpected argument '--a' found\n\n  tip: to pass '--a' as a value, use '-- --a'\n";
        assert_eq!(condensed(text), "unexpected argument '--a' found");
    }

    #[test]
    fn help_and_version_are_no_refusals() {
        let command = clap::Command::new("program").version("1");
        for asked in ["--help", "-h", "--version"] {
            let error = command.clone().try_get_matches_from(["program", asked]).unwrap_err();
            assert_eq!(refusal(&error), None, "{asked}");
        }
    }
}
