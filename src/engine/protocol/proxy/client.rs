//! A client's layer: it says first where a connection comes from, and what is expected of it follows at once.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use crate::engine::protocol::message::Message;
use crate::engine::protocol::proxy::header::{Ends, Version};
use crate::engine::protocol::{Connection, Expectation, Handshaken, Heard, Opening};

/// What is expected of connections that begin with a header.
#[derive(Debug)]
pub struct Announced<E> {
    /// How it is written.
    pub version: Version,
    /// The address of each target.
    pub targets: Vec<SocketAddr>,
    /// What follows.
    pub then: E,
}

impl<E: Expectation> Expectation for Announced<E> {
    type State = E::State;

    const OPENS: bool = true;

    const COSTLY: bool = E::COSTLY;

    const BYTES_BESIDE: usize = E::BYTES_BESIDE;

    const FILLS_IN: bool = E::FILLS_IN;

    const HEADROOM: u16 = E::HEADROOM;

    fn learn_targets(&mut self, addresses: &[SocketAddr], like: &[usize]) {
        self.targets = addresses.to_vec();
        self.then.learn_targets(addresses, like);
    }

    fn is_answered(&self) -> bool {
        self.then.is_answered()
    }

    fn is_unasked(&self) -> bool {
        self.then.is_unasked()
    }

    fn every(&self) -> Option<Duration> {
        self.then.every()
    }

    fn had_one(&self, state: &E::State) -> bool {
        self.then.had_one(state)
    }

    #[inline]
    fn sequence(&self, state: &E::State) -> u16 {
        self.then.sequence(state)
    }

    #[inline]
    fn next_sequence(&self, state: &mut E::State) {
        self.then.next_sequence(state);
    }

    fn awaits_opening(&self) -> bool {
        E::OPENS && self.then.awaits_opening()
    }

    fn open(
        &self,
        state: &mut E::State,
        connection: Connection,
        at: Duration,
        out: &mut [u8],
    ) -> u16 {
        let target = self.targets[connection.target];
        let size = self.version.write(Ends { source: connection.source, target }, out);
        let more = self.then.open(state, connection, at, &mut out[size..]);
        u16::try_from(size).expect("a header is short") + more
    }

    fn on_opening(
        &self,
        state: &mut E::State,
        connection: Connection,
        at: Duration,
        buffer: &mut [u8],
        bytes: Range<u16>,
    ) -> Opening {
        self.then.on_opening(state, connection, at, buffer, bytes)
    }

    fn take_handshake(&self) -> Option<Handshaken> {
        self.then.take_handshake()
    }

    #[inline]
    fn write(
        &self,
        state: &mut E::State,
        connection: Option<Connection>,
        message: &Message,
        message_bytes: u16,
        out: &mut [u8],
    ) -> Range<u16> {
        self.then.write(state, connection, message, message_bytes, out)
    }

    fn keepalive_every(&self) -> Option<Duration> {
        self.then.keepalive_every()
    }

    fn write_keepalive(
        &self,
        state: &mut E::State,
        connection: Connection,
        at: Duration,
        out: &mut [u8],
    ) -> Range<u16> {
        self.then.write_keepalive(state, connection, at, out)
    }

    #[inline]
    fn awaits_keepalive(&self, state: &E::State) -> bool {
        self.then.awaits_keepalive(state)
    }

    fn farewell(&self, state: &mut E::State, out: &mut [u8]) -> Range<u16> {
        self.then.farewell(state, out)
    }

    fn forget(&self, state: &mut E::State) {
        self.then.forget(state);
    }

    #[inline]
    fn on_bytes(&self, state: &mut E::State, buffer: &mut [u8], bytes: Range<u16>) -> Heard {
        self.then.on_bytes(state, buffer, bytes)
    }

    fn last_shown(&self, buffer: &[u8], bytes: Range<u16>) -> Box<[u8]> {
        self.then.last_shown(buffer, bytes)
    }
}
