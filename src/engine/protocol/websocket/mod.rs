//! WebSocket (RFC 6455) as a layer, both ends.
//!
//! A connection begins as HTTP (`upgrade`). Then its bytes are frames (`frame`): a server ([`WebSocket`])
//! shows the protocol that it holds what they carry, and a client (`client`) likewise. A frame that fits
//! into a buffer is handled whole. A longer one is handled in pieces as they come, and what must be known
//! of it between two pieces is in the slot: a connection on which nothing is under way holds no buffer.
//! No extension is agreed to, permessage-deflate among them.

use std::time::Duration;

use crate::engine::close_reason::CloseReason;
use crate::engine::protocol::broadcast::Said;
use crate::engine::protocol::mode::Mode;
use crate::engine::protocol::places::short;
use crate::engine::protocol::websocket::frame::{Head, Opcode, close_code, code, mask};
use crate::engine::protocol::websocket::upgrade::{Asked, agree};
use crate::engine::protocol::websocket::utf8::Utf8;
use crate::engine::protocol::{Action, Protocol, Shaking};

pub mod client;
mod expectation;
pub mod frame;
pub mod kinds;
pub mod upgrade;
pub mod utf8;

/// Bytes that a head without a mask has before what fits into a buffer.
const HEAD: usize = 4;

/// A server's layer: frames, and in them what `then` says and hears.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// The subprotocol that is agreed to when a client offers it.
    pub subprotocol: Option<String>,
    /// A text that every connection is sent first.
    pub banner: Option<Box<str>>,
    /// Time between two pings of a connection; the timer is theirs then, and `then` has none.
    pub ping_every: Option<Duration>,
    /// What becomes of messages, and what is sent unasked.
    pub then: Mode,
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {
    /// Bytes of the present frame that have not come.
    remaining: u32,
    /// The mask of those.
    mask: u32,
    /// How far the present text has come.
    utf8: Utf8,
    stage: Stage,
    message: Message,
    /// The present frame ends its message.
    is_last: bool,
}

const _: () = assert!(size_of::<State>() == 12, "a connection of WebSocket stays 44 bytes");

/// Where a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    /// The request has not come whole.
    #[default]
    Upgrading,
    /// Frames come and go.
    Open,
    /// The same, and nothing has come since a ping.
    Pinged,
}

/// The message of which the beginning has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
enum Message {
    /// There is none.
    #[default]
    None,
    Text,
    Binary,
}

/// What ends a connection: the code that says why.
type Ends = (u16, CloseReason);

/// The frames of one buffer, as they are gone through: bytes before `at` are done with, and what is sent
/// stands before `out`. What goes out is never longer than what it answers.
struct Pass<'a> {
    state: &'a mut State,
    buffer: &'a mut [u8],
    filled: usize,
    at: usize,
    out: usize,
    echoes: bool,
    /// Where what answers the present frame begins; `None` when its head has gone out before.
    frame_out: Option<usize>,
}

impl Protocol for WebSocket {
    type State = State;

    const SAYS_FAREWELL: bool = true;

    const SHAKES: bool = true;

    fn handshake(&self, state: &State) -> Shaking {
        if state.stage == Stage::Upgrading { Shaking::Cheap } else { Shaking::Done }
    }

    fn timer_every(&self) -> Option<Duration> {
        self.ping_every.or(self.then.timer_every())
    }

    fn pings(&self) -> bool {
        self.ping_every.is_some()
    }

    fn on_bytes(&self, state: &mut State, buffer: &mut [u8], filled: u16) -> Action {
        if state.stage == Stage::Upgrading {
            return self.upgrade(state, buffer, filled);
        }
        // Whatever it is, the peer is there.
        state.stage = Stage::Open;
        let echoes = matches!(self.then, Mode::Echo);
        let is_within = echoes && state.remaining > 0;
        let frame_out = if is_within { None } else { Some(0) };
        let filled = filled.into();
        let mut pass = Pass { state, buffer, filled, at: 0, out: 0, echoes, frame_out };
        match pass.go_through() {
            Ok(()) => Action::send(0..short(pass.out)).keeping(short(pass.at)..short(filled)),
            Err(ends) => pass.close(ends),
        }
    }

    fn farewell(&self, state: &State, out: &mut [u8]) -> u16 {
        if state.stage == Stage::Upgrading || self.is_within_echo(state) {
            return 0;
        }
        short(write_close(out, code::GOING_AWAY))
    }

