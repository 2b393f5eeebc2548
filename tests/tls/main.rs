//! The TLS layer against other implementations: rustls's own end in memory, and `openssl` on loopback.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod after;
#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "../common/mod.rs"]
mod common;
mod core_file;
mod handshakes;
mod openssl;
mod peer;
mod records;
mod refused;
mod reload;
