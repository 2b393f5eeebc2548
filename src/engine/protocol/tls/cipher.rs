//! What seals and opens the records of one direction, made from its secret.
//!
//! A connection keeps the secret alone. In TLS 1.3 key and nonce follow from it (RFC 8446, 7.3), which costs a few
//! microseconds; a connection that is busy has what was made of it [`Kept`].

use ring::aead::{LessSafeKey, UnboundKey};
use ring::hkdf::{self, KeyType, Prk};
use zeroize::{Zeroize, Zeroizing};

use crate::engine::protocol::tls::suite::Suite;
use crate::engine::protocol::tls::traffic::{CIPHER_STACK, Secret, clean_stack};

/// Bytes of a nonce.
pub(super) const NONCE_BYTES: usize = 12;

/// Bytes of a key, of which AES-128 uses the first 16.
const KEY_BYTES_MAX: usize = 32;

/// Ciphers that are ready, for a connection that is busy. They are made when they are first needed and when a secret
/// has changed, so that they fit whatever session they are used with.
#[derive(Default)]
pub struct Kept {
    pub(super) seal: Option<Cipher>,
    pub(super) open: Option<Cipher>,
}

/// A cipher with its key, which *ring* does not overwrite, and the nonce of its first record.
pub(super) struct Cipher {
    suite: &'static Suite,
    secret: Secret,
    pub(super) aead: LessSafeKey,
    pub(super) iv: Zeroizing<[u8; NONCE_BYTES]>,
}

impl Cipher {
    pub(super) fn new(suite: &'static Suite, secret: &Secret) -> Cipher {
        let mut key = Zeroizing::new([0; KEY_BYTES_MAX]);
        let key = &mut key[..suite.aead.key_len()];
        let mut iv = Zeroizing::new([0; NONCE_BYTES]);
        match suite.hkdf() {
            Some(hkdf) => {
                let secret = secret.of(hkdf);
                expand(&secret, b"key", key);
                expand(&secret, b"iv", &mut *iv);
            }
            None => {
                let (first, rest) = secret.0.split_at(key.len());
                key.copy_from_slice(first);
                iv.copy_from_slice(&rest[..NONCE_BYTES]);
            }
        }
        let key = UnboundKey::new(suite.aead, key).expect("a key has its cipher's length");
        Cipher { suite, secret: secret.clone(), aead: LessSafeKey::new(key), iv }
    }
}

/// What *ring* has made of the key is left to the `Option` around it, which overwrites all its bytes.
impl Zeroize for Cipher {
    fn zeroize(&mut self) {
        self.secret.zeroize();
        self.iv.zeroize();
    }
}

impl Kept {
    /// No ciphers yet.
    #[must_use]
    pub fn new() -> Kept {
        Kept::default()
    }

    pub(super) fn of<'a>(
        kept: &'a mut Option<Cipher>,
        suite: &'static Suite,
        secret: &Secret,
    ) -> &'a Cipher {
        let is_this = |kept: &Cipher| kept.secret == *secret && std::ptr::eq(kept.suite, suite);
        if !kept.as_ref().is_some_and(is_this) {
            Kept::make(kept, suite, secret);
            clean_stack::<CIPHER_STACK>();
        }
        kept.as_ref().expect("it has just been made")
    }

    /// Makes one anew, on a stack that is not that of its caller, who cleans it.
    #[inline(never)]
    fn make(kept: &mut Option<Cipher>, suite: &'static Suite, secret: &Secret) {
        kept.zeroize();
        *kept = Some(Cipher::new(suite, secret));
    }

    /// Overwrites them with zeros, and all that stands in their place.
    pub(super) fn forget(&mut self) {
        self.seal.zeroize();
        self.open.zeroize();
    }
}

impl Secret {
    /// As that of which others are made.
    pub(super) fn of(&self, hkdf: hkdf::Algorithm) -> Prk {
        let bytes = hkdf.hmac_algorithm().digest_algorithm().output_len();
        Prk::new_less_safe(hkdf, &self.0[..bytes])
    }
}

/// HKDF-Expand-Label with an empty context (RFC 8446, 7.1).
pub(super) fn expand(secret: &Prk, label: &[u8], out: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    let small = |bytes: usize| u8::try_from(bytes).expect("labels and secrets are short");
    let head = [0, small(out.len()), small(PREFIX.len() + label.len())];
    let info = [&head, PREFIX, label, &[0]];
    let made = secret.expand(&info, Length(out.len())).and_then(|made| made.fill(out));
    made.expect("secrets are short");
}

/// Bytes of what is made.
#[derive(Clone, Copy)]
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}
