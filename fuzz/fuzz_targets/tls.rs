//! Any bytes as a handshake, and any authentic message behind one: no panic, and ranges that lie in the record.
//!
//! No fuzzer guesses a tag. So what comes behind the handshake is sealed by the other end as it should be.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use megaconn::engine::protocol::tls::certificate::Identity;
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, ServerSettings, ServerTls, Trust, Versions, server_name,
};
use megaconn::engine::protocol::tls::content::{Kind, Opened};
use megaconn::engine::protocol::tls::handshake::{Finished, Handshake};
use megaconn::engine::protocol::tls::suite::{ROOM_BEFORE, ROOM_BEHIND};

static ENDS: LazyLock<[(ServerTls, ClientTls); 2]> =
    LazyLock::new(|| [Versions::Tls13, Versions::Tls12].map(ends));

fn ends(versions: Versions) -> (ServerTls, ClientTls) {
    let identity = Identity::self_signed(&["localhost".to_owned()]).expect("a name");
    let server = ServerSettings {
        identity,
        protocols: Vec::new(),
        client_authorities: Vec::new(),
        gives_tickets: false,
        versions: Versions::Both,
    };
    let client = ClientSettings {
        trust: Trust::Anything,
        identity: None,
        protocols: Vec::new(),
        keeps_tickets: true,
        versions,
    };
    let client = ClientTls::new(client).expect("they fit");
    (ServerTls::new(server).expect("they fit"), client)
}

fuzz_target!(|input: &[u8]| {
    let Some(([how, cut], bytes)) = input.split_first_chunk() else { return };
    let (server, client) = &ENDS[usize::from(how & 1)];
    let mut server = Handshake::server(server);
    let name = server_name("localhost").expect("a name");
    let mut client = Handshake::client(client, &name).expect("random numbers");
    let pieces = bytes.split_at(usize::from(*cut).min(bytes.len()));
    match how >> 1 & 3 {
        0 => feed(&mut server, pieces),
        1 => feed(&mut client, pieces),
        2 => {
            // What comes in place of the client's second flight.
            carry(&mut client, &mut server);
            feed(&mut server, pieces);
        }
        _ => {
            for _ in 0..3 {
                carry(&mut client, &mut server);
                carry(&mut server, &mut client);
            }
            let [server, client] = [server, client].map(|end| end.finish().expect("both agree"));
            if how & 8 == 0 {
                behind(server, client, how >> 4, bytes);
            } else {
                behind(client, server, how >> 4, bytes);
            }
        }
    }
});

fn feed(end: &mut Handshake, (one, other): (&[u8], &[u8])) {
    let _ = end.feed(one);
    let after = end.feed(other);
    assert_eq!(after, end.feed(&[]), "it says something else when nothing more has come");
    if let Err(failure) = after {
        assert_eq!(end.ended(), failure);
    }
}

fn carry(from: &mut Handshake, to: &mut Handshake) {
    to.feed(from.outgoing()).expect("the ends agree");
    from.sent(from.outgoing().len());
}

/// Records of one kind, each with a part of the bytes, the length of which stands before it.
fn behind(mut from: Finished, mut to: Finished, kind: u8, mut bytes: &[u8]) {
    let kind = [Kind::Handshake, Kind::Alert, Kind::Data, Kind::Handshake][usize::from(kind & 3)];
    while let Some((length, rest)) = bytes.split_first() {
        let (text, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        let mut buffer = vec![0; ROOM_BEFORE + text.len() + ROOM_BEHIND];
        let plain = ROOM_BEFORE..ROOM_BEFORE + text.len();
        buffer[plain.clone()].copy_from_slice(text);
        let sealed = from.session.seal(kind, &mut buffer, plain).expect("a good key");
        let record = &mut buffer[sealed];
        let whole = record.len();
        let opened = to.session.open(record);
        assert_eq!(opened.bytes, whole);
        match opened.opened {
            Opened::Data(range) => assert_eq!(&record[range], text),
            Opened::Ticket(range) => {
                assert_eq!(&record[range.clone()], text);
                if let Some(tickets) = &mut to.tickets {
                    tickets.take(&record[range]);
                }
            }
            // The other end has not changed its key, or is not to be listened to.
            Opened::KeyUpdate { .. } | Opened::Bad(_) => return,
            Opened::NeedMore(_) => panic!("it is whole"),
            _ => {}
        }
    }
}
