//! A client's layer: a handshake on each connection, and then what is expected of it, in records.

use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::protocol::message::Message;
use crate::engine::protocol::places::{short, wide};
use crate::engine::protocol::tls::config::{ClientTls, ServerName};
use crate::engine::protocol::tls::content::AlertDescription;
use crate::engine::protocol::tls::handshake::{Finished, Handshake, Progress};
use crate::engine::protocol::tls::pass::{Came, Core, Pass};
use crate::engine::protocol::tls::record::PLAIN_BYTES_MAX;
use crate::engine::protocol::tls::resumption::Resumption;
use crate::engine::protocol::tls::sessions::{Entry, Sessions};
use crate::engine::protocol::tls::traffic::{HANDSHAKE_STACK, clean_stack};
use crate::engine::protocol::{Connection, Expectation, Handshaken, Heard, Opening, What};

/// Bytes of plaintext beside each other: what is kept, and what a record holds.
const PLAIN_BYTES: usize = 2 * BUFFER_BYTES as usize + PLAIN_BYTES_MAX;

/// What is expected of connections that speak TLS.
pub struct Tls<E> {
    config: ClientTls,
    /// The name of each target, as its certificate has it.
    names: Vec<ServerName<'static>>,
    then: E,
    core: RefCell<Core>,
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<S> {
    /// Its number among the core's sessions; 0 when it has none.
    session: u32,
    /// Of the bytes that are kept, those at their beginning that are plaintext.
    plain: u16,
    then: S,
}

impl<E> Tls<E> {
    /// A layer over `then`, towards targets of these names.
    #[must_use]
    pub fn new(config: ClientTls, names: Vec<ServerName<'static>>, then: E) -> Tls<E> {
        let (config, resumption) = Resumption::of_core(config);
        let core = Core {
            sessions: Sessions::default(),
            plain: vec![0; PLAIN_BYTES].into(),
            out: Vec::new(),
            resumption,
            shown: (0, 0),
            handshaken: None,
        };
        Tls { config, names, then, core: RefCell::new(core) }
    }
}

impl<E: fmt::Debug> fmt::Debug for Tls<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("then", &self.then).finish_non_exhaustive()
    }
}

impl<E: Expectation> Tls<E> {
    fn begin<'a>(
        &self,
        core: &'a mut Core,
        state: &State<E::State>,
        buffer: &'a mut [u8],
        bytes: &Range<u16>,
    ) -> Pass<'a> {
        let (kept, headroom) = (usize::from(state.plain), usize::from(E::HEADROOM));
        let Range { start, end } = wide(bytes);
        core.plain[headroom..headroom + kept].copy_from_slice(&buffer[start..start + kept]);
        core.shown = (headroom, headroom);
        Pass { core, buffer, session: state.session, headroom, kept, at: start + kept, end }
    }

    #[inline(never)]
    fn shake(
        &self,
        core: &mut Core,
        state: &mut State<E::State>,
        (connection, at): (Connection, Duration),
        buffer: &mut [u8],
        bytes: &Range<u16>,
    ) -> Opening {
        core.shown = (0, 0);
        let entry = core.sessions.get(state.session);
        let Entry::Shaking(handshake) = entry else { unreachable!("it was looked at") };
        match handshake.feed(&buffer[wide(bytes)]) {
            Err(failure) => {
                // The alert that says why to the server.
                let waiting = handshake.outgoing();
                let size = waiting.len().min(buffer.len());
                buffer[..size].copy_from_slice(&waiting[..size]);
                Opening::Refused { send: 0..short(size), why: Some(failure.to_string()) }
            }
            Ok(Progress::NeedMore) => {
                let waiting = handshake.outgoing();
                let size = waiting.len().min(buffer.len());
                buffer[..size].copy_from_slice(&waiting[..size]);
                handshake.sent(size);
                match size {
                    0 => Opening::NeedMore(0..0),
                    size => Opening::Say { send: 0..short(size), rest: 0..0, is_open: false },
                }
            }
            Ok(Progress::Done) => {
                let Entry::Shaking(handshake) = std::mem::take(entry) else {
                    unreachable!("it was looked at")
                };
                let finished = handshake.finish();
                let Ok(Finished { session, rest, outgoing, is_resumed, tickets, .. }) = finished
                else {
                    return Opening::REFUSED;
                };
                *entry = Entry::Open(session);
                let Core { sessions, plain, out, resumption, handshaken, .. } = core;
                let kind = if is_resumed { Handshaken::Resumed } else { Handshaken::Full };
                *handshaken = Some(kind);
                if let (Some(resumption), Some(tickets)) = (resumption, tickets) {
                    resumption.wait(state.session, &self.names[connection.target], tickets);
                }
                let mut session = sessions.open(state.session).expect("it was put there");
                out.clear();
                out.extend_from_slice(&outgoing);
                let mut is_open = true;
                if E::OPENS {
                    let size = self.then.open(&mut state.then, connection, at, plain);
                    if size > 0 {
                        session.seal(&plain[..usize::from(size)], out);
                    }
                    is_open = !self.then.awaits_opening();
                }
                let (said, end) = (out.len(), out.len() + rest.len());
                if end > buffer.len() {
                    return Opening::REFUSED;
                }
                buffer[..said].copy_from_slice(out);
                buffer[said..end].copy_from_slice(&rest);
                let rest = short(said)..short(end);
                match (said, is_open) {
                    (0, true) => Opening::Open(rest),
                    _ => Opening::Say { send: 0..short(said), rest, is_open },
                }
            }
        }
    }
}

