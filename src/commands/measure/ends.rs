//! What each end of a measurement is started with: what the measurement itself decides, and what was
//! typed behind `--` for that end.

use std::ffi::OsString;

/// More flags for each end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct MoreFlags {
    /// For `megaconn serve`.
    pub(crate) serve: Vec<OsString>,
    /// For `megaconn-client run`.
    pub(crate) run: Vec<OsString>,
}

/// Flags that the measurement gives to an end itself, with what to write in their place.
const OWN: [(&str, &str); 8] = [
    ("--listen", "--ports of measure"),
    ("--stats", "--out of measure"),
    ("--bystander", "measure without --no-bystanders"),
    ("--target", "--ports of measure; or megaconn-client run, for a server of your own"),
    ("--connections", "--connections of measure"),
    ("--hold", "--hold of measure"),
    ("--out", "--out of measure"),
    ("--bystanders", "measure without --no-bystanders"),
];

impl MoreFlags {
    /// Of the words behind the first `--`.
    ///
    /// # Errors
    /// When no end is named, or a flag is the measurement's own.
    pub(crate) fn of(words: &[OsString]) -> Result<MoreFlags, String> {
        let mut more = MoreFlags::default();
        if words.is_empty() {
            return Ok(more);
        }
        for part in words.split(|word| word == "--") {
            let end = part.split_first();
            let (flags, rest) = match end.map(|(end, rest)| (end.to_str(), rest)) {
                Some((Some("serve"), rest)) => (&mut more.serve, rest),
                Some((Some("run"), rest)) => (&mut more.run, rest),
                found => {
                    let found = found.and_then(|(end, _)| end).unwrap_or("nothing");
                    return Err(format!(
                        "-- {found}: neither end is named; fix: write `-- run FLAGS` for the client, \
                         `-- serve FLAGS` for the server"
                    ));
                }
            };
            if let Some((flag, instead)) = rest.iter().find_map(|word| own(word.to_str()?)) {
                return Err(format!("{flag} behind `--` is set by measure itself; fix: {instead}"));
            }
            flags.extend_from_slice(rest);
        }
        Ok(more)
    }
}

/// The flag of the measurement's own that a word is.
fn own(word: &str) -> Option<(&'static str, &'static str)> {
    let name = word.split('=').next()?;
    OWN.into_iter().find(|(flag, _)| *flag == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<MoreFlags, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        MoreFlags::of(&words)
    }

    #[test]
    fn flags_go_to_the_end_that_is_named() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        assert_eq!(of(""), Ok(MoreFlags::default()));
        let more = of("run --sweep --churn 5/s -- serve --cores 0 -- run --rate 1k/s");
        let run = words("--sweep --churn 5/s --rate 1k/s");
        assert_eq!(more, Ok(MoreFlags { serve: words("--cores 0"), run }));
        assert_eq!(of("serve"), Ok(MoreFlags::default()));
    }

    #[test]
    fn what_is_for_no_end_or_not_to_be_set_is_refused() {
        for (line, words) in [
            ("--sweep", ["-- --sweep", "run FLAGS"]),
            ("client --sweep", ["-- client", "run FLAGS"]),
            ("run --sweep --", ["nothing", "run FLAGS"]),
            ("serve --listen 127.0.0.1:7000", ["--listen", "--ports"]),
            ("run --out=x", ["--out", "--out of measure"]),
        ] {
            let error = of(line).unwrap_err();
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
            assert_eq!(error.matches("fix: ").count(), 1, "{error}");
        }
    }
}
