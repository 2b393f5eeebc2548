//! What bytes mean: a server's [`Protocol`], a client's [`Expectation`], and those that there are.
//!
//! A protocol is called with the bytes of one connection and says what to do. It knows no slot, no
//! driver and no clock, and it allocates nothing. What an idle connection must remember is its `State`,
//! a few bytes in the slot; what is needed only while bytes are under way stays in the buffer. Protocols
//! are layers: one may hold another and hand the bytes on, as [`banner::Banner`] does.
//!
//! To add a protocol, add a file here, and its name to [`mode::Mode`] when a flag of `serve` chooses it.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::engine::close_reason::CloseReason;
use crate::engine::protocol::broadcast::{Receipt, Said};
use crate::engine::protocol::message::Message;

pub mod banner;
pub mod broadcast;
pub mod broadcasts;
pub mod echo;
pub mod expect;
pub mod message;
pub mod mode;
mod places;
pub mod proxy;
pub mod push;
pub mod script;
pub mod sink;
pub mod tls;
pub mod websocket;

/// What a server does with the bytes of its connections, and what it sends unasked.
pub trait Protocol {
    /// What is remembered of each connection, also while it is idle.
    type State: Copy + Default + std::fmt::Debug;

    /// Whether there may be more to do when an answer is out, see [`Action::kept`] and [`Action::close`].
    /// Where there never is, no memory is kept for it, and an answer that says otherwise is a fault (found in debug builds).
    const KEEPS: bool = true;

    /// Bytes that are kept of an idle connection, besides its slot.
    const BYTES_BESIDE: usize = 0;

    /// Whether [`Protocol::farewell`] has something to say.
    const SAYS_FAREWELL: bool = false;

    /// Whether a connection begins with a handshake: only then [`Protocol::handshake`] is asked.
    const SHAKES: bool = false;

    /// Whether [`Protocol::on_open`] has something to send: only then a new connection takes a buffer.
    fn speaks_first(&self) -> bool {
        false
    }

    /// Time between two calls of [`Protocol::on_timer`] on one connection, in whole milliseconds, from 1
    /// ms to 12 days; `None` when there are none. The timer waits for bytes that are under way: until an
    /// answer is out, and until a message is whole of which the beginning is there.
    fn timer_every(&self) -> Option<Duration> {
        None
    }

    /// How far the handshake of a connection is.
    fn handshake(&self, _state: &Self::State) -> Shaking {
        Shaking::Done
    }

    /// Handshakes of this core that are [`Shaking::Costly`] now.
    fn handshakes(&self) -> u32 {
        0
    }

    /// Whether what the timer sends are pings: they are counted as such, and the next one is due a whole time after one
    /// has gone out, so that each has that time for its answer. A text is due when it was to be, however late others went.
    fn pings(&self) -> bool {
        false
    }

    /// A connection is open; `out` is an empty buffer, or what a layer above has left of one.
    fn on_open(&self, _state: &mut Self::State, _out: &mut [u8]) -> Action {
        Action::NOTHING
    }

    /// Bytes came: the first `filled` of `buffer` are those that were kept before, and the new ones.
    /// An answer is written into the same buffer.
    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], filled: u16) -> Action;

    /// Writes what is said last on a connection that the server ends while it rests; its size. `out` is an
    /// empty buffer.
    fn farewell(&self, _state: &Self::State, _out: &mut [u8]) -> u16 {
        0
    }

    /// A connection ends: what is kept of it elsewhere is not needed any more.
    fn forget(&self, _state: &mut Self::State) {}

    /// The timer of a connection has run out; `out` is an empty buffer.
    fn on_timer(&self, _state: &mut Self::State, _out: &mut [u8]) -> Action {
        Action::NOTHING
    }

    /// A text goes to all; `out` is an empty buffer. Where nothing is sent, this connection cannot take it now.
    fn on_broadcast(&self, _state: &mut Self::State, said: &Said<'_>, out: &mut [u8]) -> Action {
        Action::send(0..said.write(out))
    }
}

/// How far a handshake is, which comes before the traffic of a connection: TLS, the upgrade of WebSocket, the header
/// of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shaking {
    /// It is done, or there is none.
    Done,
    /// Its next bytes cost about as much as a message.
    Cheap,
    /// Its next bytes cost as much as a hundred messages, and memory until it is done. It has neither cost yet.
    New,
    /// It is under way: its next bytes cost as much as some messages, and it has its memory.
    Costly,
}