impl<E: Expectation> Expectation for Tls<E> {
    type State = State<E::State>;

    const OPENS: bool = true;

    const COSTLY: bool = true;

    const BYTES_BESIDE: usize = size_of::<Entry>() + E::BYTES_BESIDE;

    const FILLS_IN: bool = E::FILLS_IN;

    fn learn_targets(&mut self, addresses: &[SocketAddr], like: &[usize]) {
        let new = like.iter().skip(self.names.len());
        let new: Vec<_> = new.map(|like| self.names[*like].clone()).collect();
        self.names.extend(new);
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

    fn had_one(&self, state: &Self::State) -> bool {
        self.then.had_one(&state.then)
    }

    fn sequence(&self, state: &Self::State) -> u16 {
        self.then.sequence(&state.then)
    }

    fn next_sequence(&self, state: &mut Self::State) {
        self.then.next_sequence(&mut state.then);
    }

    fn open(
        &self,
        state: &mut Self::State,
        connection: Connection,
        _at: Duration,
        out: &mut [u8],
    ) -> u16 {
        let name = &self.names[connection.target];
        let core = &mut *self.core.borrow_mut();
        if let Some(resumption) = &mut core.resumption {
            resumption.begin(name);
        }
        let mut handshake = Handshake::client(&self.config, name).expect("there is randomness");
        let size = handshake.outgoing().len();
        out[..size].copy_from_slice(handshake.outgoing());
        handshake.sent(size);
        state.session = core.sessions.add(Entry::Shaking(Box::new(handshake)));
        short(size)
    }

    fn on_opening(
        &self,
        state: &mut Self::State,
        connection: Connection,
        at: Duration,
        buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        let core = &mut *self.core.borrow_mut();
        if let Entry::Shaking(_) = core.sessions.get(state.session) {
            let opening = self.shake(core, state, (connection, at), buffer, &bytes);
            clean_stack::<HANDSHAKE_STACK>();
            return opening;
        }
        let mut pass = self.begin(core, state, buffer, &bytes);
        loop {
            let range = E::HEADROOM..E::HEADROOM + short(pass.kept);
            let (opening, rest) = if pass.kept == 0 {
                (Opening::NeedMore(0..0), 0..0)
            } else {
                pass.core.shown = (range.start.into(), range.end.into());
                let plain = &mut pass.core.plain[..];
                match self.then.on_opening(&mut state.then, connection, at, plain, range) {
                    Opening::NeedMore(rest) => (Opening::NeedMore(0..0), rest),
                    Opening::Refused { send, why } => {
                        pass.seal(&send);
                        (Opening::Refused { send: 0..0, why }, 0..0)
                    }
                    Opening::Open(rest) => (Opening::Open(0..0), rest),
                    Opening::Say { send, rest, is_open } => {
                        pass.seal(&send);
                        (Opening::Say { send: 0..0, rest: 0..0, is_open }, rest)
                    }
                }
            };
            pass.keep(&rest);
            let (opening, says) = match opening {
                Opening::NeedMore(_) if pass.is_full() => return Opening::REFUSED,
                Opening::NeedMore(_) => match pass.next() {
                    Came::Data | Came::Nothing => continue,
                    Came::NeedMore => (Opening::NeedMore(0..0), false),
                    Came::Reply => (Opening::Say { send: 0..0, rest: 0..0, is_open: false }, true),
                    Came::Ends => (Opening::REFUSED, true),
                },
                Opening::Say { .. } | Opening::Refused { .. } => (opening, true),
                opening => (opening, false),
            };
            state.plain = short(pass.kept);
            let Some((send, rest)) = pass.put(says) else { return Opening::REFUSED };
            return match opening {
                Opening::NeedMore(_) => Opening::NeedMore(rest),
                Opening::Open(_) => Opening::Open(rest),
                Opening::Say { is_open, .. } => Opening::Say { send, rest, is_open },
                Opening::Refused { why, .. } => Opening::Refused { send, why },
            };
        }
    }

    fn take_handshake(&self) -> Option<Handshaken> {
        self.core.borrow_mut().handshaken.take()
    }

    fn write(
        &self,
        state: &mut Self::State,
        connection: Option<Connection>,
        message: &Message,
        message_bytes: u16,
        buffer: &mut [u8],
    ) -> Range<u16> {
        let Core { sessions, plain, out, .. } = &mut *self.core.borrow_mut();
        let written = self.then.write(&mut state.then, connection, message, message_bytes, plain);
        let mut session = sessions.open(state.session).expect("it is open");
        out.clear();
        session.seal(&plain[wide(&written)], out);
        buffer[..out.len()].copy_from_slice(out);
        0..short(out.len())
    }

    fn keepalive_every(&self) -> Option<Duration> {
        self.then.keepalive_every()
    }

    fn write_keepalive(
        &self,
        state: &mut Self::State,
        connection: Connection,
        at: Duration,
        buffer: &mut [u8],
    ) -> Range<u16> {
        let Core { sessions, plain, out, .. } = &mut *self.core.borrow_mut();
        let written = self.then.write_keepalive(&mut state.then, connection, at, plain);
        let mut session = sessions.open(state.session).expect("it is open");
        out.clear();
        session.seal(&plain[wide(&written)], out);
        buffer[..out.len()].copy_from_slice(out);
        0..short(out.len())
    }

    fn awaits_keepalive(&self, state: &Self::State) -> bool {
        self.then.awaits_keepalive(&state.then)
    }

    fn farewell(&self, state: &mut Self::State, buffer: &mut [u8]) -> Range<u16> {
        let Core { sessions, plain, out, .. } = &mut *self.core.borrow_mut();
        let Some(mut session) = sessions.open(state.session) else { return 0..0 };
        out.clear();
        let written = self.then.farewell(&mut state.then, plain);
        session.seal(&plain[wide(&written)], out);
        session.append_alert(AlertDescription::CloseNotify, out);
        buffer[..out.len()].copy_from_slice(out);
        0..short(out.len())
    }

    fn forget(&self, state: &mut Self::State) {
        if state.session != 0 {
            let core = &mut *self.core.borrow_mut();
            core.sessions.remove(state.session);
            if let Some(resumption) = &mut core.resumption {
                resumption.forget(state.session);
            }
            state.session = 0;
        }
    }

    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        let core = &mut *self.core.borrow_mut();
        let mut pass = self.begin(core, state, buffer, &bytes);
        loop {
            let range = E::HEADROOM..E::HEADROOM + short(pass.kept);
            let mut says = false;
            let mut what = What::NeedMore;
            if pass.kept > 0 {
                pass.core.shown = (range.start.into(), range.end.into());
                let plain = &mut pass.core.plain[..];
                let heard = self.then.on_bytes(&mut state.then, plain, range);
                if let What::Reply(send) | What::Ends(send) | What::Wrong(send) = &heard.what {
                    pass.seal(send);
                    says = true;
                }
                pass.keep(&heard.rest);
                what = heard.what;
            }
            if what == What::NeedMore && pass.is_full() {
                return Heard::all(What::Mismatch);
            }
            if what == What::NeedMore {
                what = match pass.next() {
                    Came::Data | Came::Nothing => continue,
                    Came::NeedMore => What::NeedMore,
                    Came::Reply => What::Reply(0..0),
                    Came::Ends => What::Ends(0..0),
                };
                says = what != What::NeedMore;
            }
            state.plain = short(pass.kept);
            let Some((send, rest)) = pass.put(says) else { return Heard::all(What::Mismatch) };
            let what = match what {
                What::Reply(_) => What::Reply(send),
                What::Ends(_) => What::Ends(send),
                What::Wrong(_) => What::Wrong(send),
                what => what,
            };
            return Heard { what, rest };
        }
    }

    fn last_shown(&self, _buffer: &[u8], _bytes: Range<u16>) -> Box<[u8]> {
        let Core { plain, shown, .. } = &*self.core.borrow();
        self.then.last_shown(plain, short(shown.0)..short(shown.1))
    }
}
