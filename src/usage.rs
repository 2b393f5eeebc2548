//! A command line that clap refused, in one line with its fix, as every other refusal. Both `main`s
//! call this; help and version stay as clap prints them.

/// The refusal behind `error: `; `None` for what is no refusal: help and the version.
#[must_use]
pub fn refusal(error: &clap::Error) -> Option<String> {
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
