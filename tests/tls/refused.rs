//! Handshakes that fail, each with its reason and, where there is one, the alert that the peer is sent.

use std::sync::Arc;

use megaconn::engine::protocol::tls::certificate::Identity;
use megaconn::engine::protocol::tls::config::{
    ClientTls, ConfigError, ServerTls, Versions, server_name,
};
use megaconn::engine::protocol::tls::content::Opened;
use megaconn::engine::protocol::tls::failure::{Failure, Reason};
use megaconn::engine::protocol::tls::handshake::{HANDSHAKE_BYTES_MAX, Handshake, Progress};
use proptest::prelude::*;
use rustls::crypto::ring;
use rustls::{AlertDescription, Error};

use crate::peer::{
    Ours, client_settings, dialling, give, identity, only, our_client, our_server, server_settings,
    serving, settle, their_client, their_server,
};

fn fails(ours: &mut Handshake, theirs: &mut rustls::Connection) -> Failure {
    settle(ours, theirs, usize::MAX).unwrap_err()
}

/// A certificate of these years.
fn of_years(from: i32, to: i32) -> Identity {
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
    Identity { chain: vec![certificate.into()], key: key.into() }
}

#[test]
fn a_certificate_that_is_not_believed_says_why() {
    let provider = || Arc::new(ring::default_provider());
    let client_of = |identity: &Identity, name: &str| {
        let client = ClientTls::new(client_settings(&identity.chain)).unwrap();
        Handshake::client(&client, &server_name(name).unwrap()).unwrap()
    };
    let (one, other) = (identity().0, identity().0);
    let cases = [
        (client_of(&other, "localhost"), one, "no authority", AlertDescription::UnknownCA),
        {
            let (one, other) = identity();
            let client = client_of(&one, "other.example");
            (client, other, "another name than other.example: ", AlertDescription::BadCertificate)
        },
        {
            let old = of_years(2001, 2002);
            (client_of(&old, "localhost"), old, "expired", AlertDescription::CertificateExpired)
        },
        {
            let new = of_years(4001, 4002);
            let client = client_of(&new, "localhost");
            (client, new, "not valid yet", AlertDescription::CertificateExpired)
        },
    ];
    for (mut ours, identity, reason, alert) in cases {
        let mut theirs = serving(their_server(provider(), identity));
        let failure = fails(&mut ours, &mut theirs);
        assert!(failure.to_string().contains(reason), "{failure}");
        assert_eq!(failure.alert, Some(alert), "{failure}");
        // The alert went out, and rustls's server has understood it.
        let told = theirs.process_new_packets().unwrap_err();
        assert_eq!(told, Error::AlertReceived(alert));
        assert_eq!(ours.feed(b"more"), Err(failure));
    }
}

#[test]
fn a_server_hears_that_it_is_not_believed() {
    let (ours, other) = (identity().0, identity().0);
    let client = Arc::new(their_client(Arc::new(ring::default_provider()), &other.chain));
    let mut server = our_server(server_settings(ours));
    let failure = fails(&mut server, &mut dialling(&client));
    assert_eq!(failure.reason, Reason::AlertReceived(AlertDescription::UnknownCA));
    assert!(failure.to_string().ends_with("by the alert UnknownCA (48)"), "{failure}");
}

#[test]
fn a_client_without_a_certificate_is_refused_and_hears_it() {
    let (ours, theirs) = identity();
    let mut settings = server_settings(ours);
    settings.client_authorities.clone_from(&theirs.chain);
    let config = their_client(Arc::new(ring::default_provider()), &theirs.chain);
    let mut client = dialling(&Arc::new(config));
    let mut server = our_server(settings);
    let failure = fails(&mut server, &mut client);
    assert_eq!(failure.reason, Reason::NoCertificate);
    let told = client.process_new_packets().unwrap_err();
    assert_eq!(told, Error::AlertReceived(AlertDescription::CertificateRequired));

    // In TLS 1.3 our client is done before the server has seen that it has none: the alert is in a record.
    let (ours, theirs) = identity();
    let mut settings = server_settings(theirs);
    settings.client_authorities.clone_from(&ours.chain);
    let mut server = our_server(settings);
    let mut client = our_client(client_settings(&ours.chain));
    server.feed(client.outgoing()).unwrap();
    client.sent(client.outgoing().len());
    assert_eq!(client.feed(server.outgoing()), Ok(Progress::Done));
    server.sent(server.outgoing().len());
    assert!(server.feed(client.outgoing()).is_err());
    let finished = client.finish().unwrap();
    let mut client = Ours::of(finished.session, finished.rest);
    let heard = client.open_others(server.outgoing());
    assert_eq!(heard, [Opened::Alert(AlertDescription::CertificateRequired)]);
}

