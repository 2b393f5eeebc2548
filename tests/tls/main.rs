//! The TLS layer against other implementations: rustls's own end in memory, and `openssl` on loopback.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod after;
mod handshakes;
mod memory;
mod openssl;
mod peer;
mod records;
mod refused;
