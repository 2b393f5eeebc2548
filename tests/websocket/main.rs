//! Both ends of WebSocket against RFC 6455: each rule of its sections 4, 5, 7 and 8.1 as a row of a
//! table, bytes cut anywhere, and random sequences of frames.

mod ending;
mod ends;
mod framing;
mod http;
mod random;
mod spoken;
mod table;
mod text;
mod upgrade;
mod wire;

use megaconn::engine::client::role::Calling;
use megaconn::engine::protocol::websocket;
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::Slot;

/// What a connection at rest takes, which holds no buffer: see `kept` of both ends.
#[test]
fn a_connection_at_rest_is_48_bytes_at_most_at_each_end() {
    let server = size_of::<Slot<Serving<websocket::State>>>();
    let client = size_of::<Slot<Calling<websocket::client::State<u16>>>>();
    assert!(server <= 48 && client <= 48, "server {server} bytes, client {client} bytes");
}
