//! Messages behind the handshake that a library does not send: in pieces, out of place, too many.

use megaconn::engine::protocol::tls::config::Versions;
use megaconn::engine::protocol::tls::content::{Bad, Kind, Opened};

use crate::peer::{Ours, both_ours};

/// A ticket of TLS 1.3 with this many bytes.
fn ticket(bytes: u16) -> Vec<u8> {
    let [high, low] = bytes.to_be_bytes();
    [&[4, 0, high, low][..], &vec![9; usize::from(bytes)]].concat()
}

/// Each of `messages` in a record of its own; what is found.
fn handshake(from: &mut Ours, to: &mut Ours, messages: &[&[u8]]) -> Vec<Opened> {
    let records: Vec<u8> =
        messages.iter().flat_map(|message| from.seal_kind(Kind::Handshake, message)).collect();
    to.open_others(&records)
}

#[test]
fn a_ticket_in_pieces_is_passed_over_wherever_it_is_cut() {
    let message = ticket(30);
    for cut in 1..message.len() {
        let (mut server, mut client) = both_ours(Versions::Tls13);
        let (one, other) = message.split_at(cut);
        let found = handshake(&mut server, &mut client, &[one, other]);
        assert_eq!(found, [Opened::Nothing, Opened::Nothing], "cut at {cut}");
        assert_eq!(client.open_data(&server.seal(b"data")), b"data");
        // One that is whole is found.
        let whole = handshake(&mut server, &mut client, &[&message]);
        assert!(matches!(&whole[..], [Opened::Ticket(range)] if range.len() == message.len()));
        // A KeyUpdate behind it in its record.
        let (mut server, mut client) = both_ours(Versions::Tls13);
        let both = [&message[..], &[24, 0, 0, 1, 0]].concat();
        let found = handshake(&mut server, &mut client, &[&both[..cut], &both[cut..]]);
        assert_eq!(found, [Opened::Nothing, Opened::KeyUpdate { must_answer: false }]);
    }
}

#[test]
fn what_must_not_come_in_tls_1_3() {
    let from_server: [(&[&[u8]], Bad); 10] = [
        // KeyUpdate: of another length, of another value, and not at the end of its record.
        (&[&[24, 0, 0, 2, 0, 0]], Bad::Malformed),
        (&[&[24, 0, 0, 0]], Bad::Malformed),
        (&[&[24, 0, 0, 1, 2]], Bad::Illegal),
        (&[&[24, 0, 0, 1, 0, 4]], Bad::Unexpected),
        (&[&[24, 0, 0, 1, 0, 24, 0, 0, 1, 0]], Bad::Unexpected),
        // Of 16 MB, the first piece.
        (&[&[4, 255, 255, 255]], Bad::Malformed),
        // A request for a certificate, a hello, Finished.
        (&[&[13, 0, 0, 1, 0]], Bad::Unexpected),
        (&[&[0, 0, 0, 0]], Bad::Unexpected),
        (&[&[20, 0, 0, 1, 0]], Bad::Unexpected),
        // Nothing.
        (&[&[]], Bad::Unexpected),
    ];
    for (messages, bad) in from_server {
        let (mut server, mut client) = both_ours(Versions::Tls13);
        let found = handshake(&mut server, &mut client, messages);
        assert_eq!(found, [Opened::Bad(bad)], "{messages:?}");
    }
    // A client has no tickets to give.
    let (mut server, mut client) = both_ours(Versions::Tls13);
    let found = handshake(&mut client, &mut server, &[&ticket(8)]);
    assert_eq!(found, [Opened::Bad(Bad::Unexpected)]);
    // Data amid a message.
    let (mut server, mut client) = both_ours(Versions::Tls13);
    assert_eq!(handshake(&mut server, &mut client, &[&[4, 0]]), [Opened::Nothing]);
    assert_eq!(client.open(&server.seal(b"data"))[0].0, Opened::Bad(Bad::Unexpected));
    // Alerts of one byte, of three, and a kind of record in plaintext that is sealed otherwise.
    for alert in [&[1][..], &[1, 0, 0], &[]] {
        let (mut server, mut client) = both_ours(Versions::Tls13);
        let record = server.seal_kind(Kind::Alert, alert);
        assert_eq!(client.open(&record)[0].0, Opened::Bad(Bad::Malformed));
    }
    let (_, mut client) = both_ours(Versions::Tls13);
    for plain in [[20, 3, 3, 0, 1, 1], [21, 3, 3, 0, 2, 2], [22, 3, 3, 0, 1, 0]] {
        assert_eq!(client.session.open(&mut plain.clone()).opened, Opened::Bad(Bad::Unexpected));
    }
}

#[test]
fn key_updates_without_end_are_bounded() {
    let (mut server, mut client) = both_ours(Versions::Tls13);
    let flood: Vec<u8> = (0..33).flat_map(|_| client.seal_key_update(true)).collect();
    let found = server.open_others(&flood);
    assert_eq!(found.len(), 33);
    assert!(found[..32].iter().all(|one| *one == Opened::KeyUpdate { must_answer: true }));
    assert_eq!(found[32], Opened::Bad(Bad::Fruitless));
}

#[test]
fn tls_1_2_is_not_negotiated_anew() {
    // A server asks by HelloRequest, once and again.
    let (mut server, mut client) = both_ours(Versions::Tls12);
    assert_eq!(handshake(&mut server, &mut client, &[&[0, 0, 0, 0]]), [Opened::Renegotiation]);
    let refusal = client.seal_alert(rustls::AlertDescription::NoRenegotiation);
    assert_eq!(server.open_others(&refusal), [Opened::Nothing], "a warning is no end");
    assert_eq!(client.open_data(&server.seal(b"data")), b"data");
    let again = handshake(&mut server, &mut client, &[&[0, 0, 0, 0]]);
    assert_eq!(again, [Opened::Bad(Bad::Renegotiation)]);

    // A client asks by ClientHello, in two pieces.
    let (mut server, mut client) = both_ours(Versions::Tls12);
    let hello = [&[1, 0, 0, 40][..], &[7; 40]].concat();
    let found = handshake(&mut client, &mut server, &[&hello[..10], &hello[10..]]);
    assert_eq!(found, [Opened::Nothing, Opened::Renegotiation]);
    assert_eq!(server.open_data(&client.seal(b"data")), b"data");

    // Neither asks as the other would, and tickets and KeyUpdates are not of this version.
    for message in [&[1, 0, 0, 0][..], &[4, 0, 0, 0], &[24, 0, 0, 1, 0]] {
        let (mut server, mut client) = both_ours(Versions::Tls12);
        let found = handshake(&mut server, &mut client, &[message]);
        assert_eq!(found, [Opened::Bad(Bad::Unexpected)], "{message:?}");
    }
}
