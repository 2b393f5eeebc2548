//! A script of the user's, at the client: what is said on each connection, and what is awaited.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use crate::engine::protocol::message::Message;
use crate::engine::protocol::places::short;
use crate::engine::protocol::script::pattern::{Match, Pattern};
use crate::engine::protocol::script::template::{Filling, Template};
use crate::engine::protocol::{Connection, Expectation, Heard, Opening, What};

pub mod pattern;
pub mod template;

/// What is said and awaited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// What is said first on a connection.
    pub hello: Option<Template>,
    /// What is awaited before a connection counts as one.
    pub hello_answer: Option<Pattern>,
    /// What is sent as a message.
    pub message: Option<Template>,
    /// What answers a message; without it a message is done when it is sent.
    pub answer: Option<Pattern>,
    /// What is sent where nothing else was for some time.
    pub keepalive: Option<Keepalive>,
}

/// What keeps a connection alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Time without a message, after which it is sent.
    pub every: Duration,
    /// What is sent.
    pub message: Template,
    /// What answers it; without it none is awaited.
    pub answer: Option<Pattern>,
}

impl Keepalive {
    fn answer(&self) -> Option<&Pattern> {
        self.answer.as_ref()
    }
}

/// What is expected of connections that follow a script.
#[derive(Debug)]
pub struct Scripted {
    script: Script,
    /// Milliseconds since 1970 at the beginning of the core's clock.
    began_ms: u64,
    secret: RandomState,
    drawn: Cell<u64>,
    /// Whether what comes while no message is out is passed over.
    passes_over: bool,
}

impl Scripted {
    /// Follows `script`, where the core's clock began at `began_ms` since 1970.
    #[must_use]
    pub fn new(script: Script, began_ms: u64) -> Scripted {
        let is_open = |pattern: &Option<Pattern>| pattern.as_ref().is_some_and(Pattern::is_open);
        let is_open_behind =
            script.keepalive.as_ref().is_some_and(|keepalive| is_open(&keepalive.answer));
        let passes_over = script.answer.is_none()
            || is_open(&script.answer)
            || is_open(&script.hello_answer)
            || is_open_behind;
        let secret = RandomState::new();
        Scripted { script, began_ms, secret, drawn: Cell::new(0), passes_over }
    }

    fn write_template(
        &self,
        template: Option<&Template>,
        connection: Connection,
        at: Duration,
        out: &mut [u8],
    ) -> u16 {
        let Some(template) = template else { return 0 };
        let since = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        let random = || {
            self.drawn.set(self.drawn.get() + 1);
            self.secret.hash_one(self.drawn.get())
        };
        let Connection { number, source, .. } = connection;
        let time_ms = self.began_ms.saturating_add(since);
        let size = template.write(&mut Filling { number, source, time_ms, random }, out);
        u16::try_from(size).expect("a template fits a buffer")
    }
}

impl Expectation for Scripted {
    /// When the message that is out was due: the low 32 bits of the core's clock in microseconds, to two of them;
    /// 0 while none is out, and 2 while a keepalive is.
    type State = u32;

    const OPENS: bool = true;

    const FILLS_IN: bool = true;

    const BY_MESSAGE: bool = true;

    fn is_answered(&self) -> bool {
        self.script.answer.is_some()
    }

    fn is_unasked(&self) -> bool {
        false
    }

    fn awaits_opening(&self) -> bool {
        self.script.hello_answer.is_some()
    }

    fn open(&self, _: &mut u32, connection: Connection, at: Duration, out: &mut [u8]) -> u16 {
        self.write_template(self.script.hello.as_ref(), connection, at, out)
    }

    fn on_opening(
        &self,
        _due_us: &mut u32,
        _connection: Connection,
        _at: Duration,
        buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        let came = &buffer[usize::from(bytes.start)..usize::from(bytes.end)];
        match self.script.hello_answer.as_ref().map_or(Match::Whole(0), |it| it.look(came)) {
            Match::NeedMore => Opening::NeedMore(bytes),
            Match::Whole(size) => {
                let size = short(size);
                Opening::Open(bytes.start + size..bytes.end)
            }
            Match::Other => Opening::REFUSED,
        }
    }

    fn write(
        &self,
        due_us: &mut u32,
        connection: Option<Connection>,
        message: &Message,
        _message_bytes: u16,
        out: &mut [u8],
    ) -> Range<u16> {
        *due_us = low_microseconds(message.due) | 1;
        let connection = connection.expect("it is filled in");
        0..self.write_template(self.script.message.as_ref(), connection, message.due, out)
    }

    fn keepalive_every(&self) -> Option<Duration> {
        self.script.keepalive.as_ref().map(|keepalive| keepalive.every)
    }

    fn write_keepalive(
        &self,
        due_us: &mut u32,
        connection: Connection,
        at: Duration,
        out: &mut [u8],
    ) -> Range<u16> {
        let keepalive = self.script.keepalive.as_ref();
        if keepalive.and_then(Keepalive::answer).is_some() {
            *due_us = KEEPALIVE_OUT;
        }
        let message = keepalive.map(|keepalive| &keepalive.message);
        0..self.write_template(message, connection, at, out)
    }