#[test]
fn ends_that_have_nothing_in_common() {
    let provider = || Arc::new(ring::default_provider());
    let (ours, theirs) = identity();
    let mut settings = server_settings(ours);
    settings.versions = Versions::Tls13;
    let old = ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let config = Arc::new(their_client(only(old), &theirs.chain));
    let failure = fails(&mut our_server(settings), &mut dialling(&config));
    assert_eq!(failure.reason, Reason::NoCommonVersion);
    assert_eq!(failure.alert, Some(AlertDescription::ProtocolVersion));

    // A suite of RSA alone, and a certificate of P-256.
    let (ours, theirs) = identity();
    let rsa = ring::cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256;
    let config = Arc::new(their_client(only(rsa), &theirs.chain));
    let failure = fails(&mut our_server(server_settings(ours)), &mut dialling(&config));
    assert!(matches!(failure.reason, Reason::NoCommonCipher(_)), "{failure:?}");
    assert_eq!(failure.alert, Some(AlertDescription::HandshakeFailure));

    let (ours, theirs) = identity();
    let mut settings = server_settings(ours);
    settings.protocols = vec![b"mqtt".to_vec()];
    let mut config = their_client(provider(), &theirs.chain);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let failure = fails(&mut our_server(settings), &mut dialling(&Arc::new(config)));
    assert_eq!(failure.reason, Reason::NoCommonProtocol);
    assert_eq!(failure.alert, Some(AlertDescription::NoApplicationProtocol));
}

#[test]
fn what_is_not_tls_is_shown() {
    let text = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut server = our_server(server_settings(identity().0));
    let failure = server.feed(text).unwrap_err();
    assert_eq!(failure.reason, Reason::NotTls(b"GET / HTTP/1.1\r\n".to_vec()));
    assert!(failure.to_string().contains(r"`GET / HTTP/1.1\r\n`"), "{failure}");
    // A peer that speaks something else would not understand an alert.
    assert!(server.outgoing().is_empty() && failure.alert.is_none());

    // The first byte is enough, and a second byte that is no version.
    let mut server = our_server(server_settings(identity().0));
    assert!(server.feed(b"S").is_err());
    let mut server = our_server(server_settings(identity().0));
    assert_eq!(server.feed(&[22]), Ok(Progress::NeedMore));
    assert_eq!(server.feed(b"S").unwrap_err().reason, Reason::NotTls(b"\x16S".to_vec()));

    let mut client = our_client(client_settings(&identity().0.chain));
    let failure = client.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap_err();
    assert_eq!(failure.reason, Reason::NotTls(b"HTTP/1.1 400 Bad".to_vec()));
}

#[test]
fn a_peer_that_breaks_the_rules() {
    // A ClientHello that is none.
    let mut server = our_server(server_settings(identity().0));
    let failure = server.feed(&[22, 3, 1, 0, 5, 1, 0, 0, 1, 0]).unwrap_err();
    assert!(matches!(failure.reason, Reason::Misbehaved(_)), "{failure:?}");
    assert_eq!(failure.alert, Some(AlertDescription::DecodeError));

    // One without an end.
    let mut server = our_server(server_settings(identity().0));
    let warning = [21, 3, 3, 0, 2, 1, 90];
    let mut fed = 0;
    let (_, theirs) = identity();
    let client = Arc::new(their_client(Arc::new(ring::default_provider()), &theirs.chain));
    let hello = crate::peer::sent_by(&mut dialling(&client));
    server.feed(&hello).unwrap();
    let failure = loop {
        match server.feed(&warning) {
            Ok(_) => fed += warning.len(),
            Err(failure) => break failure,
        }
        assert!(fed <= HANDSHAKE_BYTES_MAX, "it is never enough");
    };
    assert!(matches!(failure.reason, Reason::Misbehaved(_) | Reason::TooLong(_)), "{failure:?}");
}

