//! The traffic secrets of TLS 1.3, from which a KeyUpdate makes the next key.
//!
//! rustls gives away keys, and no secrets from which later ones follow, but to a log of keys. This log keeps them for
//! the handshake that the thread is working on, and writes nothing. The way that rustls has for it otherwise, its
//! `KernelConnection`, is an object on the heap as long as the connection lives.

use std::cell::RefCell;
use std::hint::black_box;

use rustls::KeyLog;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a traffic secret, of which suites with SHA-256 use the first 32.
pub(super) const SECRET_BYTES: usize = 48;

/// A traffic secret.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(pub(super) [u8; SECRET_BYTES]);

/// Bytes of the stack that a step of a handshake may have used for secrets.
pub(super) const HANDSHAKE_STACK: usize = 32 * 1024;

/// The same of what makes a cipher from a secret.
pub(super) const CIPHER_STACK: usize = 8 * 1024;

/// The secrets of the server and of the client.
pub(super) type Secrets = [Option<Secret>; 2];

/// The log that every config here has.
#[derive(Debug)]
pub(super) struct Log;

const LABELS: [&str; 2] = ["SERVER_TRAFFIC_SECRET_0", "CLIENT_TRAFFIC_SECRET_0"];

thread_local! {
    static LOGGED: RefCell<Secrets> = const { RefCell::new([None, None]) };
}

impl Default for Secret {
    fn default() -> Secret {
        Secret([0; SECRET_BYTES])
    }
}

impl KeyLog for Log {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let Some(at) = LABELS.iter().position(|known| *known == label) else { return };
        let mut kept = Secret::default();
        kept.0[..secret.len()].copy_from_slice(secret);
        LOGGED.with_borrow_mut(|logged| logged[at] = Some(kept));
    }

    fn will_log(&self, label: &str) -> bool {
        LABELS.contains(&label)
    }
}

/// Moves into `secrets` what was logged on this thread since the last call.
pub(super) fn take(secrets: &mut Secrets) {
    LOGGED.with_borrow_mut(|logged| {
        for (secret, logged) in secrets.iter_mut().zip(logged) {
            if logged.is_some() {
                secret.clone_from(logged);
                // What is taken in place of it leaves its bytes where they were.
                logged.zeroize();
            }
        }
    });
}

/// Overwrites what the calls of before have left on the stack: a secret that is moved leaves its bytes behind.
#[inline(never)]
pub(super) fn clean_stack<const BYTES: usize>() {
    black_box(&mut [0_u8; BYTES]);
}
