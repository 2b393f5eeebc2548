//! The next secret of a direction of TLS 1.3 (RFC 8446, 4.6.3 and 7.2), and when a key is worn.
//!
//! A key may seal a limited number of records. In TLS 1.3 a new one follows from its secret. In TLS 1.2 keys never
//! change, so that the connection ends.

use crate::engine::protocol::tls::cipher::expand;
use crate::engine::protocol::tls::secrets::{Direction, Session};
use crate::engine::protocol::tls::suite::Suite;
use crate::engine::protocol::tls::traffic::Secret;

/// Records that a worn key still seals: KeyUpdate, alerts.
const RESERVE: u64 = 16;

/// Records before the limit at which a new key is due: a pipeline that is full when it is asked for ends before it.
const DUE_BEFORE: u64 = 1 << 16;

const _: () = assert!(RESERVE < DUE_BEFORE && DUE_BEFORE < 1 << 24);

/// How far a key is worn by the records that it has sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wear {
    /// It seals more.
    Good,
    /// A new one is due: [`Session::seal_key_update`].
    UpdateIsDue,
    /// There is no new one in TLS 1.2: the connection is to be closed.
    CloseIsDue,
}

/// The key has sealed as many records as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key has sealed as many records as it may")]
pub struct WornOut;

impl Session {
    /// Whether it is time for a new key of what we send.
    #[must_use]
    pub fn wear(&self) -> Wear {
        match self.send.sequence < self.suite.records_max() - DUE_BEFORE {
            true => Wear::Good,
            false if self.suite.is_tls13() => Wear::UpdateIsDue,
            false => Wear::CloseIsDue,
        }
    }

    /// Whether data may still be sealed.
    pub(super) fn is_worn_out(&self) -> bool {
        self.send.sequence >= self.suite.records_max() - RESERVE
    }
}

impl Direction {
    /// The next secret.
    pub(super) fn update(&mut self, suite: &Suite) {
        let hkdf = suite.hkdf().expect("TLS 1.2 has no KeyUpdate");
        let secret = self.secret.of(hkdf);
        let mut next = Secret::default();
        expand(
            &secret,
            b"traffic upd",
            &mut next.0[..hkdf.hmac_algorithm().digest_algorithm().output_len()],
        );
        self.secret = next;
        self.sequence = 0;
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, Side};

    use super::*;
    use crate::engine::protocol::tls::content::Kind;

    fn session(name: CipherSuite, sequence: u64) -> Session {
        let mut session = Session::blank(name, Side::Server);
        session.send.sequence = sequence;
        session
    }

    #[test]
    fn a_worn_key_is_changed_or_ends_the_connection() {
        let mut buffer = [0; 128];
        let limit = 1 << 24;
        let mut new = session(CipherSuite::TLS13_AES_256_GCM_SHA384, limit - DUE_BEFORE - 1);
        let mut old =
            session(CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, limit - DUE_BEFORE - 1);
        assert_eq!([new.wear(), old.wear()], [Wear::Good; 2]);
        for end in [&mut new, &mut old] {
            end.seal(Kind::Data, &mut buffer, 13..14).unwrap();
        }
        assert_eq!([new.wear(), old.wear()], [Wear::UpdateIsDue, Wear::CloseIsDue]);
        for end in [&mut new, &mut old] {
            end.send.sequence = limit - RESERVE;
            assert_eq!(end.seal(Kind::Data, &mut buffer, 13..14), Err(WornOut));
        }
        new.seal_key_update(false, &mut buffer);
        assert_eq!((new.wear(), new.send.sequence), (Wear::Good, 0));
        new.seal(Kind::Data, &mut buffer, 13..14).unwrap();
        old.seal_alert(rustls::AlertDescription::CloseNotify, &mut buffer);
        assert_eq!(old.send.sequence, limit - RESERVE + 1);

        let chacha = session(CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 1 << 60);
        assert_eq!(chacha.wear(), Wear::Good);
    }
}
