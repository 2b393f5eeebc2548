//! What a handshake under way takes of memory, as it is reckoned before a run. It has a process of its own: others
//! would take and give memory meanwhile.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::fs;

use megaconn::base::layers::Layers;
use megaconn::engine::protocol::tls::config::server_name;
use megaconn::engine::protocol::tls::config::{ClientTls, ServerTls};
use megaconn::engine::protocol::tls::handshake::Handshake;
use megaconn::runtime::footprint;

use peer::{client_settings, identity, server_settings};

#[expect(dead_code, reason = "this file needs only a part of it")]
#[path = "tls/peer.rs"]
mod peer;

const COUNT: usize = 3_000;

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// The bytes of one of those that `make` makes, and all of them: memory that is free again is no measure.
fn each_takes(make: impl Fn() -> Handshake) -> (u64, Vec<Handshake>) {
    // What is made once is there before.
    let mut kept = vec![make()];
    kept.reserve_exact(COUNT);
    let before = resident();
    kept.extend((0..COUNT).map(|_| make()));
    ((resident() - before) / COUNT as u64, kept)
}

#[test]
fn a_handshake_takes_what_is_reckoned() {
    let (ours, _) = identity();
    let client = ClientTls::new(client_settings(&ours.chain)).unwrap();
    let server = ServerTls::new(server_settings(ours)).unwrap();
    let name = server_name("localhost").unwrap();
    let dialled = || {
        let mut hello = Handshake::client(&client, &name).unwrap();
        let bytes = hello.outgoing().to_vec();
        hello.sent(bytes.len());
        (hello, bytes)
    };
    // Each waits for the other end: a client for all, a server for the last flight.
    let (of_client, _clients) = each_takes(|| dialled().0);
    let (_, hello) = dialled();
    let (of_server, _servers) = each_takes(|| {
        let mut shaking = Handshake::server(&server);
        shaking.feed(&hello).unwrap();
        shaking.sent(shaking.outgoing().len());
        shaking
    });
    let reckoned = footprint::of(Layers { tls: true, ..Layers::default() }).handshake_bytes;
    println!("bytes of a handshake: server {of_server}, client {of_client}, reckoned {reckoned}");
    let most = of_server.max(of_client);
    assert!((most..2 * most).contains(&reckoned), "{of_server} {of_client} {reckoned}");
    assert_eq!(footprint::of(Layers::default()).handshake_bytes, 0);
}