#[test]
fn a_connection_that_ends_amid_the_handshake() {
    let (ours, theirs) = identity();
    let client = Arc::new(their_client(Arc::new(ring::default_provider()), &theirs.chain));
    let hello = crate::peer::sent_by(&mut dialling(&client));
    let mut server = our_server(server_settings(ours));
    assert_eq!(server.ended().reason, Reason::Ended(0));
    server.feed(&hello[..100]).unwrap();
    assert_eq!(server.ended().reason, Reason::Ended(100));
    server.feed(&hello[100..]).unwrap();
    assert_eq!(server.ended().reason, Reason::Ended(hello.len()));
    // close_notify in place of Finished.
    let failure = server.feed(&[21, 3, 3, 0, 2, 1, 0]).unwrap_err();
    assert_eq!(failure.reason, Reason::Ended(hello.len() + 7));
}

#[test]
fn settings_that_do_not_fit() {
    let ((one, _), (other, _)) = (identity(), identity());
    let mixed = Identity { chain: one.chain.clone(), key: other.key };
    let refused = ServerTls::new(server_settings(mixed)).unwrap_err();
    assert_eq!(refused, ConfigError::OtherKey);
    let refused = ClientTls::new(client_settings(&[rustls::pki_types::CertificateDer::from(
        b"no certificate".to_vec(),
    )]));
    let told = refused.unwrap_err().to_string();
    assert!(told.starts_with("--tls-ca: "), "{told}");
    let told = server_name("no name").unwrap_err().to_string();
    assert!(told.starts_with("--tls-server-name no name: neither"), "{told}");
    assert!(server_name("127.0.0.1").is_ok() && server_name("::1").is_ok());
    let mut connection =
        dialling(&Arc::new(their_client(Arc::new(ring::default_provider()), &one.chain)));
    assert!(give(&mut connection, b"").is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// One byte of what a client sends is another, and it comes in two pieces: the handshake goes on or fails.
    #[test]
    fn a_handshake_that_was_changed_is_no_panic(
        at in 0usize..2_000, by in 1u8.., cut in 0usize..2_000, is_tls13: bool,
    ) {
        let (ours, _) = identity();
        let mut settings = client_settings(&ours.chain);
        settings.versions = if is_tls13 { Versions::Tls13 } else { Versions::Tls12 };
        let (mut server, mut client) = (our_server(server_settings(ours)), our_client(settings));
        let mut seen = 0;
        for turn in 0..6 {
            let (from, to) = if turn % 2 == 0 {
                (&mut client, &mut server)
            } else {
                (&mut server, &mut client)
            };
            let mut bytes = from.outgoing().to_vec();
            from.sent(bytes.len());
            if (seen..seen + bytes.len()).contains(&at) {
                bytes[at - seen] ^= by;
            }
            seen += bytes.len();
            let (one, other) = bytes.split_at(cut.min(bytes.len()));
            let _ = to.feed(one);
            let _ = to.feed(other);
        }
        // What is not authentic, as the version in a header is not, may have changed. Two ends that are done have
        // the same keys all the same.
        if [server.feed(b""), client.feed(b"")] == [Ok(Progress::Done), Ok(Progress::Done)] {
            let [mut server, mut client] = [server, client].map(|end| {
                let finished = end.finish().unwrap();
                Ours::of(finished.session, finished.rest)
            });
            prop_assert_eq!(server.open_data(&client.seal(b"up")), b"up");
            prop_assert_eq!(client.open_data(&server.seal(b"down")), b"down");
        }
    }

    /// Whatever comes first is at worst a failure.
    #[test]
    fn whatever_comes_first_is_no_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), is_record: bool,
    ) {
        let mut server = our_server(server_settings(identity().0));
        let head = [22, 3, 1, 0, 64, 1, 0, 0, 60, 3, 3];
        let _ = server.feed(if is_record { &head } else { &[] });
        let _ = server.feed(&bytes);
        let _ = server.ended();
    }
}
