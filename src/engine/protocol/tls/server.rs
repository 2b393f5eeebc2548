//! A server's layer: a handshake, and then the protocol that it holds, in records.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::close_reason::CloseReason;
use crate::engine::protocol::broadcast::Said;
use crate::engine::protocol::places::{short, wide};
use crate::engine::protocol::tls::config::ServerTls;
use crate::engine::protocol::tls::content::{AlertDescription, Opened};
use crate::engine::protocol::tls::handshake::{Finished, HANDSHAKE_BYTES, Handshake, Progress};
use crate::engine::protocol::tls::record::PLAIN_BYTES_MAX;
use crate::engine::protocol::tls::seal::Open;
use crate::engine::protocol::tls::sessions::{Entry, Sessions};
use crate::engine::protocol::tls::traffic::{HANDSHAKE_STACK, clean_stack};
use crate::engine::protocol::{Action, Protocol, Shaking};

/// Bytes of plaintext beside each other: what the protocol has kept, and what a record holds.
const PLAIN_BYTES: usize = BUFFER_BYTES as usize + PLAIN_BYTES_MAX;

/// Bytes that records have beside their plaintext, and an alert behind them.
const SPARE_BYTES: usize = 128;

/// A server that speaks TLS, and in it what `then` says.
pub struct Tls<P> {
    config: ServerTls,
    then: P,
    core: RefCell<Core>,
}

/// What a core has for all its connections.
struct Core {
    sessions: Sessions,
    /// Handshakes that rustls has begun.
    handshakes: u32,
    /// Bytes of those that it has not.
    awaited_bytes: usize,
    plain: Box<[u8]>,
    /// What the protocol says to what has come.
    said: Vec<u8>,
    /// The same in records.
    out: Vec<u8>,
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

/// Why a connection ends, and the alert that tells the peer so.
type Ends = (Option<AlertDescription>, CloseReason);

impl<P> Tls<P> {
    /// A layer over `then`.
    #[must_use]
    pub fn new(config: ServerTls, then: P) -> Tls<P> {
        let plain = vec![0; PLAIN_BYTES].into();
        let (said, out) = (Vec::new(), Vec::new());
        let core = Core {
            sessions: Sessions::default(),
            handshakes: 0,
            awaited_bytes: 0,
            plain,
            said,
            out,
        };
        Tls { config, then, core: RefCell::new(core) }
    }
}

impl<P: fmt::Debug> fmt::Debug for Tls<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("then", &self.then).finish_non_exhaustive()
    }
}

impl<P: Protocol> Protocol for Tls<P> {
    type State = State<P::State>;

    const BYTES_BESIDE: usize = size_of::<Entry>() + P::BYTES_BESIDE;

    const SAYS_FAREWELL: bool = true;

    const SHAKES: bool = true;

    fn handshake(&self, state: &Self::State) -> Shaking {
        if state.session == 0 {
            return Shaking::New;
        }
        match self.core.borrow_mut().sessions.get(state.session) {
            // The handshake itself is not looked at: where many rest, its memory is cold.
            Entry::Awaiting(_) => Shaking::New,
            Entry::Shaking(_) => Shaking::Costly,
            Entry::Open(_) => self.then.handshake(&state.then),
            Entry::Free => unreachable!("a connection has its session"),
        }
    }

    fn handshakes(&self) -> u32 {
        // What came of first records takes room as well.
        let Core { handshakes, awaited_bytes, .. } = &*self.core.borrow();
        let others = awaited_bytes / HANDSHAKE_BYTES;
        handshakes + u32::try_from(others).unwrap_or(u32::MAX)
    }

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every()
    }

    fn pings(&self) -> bool {
        self.then.pings()
    }

    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], filled: u16) -> Action {
        let core = &mut *self.core.borrow_mut();
        if state.session == 0 {
            let handshake = Box::new(Handshake::server(&self.config));
            state.session = core.sessions.add(Entry::Awaiting(handshake));
        }
        match core.sessions.get(state.session) {
            Entry::Awaiting(_) | Entry::Shaking(_) => {
                let action = self.shake(core, state, buffer, filled.into());
                clean_stack::<HANDSHAKE_STACK>();
                action
            }
            Entry::Open(_) => self.pass(core, state, buffer, filled.into()),
            Entry::Free => unreachable!("a connection has its session"),
        }
    }

    fn on_timer(&self, state: &mut Self::State, out: &mut [u8]) -> Action {
        self.say_unasked(state, out, |then, state, plain| then.on_timer(state, plain))
    }

    fn on_broadcast(&self, state: &mut Self::State, said: &Said<'_>, out: &mut [u8]) -> Action {
        self.say_unasked(state, out, |then, state, plain| then.on_broadcast(state, said, plain))
    }

    fn farewell(&self, state: &Self::State, out: &mut [u8]) -> u16 {
        let Core { sessions, plain, out: sealed, .. } = &mut *self.core.borrow_mut();
        let Some(mut session) = sessions.open(state.session) else { return 0 };
        sealed.clear();
        let size = self.then.farewell(&state.then, plain);
        session.seal(&plain[..usize::from(size)], sealed);
        session.append_alert(AlertDescription::CloseNotify, sealed);
        out[..sealed.len()].copy_from_slice(sealed);
        short(sealed.len())
    }

    fn forget(&self, state: &mut Self::State) {
        if state.session != 0 {
            let core = &mut *self.core.borrow_mut();
            match core.sessions.get(state.session) {
                Entry::Awaiting(handshake) => core.awaited_bytes -= handshake.incoming_bytes(),
                Entry::Shaking(_) => core.handshakes -= 1,
                Entry::Open(_) | Entry::Free => {}
            }
            core.sessions.remove(state.session);
            state.session = 0;
        }
        self.then.forget(&mut state.then);
    }
}

