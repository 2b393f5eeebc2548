//! What memory of the programs a connection takes, by the types of its layers: what a core keeps of it, and nothing that is
//! typed in but what an allocator and a ring add.

use crate::base::constants::USER_BYTES_BESIDE;
use crate::base::layers::{Layers, UserMemory};
use crate::engine::client::role::Calling;
use crate::engine::protocol::banner::Banner;
use crate::engine::protocol::expect::Expect;
use crate::engine::protocol::mode::Mode;
use crate::engine::protocol::proxy::Awaited;
use crate::engine::protocol::proxy::client::Announced;
use crate::engine::protocol::script::Scripted;
use crate::engine::protocol::tls::cipher::Kept;
use crate::engine::protocol::tls::client::Tls as ClientTls;
use crate::engine::protocol::tls::handshake::HANDSHAKE_BYTES;
use crate::engine::protocol::tls::server::Tls as ServerTls;
use crate::engine::protocol::tls::sessions::KEPT_MAX;
use crate::engine::protocol::websocket::WebSocket;
use crate::engine::protocol::websocket::client::Upgraded;
use crate::engine::protocol::{Expectation, Protocol};
use crate::engine::server::role::Serving;
use crate::engine::slot::Slot;

/// What connections of these layers take.
#[must_use]
pub fn of(layers: Layers) -> UserMemory {
    let beside = |bytes: usize| bytes as u64 + USER_BYTES_BESIDE;
    UserMemory {
        server_bytes: beside(at_server(layers)),
        client_bytes: beside(at_client(layers)),
        ciphers_bytes: if layers.tls { (KEPT_MAX * size_of::<Kept>()) as u64 } else { 0 },
        buffer_bytes: layers.buffer_bytes().into(),
        handshake_bytes: if layers.tls { HANDSHAKE_BYTES as u64 } else { 0 },
    }
}

/// Bytes of an idle connection that a server of this protocol keeps: its slot, and its session.
#[must_use]
pub const fn served<P: Protocol>() -> usize {
    size_of::<Slot<Serving<P::State>>>() + P::BYTES_BESIDE
}

/// The same of a client.
#[must_use]
pub const fn called<E: Expectation>() -> usize {
    size_of::<Slot<Calling<E::State>>>() + E::BYTES_BESIDE
}

fn at_server(layers: Layers) -> usize {
    match (layers.tls, layers.websocket) {
        (false, false) => behind_awaited::<Banner<Mode>>(layers.header),
        (false, true) => behind_awaited::<WebSocket>(layers.header),
        (true, false) => behind_awaited::<ServerTls<Banner<Mode>>>(layers.header),
        (true, true) => behind_awaited::<ServerTls<WebSocket>>(layers.header),
    }
}

fn behind_awaited<P: Protocol>(header: bool) -> usize {
    if header { served::<Awaited<P>>() } else { served::<P>() }
}

fn at_client(layers: Layers) -> usize {
    match (layers.script, layers.websocket) {
        (true, _) => in_tls::<Scripted>(layers),
        (false, true) => in_tls::<Upgraded<Expect>>(layers),
        (false, false) => in_tls::<Expect>(layers),
    }
}

fn in_tls<E: Expectation>(layers: Layers) -> usize {
    match layers.tls {
        true => behind_announced::<ClientTls<E>>(layers.header),
        false => behind_announced::<E>(layers.header),
    }
}

fn behind_announced<E: Expectation>(header: bool) -> usize {
    if header { called::<Announced<E>>() } else { called::<E>() }
}
