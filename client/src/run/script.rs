//! `--hello` and its like: a script of the user's, as it is typed or stands in files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use megaconn::base::constants::BUFFER_BYTES;
use megaconn::base::units::{self, Text};
use megaconn::engine::protocol::script::pattern::Pattern;
use megaconn::engine::protocol::script::template::Template;
use megaconn::engine::protocol::script::{Keepalive, Script};

/// What is said and awaited in place of our own messages.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ScriptFlags {
    /// Bytes that are said first on each connection
    ///
    /// \n, \r, \t, \0, \\ and \xHH stand for one byte each; @FILE is the bytes of a file. {n:08} is the number
    /// of the connection in 8 digits (and without :08 in 10), {rand:hex:16} are 16 random digits, {source} is the source address
    /// in full, {time_ms} are milliseconds since 1970. Any other brace is a byte as others.
    #[arg(long, value_name = "BYTES|@FILE", help_heading = "Script", hide_short_help = true)]
    pub(crate) hello: Option<Typed>,
    /// What answers it
    ///
    /// A connection counts when this has come, within 10 s; with --hello or, for a server that speaks first,
    /// without. Bytes as of --hello, with {any} for as few as will do, and {any:N} for N of them. Behind {any}
    /// at the end of a pattern, what comes until the next message is passed over.
    #[arg(long, value_name = "PATTERN|@FILE", help_heading = "Script", hide_short_help = true)]
    pub(crate) hello_answer: Option<Typed>,
    /// Message in place of ours
    ///
    /// Written as --hello. By the schedule of --message-every and its like.
    #[arg(
        long,
        value_name = "BYTES|@FILE",
        help_heading = "Script",
        hide_short_help = true,
        conflicts_with = "message_bytes"
    )]
    pub(crate) message: Option<Typed>,
    /// What answers a message
    ///
    /// Written as --hello-answer. Latency counts from when a message was due until all of this has come.
    /// What comes while no message is out is a mismatch. Without --answer a message is done when it is sent, and
    /// what comes is passed over.
    #[arg(long, value_name = "PATTERN|@FILE", help_heading = "Script", hide_short_help = true)]
    pub(crate) answer: Option<Typed>,
    /// What keeps a connection alive
    ///
    /// Written as --hello. Sent on a connection on which nothing was sent for --keepalive-every, and no message is
    /// out, from when it counts until it is closed; not while every connection is asked by a message, before the
    /// hold or in a sweep.
    #[arg(long, value_name = "BYTES|@FILE", help_heading = "Script", hide_short_help = true)]
    pub(crate) keepalive_message: Option<Typed>,
    /// Time without a message until it is sent
    #[arg(
        long,
        value_name = "DUR",
        help_heading = "Script",
        hide_short_help = true,
        value_parser = keepalive_every
    )]
    pub(crate) keepalive_every: Option<Duration>,
    /// What answers it [default: no answer is awaited]
    ///
    /// Written as --hello-answer. No message begins before it has come; a connection on which it does not come in 10 s
    /// is lost as silent.
    #[arg(long, value_name = "PATTERN|@FILE", help_heading = "Script", hide_short_help = true)]
    pub(crate) keepalive_answer: Option<Typed>,
}

/// Bytes as they are typed, or where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Bytes(Text),
    File(PathBuf),
}

impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Typed, String> {
        match text.strip_prefix('@') {
            Some("") => {
                Err("`@` names no file; fix: write @FILE, or \\x40 for the byte".to_owned())
            }
            Some(path) => Ok(Typed::File(path.into())),
            None => text.parse().map(Typed::Bytes),
        }
    }
}

/// A slot's clock goes round in 71 minutes.
const KEEPALIVE_EVERY_MAX: Duration = Duration::from_secs(60 * 60);

fn keepalive_every(text: &str) -> Result<Duration, String> {
    let every = units::positive_duration(text)?;
    let error = || format!("`{text}` is too long; fix: write 1h or less");
    (every <= KEEPALIVE_EVERY_MAX).then_some(every).ok_or_else(error)
}