/// What is to be done with a connection. All ranges are of the buffer that the protocol was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Bytes that go out.
    pub send: Range<u16>,
    /// Bytes that are the beginning of what comes next: the protocol is called with them again, once
    /// `send` is out, or where nothing is sent, once more bytes have come.
    pub kept: Range<u16>,
    /// When `send` is out, the protocol is called again, also where nothing is kept: it has more to say.
    pub again: bool,
    /// When `send` is out, the connection is closed for this reason.
    pub close: Option<CloseReason>,
}

impl Action {
    /// The bytes are dealt with, and nothing follows from them.
    pub const NOTHING: Action = Action { send: 0..0, kept: 0..0, again: false, close: None };

    /// Bytes of the buffer go out.
    #[must_use]
    pub const fn send(range: Range<u16>) -> Action {
        Action { send: range, ..Action::NOTHING }
    }

    /// These bytes are the beginning of a message, the rest of which has not come.
    #[must_use]
    pub const fn need_more(kept: Range<u16>) -> Action {
        Action { kept, ..Action::NOTHING }
    }

    /// The connection is closed.
    #[must_use]
    pub const fn close(reason: CloseReason) -> Action {
        Action { close: Some(reason), ..Action::NOTHING }
    }

    /// The same, and `kept` is looked at again afterwards.
    #[must_use]
    pub fn keeping(self, kept: Range<u16>) -> Action {
        Action { kept, ..self }
    }
}

/// What a client expects of its connections: how answers are told from anything else.
pub trait Expectation {
    /// What is remembered of each connection.
    type State: Copy + Default + std::fmt::Debug;

    /// Whether something is said and heard on a connection before it counts as one, and something is said
    /// at its end; and whether what comes may want a reply that is no message.
    const OPENS: bool = false;

    /// Whether what is said first, and what is heard until a connection counts as one, cost as much as a hundred
    /// messages.
    const COSTLY: bool = false;

    /// Bytes that are kept of an idle connection, besides its slot.
    const BYTES_BESIDE: usize = 0;

    /// Whether something of the connection is filled into messages.
    const FILLS_IN: bool = false;

    /// Whether a layer that has messages of its own shows only whole ones, unless they are long; what is left of one
    /// that is dealt with may not come.
    const BY_MESSAGE: bool = false;

    /// Bytes that a buffer has free before those that come.
    const HEADROOM: u16 = 0;

    /// There are more targets from now on: the addresses of all, and of each the number of one whose server has the
    /// same name.
    fn learn_targets(&mut self, _addresses: &[SocketAddr], _like: &[usize]) {}

    /// Whether each message is answered; otherwise it is done when it is sent.
    fn is_answered(&self) -> bool;

    /// Whether bytes may come that no message has asked for.
    fn is_unasked(&self) -> bool;

    /// Time between two texts that come unasked; without it none is late.
    fn every(&self) -> Option<Duration> {
        None
    }

    /// Whether a text that comes unasked has been completed on this connection before.
    fn had_one(&self, _state: &Self::State) -> bool {
        false
    }

    /// The number of the message that was sent last on this connection; 0 where none is sent.
    fn sequence(&self, _state: &Self::State) -> u16 {
        0
    }

    /// The next message is sent now.
    fn next_sequence(&self, _state: &mut Self::State) {}

    /// Whether an answer to what is said first is awaited before a connection counts as one.
    fn awaits_opening(&self) -> bool {
        true
    }

    /// Writes what is said first on a connection, at this time of the core's clock; its size.
    fn open(
        &self,
        _state: &mut Self::State,
        _connection: Connection,
        _at: Duration,
        _out: &mut [u8],
    ) -> u16 {
        0
    }

    /// Bytes came before a connection counts as one, at this time of the core's clock: those in `bytes` are what was
    /// left of the last call, and the new ones.
    fn on_opening(
        &self,
        _state: &mut Self::State,
        _connection: Connection,
        _at: Duration,
        _buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        Opening::Open(bytes)
    }

    /// How the handshake came about that the last call of [`Expectation::on_opening`] has ended, if it was one; said
    /// once.
    fn take_handshake(&self) -> Option<Handshaken> {
        None
    }