    fn on_timer(&self, state: &mut State, out: &mut [u8]) -> Action {
        if state.stage == Stage::Upgrading {
            // Nothing is owed before.
            return Action::NOTHING;
        }
        if self.ping_every.is_some() {
            return self.ping(state, out);
        }
        let Action { send, .. } = self.then.on_timer(&mut (), &mut out[HEAD..]);
        let (start, end) = (HEAD + usize::from(send.start), HEAD + usize::from(send.end));
        if start == end {
            return Action::NOTHING;
        }
        let is_text = std::str::from_utf8(&out[start..end]).is_ok();
        send_framed(out, start, end, is_text)
    }

    fn on_broadcast(&self, state: &mut State, said: &Said<'_>, out: &mut [u8]) -> Action {
        if state.stage == Stage::Upgrading || self.is_within_echo(state) {
            return Action::NOTHING;
        }
        match usize::from(said.write(&mut out[HEAD..])) {
            0 => Action::NOTHING,
            size => send_framed(out, HEAD, HEAD + size, said.is_text),
        }
    }
}

/// Sends the message from `start` to `end`, as text or as bytes.
fn send_framed(out: &mut [u8], start: usize, end: usize, is_text: bool) -> Action {
    let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
    let start = frame_before(out, start, end, opcode);
    Action::send(short(start)..short(end))
}

/// Bytes of a close frame with a code and without a mask.
const CLOSE: usize = 4;

fn write_close(out: &mut [u8], code: u16) -> usize {
    let head = Head { is_last: true, opcode: Opcode::Close, mask: None, len: 2 }.write(out);
    out[head..CLOSE].copy_from_slice(&code.to_be_bytes());
    CLOSE
}

/// Writes the head of the whole message from `start` to `end` before it; where it begins.
fn frame_before(out: &mut [u8], start: usize, end: usize, opcode: Opcode) -> usize {
    let head = Head { is_last: true, opcode, mask: None, len: (end - start) as u64 };
    let begin = start - head.size();
    head.write(&mut out[begin..]);
    begin
}

impl WebSocket {
    /// A ping, or the end of a connection on which nothing has come since the last one. Within a frame of ours no other
    /// frame may stand: there the peer owes the rest of its own, which is as good as a pong.
    fn ping(&self, state: &mut State, out: &mut [u8]) -> Action {
        if state.stage == Stage::Pinged {
            return Action::close(CloseReason::PingTimeout);
        }
        state.stage = Stage::Pinged;
        if self.is_within_echo(state) {
            return Action::NOTHING;
        }
        let head = Head { is_last: true, opcode: Opcode::Ping, mask: None, len: 0 };
        Action::send(0..short(head.write(out)))
    }

    /// Whether the beginning of a frame has gone out, and its rest has not come.
    fn is_within_echo(&self, state: &State) -> bool {
        state.remaining > 0 && matches!(self.then, Mode::Echo)
    }

    fn upgrade(&self, state: &mut State, buffer: &mut [u8], filled: u16) -> Action {
        match agree(buffer, filled.into(), self.subprotocol.as_deref()) {
            Asked::NeedMore => Action::need_more(0..filled),
            Asked::Refused(size) => {
                Action { close: Some(CloseReason::Malformed), ..Action::send(0..short(size)) }
            }
            Asked::Agreed { answer, request } => {
                state.stage = Stage::Open;
                let (mut end, mut kept) = (answer, request..usize::from(filled));
                if let Some(banner) = self.banner.as_deref() {
                    let size = 2 + HEAD + banner.len();
                    if end + size + kept.len() > buffer.len() {
                        // Only a client that did not wait for the answer leaves so little room.
                        return Action::close(CloseReason::Malformed);
                    }
                    let to = buffer.len() - kept.len();
                    buffer.copy_within(kept, to);
                    kept = to..buffer.len();
                    let text = end + HEAD..end + HEAD + banner.len();
                    buffer[text.clone()].copy_from_slice(banner.as_bytes());
                    let begin = frame_before(buffer, text.start, text.end, Opcode::Text);
                    buffer.copy_within(begin..text.end, end);
                    end += text.end - begin;
                }
                Action::send(0..short(end)).keeping(short(kept.start)..short(kept.end))
            }
        }
    }
}