impl<P: Protocol> Tls<P> {
    /// Seals what the protocol says of its own accord.
    fn say_unasked(
        &self,
        state: &mut State<P::State>,
        out: &mut [u8],
        say: impl FnOnce(&P, &mut P::State, &mut [u8]) -> Action,
    ) -> Action {
        let Core { sessions, plain, out: sealed, .. } = &mut *self.core.borrow_mut();
        let Some(mut session) = sessions.open(state.session) else { return Action::NOTHING };
        let Action { send, close, .. } = say(&self.then, &mut state.then, plain);
        if let Some(reason) = close {
            return Action::close(reason);
        }
        sealed.clear();
        let ends = seal(&mut session, &plain[wide(&send)], sealed);
        if let Some((Some(alert), _)) = ends {
            session.append_alert(alert, sealed);
        }
        out[..sealed.len()].copy_from_slice(sealed);
        Action { close: ends.map(|(_, reason)| reason), ..Action::send(0..short(sealed.len())) }
    }

    /// The handshake takes what came, and says what it has to say. Its stack is not that of its caller, who cleans it.
    #[inline(never)]
    fn shake(
        &self,
        core: &mut Core,
        state: &mut State<P::State>,
        buffer: &mut [u8],
        filled: usize,
    ) -> Action {
        let entry = core.sessions.get(state.session);
        let is_new = matches!(entry, Entry::Awaiting(_));
        let (Entry::Awaiting(mut handshake) | Entry::Shaking(mut handshake)) =
            std::mem::take(entry)
        else {
            unreachable!("it was looked at");
        };
        let before = if is_new { handshake.incoming_bytes() } else { 0 };
        let progress = handshake.feed(&buffer[..filled]);
        let is_done = progress == Ok(Progress::Done);
        let waiting = if is_done { &[] } else { handshake.outgoing() };
        let size = waiting.len().min(buffer.len());
        buffer[..size].copy_from_slice(&waiting[..size]);
        handshake.sent(size);
        let is_all = handshake.outgoing().is_empty();
        let has_begun = handshake.has_begun();
        let after = if has_begun { 0 } else { handshake.incoming_bytes() };
        *entry = if has_begun { Entry::Shaking(handshake) } else { Entry::Awaiting(handshake) };
        core.handshakes += u32::from(is_new && has_begun);
        core.awaited_bytes = core.awaited_bytes + after - before;
        if is_done {
            return self.open(core, state, buffer);
        }
        let close = progress.is_err().then_some(CloseReason::Malformed);
        Action { close, again: !is_all, ..Action::send(0..short(size)) }
    }

    /// The handshake is done: its last bytes go out, and what came behind it is looked at.
    fn open(&self, core: &mut Core, state: &mut State<P::State>, buffer: &mut [u8]) -> Action {
        let entry = core.sessions.get(state.session);
        let Entry::Shaking(handshake) = std::mem::take(entry) else {
            unreachable!("it was looked at");
        };
        core.handshakes -= 1;
        let Ok(Finished { session, rest, outgoing, .. }) = handshake.finish() else {
            return Action::close(CloseReason::Malformed);
        };
        *entry = Entry::Open(session);
        core.out.clear();
        core.out.extend_from_slice(&outgoing);
        if self.then.speaks_first() {
            let Action { send, .. } = self.then.on_open(&mut state.then, &mut core.plain);
            let mut session = core.sessions.open(state.session).expect("it was put there");
            session.seal(&core.plain[wide(&send)], &mut core.out);
        }
        let (out, end) = (core.out.len(), core.out.len() + rest.len());
        if end > buffer.len() {
            return Action::close(CloseReason::Malformed);
        }
        buffer[..out].copy_from_slice(&core.out);
        buffer[out..end].copy_from_slice(&rest);
        if out == 0 {
            return self.pass(core, state, buffer, end);
        }
        Action::send(0..short(out)).keeping(short(out)..short(end))
    }

