//! Records against rustls's own end: pieces, keys that change, ends, damage, and what must not come.

use std::io::Write;

use megaconn::engine::protocol::tls::config::Versions;
use megaconn::engine::protocol::tls::content::{Bad, Opened};
use megaconn::engine::protocol::tls::handshake::Progress;
use megaconn::engine::protocol::tls::record::{PLAIN_BYTES_MAX, RECORD_BYTES_MAX};
use proptest::prelude::*;
use rustls::crypto::ring::cipher_suite;
use rustls::{AlertDescription, Connection, SupportedCipherSuite};

use crate::peer::{
    Ours, all_of_ecdsa, both_ours, client_settings, dialling, give, identity, only, our_client,
    our_server, read_by, sent_by, server_settings, serving, settle, talk, their_client,
    their_server,
};

fn served(suite: SupportedCipherSuite) -> (Ours, Connection) {
    let (ours, theirs) = identity();
    let client = std::sync::Arc::new(their_client(only(suite), &theirs.chain));
    let (mut ours, mut theirs) = (our_server(server_settings(ours)), dialling(&client));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
    (Ours::new(ours, &mut theirs), theirs)
}

fn dialled(suite: SupportedCipherSuite) -> (Ours, Connection) {
    let (ours, theirs) = identity();
    let mut server = their_server(only(suite), theirs);
    server.send_tls13_tickets = 0;
    let (mut ours, mut theirs) = (our_client(client_settings(&ours.chain)), serving(server));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
    (Ours::new(ours, &mut theirs), theirs)
}

#[test]
fn a_record_that_is_cut_says_how_much_it_needs() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = served(suite);
        theirs.writer().write_all(b"a record").unwrap();
        let record = sent_by(&mut theirs);
        for cut in 0..record.len() {
            let needs = if cut < 5 { 5 } else { record.len() };
            let mut begun = record[..cut].to_vec();
            let opened = ours.session.open(&mut begun);
            assert_eq!((opened.bytes, opened.opened), (0, Opened::NeedMore(needs)));
            assert_eq!(begun, record[..cut], "bytes were changed");
        }
        let mut pipelined = record.clone();
        for text in ["two", "three"] {
            theirs.writer().write_all(text.as_bytes()).unwrap();
            pipelined.extend(sent_by(&mut theirs));
        }
        assert_eq!(ours.open_data(&pipelined), b"a recordtwothree");
    }
}

#[test]
fn the_longest_record_goes_both_ways() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = dialled(suite);
        let text = vec![42; PLAIN_BYTES_MAX];
        let sealed = ours.seal(&text);
        assert!(sealed.len() <= RECORD_BYTES_MAX);
        give(&mut theirs, &sealed).unwrap();
        assert!(read_by(&mut theirs) == text);
        theirs.writer().write_all(&text).unwrap();
        assert!(ours.open_data(&sent_by(&mut theirs)) == text);
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_it_has_come() {
    for (suite, most) in [
        (cipher_suite::TLS13_AES_128_GCM_SHA256, PLAIN_BYTES_MAX + 256),
        (cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, PLAIN_BYTES_MAX + 2_048),
    ] {
        let (mut ours, _) = served(suite);
        let header = |bytes: usize| {
            let [high, low] = u16::try_from(bytes).unwrap().to_be_bytes();
            [23, 3, 3, high, low]
        };
        let opened = ours.session.open(&mut header(most)).opened;
        assert_eq!(opened, Opened::NeedMore(5 + most));
        let opened = ours.session.open(&mut header(most + 1)).opened;
        assert_eq!(opened, Opened::Bad(Bad::TooLong));
        assert_eq!(Bad::TooLong.alert(), AlertDescription::RecordOverflow);
    }
}

#[test]
fn their_keys_change() {
    for make in [served, dialled] {
        for suite in all_of_ecdsa().into_iter().filter(|suite| suite.tls13().is_some()) {
            let (mut ours, mut theirs) = make(suite);
            for _ in 0..3 {
                theirs.refresh_traffic_keys().unwrap();
                let update = sent_by(&mut theirs);
                assert_eq!(ours.open_others(&update), [Opened::KeyUpdate { must_answer: true }]);
                give(&mut theirs, &ours.seal_key_update(false)).unwrap();
                talk(&mut ours, &mut theirs);
            }
            talk(&mut ours.keeping_ciphers(), &mut theirs);
        }
    }
}

#[test]
fn our_keys_change_and_theirs_when_asked() {
    for make in [served, dialled] {
        for suite in all_of_ecdsa().into_iter().filter(|suite| suite.tls13().is_some()) {
            let (ours, mut theirs) = make(suite);
            let mut ours = ours.keeping_ciphers();
            give(&mut theirs, &ours.seal_key_update(false)).unwrap();
            talk(&mut ours, &mut theirs);
            give(&mut theirs, &ours.seal_key_update(true)).unwrap();
            theirs.writer().write_all(b"behind the answer").unwrap();
            let answer = sent_by(&mut theirs);
            let [update, data] = &ours.open(&answer)[..] else { panic!("two records") };
            assert_eq!(update.0, Opened::KeyUpdate { must_answer: false });
            assert_eq!(data.1, b"behind the answer");
            talk(&mut ours, &mut theirs);
        }
    }
}

