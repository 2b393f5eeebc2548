//! A script of the user's, at the client: what is said on each connection, and what is awaited.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use crate::engine::protocol::message::Message;
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
}

/// What is expected of connections that follow a script.
#[derive(Debug)]
pub struct Scripted {
    script: Script,
    /// Milliseconds since 1970 at the beginning of the core's clock.
    began_ms: u64,
    secret: RandomState,
    drawn: Cell<u64>,
}

impl Scripted {
    /// Follows `script`, where the core's clock began at `began_ms` since 1970.
    #[must_use]
    pub fn new(script: Script, began_ms: u64) -> Scripted {
        Scripted { script, began_ms, secret: RandomState::new(), drawn: Cell::new(0) }
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
    /// When the last message was due: the low 32 bits of the core's clock in microseconds.
    type State = u32;

    const OPENS: bool = true;

    const FILLS_IN: bool = true;

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
        buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        let came = &buffer[usize::from(bytes.start)..usize::from(bytes.end)];
        match self.script.hello_answer.as_ref().map_or(Match::Whole(0), |it| it.look(came)) {
            Match::NeedMore => Opening::NeedMore(bytes),
            Match::Whole(size) => {
                let size = u16::try_from(size).expect("a buffer is short");
                Opening::Open(bytes.start + size..bytes.end)
            }
            Match::Other => Opening::Refused(None),
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
        *due_us = low_microseconds(message.due);
        let connection = connection.expect("it is filled in");
        0..self.write_template(self.script.message.as_ref(), connection, message.due, out)
    }

    fn on_bytes(&self, due_us: &mut u32, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let Some(answer) = &self.script.answer else { return Heard::all(What::Nothing) };
        let found = answer.look(&buffer[usize::from(bytes.start)..usize::from(bytes.end)]);
        match found {
            Match::NeedMore => Heard::need_more(bytes),
            Match::Whole(size) => {
                let size = u16::try_from(size).expect("a buffer is short");
                Heard { what: What::Done(*due_us), rest: bytes.start + size..bytes.end }
            }
            Match::Other => Heard::all(What::Mismatch),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits are what a slot keeps")]
fn low_microseconds(time: Duration) -> u32 {
    time.as_micros() as u32
}