    /// Opens the records that came, shows the protocol what they hold, and seals what it says.
    fn pass(
        &self,
        core: &mut Core,
        state: &mut State<P::State>,
        buffer: &mut [u8],
        filled: usize,
    ) -> Action {
        let Core { sessions, plain, said, out, .. } = core;
        let mut session = sessions.open(state.session).expect("it was looked at");
        let mut kept = usize::from(state.plain);
        plain[..kept].copy_from_slice(&buffer[..kept]);
        let mut at = kept;
        out.clear();
        said.clear();
        let mut ends: Option<Ends> = None;
        while at < filled && ends.is_none() {
            let is_full = out.len() + said.len() + kept + filled - at + SPARE_BYTES > buffer.len();
            if is_full && !(out.is_empty() && said.is_empty()) {
                // What is said goes out first, and then the rest is looked at.
                break;
            }
            let record = session.open(&mut buffer[at..filled]);
            match record.opened {
                Opened::NeedMore(_) => break,
                Opened::Data(data) => {
                    plain[kept..kept + data.len()]
                        .copy_from_slice(&buffer[at + data.start..at + data.end]);
                    kept += data.len();
                    ends = self.show(&mut state.then, plain, &mut kept, said);
                }
                Opened::KeyUpdate { must_answer: true } => {
                    ends = seal(&mut session, said, out);
                    said.clear();
                    session.append_key_update(out);
                }
                Opened::Renegotiation => {
                    ends = seal(&mut session, said, out);
                    said.clear();
                    session.append_alert(AlertDescription::NoRenegotiation, out);
                }
                Opened::KeyUpdate { .. } | Opened::Ticket(_) | Opened::Nothing => {}
                Opened::CloseNotify => {
                    ends = Some((Some(AlertDescription::CloseNotify), CloseReason::Finished));
                }
                Opened::Alert(_) => ends = Some((None, CloseReason::Malformed)),
                Opened::Bad(bad) => ends = Some((Some(bad.alert()), CloseReason::Malformed)),
            }
            at += record.bytes;
        }
        let ends = ends.or(seal(&mut session, said, out));
        if let Some((Some(alert), _)) = ends {
            session.append_alert(alert, out);
        }
        let (said, left) = (out.len(), filled - at);
        if said + kept + left > buffer.len() {
            return Action::close(CloseReason::Malformed);
        }
        if let Some((_, reason)) = ends {
            buffer[..said].copy_from_slice(out);
            return Action { close: Some(reason), ..Action::send(0..short(said)) };
        }
        buffer.copy_within(at..filled, said + kept);
        buffer[..said].copy_from_slice(out);
        buffer[said..said + kept].copy_from_slice(&plain[..kept]);
        state.plain = short(kept);
        Action::send(0..short(said)).keeping(short(said)..short(said + kept + left))
    }

    /// Shows the protocol what is there, until it waits for more, and takes what it says.
    fn show(
        &self,
        state: &mut P::State,
        plain: &mut [u8],
        kept: &mut usize,
        said: &mut Vec<u8>,
    ) -> Option<Ends> {
        loop {
            let action = self.then.on_bytes(state, plain, short(*kept));
            said.extend_from_slice(&plain[wide(&action.send)]);
            if let Some(reason) = action.close {
                return Some((Some(AlertDescription::CloseNotify), reason));
            }
            plain.copy_within(wide(&action.kept), 0);
            *kept = action.kept.len();
            if action.send.is_empty() || *kept == 0 && !action.again {
                break;
            }
        }
        // A message that is longer than a buffer without TLS never ends.
        let is_too_long = *kept >= usize::from(BUFFER_BYTES);
        is_too_long.then_some((Some(AlertDescription::InternalError), CloseReason::Malformed))
    }
}

/// Seals what was said; how the connection ends when its key is worn out.
fn seal(session: &mut Open<'_>, said: &[u8], out: &mut Vec<u8>) -> Option<Ends> {
    let is_good = session.seal(said, out);
    (!is_good).then_some((Some(AlertDescription::CloseNotify), CloseReason::Finished))
}
