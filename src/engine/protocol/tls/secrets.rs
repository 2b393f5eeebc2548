//! What is kept of a TLS connection: a secret and a number of records for each direction, and no buffer.
//!
//! A [`Session`] is made by a handshake, and sealed with and opened by in `record`. It is overwritten with zeros when
//! it is dropped, and so are the ciphers made from its secrets that are in a
//! [`Kept`](crate::engine::protocol::tls::cipher::Kept). What a move leaves behind is not, nor is a cipher on the stack:
//! keep a session where it is made.

use std::fmt;

use rustls::{ConnectionTrafficSecrets, ExtractedSecrets, ProtocolVersion, Side};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::engine::protocol::tls::joiner::Joiner;
use crate::engine::protocol::tls::suite::Suite;
use crate::engine::protocol::tls::traffic::{Secret, Secrets};

/// What a connection keeps at most, so that a million of them are 144 MB.
pub const SESSION_BYTES_MAX: usize = 144;

const _: () = assert!(size_of::<Session>() <= SESSION_BYTES_MAX, "a session has grown");

/// The secrets of a connection whose handshake is done.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Session {
    #[zeroize(skip)]
    pub(super) suite: &'static Suite,
    pub(super) send: Direction,
    pub(super) receive: Direction,
    /// What a handshake message that spans records has come to.
    #[zeroize(skip)]
    pub(super) joiner: Joiner,
    #[zeroize(skip)]
    pub(super) side: Side,
    /// Records in a row that held no data.
    pub(super) fruitless: u8,
    /// Whether the peer has been told before that TLS 1.2 is not negotiated anew.
    pub(super) has_refused: bool,
}

/// From what the records of one direction are sealed, or opened.
#[derive(Default, Zeroize)]
pub(super) struct Direction {
    /// In TLS 1.3 the traffic secret, from which key and nonce follow, and the next secret. In TLS 1.2 the key and the
    /// nonce behind it.
    pub(super) secret: Secret,
    /// The number of the next record under this key.
    pub(super) sequence: u64,
}

impl Session {
    /// What rustls has agreed on.
    ///
    /// # Panics
    /// In TLS 1.3 without its secrets.
    pub(super) fn new(
        suite: &'static Suite,
        side: Side,
        extracted: &ExtractedSecrets,
        [server, client]: Secrets,
    ) -> Session {
        let (ours, theirs) = match side {
            Side::Server => (server, client),
            Side::Client => (client, server),
        };
        Session {
            suite,
            send: Direction::new(suite, &extracted.tx, ours),
            receive: Direction::new(suite, &extracted.rx, theirs),
            joiner: Joiner::default(),
            side,
            fruitless: 0,
            has_refused: false,
        }
    }

    /// One of zeros, for tests.
    #[cfg(test)]
    pub(super) fn blank(name: rustls::CipherSuite, side: Side) -> Session {
        Session {
            suite: Suite::of(name).expect("it is in the table"),
            send: Direction::default(),
            receive: Direction::default(),
            joiner: Joiner::default(),
            side,
            fruitless: 0,
            has_refused: false,
        }
    }

    /// What was agreed on.
    #[must_use]
    pub fn suite(&self) -> &'static Suite {
        self.suite
    }

    /// TLS 1.3 or 1.2.
    #[must_use]
    pub fn version(&self) -> ProtocolVersion {
        if self.suite.is_tls13() { ProtocolVersion::TLSv1_3 } else { ProtocolVersion::TLSv1_2 }
    }
}

impl Direction {
    fn new(
        suite: &Suite,
        (sequence, secrets): &(u64, ConnectionTrafficSecrets),
        logged: Option<Secret>,
    ) -> Direction {
        if suite.is_tls13() {
            let secret = logged.expect("rustls logs the secrets of TLS 1.3");
            return Direction { secret, sequence: *sequence };
        }
        let (key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv }
            | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
            | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key.as_ref(), iv.as_ref()),
            _ => unreachable!("a suite of the table has one of three ciphers"),
        };
        let mut secret = Secret::default();
        secret.0[..key.len()].copy_from_slice(key);
        secret.0[key.len()..key.len() + iv.len()].copy_from_slice(iv);
        Direction { secret, sequence: *sequence }
    }
}

impl fmt::Debug for Session {
    /// Says what was agreed on, and no secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = [self.send.sequence, self.receive.sequence];
        f.debug_struct("Session")
            .field("suite", &self.suite.name())
            .field("numbers", &numbers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::protocol::tls::traffic::SECRET_BYTES;

    #[test]
    fn nothing_secret_is_left_after_zeroize() {
        let direction =
            |byte| Direction { secret: Secret([byte; SECRET_BYTES]), sequence: u64::from(byte) };
        let name = rustls::CipherSuite::TLS13_AES_128_GCM_SHA256;
        let mut session = Session::blank(name, Side::Client);
        (session.send, session.receive) = (direction(1), direction(2));
        let shown = format!("{session:?}");
        assert!(shown.contains("numbers: [1, 2]") && !shown.contains("[1, 1"), "{shown}");
        // What `drop` does as well, as a bound on the type says.
        const fn overwrites_when_dropped<T: ZeroizeOnDrop>() {}
        overwrites_when_dropped::<Session>();
        session.zeroize();
        for end in [&session.send, &session.receive] {
            assert_eq!(end.secret.0, [0; SECRET_BYTES]);
            assert_eq!(end.sequence, 0);
        }
    }
}
