//! Both layers in memory: each end does with its layer what the engine does with it, and no more.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::Request;
use megaconn::engine::protocol::{Connection, Expectation, Heard, Opening, Protocol, What};

/// What stands in a buffer where nothing was received.
const STALE: u8 = 0xa5;

/// A server's connection, see `engine/server/serve.rs`.
pub(crate) struct ServerEnd<'a, P: Protocol> {
    protocol: &'a P,
    state: P::State,
    buffer: Vec<u8>,
    filled: usize,
    /// All that went out.
    pub(crate) sent: Vec<u8>,
    pub(crate) closed: Option<CloseReason>,
}

impl<'a, P: Protocol> ServerEnd<'a, P> {
    pub(crate) fn new(protocol: &'a P, buffer_bytes: usize) -> ServerEnd<'a, P> {
        ServerEnd {
            protocol,
            state: P::State::default(),
            buffer: vec![STALE; buffer_bytes],
            filled: 0,
            sent: Vec::new(),
            closed: None,
        }
    }

    /// Bytes come, as many at once as fit. What comes behind the end of a connection is not read.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.closed.is_none() {
            let room = &mut self.buffer[self.filled..];
            let (now, rest) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = rest;
            self.show();
        }
    }

    fn show(&mut self) {
        loop {
            let filled = short(self.filled);
            let action = self.protocol.on_bytes(&mut self.state, &mut self.buffer, filled);
            self.sent.extend_from_slice(&self.buffer[wide(&action.send)]);
            if let Some(reason) = action.close {
                self.closed = Some(reason);
                return;
            }
            self.buffer.copy_within(wide(&action.kept), 0);
            self.filled = action.kept.len();
            self.buffer[self.filled..].fill(STALE);
            if action.send.is_empty() && self.filled == self.buffer.len() {
                self.closed = Some(CloseReason::Malformed);
                return;
            }
            if action.send.is_empty() || self.filled == 0 {
                return;
            }
        }
    }

    /// The timer runs out, when no bytes are kept.
    pub(crate) fn timer(&mut self) {
        assert_eq!(self.filled, 0, "a timer waits for bytes that are under way");
        let action = self.protocol.on_timer(&mut self.state, &mut self.buffer);
        assert!(action.kept.is_empty() && action.close.is_none());
        self.sent.extend_from_slice(&self.buffer[wide(&action.send)]);
        self.buffer.fill(STALE);
    }

    /// Bytes that wait for more; a connection that has none holds no buffer.
    pub(crate) fn kept(&self) -> usize {
        self.filled
    }
}

fn short(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("a buffer is short")
}

fn wide(range: &Range<u16>) -> Range<usize> {
    usize::from(range.start)..usize::from(range.end)
}

/// How a client's connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// It never was one.
    Refused,
    /// In order, with a close frame.
    Closed,
    /// By the layer, because of what the server sent, with a close frame.
    Wrong,
    /// By what was expected of its messages.
    Mismatch,
}

/// A client's connection, see `engine/client/{message,opening,reply}.rs`.
pub(crate) struct ClientEnd<'a, E: Expectation> {
    layer: &'a E,
    connection: Connection,
    state: E::State,
    buffer: Vec<u8>,
    end: usize,
    pub(crate) is_open: bool,
    /// A message is out.
    is_asked: bool,
    /// All that went out, behind the request.
    pub(crate) sent: Vec<u8>,
    pub(crate) request: Vec<u8>,
    pub(crate) answers: Vec<Message>,
    pub(crate) texts: u64,
    pub(crate) gone: Option<Gone>,
}

impl<'a, E: Expectation> ClientEnd<'a, E> {
    pub(crate) fn new(layer: &'a E, number: u64, buffer_bytes: usize) -> ClientEnd<'a, E> {
        let source = SocketAddr::from(([127, 0, 0, 2], 40_000));
        let connection = Connection { number, target: 0, source };
        let (mut buffer, mut state) = (vec![STALE; buffer_bytes], E::State::default());
        let size = layer.open(&mut state, connection, Duration::ZERO, &mut buffer);
        let request = buffer[..usize::from(size)].to_vec();
        buffer.fill(STALE);
        ClientEnd {
            layer,
            connection,
            state,
            buffer,
            end: E::HEADROOM.into(),
            is_open: false,
            is_asked: false,
            sent: Vec::new(),
            request,
            answers: Vec::new(),
            texts: 0,
            gone: None,
        }
    }

    /// Sends the next message.
    pub(crate) fn ask(&mut self, message: &Message, message_bytes: u16) {
        assert!(self.is_open && !self.is_asked && self.gone.is_none());
        self.layer.next_sequence(&mut self.state);
        let mut out = vec![STALE; self.buffer.len()];
        let written = self.layer.write(&mut self.state, None, message, message_bytes, &mut out);
        self.sent.extend_from_slice(&out[wide(&written)]);
        self.is_asked = true;
    }

    pub(crate) fn sequence(&self) -> u16 {
        self.layer.sequence(&self.state)
    }

    /// Says farewell.
    pub(crate) fn leave(&mut self) {
        let mut out = vec![STALE; self.buffer.len()];
        let written = self.layer.farewell(&mut self.state, &mut out);
        self.sent.extend_from_slice(&out[wide(&written)]);
        self.gone = Some(Gone::Closed);
    }

    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.gone.is_none() {
            let room = &mut self.buffer[self.end..];
            let (now, rest) = bytes.split_at(bytes.len().min(room.len()));
            room[..now.len()].copy_from_slice(now);
            self.end += now.len();
            bytes = rest;
            if self.is_open { self.hear() } else { self.hear_opening() }
        }
    }

