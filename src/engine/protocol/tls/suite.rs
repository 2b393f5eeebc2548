//! The cipher suites: what rustls agrees on, and the cipher of *ring* that stands behind it.

use ring::aead::{AES_128_GCM, AES_256_GCM, Algorithm, CHACHA20_POLY1305};
use ring::hkdf::{self, HKDF_SHA256, HKDF_SHA384};
use rustls::crypto::hash::HashAlgorithm;
use rustls::crypto::ring::cipher_suite;
use rustls::{CipherSuite, SupportedCipherSuite};

/// Bytes of a header in front of every record.
pub const HEADER_BYTES: usize = 5;

/// Bytes of the nonce that TLS 1.2 sends with every record of AES-GCM.
const EXPLICIT_NONCE_BYTES: usize = 8;

/// Bytes of the tag of each of the ciphers.
pub(super) const TAG_BYTES: usize = 16;

/// Room that a record needs before its plaintext, at most: header and nonce.
pub const ROOM_BEFORE: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES;

/// Room that a record needs behind its plaintext, at most: a byte that says what it is, and the tag.
pub const ROOM_BEHIND: usize = 1 + TAG_BYTES;

/// A cipher suite that rustls and we both know.
#[derive(Debug)]
pub struct Suite {
    tls: &'static SupportedCipherSuite,
    pub(super) aead: &'static Algorithm,
}

static SUITES: [Suite; 9] = [
    Suite { tls: &cipher_suite::TLS13_AES_128_GCM_SHA256, aead: &AES_128_GCM },
    Suite { tls: &cipher_suite::TLS13_AES_256_GCM_SHA384, aead: &AES_256_GCM },
    Suite { tls: &cipher_suite::TLS13_CHACHA20_POLY1305_SHA256, aead: &CHACHA20_POLY1305 },
    Suite { tls: &cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, aead: &AES_128_GCM },
    Suite { tls: &cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, aead: &AES_256_GCM },
    Suite {
        tls: &cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        aead: &CHACHA20_POLY1305,
    },
    Suite { tls: &cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, aead: &AES_128_GCM },
    Suite { tls: &cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, aead: &AES_256_GCM },
    Suite {
        tls: &cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        aead: &CHACHA20_POLY1305,
    },
];

impl Suite {
    /// The suite of this number; `None` for one that rustls may learn later and we do not know.
    pub(super) fn of(suite: CipherSuite) -> Option<&'static Suite> {
        SUITES.iter().find(|known| known.tls.suite() == suite)
    }

    /// Its name in the registry of IANA.
    #[must_use]
    pub fn name(&self) -> CipherSuite {
        self.tls.suite()
    }

    /// Whether it belongs to TLS 1.3; otherwise to TLS 1.2.
    #[must_use]
    pub fn is_tls13(&self) -> bool {
        self.tls.tls13().is_some()
    }

    /// By what keys and secrets of TLS 1.3 follow from a secret; `None` in TLS 1.2, where keys never change.
    pub(super) fn hkdf(&self) -> Option<hkdf::Algorithm> {
        let hash = self.tls.tls13()?.common.hash_provider.algorithm();
        Some(if hash == HashAlgorithm::SHA384 { HKDF_SHA384 } else { HKDF_SHA256 })
    }

    /// Records that one key may seal: 2^24 with AES-GCM (RFC 8446, 5.5), practically all with ChaCha20.
    pub(super) fn records_max(&self) -> u64 {
        match self.tls {
            SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
            SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
        }
    }

    /// Whether a part of the nonce goes with every record.
    pub(super) fn is_nonce_sent(&self) -> bool {
        !self.is_tls13() && self.aead != &CHACHA20_POLY1305
    }

    /// Bytes of a record before its plaintext.
    pub(super) fn before(&self) -> usize {
        if self.is_nonce_sent() { ROOM_BEFORE } else { HEADER_BYTES }
    }

    /// Bytes of a record behind its plaintext.
    pub(super) fn behind(&self) -> usize {
        usize::from(self.is_tls13()) + TAG_BYTES
    }
}
