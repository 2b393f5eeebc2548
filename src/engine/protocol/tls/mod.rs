//! TLS 1.3 and 1.2 as a layer of bytes: no socket, no clock of its own, and no memory for an idle connection
//! but its keys.
//!
//! ```text
//! config       what both ends agree to: certificates, trust, ALPN, tickets    once, before the data path starts
//! served       the certificate of a server, which may be renewed             shared by the cores of a server
//! certificate  PEM, a certificate of our own, fingerprints
//! handshake    rustls, until both Finished messages are through               about 4 kB, for one or two round trips
//! secrets      what is left then: `Session`                                   136 B, as long as the connection lives
//! suite        what its nine cipher suites are made of
//! traffic      the secrets of TLS 1.3 from which keys are made
//! cipher       what seals and opens, made from a secret
//! record       seal and open one record in place, from a `Session` alone
//! content      what is sealed, and what an opened record turns out to be
//! after        what a record may hold beside data: tickets, KeyUpdate, alerts
//! joiner       handshake messages that span records
//! key_update   the next secret of a direction, and when it is time for one
//! server       the layer of a server, over a protocol
//! client       the layer of a client, over an expectation
//! seal         records behind each other, as they are sent
//! pass         the records of a client's connection, as they are gone through
//! sessions     what a core keeps of its connections
//! resumption   what a core of a client resumes by
//! failure      why a handshake failed, and which alert tells the peer so
//! ```
//!
//! Life of a connection: [`handshake::Handshake`] is fed what came, and what it has to say is sent. When it says
//! [`handshake::Progress::Done`], `finish` turns it into a [`secrets::Session`], and rustls is gone. From then on
//! [`Session::open`](secrets::Session::open) and [`Session::seal`](secrets::Session::seal) work on the buffer that
//! the connection has while bytes are under way.
//!
//! rustls negotiates, verifies and derives the keys; *ring*, on which rustls stands, seals and opens. Of rustls's
//! own record ciphers none is used: they take a buffer from the heap for each record, and a key of 128 bits
//! cannot be given to them from outside.

mod after;
pub mod certificate;
pub mod cipher;
pub mod client;
pub mod config;
pub mod content;
pub mod failure;
pub mod handshake;
mod joiner;
pub mod key_update;
mod pass;
pub mod record;
mod resumption;
mod seal;
pub mod secrets;
mod served;
pub mod server;
pub mod sessions;
pub mod suite;
mod traffic;
