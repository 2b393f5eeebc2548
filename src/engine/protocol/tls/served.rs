//! The certificate that a server shows, which may be renewed while it runs.
//!
//! Handshakes on all cores take what is there when their client says hello. One that has taken the pair of before
//! goes on with it, and a connection that is up needs none.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate with its key, for all handshakes of a server. The lock is held for as long as a pointer is copied.
#[derive(Debug)]
pub(super) struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    /// Shows this one.
    pub(super) fn new(pair: CertifiedKey) -> Served {
        Served(RwLock::new(Arc::new(pair)))
    }

    /// From now on this one is shown.
    pub(super) fn renew(&self, pair: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}
