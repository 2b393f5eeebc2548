//! What both `main`s share: the line of a refusal, help and version as clap prints them, the
//! generated completions and manual pages. Only they decide that a process ends.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::base::command_line::{parse, refusal};
use crate::base::stderr::talk;
use crate::base::stdout::deliver;

/// Exit status 2: nothing was started, and why.
#[must_use]
pub fn refused(reason: &str) -> ExitCode {
    talk(&format!("error: {reason}"));
    ExitCode::from(2)
}

/// What was typed, or the exit status of a program that is not run.
///
/// # Errors
/// When it is help or the version that is asked for, or it is wrong.
pub fn parsed<C: Parser>() -> Result<C, ExitCode> {
    parse(std::env::args_os()).map_err(|error| not_run(&error))
}

/// Help and version as clap prints them, a wrong command line as any other refusal.
fn not_run(error: &clap::Error) -> ExitCode {
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
