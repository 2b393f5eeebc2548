//! What a plan reckons for a connection of each layer, against the types that make it up, and in the rows.

use fake_host::{FakeHost, demand};
use megaconn::base::constants::{
    BUFFERS_KEPT, KERNEL_BYTES_PER_SOCKET, TLS_BUFFER_BYTES, USER_BYTES_BESIDE,
};
use megaconn::base::layers::{Kinds, Layers};
use megaconn::engine::client::role::Calling;
use megaconn::engine::protocol::tls::secrets::Session;
use megaconn::engine::protocol::websocket;
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::Slot;
use megaconn::plan::demand::{Demand, Ends};
use megaconn::runtime::footprint;
use megaconn::walls::reading::{Row, rows};

mod fake_host;

const PLAIN: Layers = Layers { header: false, tls: false, websocket: false, script: false };

/// Bytes of the server and of the client, without what is beside.
fn bytes(layers: Layers) -> [usize; 2] {
    let memory = footprint::of(layers);
    let own = |bytes: u64| usize::try_from(bytes - USER_BYTES_BESIDE).expect("it is small");
    [memory.server_bytes, memory.client_bytes].map(own)
}

#[test]
fn a_connection_is_its_slot_and_its_session() {
    let plain = [size_of::<Slot<Serving<()>>>(), size_of::<Slot<Calling<u16>>>()];
    assert_eq!((bytes(PLAIN), plain), (plain, [32, 32]));
    let framed = [
        size_of::<Slot<Serving<websocket::State>>>(),
        size_of::<Slot<Calling<websocket::client::State<u16>>>>(),
    ];
    let websocket = Layers { websocket: true, ..PLAIN };
    assert_eq!((bytes(websocket), framed), (framed, [44, 44]));
    // The number of its session in a slot, and the session elsewhere.
    let session = size_of::<u32>() + size_of::<Session>();
    for layers in [PLAIN, websocket] {
        let [server, client] = bytes(Layers { tls: true, ..layers });
        for (with, without) in [server, client].into_iter().zip(bytes(layers)) {
            assert!((session..session + 12).contains(&(with - without)), "{layers:?} {with}");
        }
    }
    // A server remembers how far the header is; a client has written it.
    for tls in [false, true] {
        let layers = Layers { tls, ..PLAIN };
        let [server, client] = bytes(layers);
        assert_eq!(bytes(Layers { header: true, ..layers }), [server + 4, client], "{layers:?}");
    }
}

#[test]
fn what_stands_beside_the_slots_is_of_what_is_asked_for() {
    let of = |has_lifetime, thinks, may_live_again| {
        Kinds { has_lifetime, thinks, may_live_again }.bytes()
    };
    assert_eq!(of(false, false, false), 0);
    assert_eq!([of(true, false, true), of(false, true, false), of(true, true, true)], [76, 16, 92]);
}

fn memory(demand: &Demand) -> (u64, u64) {
    let fake = FakeHost::plentiful();
    let found = rows(&fake.host(), demand).into_iter().find(|row| row.id == "memory");
    let Some(Row { need: Some(need), allows_connections: Some(allows), .. }) = found else {
        panic!("memory is reckoned");
    };
    (need, allows)
}

#[test]
fn the_memory_of_a_plan_is_that_of_its_layers() {
    let tls = Layers { tls: true, websocket: true, ..PLAIN };
    let of = |layers, ends| Demand { memory: footprint::of(layers), ends, ..demand() };
    for ends in [Ends::Server, Ends::Client, Ends::Both] {
        let (plain, tls) = (of(PLAIN, ends), of(tls, ends));
        let [(need, allows), (more, fewer)] = [&plain, &tls].map(memory);
        let sides = |demand: &Demand| {
            let memory = demand.memory;
            let both = [(Ends::Server, memory.server_bytes), (Ends::Client, memory.client_bytes)];
            let here = both.into_iter().filter(|(end, _)| ends == *end || ends == Ends::Both);
            here.map(|(_, bytes)| bytes).sum::<u64>()
        };
        assert_eq!([plain.user_bytes(), tls.user_bytes()], [sides(&plain), sides(&tls)]);
        let grown = 100_000 * (tls.user_bytes() - plain.user_bytes());
        let of_cores = tls.buffers_bytes() - plain.buffers_bytes() + tls.ciphers_bytes();
        assert_eq!(more - need, grown + of_cores + tls.handshakes_bytes(), "{ends:?}");
        assert!(fewer < allows, "{ends:?}: {fewer} {allows}");
        let each = ends.count() * KERNEL_BYTES_PER_SOCKET + plain.user_bytes();
        assert_eq!(memory(&Demand { connections: 100_001, ..plain }).0 - need, each, "{ends:?}");
    }
}

#[test]
fn buffers_and_handshakes_are_of_cores_and_of_connects_in_flight() {
    let tls = Layers { tls: true, ..PLAIN };
    let wanted = Demand { memory: footprint::of(tls), ends: Ends::Both, ..demand() };
    let buffer = u64::from(TLS_BUFFER_BYTES);
    // Two cores, and two ends.
    assert_eq!(wanted.buffers_bytes(), 4 * BUFFERS_KEPT as u64 * buffer);
    assert_eq!((wanted.handshakes(), wanted.connects_in_flight), (512, 512));
    let each = wanted.memory.handshake_bytes + buffer;
    assert_eq!(wanted.handshakes_bytes(), 2 * 512 * each);
    // No more than there are connections.
    let few = Demand { connections: 10, ..wanted };
    assert_eq!((few.handshakes(), few.handshakes_bytes()), (10, 2 * 10 * each));
    let plain = Demand { memory: footprint::of(PLAIN), ..wanted };
    assert_eq!((plain.handshakes(), plain.ciphers_bytes(), plain.handshakes_bytes()), (0, 0, 0));
}