/// A script that cannot be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScriptError {
    #[error("{0}: {1}: {2}; fix: a file that can be read")]
    File(&'static str, String, std::io::Error),
    #[error("{0}: {1} bytes; fix: 1 to {BUFFER_BYTES} bytes, all places filled in")]
    Size(&'static str, usize),
}

impl ScriptFlags {
    /// Whether there is one.
    pub(crate) fn is_any(&self) -> bool {
        let keepalive = &self.keepalive_message;
        let all = [&self.hello, &self.hello_answer, &self.message, &self.answer, keepalive];
        all.into_iter().any(Option::is_some)
    }

    /// Reads what stands in files.
    pub(crate) fn read(&self) -> Result<Option<Script>, ScriptError> {
        if !self.is_any() {
            return Ok(None);
        }
        let template = |flag, typed: &Option<Typed>| {
            let bytes = typed.as_ref().map(|typed| bytes(flag, typed)).transpose()?;
            let template = bytes.map(|bytes| Template::new(&bytes));
            template.map(|it| sized(flag, it.size()).map(|()| it)).transpose()
        };
        let pattern = |flag, typed: &Option<Typed>| {
            let bytes = typed.as_ref().map(|typed| bytes(flag, typed)).transpose()?;
            let pattern = bytes.map(|bytes| Pattern::new(&bytes));
            // A buffer that is full of an answer is never looked at again.
            let size = |it: &Pattern| it.size() + usize::from(!it.is_empty());
            pattern.map(|it| sized(flag, size(&it)).map(|()| it)).transpose()
        };
        let keepalive_answer = pattern("--keepalive-answer", &self.keepalive_answer)?;
        let keepalive = template("--keepalive-message", &self.keepalive_message)?
            .zip(self.keepalive_every)
            .map(|(message, every)| Keepalive { every, message, answer: keepalive_answer });
        Ok(Some(Script {
            hello: template("--hello", &self.hello)?,
            hello_answer: pattern("--hello-answer", &self.hello_answer)?,
            message: template("--message", &self.message)?,
            answer: pattern("--answer", &self.answer)?,
            keepalive,
        }))
    }
}

fn bytes(flag: &'static str, typed: &Typed) -> Result<Vec<u8>, ScriptError> {
    match typed {
        Typed::Bytes(text) => Ok(text.bytes().to_vec()),
        Typed::File(path) => {
            read(path).map_err(|error| ScriptError::File(flag, path.display().to_string(), error))
        }
    }
}

/// No more of it than shows that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(u64::from(BUFFER_BYTES) + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn sized(flag: &'static str, size: usize) -> Result<(), ScriptError> {
    let is_right = (1..=usize::from(BUFFER_BYTES)).contains(&size);
    is_right.then_some(()).ok_or(ScriptError::Size(flag, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Option<Typed> {
        Some(text.parse().expect("it can be typed"))
    }

    #[test]
    fn bytes_are_typed_or_stand_in_a_file() {
        let file = tempfile::NamedTempFile::new().expect("there is a place for temporary files");
        std::fs::write(&file, b"a\\n{n:02}").expect("it is ours");
        let path = format!("@{}", file.path().display());
        let flags =
            ScriptFlags { hello: typed(&path), message: typed("b\\n"), ..Default::default() };
        let script = flags.read().expect("it can be read").expect("there is one");
        assert_eq!(script.hello, Some(Template::new(b"a\\n{n:02}")), "a file is as it stands");
        assert_eq!(script.message, Some(Template::new(b"b\n")));
        assert!(ScriptFlags::default().read().expect("nothing is read").is_none());
        std::fs::write(&file, vec![b'x'; usize::from(BUFFER_BYTES) + 1]).expect("it is ours");
        let error = flags.read().expect_err("it is too long").to_string();
        assert!(error.contains("--hello: 4097 bytes; fix: "), "{error}");
        std::fs::write(&file, b"").expect("it is ours");
        for empty in [path.as_str(), "{any:0}"] {
            let flags = ScriptFlags { answer: typed(empty), ..Default::default() };
            let error = flags.read().expect_err("nothing is awaited").to_string();
            assert!(error.contains("--answer: 0 bytes; fix: "), "{error}");
        }
        let error = flags.read().expect_err("nothing is said").to_string();
        assert!(error.contains("--hello: 0 bytes; fix: "), "{error}");
        let flags = ScriptFlags { answer: typed("{any:4096}"), ..Default::default() };
        let error = flags.read().expect_err("it fills a buffer").to_string();
        assert!(error.contains("--answer: 4097 bytes; fix: "), "{error}");
        let flags = ScriptFlags { answer: typed("{any}"), ..Default::default() };
        assert!(flags.read().is_ok(), "any bytes are an answer");
        let flags = ScriptFlags { answer: typed("@/nowhere"), ..Default::default() };
        let error = flags.read().expect_err("there is none").to_string();
        assert!(error.contains("--answer: /nowhere: ") && error.contains("fix: "), "{error}");
    }
}
