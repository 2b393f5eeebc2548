//! A client's layer: an upgrade on each connection, then masked frames out, and frames in.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::protocol::places::{short, wide};
use crate::engine::protocol::websocket::frame::{Head, Opcode, close_code, code, mask};
use crate::engine::protocol::websocket::kinds::Kinds;
use crate::engine::protocol::websocket::upgrade::Request;
use crate::engine::protocol::websocket::utf8::Utf8;
use crate::engine::protocol::{Connection, Expectation, Heard, Opening, What};

/// Bytes of a head with a mask before what fits into a buffer.
pub(super) const HEAD: usize = HEADROOM as usize;

/// The same before what comes: a pong is longer than its ping by a mask.
pub(super) const HEADROOM: u16 = 8;

/// A head with a mask before what a control frame carries.
const CONTROL_HEAD: usize = 6;

/// What is expected of connections that speak WebSocket.
#[derive(Debug)]
pub struct Upgraded<E> {
    /// What each connection asks for.
    pub request: Request,
    /// The host of each target, as a request names it.
    pub hosts: Vec<Box<str>>,
    /// Whether a message goes out as a ping, and its pong is the answer. What else comes is passed over.
    pub asks_by_ping: bool,
    /// Kinds of other messages that go out.
    pub kinds: Kinds,
    /// What is expected of messages.
    pub then: E,
    /// Nonces and masks come from it: nobody else can foretell them.
    secret: RandomState,
    masks: Cell<u64>,
    /// What frames have carried stands there, as it was shown last.
    pub(super) carried: Cell<Option<(u16, u16)>>,
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<S> {
    /// Bytes of the present frame that have not come.
    remaining: u32,
    /// Of the bytes that are kept, those at their beginning that frames have carried.
    gathered: u16,
    pub(super) then: S,
    utf8: Utf8,
    pub(super) message: Kind,
    /// The present frame ends its message.
    is_last: bool,
    /// What the message is has been told: the rest of it is passed over.
    is_told: bool,
}

const _: () = assert!(size_of::<State<u16>>() == 12, "a connection of WebSocket stays 44 bytes");

/// A part of a message that goes on beyond it is shown to an expectation that is shown whole ones.
const PART_BYTES: usize = BUFFER_BYTES as usize / 2;

/// What has begun to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The answer to the upgrade.
    #[default]
    Upgrade,
    /// No message.
    None,
    Text,
    Binary,
}

impl<E> Upgraded<E> {
    /// A layer over `then`.
    #[must_use]
    pub fn new(request: Request, hosts: Vec<Box<str>>, then: E) -> Upgraded<E> {
        let (secret, masks, carried) = (RandomState::new(), Cell::new(0), Cell::new(None));
        let kinds = Kinds::default();
        Upgraded { request, hosts, asks_by_ping: false, kinds, then, secret, masks, carried }
    }

    /// The nonce of a connection, the same each time.
    pub(super) fn nonce(&self, connection: u64) -> [u8; 16] {
        let half = |half: u8| self.secret.hash_one((connection, half));
        (u128::from(half(0)) << 64 | u128::from(half(1))).to_le_bytes()
    }

    fn new_mask(&self) -> u32 {
        self.masks.set(self.masks.get() + 1);
        let [a, b, c, d, ..] = self.secret.hash_one(self.masks.get()).to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Masks what stands from `start` to `end`, and writes the head before it; where it begins.
    fn frame(&self, out: &mut [u8], opcode: Opcode, start: usize, end: usize) -> usize {
        let key = self.new_mask();
        let _ = mask(&mut out[start..end], key);
        let len = (end - start) as u64;
        let head = Head { is_last: true, opcode, mask: Some(key), len };
        let begin = start - head.size();
        head.write(&mut out[begin..]);
        begin
    }

    /// A whole message, which stands in `range` behind what a head needs.
    pub(super) fn message(&self, out: &mut [u8], range: &Range<u16>, opcode: Opcode) -> Range<u16> {
        let [start, end] = [range.start, range.end].map(|at| HEAD + usize::from(at));
        let begin = self.frame(out, opcode, start, end);
        short(begin)..short(end)
    }

    /// A close frame.
    pub(super) fn close(&self, out: &mut [u8], code: u16) -> Range<u16> {
        let end = CONTROL_HEAD + 2;
        out[CONTROL_HEAD..end].copy_from_slice(&code.to_be_bytes());
        let begin = self.frame(out, Opcode::Close, CONTROL_HEAD, end);
        short(begin)..short(end)
    }
}

impl<E: Expectation> Upgraded<E> {
    /// Goes through `bytes`, of which some have been gone through before.
    pub(super) fn pass<'a>(
        &'a self,
        state: &'a mut State<E::State>,
        buffer: &'a mut [u8],
        bytes: &Range<u16>,
    ) -> Pass<'a, E> {
        let Range { start, end } = wide(bytes);
        let gathered = start + usize::from(state.gathered);
        let (at, layer) = (gathered, self);
        self.carried.set(None);
        Pass { layer, state, buffer, start, gathered, at, end, unasked: None, opening: None }
    }
}

