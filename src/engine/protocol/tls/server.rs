//! A server's layer: a handshake, and then the protocol that it holds, in records.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::close_reason::CloseReason;
use crate::engine::protocol::tls::config::ServerTls;
use crate::engine::protocol::tls::content::{AlertDescription, Opened};
use crate::engine::protocol::tls::handshake::{Finished, Handshake, Progress};
use crate::engine::protocol::tls::key_update::Wear;
use crate::engine::protocol::tls::seal::{append_alert, append_key_update, seal};
use crate::engine::protocol::tls::secrets::Session;
use crate::engine::protocol::tls::sessions::{Entry, Sessions};
use crate::engine::protocol::{Action, Protocol};

/// Bytes of plaintext that the protocol is shown at once. What it keeps of them, and a record, are in one buffer.
const PLAIN_BYTES: usize = 2_048;

/// Bytes that a record has beside its plaintext, and an alert behind it.
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
    plain: Box<[u8; PLAIN_BYTES]>,
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
        let (plain, out) =
            (Box::new([0; PLAIN_BYTES]), Vec::with_capacity(2 * usize::from(BUFFER_BYTES)));
        Tls { config, then, core: RefCell::new(Core { sessions: Sessions::default(), plain, out }) }
    }
}

impl<P: fmt::Debug> fmt::Debug for Tls<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("then", &self.then).finish_non_exhaustive()
    }
}

impl<P: Protocol> Protocol for Tls<P> {
    type State = State<P::State>;

    const SAYS_FAREWELL: bool = true;

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every()
    }

    fn on_bytes(&self, state: &mut Self::State, buffer: &mut [u8], filled: u16) -> Action {
        let core = &mut *self.core.borrow_mut();
        if state.session == 0 {
            let Ok(handshake) = Handshake::server(&self.config) else {
                return Action::close(CloseReason::Malformed);
            };
            state.session = core.sessions.add(Entry::Shaking(Box::new(handshake)));
        }
        match core.sessions.get(state.session) {
            Entry::Shaking(_) => self.shake(core, state, buffer, filled.into()),
            Entry::Open(_) => self.pass(core, state, buffer, filled.into()),
            Entry::Free => unreachable!("a connection has its session"),
        }
    }

    fn on_timer(&self, state: &mut Self::State, out: &mut [u8]) -> Action {
        let Core { sessions, plain, out: sealed } = &mut *self.core.borrow_mut();
        let Some(session) = open_session(sessions, state.session) else { return Action::NOTHING };
        let Action { send, .. } = self.then.on_timer(&mut state.then, &mut plain[..]);
        sealed.clear();
        if send.is_empty() || !seal(session, &plain[wide(&send)], sealed) {
            return Action::NOTHING;
        }
        out[..sealed.len()].copy_from_slice(sealed);
        Action::send(0..short(sealed.len()))
    }

    fn farewell(&self, state: &Self::State, out: &mut [u8]) -> u16 {
        let Core { sessions, plain, out: sealed } = &mut *self.core.borrow_mut();
        let Some(session) = open_session(sessions, state.session) else { return 0 };
        sealed.clear();
        let size = self.then.farewell(&state.then, &mut plain[..]);
        if size > 0 {
            seal(session, &plain[..usize::from(size)], sealed);
        }
        append_alert(session, AlertDescription::CloseNotify, sealed);
        out[..sealed.len()].copy_from_slice(sealed);
        short(sealed.len())
    }

    fn forget(&self, state: &mut Self::State) {
        if state.session != 0 {
            self.core.borrow_mut().sessions.remove(state.session);
            state.session = 0;
        }
        self.then.forget(&mut state.then);
    }
}

fn open_session(sessions: &mut Sessions, number: u32) -> Option<&mut Session> {
    match sessions.get(number.max(1)) {
        Entry::Open(session) if number != 0 => Some(session),
        _ => None,
    }
}

fn short(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("a buffer is short")
}

fn wide(range: &Range<u16>) -> Range<usize> {
    range.start.into()..range.end.into()
}

impl<P: Protocol> Tls<P> {
    /// The handshake takes what came, and says what it has to say.
    fn shake(
        &self,
        core: &mut Core,
        state: &mut State<P::State>,
        buffer: &mut [u8],
        filled: usize,
    ) -> Action {
        let Entry::Shaking(handshake) = core.sessions.get(state.session) else {
            unreachable!("it was looked at");
        };
        let progress = handshake.feed(&buffer[..filled]);
        if progress == Ok(Progress::Done) {
            return self.open(core, state, buffer);
        }
        let waiting = handshake.outgoing();
        let size = waiting.len().min(buffer.len());
        buffer[..size].copy_from_slice(&waiting[..size]);
        handshake.sent(size);
        let is_all = handshake.outgoing().is_empty();
        let close = progress.is_err().then_some(CloseReason::Malformed);
        Action { close, again: !is_all, ..Action::send(0..short(size)) }
    }

