//! What a client expects of connections that speak WebSocket: an upgrade, perhaps what a script says first, messages.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::engine::protocol::message::Message;
use crate::engine::protocol::places::{short, wide};
use crate::engine::protocol::websocket::client::{Ends, HEAD, HEADROOM, Kind, State, Upgraded};
use crate::engine::protocol::websocket::frame::{Opcode, code};
use crate::engine::protocol::websocket::upgrade::{Answered, agreed};
use crate::engine::protocol::{Connection, Expectation, Heard, Opening, What};

impl<E: Expectation> Expectation for Upgraded<E> {
    type State = State<E::State>;

    const OPENS: bool = true;

    const FILLS_IN: bool = E::FILLS_IN;

    const HEADROOM: u16 = HEADROOM;

    fn learn_targets(&mut self, addresses: &[SocketAddr], like: &[usize]) {
        let new = like.iter().skip(self.hosts.len());
        let new: Vec<_> = new.map(|like| self.hosts[*like].clone()).collect();
        self.hosts.extend(new);
        self.then.learn_targets(addresses, like);
    }

    fn is_answered(&self) -> bool {
        self.then.is_answered()
    }

    fn is_unasked(&self) -> bool {
        self.then.is_unasked()
    }

    fn every(&self) -> Option<Duration> {
        self.then.every()
    }

    fn had_one(&self, state: &State<E::State>) -> bool {
        self.then.had_one(&state.then)
    }

    fn sequence(&self, state: &State<E::State>) -> u16 {
        self.then.sequence(&state.then)
    }

    fn next_sequence(&self, state: &mut State<E::State>) {
        self.then.next_sequence(&mut state.then);
    }

    fn open(
        &self,
        _state: &mut Self::State,
        connection: Connection,
        _at: Duration,
        out: &mut [u8],
    ) -> u16 {
        let host = &self.hosts[connection.target];
        short(self.request.write(host, self.nonce(connection.number), out))
    }

    fn on_opening(
        &self,
        state: &mut Self::State,
        connection: Connection,
        at: Duration,
        buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        if state.message != Kind::Upgrade {
            return self.hear_first(state, (connection, at), buffer, &bytes);
        }
        let subprotocol = self.request.subprotocol.as_deref();
        let came = &buffer[usize::from(bytes.start)..usize::from(bytes.end)];
        match agreed(came, self.nonce(connection.number), subprotocol) {
            Answered::NeedMore => Opening::NeedMore(bytes),
            Answered::Agreed(size) => {
                state.message = Kind::None;
                let rest = bytes.start + short(size)..bytes.end;
                if !E::OPENS {
                    return Opening::Open(rest);
                }
                self.say_first(state, (connection, at), buffer, bytes.start, rest)
            }
            Answered::Refused => Opening::REFUSED,
        }
    }

    fn write(
        &self,
        state: &mut State<E::State>,
        connection: Option<Connection>,
        message: &Message,
        message_bytes: u16,
        out: &mut [u8],
    ) -> Range<u16> {
        let plain = &mut out[HEAD..];
        let written = self.then.write(&mut state.then, connection, message, message_bytes, plain);
        let opcode = if self.asks_by_ping { Opcode::Ping } else { self.kinds.messages.opcode() };
        self.message(out, &written, opcode)
    }

    fn keepalive_every(&self) -> Option<Duration> {
        self.then.keepalive_every()
    }

    fn write_keepalive(
        &self,
        state: &mut State<E::State>,
        connection: Connection,
        at: Duration,
        out: &mut [u8],
    ) -> Range<u16> {
        let written = self.then.write_keepalive(&mut state.then, connection, at, &mut out[HEAD..]);
        self.message(out, &written, self.kinds.keepalives.opcode())
    }

    fn awaits_keepalive(&self, state: &State<E::State>) -> bool {
        self.then.awaits_keepalive(&state.then)
    }

    fn farewell(&self, _state: &mut Self::State, out: &mut [u8]) -> Range<u16> {
        self.close(out, code::NORMAL)
    }

    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let mut pass = self.pass(state, buffer, &bytes);
        match pass.go_through() {
            Ok(heard) => heard,
            // What has come before is told first; what ends it is still there.
            Err(_) if pass.unasked.is_some() => pass.need_more(),
            Err(Ends::Closed(code)) => Heard::all(What::Ends(self.close(pass.buffer, code))),
            Err(Ends::Wrong(code)) => Heard::all(What::Wrong(self.close(pass.buffer, code))),
        }
    }

    fn last_shown(&self, buffer: &[u8], bytes: Range<u16>) -> Box<[u8]> {
        let carried = self.carried.get().map_or(bytes, |(start, end)| start..end);
        self.then.last_shown(buffer, carried)
    }
}

impl<E: Expectation> Upgraded<E> {
    /// The server has agreed, and what is said first goes out as a message. `rest` has come already.
    fn say_first(
        &self,
        state: &mut State<E::State>,
        (connection, at): (Connection, Duration),
        buffer: &mut [u8],
        start: u16,
        rest: Range<u16>,
    ) -> Opening {
        // A server that speaks first; as a rule there is none.
        let came = buffer[wide(&rest)].to_vec();
        let size = self.then.open(&mut state.then, connection, at, &mut buffer[HEAD..]);
        let is_open = !self.then.awaits_opening();
        if size == 0 {
            let rest = start..start + short(came.len());
            buffer[wide(&rest)].copy_from_slice(&came);
            return match is_open {
                true => Opening::Open(rest),
                false => self.hear_first(state, (connection, at), buffer, &rest),
            };
        }
        let send = self.message(buffer, &(0..size), self.kinds.hello.opcode());
        let rest = send.end..send.end + short(came.len());
        let Some(room) = buffer.get_mut(wide(&rest)) else { return Opening::REFUSED };
        room.copy_from_slice(&came);
        Opening::Say { send, rest, is_open }
    }

    /// What answers it is gone through.
    fn hear_first(
        &self,
        state: &mut State<E::State>,
        opening: (Connection, Duration),
        buffer: &mut [u8],
        bytes: &Range<u16>,
    ) -> Opening {
        let mut pass = self.pass(state, buffer, bytes);
        pass.opening = Some(opening);
        match pass.go_through() {
            Ok(Heard { what: What::NeedMore, rest }) => Opening::NeedMore(rest),
            Ok(Heard { what: What::Alive, rest }) => Opening::Open(rest),
            Ok(Heard { what: What::Reply(send), rest }) => {
                Opening::Say { send, rest, is_open: false }
            }
            Ok(_) => Opening::REFUSED,
            Err(Ends::Closed(code) | Ends::Wrong(code)) => {
                Opening::Refused { send: self.close(pass.buffer, code), why: None }
            }
        }
    }
}