/// The bytes of a buffer, as they are gone through.
pub(super) struct Pass<'a, E: Expectation> {
    layer: &'a Upgraded<E>,
    state: &'a mut State<E::State>,
    pub(super) buffer: &'a mut [u8],
    start: usize,
    /// Behind what frames have carried and what is left to be looked at.
    gathered: usize,
    at: usize,
    end: usize,
    /// Texts that came unasked in this pass.
    pub(super) unasked: Option<(u64, bool)>,
    /// The connection, and the time, while it does not count as one.
    pub(super) opening: Option<(Connection, Duration)>,
}

/// The connection ends, with this code.
pub(super) enum Ends {
    /// The server has closed it.
    Closed(u16),
    /// What the server sent is wrong.
    Wrong(u16),
}

impl<E: Expectation> Pass<'_, E> {
    pub(super) fn go_through(&mut self) -> Result<Heard, Ends> {
        loop {
            if self.state.remaining > 0 || self.at == self.end {
                if self.at == self.end {
                    return Ok(self.need_more());
                }
                if let Some(heard) = self.take_piece()? {
                    return Ok(heard);
                }
                continue;
            }
            let read = Head::read(&self.buffer[self.at..self.end]);
            let Some((head, size)) = read.map_err(|_| Ends::Wrong(code::PROTOCOL_ERROR))? else {
                return Ok(self.need_more());
            };
            // A server masks none.
            if head.mask.is_some() {
                return Err(Ends::Wrong(code::PROTOCOL_ERROR));
            }
            let len = u32::try_from(head.len).map_err(|_| Ends::Wrong(code::TOO_LONG))?;
            if head.opcode.is_control() {
                let range = self.at + size..self.at + size + len as usize;
                if range.end > self.end {
                    return Ok(self.need_more());
                }
                if let Some(heard) = self.take_control(head.opcode, range)? {
                    return Ok(heard);
                }
            } else {
                self.begin_frame(&head, len)?;
                self.at += size;
                if len == 0 {
                    let taken = self.take_piece();
                    if taken.is_err() {
                        // The frame is looked at again once what has come before it is told.
                        self.at -= size;
                    }
                    if let Some(heard) = taken? {
                        return Ok(heard);
                    }
                }
            }
        }
    }

    /// All that is there was looked at, but for the beginning of what comes next.
    pub(super) fn need_more(&mut self) -> Heard {
        self.buffer.copy_within(self.at..self.end, self.gathered);
        let end = self.gathered + self.end - self.at;
        self.state.gathered = short(self.gathered - self.start);
        let rest = short(self.start)..short(end);
        match self.unasked {
            None => Heard { what: What::NeedMore, rest },
            Some((texts, had_one)) => Heard { what: What::Unasked { texts, had_one }, rest },
        }
    }

    fn begin_frame(&mut self, head: &Head, len: u32) -> Result<(), Ends> {
        let state = &mut *self.state;
        let has_begun = matches!(state.message, Kind::Text | Kind::Binary);
        if has_begun != (head.opcode == Opcode::Continuation) {
            return Err(Ends::Wrong(code::PROTOCOL_ERROR));
        }
        match head.opcode {
            Opcode::Text => state.message = Kind::Text,
            Opcode::Binary => state.message = Kind::Binary,
            _ => {}
        }
        (state.remaining, state.is_last) = (len, head.is_last);
        Ok(())
    }

    /// Takes as much of the present frame as is there, and asks what it is.
    fn take_piece(&mut self) -> Result<Option<Heard>, Ends> {
        let state = &mut *self.state;
        let most = u32::try_from(self.end - self.at).unwrap_or(u32::MAX);
        let piece = most.min(state.remaining);
        let range = self.at..self.at + piece as usize;
        let is_end = state.remaining == piece && state.is_last;
        if state.message == Kind::Text {
            let after = state.utf8.after(&self.buffer[range.clone()]);
            let after = after.filter(|after| !is_end || *after == Utf8::Whole);
            state.utf8 = after.ok_or(Ends::Wrong(code::INVALID_TEXT))?;
        }
        self.at = range.end;
        if self.layer.asks_by_ping || state.is_told {
            state.remaining -= piece;
            state.message = if is_end { Kind::None } else { state.message };
            state.is_told &= !is_end;
            return Ok(None);
        }
        self.buffer.copy_within(range, self.gathered);
        self.gathered += piece as usize;
        state.remaining -= piece;
        if is_end {
            state.message = Kind::None;
        }
        if E::BY_MESSAGE && !is_end && self.gathered - self.start < PART_BYTES {
            return Ok(None);
        }
        let carried = short(self.start)..short(self.gathered);
        self.layer.carried.set(Some((carried.start, carried.end)));
        let (then, of_then) = (&self.layer.then, &mut state.then);
        let heard = match self.opening {
            Some((connection, at)) if E::OPENS => {
                match then.on_opening(of_then, connection, at, self.buffer, carried) {
                    Opening::NeedMore(rest) => Heard::need_more(rest),
                    Opening::Open(rest) => Heard { what: What::Alive, rest },
                    Opening::Say { .. } | Opening::Refused { .. } => Heard::all(What::Mismatch),
                }
            }
            _ => then.on_bytes(of_then, self.buffer, carried),
        };
        state.is_told = E::BY_MESSAGE && !is_end && heard.what != What::NeedMore;
        match heard.what {
            What::Done(_) | What::Alive | What::Broadcast(_) if !heard.rest.is_empty() => {
                Ok(Some(self.gone(What::Mismatch)))
            }
            // A message that ends is whole, unless what is awaited may be in several.
            What::NeedMore if is_end && !E::BY_MESSAGE => Ok(Some(self.gone(What::Mismatch))),
            What::NeedMore => Ok(None),
            // A frame without a byte may be behind it.
            What::Answer(_) if !is_end => Ok(None),
            What::Unasked { texts, had_one } => {
                let (before, first) = self.unasked.unwrap_or((0, had_one));
                self.unasked = Some((before + texts, first));
                self.gathered = self.start;
                Ok(None)
            }
            what => Ok(Some(self.gone(what))),
        }
    }

    /// What frames have carried is dealt with.
    fn gone(&mut self, what: What) -> Heard {
        self.state.gathered = 0;
        Heard { what, rest: short(self.at)..short(self.end) }
    }

    fn take_control(&mut self, opcode: Opcode, range: Range<usize>) -> Result<Option<Heard>, Ends> {
        match opcode {
            Opcode::Close => {
                let code = close_code(&self.buffer[range]).map_err(Ends::Wrong)?;
                Err(Ends::Closed(code.unwrap_or(code::NORMAL)))
            }
            Opcode::Ping if self.unasked.is_some() => {
                // What has come before it is told first.
                Ok(Some(self.need_more()))
            }
            Opcode::Ping => Ok(Some(self.pong(range))),
            Opcode::Pong if self.layer.asks_by_ping => Ok(self.answer_of(range)),
            _ => {
                self.at = range.end;
                Ok(None)
            }
        }
    }

    /// What a pong answers: a message that went out as a ping, or nothing of ours.
    fn answer_of(&mut self, range: Range<usize>) -> Option<Heard> {
        self.at = range.end;
        let bytes = short(range.start)..short(range.end);
        let heard = self.layer.then.on_bytes(&mut self.state.then, self.buffer, bytes);
        matches!(heard.what, What::Answer(_)).then(|| self.gone(heard.what))
    }

    /// The pong to a ping of what stands in `range`. What was gathered goes behind it, before what is left.
    fn pong(&mut self, range: Range<usize>) -> Heard {
        let gathered = self.gathered - self.start;
        self.buffer[self.start..range.end].rotate_left(gathered);
        let (start, end) = (range.start - gathered, range.end - gathered);
        self.state.gathered = short(gathered);
        let begin = self.layer.frame(self.buffer, Opcode::Pong, start, end);
        Heard { what: What::Reply(short(begin)..short(end)), rest: short(end)..short(self.end) }
    }
}