    fn hear_opening(&mut self) {
        let bytes = E::HEADROOM..short(self.end);
        let (connection, buffer) = (self.connection, &mut self.buffer);
        match self.layer.on_opening(&mut self.state, connection, Duration::ZERO, buffer, bytes) {
            Opening::NeedMore(rest) if usize::from(rest.end) < self.buffer.len() => {
                self.keep(&rest)
            }
            Opening::NeedMore(_) | Opening::Refused { .. } => self.gone = Some(Gone::Refused),
            Opening::Say { .. } => unreachable!("an upgrade is one request and one answer"),
            Opening::Open(rest) => {
                self.is_open = true;
                self.go_on(wide(&rest));
            }
        }
    }

    fn hear(&mut self) {
        let bytes = E::HEADROOM..short(self.end);
        let Heard { what, rest } = self.layer.on_bytes(&mut self.state, &mut self.buffer, bytes);
        match what {
            What::NeedMore if usize::from(rest.end) == self.buffer.len() => self.mismatch(),
            What::NeedMore => self.keep(&rest),
            What::Answer(message) if self.is_asked => {
                self.is_asked = false;
                self.answers.push(message);
                self.go_on(wide(&rest));
            }
            What::Unasked { texts, .. } => {
                self.texts += texts;
                self.go_on(wide(&rest));
            }
            What::Broadcast(_) => self.go_on(wide(&rest)),
            What::Reply(send) => {
                self.sent.extend_from_slice(&self.buffer[wide(&send)]);
                self.go_on(wide(&rest));
            }
            What::Ends(send) => {
                self.sent.extend_from_slice(&self.buffer[wide(&send)]);
                self.gone = Some(Gone::Closed);
            }
            What::Wrong(send) => {
                assert!(send.end <= E::HEADROOM, "what came is shown, and was written over");
                self.sent.extend_from_slice(&self.buffer[wide(&send)]);
                self.gone = Some(Gone::Wrong);
            }
            What::Answer(_) | What::Done(_) | What::Alive | What::Nothing | What::Mismatch => {
                self.mismatch()
            }
        }
    }

    fn keep(&mut self, rest: &Range<u16>) {
        assert_eq!(rest.start, E::HEADROOM, "what is kept stands at the beginning");
        self.end = rest.end.into();
        self.buffer[self.end..].fill(STALE);
    }

    fn go_on(&mut self, rest: Range<usize>) {
        let len = rest.len();
        self.buffer.copy_within(rest, E::HEADROOM.into());
        self.end = usize::from(E::HEADROOM) + len;
        self.buffer[self.end..].fill(STALE);
        if len > 0 {
            self.hear();
        }
    }

    fn mismatch(&mut self) {
        self.gone = Some(Gone::Mismatch);
    }

    /// Bytes that wait for more; a connection that has none holds no buffer.
    pub(crate) fn kept(&self) -> usize {
        self.end - usize::from(E::HEADROOM)
    }
}

/// Expects anything, and keeps it.
#[derive(Default)]
pub(crate) struct Recorder(pub(crate) RefCell<Vec<u8>>);

impl Expectation for Recorder {
    type State = u16;

    fn is_answered(&self) -> bool {
        false
    }

    fn is_unasked(&self) -> bool {
        true
    }

    fn on_bytes(&self, _: &mut u16, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        self.0.borrow_mut().extend_from_slice(&buffer[wide(&bytes)]);
        Heard::all(What::Unasked { texts: 0, had_one: false })
    }
}

/// A client's layer over `then` that asks `example.org` for `/`.
pub(crate) fn upgraded<E: Expectation>(then: E) -> Upgraded<E> {
    let request = Request { path: "/".into(), headers: String::new(), subprotocol: None };
    Upgraded::new(request, vec!["example.org".into()], then)
}