    /// Writes a message as it goes out; where it stands. `connection` is given where it [`Expectation::FILLS_IN`].
    fn write(
        &self,
        _state: &mut Self::State,
        _connection: Option<Connection>,
        message: &Message,
        message_bytes: u16,
        out: &mut [u8],
    ) -> Range<u16> {
        message.write(&mut out[..usize::from(message_bytes)]);
        0..message_bytes
    }

    /// Time without a message after which [`Expectation::write_keepalive`] has something to say on a connection.
    fn keepalive_every(&self) -> Option<Duration> {
        None
    }

    /// Writes what keeps a connection alive on which nothing is out, at this time of the core's clock; where it
    /// stands.
    fn write_keepalive(
        &self,
        _state: &mut Self::State,
        _connection: Connection,
        _at: Duration,
        _out: &mut [u8],
    ) -> Range<u16> {
        0..0
    }

    /// Whether that is out, and its answer has not come.
    fn awaits_keepalive(&self, _state: &Self::State) -> bool {
        false
    }

    /// Writes what is said last on a connection; where it stands.
    fn farewell(&self, _state: &mut Self::State, _out: &mut [u8]) -> Range<u16> {
        0..0
    }

    /// A connection ends: what is kept of it elsewhere is not needed any more.
    fn forget(&self, _state: &mut Self::State) {}

    /// Bytes came: those in `bytes` are what was left of the last call, and the new ones.
    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], bytes: Range<u16>) -> Heard;

    /// What the last call was shown, of these bytes of its buffer, as it was said at the other end: for people, who are
    /// shown the beginning of what was not expected.
    fn last_shown(&self, buffer: &[u8], bytes: Range<u16>) -> Box<[u8]> {
        buffer[places::wide(&bytes)].into()
    }
}

/// Which connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Its number in the whole run.
    pub number: u64,
    /// The number of its target.
    pub target: usize,
    /// Its source address and port.
    pub source: SocketAddr,
}

/// What bytes are that come before a connection counts as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// What is left is the beginning of something.
    NeedMore(Range<u16>),
    /// These bytes of the buffer go out, and then what is left is looked at.
    Say {
        /// What goes out.
        send: Range<u16>,
        /// What is left.
        rest: Range<u16>,
        /// Whether it is a connection when they are gone.
        is_open: bool,
    },
    /// From now on it is one; what is left belongs to it.
    Open(Range<u16>),
    /// It is never one.
    Refused {
        /// Bytes of the buffer that go out before the end.
        send: Range<u16>,
        /// Why, when its bytes do not say so.
        why: Option<String>,
    },
}

impl Opening {
    /// It is never one, as its bytes say.
    pub const REFUSED: Opening = Opening::Refused { send: 0..0, why: None };
}

/// How a handshake of TLS came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshaken {
    /// With a certificate.
    Full,
    /// By a session or a ticket of an earlier one.
    Resumed,
}

/// What the bytes of a server are, and which of them are left for the next call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// What they are.
    pub what: What,
    /// Those that are left.
    pub rest: Range<u16>,
}

impl Heard {
    /// All bytes are this, and none is left.
    #[must_use]
    pub const fn all(what: What) -> Heard {
        Heard { what, rest: 0..0 }
    }

    /// They are the beginning of something.
    #[must_use]
    pub const fn need_more(bytes: Range<u16>) -> Heard {
        Heard { what: What::NeedMore, rest: bytes }
    }
}

/// What the bytes of a server are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// What is left is the beginning of something.
    NeedMore,
    /// A whole answer.
    Answer(Message),
    /// Texts that were not asked for.
    Unasked {
        /// Those that were completed.
        texts: u64,
        /// Whether one had been completed before.
        had_one: bool,
    },
    /// A text that the server sends to all.
    Broadcast(Receipt),
    /// Nothing of a message: these bytes of the buffer go out in reply.
    Reply(Range<u16>),
    /// The server ends the connection: these bytes of the buffer go out before.
    Ends(Range<u16>),
    /// The answer to the message that was sent last, which was due then: the low 32 bits of the core's clock in
    /// microseconds.
    Done(u32),
    /// The answer to what keeps the connection alive.
    Alive,
    /// Nothing that is awaited, and nothing that may not come.
    Nothing,
    /// Something that no server may send: these bytes of the buffer go out before the connection is ended.
    /// They stand before those that came.
    Wrong(Range<u16>),
    /// Something else.
    Mismatch,
}