#[test]
fn an_end_is_said_and_heard() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = dialled(suite);
        theirs.send_close_notify();
        assert_eq!(ours.open_others(&sent_by(&mut theirs)), [Opened::CloseNotify]);
        give(&mut theirs, &ours.seal_alert(AlertDescription::CloseNotify)).unwrap();
        assert!(theirs.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn an_alert_is_heard_by_its_name() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = served(suite);
        let told = give(&mut theirs, &ours.seal_alert(AlertDescription::InternalError));
        assert_eq!(told, Err(rustls::Error::AlertReceived(AlertDescription::InternalError)));

        // A record that rustls cannot open makes it say so.
        let (mut ours, mut theirs) = served(suite);
        let mut record = ours.seal(b"text");
        *record.last_mut().unwrap() ^= 1;
        assert_eq!(give(&mut theirs, &record), Err(rustls::Error::DecryptError));
        let alert = ours.open_others(&sent_by(&mut theirs));
        assert_eq!(alert, [Opened::Alert(AlertDescription::BadRecordMac)]);
    }
}

/// One bit of a record is turned, each in its turn.
#[test]
fn a_record_that_was_changed_is_refused() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = served(suite);
        theirs.writer().write_all(b"payload").unwrap();
        let record = sent_by(&mut theirs);
        for bit in 0..record.len() * 8 {
            let mut changed = record.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = ours.session.open(&mut changed).opened;
            match opened {
                // A length that has grown.
                Opened::NeedMore(_) => assert!((24..40).contains(&bit), "bit {bit}"),
                Opened::Bad(Bad::NotAuthentic) => {}
                // The beginning of the header.
                Opened::Bad(Bad::NoRecord | Bad::Unexpected | Bad::TooLong) => {
                    assert!(bit < 40, "bit {bit}");
                }
                other => panic!("{suite:?}, bit {bit}: {other:?}"),
            }
        }
        assert_eq!(Bad::NotAuthentic.alert(), AlertDescription::BadRecordMac);
        let told = give(&mut theirs, &ours.seal_alert(Bad::NotAuthentic.alert()));
        assert_eq!(told, Err(rustls::Error::AlertReceived(AlertDescription::BadRecordMac)));
    }
}

#[test]
fn a_record_comes_once_and_in_its_order() {
    for suite in all_of_ecdsa() {
        let (mut ours, mut theirs) = served(suite);
        let [one, two] = ["one", "two"].map(|text| {
            theirs.writer().write_all(text.as_bytes()).unwrap();
            sent_by(&mut theirs)
        });
        let bad = Opened::Bad(Bad::NotAuthentic);
        assert_eq!(ours.session.open(&mut two.clone()).opened, bad);
        assert_eq!(ours.open_data(&one), b"one");
        assert_eq!(ours.session.open(&mut one.clone()).opened, bad);
        assert_eq!(ours.open_data(&two), b"two");
    }
}

#[test]
fn records_without_data_are_bounded() {
    for versions in [Versions::Tls13, Versions::Tls12] {
        let (mut server, mut client) = both_ours(versions);
        for _ in 0..3 {
            for _ in 0..32 {
                let empty = client.seal(b"");
                assert_eq!(server.open_others(&empty), [Opened::Nothing]);
            }
            assert_eq!(server.open_data(&client.seal(b"data")), b"data");
        }
        let flood: Vec<u8> = (0..33).flat_map(|_| client.seal(b"")).collect();
        assert_eq!(server.open_others(&flood).last(), Some(&Opened::Bad(Bad::Fruitless)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_sealed_is_opened(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2_000), 1..20),
        updates in prop::collection::vec(0usize..20, 0..3),
        piece in 1usize..5_000,
        is_tls13: bool,
    ) {
        let versions = if is_tls13 { Versions::Tls13 } else { Versions::Tls12 };
        let (mut server, client) = both_ours(versions);
        let mut client = client.keeping_ciphers();
        let mut sent = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            if is_tls13 && updates.contains(&at) {
                sent.extend(client.seal_key_update(at % 2 == 0));
            }
            sent.extend(client.seal(text));
        }
        let mut got = Vec::new();
        for bytes in sent.chunks(piece) {
            for (opened, data) in server.open(bytes) {
                prop_assert!(!matches!(opened, Opened::Bad(_)), "{:?}", opened);
                got.extend(data);
            }
        }
        prop_assert_eq!(got, texts.concat());
    }

    #[test]
    fn whatever_comes_is_no_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut server, _) = both_ours(Versions::Tls13);
        let opened = server.session.open(&mut bytes).opened;
        prop_assert!(matches!(opened, Opened::NeedMore(_) | Opened::Bad(_)));
    }
}
