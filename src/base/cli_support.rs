//! What both `main`s share: the line of a refusal, help and version as clap prints them, the
//! generated completions and manual pages. Only they decide that a process ends.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use clap::CommandFactory;

use crate::base::stderr::talk;
use crate::base::stdout::deliver;

/// Exit status 2: nothing was started, and why.
#[must_use]
pub fn refused(reason: &str) -> ExitCode {
    talk(&format!("error: {reason}"));
    ExitCode::from(2)
}

/// Help and version as clap prints them, a wrong command line as any other refusal.
#[must_use]
pub fn not_run(error: &clap::Error) -> ExitCode {
    if let Some(reason) = refusal(error) {
        return refused(&reason);
    }
    let status = u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
    if error.use_stderr() {
        // A closed stderr is nothing that could be told.
        let _ = error.print();
        return status;
    }
    let text = error.render();
    let is_plain = !stdout().is_terminal() || no_color();
    answered(&if is_plain { text.to_string() } else { text.ansi().to_string() }, status)
}

/// As <https://no-color.org> has it: set, and not empty.
fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// Writes an answer to stdout; `status` when it is delivered, and 2 when it is not.
#[must_use]
pub fn answered(text: &str, status: ExitCode) -> ExitCode {
    match deliver(text.as_bytes()) {
        Ok(()) => status,
        Err(undelivered) => undelivered.report(2),
    }
}

/// Writes shell completions to stdout.
#[must_use]
pub fn print_completions<C: CommandFactory>(shell: clap_complete::Shell) -> ExitCode {
    let mut command = C::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    print(&text)
}

/// Writes the manual page to stdout.
#[must_use]
pub fn print_man<C: CommandFactory>() -> ExitCode {
    let mut command = C::command();
    command.build();
    let mut page = Vec::new();
    // The program's page, then one for each of its commands.
    let parts = std::iter::once(command.clone()).chain(command.get_subcommands().cloned());
    let rendered = parts.map(|part| clap_mangen::Man::new(part).render(&mut page));
    match rendered.collect::<Result<(), _>>() {
        Ok(()) => print(&page),
        Err(error) => {
            refused(&format!("the manual page: {error}; fix: none known, please report it"))
        }
    }
}

fn print(text: &[u8]) -> ExitCode {
    match deliver(text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(undelivered) => undelivered.report(2),
    }
}

/// The refusal behind `error: `; `None` for what is no refusal: help and the version.
fn refusal(error: &clap::Error) -> Option<String> {
    use clap::error::ErrorKind;
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    (error.use_stderr() && !is_help).then(|| condensed(&error.render().to_string()))
}

/// clap's own text without usage and pointer to the help, its tips as the fix.
fn condensed(rendered: &str) -> String {
    let is_ours = |line: &&str| !line.starts_with("Usage:") && !line.starts_with(MORE);
    let lines = rendered.trim().lines().take_while(is_ours).map(str::trim);
    let mut text = String::new();
    for line in lines.filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(_) if text.contains("fix: ") => {}
            Some(tip) => text += &format!("; fix: {tip}"),
            None if text.is_empty() => text += line.trim_start_matches("error: "),
            None => text += &format!(" {line}"),
        }
    }
    if !text.contains("fix: ") {
        text += "; fix: see --help";
    }
    text
}

/// How clap's last line begins.
const MORE: &str = "For more information";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_one_fix() {
        let command = || {
            clap::Command::new("program")
                .arg(clap::Arg::new("cores").long("cores").required(true))
                .arg(clap::Arg::new("mode").long("mode").value_parser(["echo"]))
        };
        for bad in [
            ["program", "--core=1"].as_slice(),
            &["program", "--cores"],
            &["program", "--cores", "1", "--mode", "push"],
            &["program", "--cores", "1", "--mode", "one\ntwo"],
            &["program"],
        ] {
            let error = command().try_get_matches_from(bad).unwrap_err();
            let line = refusal(&error).unwrap();
            assert_eq!(line.lines().count(), 1, "{bad:?}: {line}");
            assert_eq!(line.matches("fix: ").count(), 1, "{bad:?}: {line}");
            assert!(!line.contains("Usage") && !line.contains("error: "), "{bad:?}: {line}");
        }
    }

    #[test]
    fn a_fix_of_the_value_itself_goes_before_a_tip() {
        let text = "error: invalid value 'x': `x` is no count; fix: write 10k\n\n  tip: other\n";
        assert_eq!(condensed(text), "invalid value 'x': `x` is no count; fix: write 10k");
        assert_eq!(condensed("error: gone\n\nUsage: program\n"), "gone; fix: see --help");
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