    fn awaits_keepalive(&self, due_us: &u32) -> bool {
        *due_us == KEEPALIVE_OUT
    }

    fn on_bytes(&self, due_us: &mut u32, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let answer = match *due_us {
            NOTHING_OUT => None,
            KEEPALIVE_OUT => self.script.keepalive.as_ref().and_then(Keepalive::answer),
            _ => self.script.answer.as_ref(),
        };
        let Some(answer) = answer else {
            // The beginning of an answer to nothing is not waited for to become whole.
            return Heard::all(if self.passes_over { What::Nothing } else { What::Mismatch });
        };
        let found = answer.look(&buffer[usize::from(bytes.start)..usize::from(bytes.end)]);
        match found {
            Match::NeedMore => Heard::need_more(bytes),
            Match::Whole(size) => {
                let size = short(size);
                let what = match std::mem::replace(due_us, NOTHING_OUT) {
                    KEEPALIVE_OUT => What::Alive,
                    due_us => What::Done(due_us),
                };
                Heard { what, rest: bytes.start + size..bytes.end }
            }
            // The answer to a keepalive may be behind it.
            Match::Other if *due_us == KEEPALIVE_OUT && self.passes_over => {
                Heard::all(What::Nothing)
            }
            Match::Other => Heard::all(What::Mismatch),
        }
    }
}

const NOTHING_OUT: u32 = 0;

/// No due time: those are odd.
const KEEPALIVE_OUT: u32 = 2;

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn low_microseconds(time: Duration) -> u32 {
    time.as_micros() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::constants::BUFFER_BYTES;

    fn scripted(hello_answer: Option<&str>, answer: Option<&str>) -> Scripted {
        let pattern = |text: &str| Pattern::new(text.as_bytes());
        let script = Script {
            hello_answer: hello_answer.map(pattern),
            message: Some(Template::new(b"ask\n")),
            answer: answer.map(pattern),
            ..Script::default()
        };
        Scripted::new(script, 0)
    }

    fn write(scripted: &Scripted, state: &mut u32, due_us: u64) {
        let source = "127.0.0.1:5".parse().expect("an address");
        let connection = Connection { number: 0, target: 0, source };
        let due = Duration::from_micros(due_us);
        let message = Message { run: 0, connection: 0, sequence: 0, due };
        scripted.write(state, Some(connection), &message, 64, &mut [0; 16]);
    }

    /// What `bytes` are, and how many are left, after a message or with none out.
    fn heard(scripted: &Scripted, is_out: bool, bytes: &str) -> (What, u16) {
        let mut state = 0;
        if is_out {
            write(scripted, &mut state, 40);
        }
        let mut buffer = [0; BUFFER_BYTES as usize];
        buffer[..bytes.len()].copy_from_slice(bytes.as_bytes());
        let size = u16::try_from(bytes.len()).expect("it fits");
        let Heard { what, rest } = scripted.on_bytes(&mut state, &mut buffer, 0..size);
        (what, rest.end - rest.start)
    }

    #[test]
    fn an_answer_answers_one_message() {
        let strict = scripted(None, Some("yes {any}\n"));
        assert_eq!(heard(&strict, true, "yes 1"), (What::NeedMore, 5));
        assert_eq!(heard(&strict, true, "yes 1\n"), (What::Done(41), 0));
        assert_eq!(heard(&strict, true, "yes 1\nyes 2\n"), (What::Done(41), 6));
        assert_eq!(heard(&strict, true, "no\n"), (What::Mismatch, 0));
        for bytes in ["y", "yes 1\n", "welcome\n"] {
            assert_eq!(heard(&strict, false, bytes), (What::Mismatch, 0), "asked for nothing");
        }
    }

    #[test]
    fn what_is_behind_an_open_end_is_passed_over_until_the_next_message() {
        for open in [
            scripted(None, Some("yes{any}")),
            scripted(Some("hi{any}"), Some("yes\n")),
            scripted(None, None),
        ] {
            assert_eq!(heard(&open, false, "more of it"), (What::Nothing, 0));
        }
        let open = scripted(None, Some("yes{any}"));
        assert_eq!(heard(&open, true, "yes, and"), (What::Done(41), 0));
        assert_eq!(heard(&open, true, "more of it"), (What::Mismatch, 0));
    }

    /// A due time of which the low bits are 0 is not taken for none.
    #[test]
    fn a_message_that_was_due_at_nought_is_out() {
        let strict = scripted(None, Some("yes\n"));
        for due_us in [0, 1 << 32] {
            let mut state = 0;
            write(&strict, &mut state, due_us);
            let heard = strict.on_bytes(&mut state, &mut b"yes\n".to_owned(), 0..4);
            assert_eq!((heard.what, state), (What::Done(1), 0));
        }
    }
}
