//! The bytes of a client's connection, record by record: what they hold stands in the core's own memory, beside what is
//! said to it.

use std::ops::Range;

use crate::base::constants::BUFFER_BYTES;
use crate::engine::protocol::Handshaken;
use crate::engine::protocol::places::{short, wide};
use crate::engine::protocol::tls::content::{AlertDescription, Opened};
use crate::engine::protocol::tls::resumption::Resumption;
use crate::engine::protocol::tls::sessions::Sessions;

/// What a core has for all its connections.
pub(super) struct Core {
    pub(super) sessions: Sessions,
    pub(super) plain: Box<[u8]>,
    pub(super) out: Vec<u8>,
    /// Where later connections are resumed.
    pub(super) resumption: Option<Resumption>,
    /// Plaintext stands there, as it was shown last; none in a handshake.
    pub(super) shown: (usize, usize),
    /// The handshake that has just ended.
    pub(super) handshaken: Option<Handshaken>,
}

/// What came of a record.
pub(super) enum Came {
    /// Plaintext, behind what was kept.
    Data,
    /// Nothing that matters.
    Nothing,
    /// The next record is not whole.
    NeedMore,
    /// What was sealed is to be sent.
    Reply,
    /// What was sealed is to be sent, and the connection ends.
    Ends,
}

/// The bytes of a buffer, as they are gone through: plaintext in the core's own, and records from `at` on.
pub(super) struct Pass<'a> {
    pub(super) core: &'a mut Core,
    pub(super) buffer: &'a mut [u8],
    pub(super) session: u32,
    /// Bytes that are free before the plaintext.
    pub(super) headroom: usize,
    /// Plaintext that is not dealt with.
    pub(super) kept: usize,
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Pass<'_> {
    pub(super) fn next(&mut self) -> Came {
        if self.at == self.end {
            return Came::NeedMore;
        }
        let Core { sessions, plain, out, resumption, .. } = &mut *self.core;
        let mut session = sessions.open(self.session).expect("the handshake is done");
        let record = session.open(&mut self.buffer[self.at..self.end]);
        out.clear();
        let came = match record.opened {
            Opened::NeedMore(_) => Came::NeedMore,
            Opened::Data(data) => {
                let to = self.headroom + self.kept;
                plain[to..to + data.len()]
                    .copy_from_slice(&self.buffer[self.at + data.start..self.at + data.end]);
                self.kept += data.len();
                Came::Data
            }
            Opened::KeyUpdate { must_answer: true } => {
                session.append_key_update(out);
                Came::Reply
            }
            Opened::Renegotiation => {
                session.append_alert(AlertDescription::NoRenegotiation, out);
                Came::Reply
            }
            Opened::Ticket(range) => {
                if let Some(resumption) = resumption {
                    let messages = &self.buffer[self.at + range.start..self.at + range.end];
                    resumption.take(self.session, messages);
                }
                Came::Nothing
            }
            Opened::KeyUpdate { .. } | Opened::Nothing => Came::Nothing,
            Opened::CloseNotify => {
                session.append_alert(AlertDescription::CloseNotify, out);
                Came::Ends
            }
            Opened::Alert(_) => Came::Ends,
            Opened::Bad(bad) => {
                session.append_alert(bad.alert(), out);
                Came::Ends
            }
        };
        self.at += record.bytes;
        came
    }

    /// Whether what is kept would fill a buffer without TLS: it never ends.
    pub(super) fn is_full(&self) -> bool {
        self.headroom + self.kept >= BUFFER_BYTES.into()
    }

    /// What is kept of the plaintext, which is moved to its beginning.
    pub(super) fn keep(&mut self, rest: &Range<u16>) {
        self.core.plain.copy_within(wide(rest), self.headroom);
        self.kept = rest.len();
    }

    /// Seals plaintext behind what is to be sent.
    pub(super) fn seal(&mut self, plain: &Range<u16>) {
        let Core { sessions, plain: all, out, .. } = &mut *self.core;
        let mut session = sessions.open(self.session).expect("the handshake is done");
        out.clear();
        session.seal(&all[wide(plain)], out);
    }

    /// Puts what is to be sent, and what is left, into the buffer: where each stands. `None` when it has no room.
    pub(super) fn put(&mut self, says: bool) -> Option<(Range<u16>, Range<u16>)> {
        let said = if says { self.core.out.len() } else { 0 };
        let (left, kept) = (self.end - self.at, self.kept);
        if said + kept + left > self.buffer.len() {
            return None;
        }
        self.buffer.copy_within(self.at..self.end, said + kept);
        self.buffer[..said].copy_from_slice(&self.core.out[..said]);
        let plain = &self.core.plain[self.headroom..self.headroom + kept];
        self.buffer[said..said + kept].copy_from_slice(plain);
        Some((0..short(said), short(said)..short(said + kept + left)))
    }
}