impl Pass<'_> {
    /// Goes through all that is there, until a frame is not whole.
    fn go_through(&mut self) -> Result<(), Ends> {
        while self.at < self.filled {
            if self.state.remaining > 0 {
                self.take_piece()?;
                continue;
            }
            let malformed = |_| (code::PROTOCOL_ERROR, CloseReason::Malformed);
            let read = Head::read(&self.buffer[self.at..self.filled]).map_err(malformed)?;
            let Some((head, size)) = read else { break };
            // A client masks each frame.
            let key = head.mask.ok_or((code::PROTOCOL_ERROR, CloseReason::Malformed))?;
            let len =
                u32::try_from(head.len).map_err(|_| (code::TOO_LONG, CloseReason::Malformed))?;
            let is_begin = !head.opcode.is_control();
            if is_begin {
                self.check_order(head.opcode)?;
            }
            let whole = size + len as usize;
            let may_be_whole = whole <= self.buffer.len();
            if may_be_whole && self.at + whole > self.filled {
                break;
            }
            if is_begin {
                self.begin_frame(&head, key, len, size)?;
            } else {
                self.take_control(head.opcode, key, self.at + size..self.at + whole)?;
                self.at += whole;
            }
        }
        Ok(())
    }

    /// A frame that continues needs a message that has begun, and one that begins none.
    fn check_order(&self, opcode: Opcode) -> Result<(), Ends> {
        let has_begun = self.state.message != Message::None;
        if has_begun == (opcode == Opcode::Continuation) {
            Ok(())
        } else {
            Err((code::PROTOCOL_ERROR, CloseReason::Malformed))
        }
    }

    /// What it carries comes now, and the head of what answers it goes out.
    fn begin_frame(&mut self, head: &Head, key: u32, len: u32, size: usize) -> Result<(), Ends> {
        let state = &mut *self.state;
        match head.opcode {
            Opcode::Text => state.message = Message::Text,
            Opcode::Binary => state.message = Message::Binary,
            _ => {}
        }
        (state.remaining, state.mask, state.is_last) = (len, key, head.is_last);
        self.frame_out = Some(self.out);
        if self.echoes {
            // Longer by its mask, the head that came leaves room for this one.
            self.out += Head { mask: None, ..*head }.write(&mut self.buffer[self.out..]);
        }
        self.at += size;
        if len == 0 { self.end_frame() } else { Ok(()) }
    }

    /// Takes as much of the present frame as is there.
    fn take_piece(&mut self) -> Result<(), Ends> {
        let state = &mut *self.state;
        let most = (self.filled - self.at) as u64;
        let piece = u32::try_from(most).map_or(state.remaining, |most| most.min(state.remaining));
        let range = self.at..self.at + piece as usize;
        state.mask = mask(&mut self.buffer[range.clone()], state.mask);
        if state.message == Message::Text {
            let after = state.utf8.after(&self.buffer[range.clone()]);
            state.utf8 = after.ok_or((code::INVALID_TEXT, CloseReason::Malformed))?;
        }
        if self.echoes {
            self.buffer.copy_within(range, self.out);
            self.out += piece as usize;
        }
        self.at += piece as usize;
        state.remaining -= piece;
        if state.remaining == 0 { self.end_frame() } else { Ok(()) }
    }

    fn end_frame(&mut self) -> Result<(), Ends> {
        let state = &mut *self.state;
        if state.is_last {
            if std::mem::take(&mut state.utf8) != Utf8::Whole {
                return Err((code::INVALID_TEXT, CloseReason::Malformed));
            }
            state.message = Message::None;
        }
        self.frame_out = Some(self.out);
        Ok(())
    }

    /// Answers a frame about the connection, which is whole.
    fn take_control(
        &mut self,
        opcode: Opcode,
        key: u32,
        range: std::ops::Range<usize>,
    ) -> Result<(), Ends> {
        let _ = mask(&mut self.buffer[range.clone()], key);
        match opcode {
            Opcode::Ping => {
                let head = Head {
                    is_last: true,
                    opcode: Opcode::Pong,
                    mask: None,
                    len: range.len() as u64,
                };
                self.out += head.write(&mut self.buffer[self.out..]);
                self.buffer.copy_within(range.clone(), self.out);
                self.out += range.len();
                self.frame_out = Some(self.out);
                Ok(())
            }
            Opcode::Close => match close_code(&self.buffer[range]) {
                // One without a code is answered by one that says that all is done.
                Ok(code) => Err((code.unwrap_or(code::NORMAL), CloseReason::Finished)),
                Err(code) => Err((code, CloseReason::Malformed)),
            },
            _ => Ok(()),
        }
    }

    /// Sends what is owed, and a close frame where one may stand: behind a frame, and not within one. What
    /// was to be the echo of a frame that is wrong is not sent.
    fn close(&mut self, (code, reason): Ends) -> Action {
        let mut end = self.frame_out.unwrap_or(self.out);
        if self.frame_out.is_some() && end + CLOSE <= self.buffer.len() {
            end += write_close(&mut self.buffer[end..], code);
        }
        Action { close: Some(reason), ..Action::send(0..short(end)) }
    }
}