    /// The handshake is done: its last bytes go out, and what came behind it is looked at.
    fn open(&self, core: &mut Core, state: &mut State<P::State>, buffer: &mut [u8]) -> Action {
        let entry = core.sessions.get(state.session);
        let Entry::Shaking(handshake) = std::mem::take(entry) else {
            unreachable!("it was looked at");
        };
        let Ok(Finished { session, rest, outgoing, .. }) = handshake.finish() else {
            return Action::close(CloseReason::Malformed);
        };
        *entry = Entry::Open(session);
        let Entry::Open(session) = entry else { unreachable!("it was put there") };
        core.out.clear();
        core.out.extend_from_slice(&outgoing);
        if self.then.speaks_first() {
            let Action { send, .. } = self.then.on_open(&mut state.then, &mut core.plain[..]);
            seal(session, &core.plain[wide(&send)], &mut core.out);
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
        let Core { sessions, plain, out } = core;
        let session = open_session(sessions, state.session).expect("it was looked at");
        let mut kept = usize::from(state.plain);
        plain[..kept].copy_from_slice(&buffer[..kept]);
        let mut at = kept;
        out.clear();
        let mut ends: Option<Ends> = None;
        while at < filled && ends.is_none() {
            let left = filled - at;
            if !out.is_empty() && out.len() + kept + 2 * left + SPARE_BYTES > buffer.len() {
                // What is said goes out first, and then the rest is looked at.
                break;
            }
            let record = session.open(&mut buffer[at..filled]);
            match record.opened {
                Opened::NeedMore(whole) => {
                    if whole + PLAIN_BYTES > buffer.len() {
                        let alert = AlertDescription::RecordOverflow;
                        ends = Some((Some(alert), CloseReason::Malformed));
                    }
                    break;
                }
                Opened::Data(data) => {
                    let data = &buffer[at + data.start..at + data.end];
                    ends = self.show(&mut state.then, session, plain, &mut kept, data, out);
                }
                Opened::KeyUpdate { must_answer: true } => append_key_update(session, out),
                Opened::Renegotiation => {
                    append_alert(session, AlertDescription::NoRenegotiation, out);
                }
                Opened::KeyUpdate { .. } | Opened::Ticket(_) | Opened::Nothing => {}
                Opened::CloseNotify => {
                    ends = Some((Some(AlertDescription::CloseNotify), CloseReason::Finished));
                }
                Opened::Alert(_) => ends = Some((None, CloseReason::Malformed)),
                Opened::Bad(bad) => ends = Some((Some(bad.alert()), CloseReason::Malformed)),
            }
            at += record.bytes;
            match session.wear() {
                Wear::Good => {}
                Wear::UpdateIsDue => append_key_update(session, out),
                Wear::CloseIsDue => {
                    ends =
                        ends.or(Some((Some(AlertDescription::CloseNotify), CloseReason::Finished)));
                }
            }
        }
        if let Some((Some(alert), _)) = ends {
            append_alert(session, alert, out);
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

    /// Shows the protocol data of a record, behind what it has kept, and seals what it says.
    fn show(
        &self,
        state: &mut P::State,
        session: &mut Session,
        plain: &mut [u8; PLAIN_BYTES],
        kept: &mut usize,
        mut data: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Ends> {
        while !data.is_empty() {
            let piece = data.len().min(PLAIN_BYTES - *kept);
            if piece == 0 {
                // A message that is longer than what is shown never ends.
                return Some((Some(AlertDescription::InternalError), CloseReason::Malformed));
            }
            let (first, rest) = data.split_at(piece);
            plain[*kept..*kept + piece].copy_from_slice(first);
            (data, *kept) = (rest, *kept + piece);
            loop {
                let action = self.then.on_bytes(state, &mut plain[..], short(*kept));
                let has_sent = !action.send.is_empty();
                if has_sent && !seal(session, &plain[wide(&action.send)], out) {
                    return Some((Some(AlertDescription::CloseNotify), CloseReason::Finished));
                }
                if let Some(reason) = action.close {
                    return Some((Some(AlertDescription::CloseNotify), reason));
                }
                *kept = action.kept.len();
                plain.copy_within(wide(&action.kept), 0);
                if !has_sent || *kept == 0 {
                    break;
                }
            }
        }
        None
    }
}
