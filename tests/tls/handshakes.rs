//! Handshakes with rustls's own end: both roles, each suite, bytes cut anywhere, tickets, certificates of clients.

use std::io::Write;
use std::sync::Arc;

use megaconn::engine::protocol::tls::config::{ClientTls, ServerTls, Trust, Versions, server_name};
use megaconn::engine::protocol::tls::content::Opened;
use megaconn::engine::protocol::tls::handshake::{Handshake, Progress};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::{Connection, HandshakeKind, ProtocolVersion, RootCertStore, SupportedCipherSuite};

use crate::peer::{
    Ours, all_of_ecdsa, client_settings, dialling, give, identity, only, our_client, our_server,
    read_by, sent_by, server_settings, serving, settle, talk, their_client, their_server,
};

/// Our server and their client, with one suite.
fn serve(suite: SupportedCipherSuite) -> (Handshake, Connection) {
    let (ours, theirs) = identity();
    let client = Arc::new(their_client(only(suite), &theirs.chain));
    (our_server(server_settings(ours)), dialling(&client))
}

/// Our client and their server, with one suite.
fn dial(suite: SupportedCipherSuite) -> (Handshake, Connection) {
    let (ours, theirs) = identity();
    (our_client(client_settings(&ours.chain)), serving(their_server(only(suite), theirs)))
}

#[test]
fn each_suite_in_both_roles() {
    let suites = all_of_ecdsa();
    assert_eq!(suites.len(), 6);
    for suite in suites {
        for make in [serve, dial] {
            for piece in [usize::MAX, 1, 7, 100] {
                let (mut ours, mut theirs) = make(suite);
                assert_eq!(settle(&mut ours, &mut theirs, piece), Ok(Progress::Done), "{suite:?}");
                assert!(!theirs.is_handshaking());
                let mut ours = Ours::new(ours, &mut theirs);
                assert_eq!(ours.session.suite().name(), suite.suite());
                assert_eq!(Some(ours.session.version()), theirs.protocol_version());
                // A server of rustls has sent tickets in TLS 1.3.
                let others = ours.open_others(&[]);
                let is_ticket = |opened: &Opened| matches!(opened, Opened::Ticket(_));
                assert!(others.iter().all(is_ticket), "{others:?}");
                talk(&mut ours, &mut theirs);
                talk(&mut ours.keeping_ciphers(), &mut theirs);
            }
        }
    }
}

/// Their end has data that goes out as soon as it may, in one packet with the end of its handshake. Each of its
/// flights comes in two pieces. Says how long the longest was.
fn with_data_behind(
    make: fn(SupportedCipherSuite) -> (Handshake, Connection),
    suite: SupportedCipherSuite,
    cut: usize,
) -> usize {
    const TEXT: &[u8] = b"said as soon as it may be";
    let (mut ours, mut theirs) = make(suite);
    theirs.writer().write_all(TEXT).unwrap();
    let mut longest = 0;
    let mut turns = 0;
    loop {
        give(&mut theirs, ours.outgoing()).unwrap();
        ours.sent(ours.outgoing().len());
        let flight = sent_by(&mut theirs);
        longest = longest.max(flight.len());
        let (one, other) = flight.split_at(cut.min(flight.len()));
        ours.feed(one).unwrap();
        if ours.feed(other) == Ok(Progress::Done) {
            break;
        }
        turns += 1;
        assert!(turns < 5, "the handshake does not end");
    }
    let mut ours = Ours::new(ours, &mut theirs);
    let mut records = ours.open(&[]);
    records.extend(ours.open(&sent_by(&mut theirs)));
    let data: Vec<u8> = records
        .into_iter()
        .filter(|(opened, _)| !matches!(opened, Opened::Ticket(_)))
        .inspect(|(opened, _)| {
            assert!(matches!(opened, Opened::Data(_)), "{opened:?}, cut at {cut}")
        })
        .flat_map(|(_, data)| data)
        .collect();
    assert_eq!(data, TEXT, "{suite:?}, cut at {cut}");
    longest
}

#[test]
fn nothing_is_lost_behind_a_handshake_wherever_it_is_cut() {
    for suite in [
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ] {
        for make in [serve, dial] {
            let longest = with_data_behind(make, suite, 0);
            assert!(longest > 100, "a short flight: {longest}");
            for cut in 1..longest {
                with_data_behind(make, suite, cut);
            }
        }
    }
}

#[test]
fn versions_are_kept_to() {
    for (versions, version) in [
        (Versions::Both, ProtocolVersion::TLSv1_3),
        (Versions::Tls13, ProtocolVersion::TLSv1_3),
        (Versions::Tls12, ProtocolVersion::TLSv1_2),
    ] {
        let (ours, theirs) = identity();
        let mut settings = client_settings(&ours.chain);
        settings.versions = versions;
        let mut client = our_client(settings);
        let mut server = serving(their_server(Arc::new(ring::default_provider()), theirs));
        assert_eq!(settle(&mut client, &mut server, usize::MAX), Ok(Progress::Done));
        assert_eq!(client.finish().unwrap().session.version(), version);
    }
}

#[test]
fn alpn_is_agreed_on() {
    let (ours, theirs) = identity();
    let mut settings = server_settings(ours);
    settings.protocols = vec![b"http/1.1".to_vec(), b"mqtt".to_vec()];
    let mut config = their_client(Arc::new(ring::default_provider()), &theirs.chain);
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    let (mut ours, mut theirs) = (our_server(settings), dialling(&Arc::new(config)));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
    assert_eq!(ours.finish().unwrap().protocol.unwrap(), b"mqtt");
}

/// A client of ours takes tickets of rustls's server and its next handshake is a short one.
#[test]
fn a_client_resumes() {
    for (versions, has_tickets) in [(Versions::Tls13, true), (Versions::Tls12, false)] {
        let (ours, theirs) = identity();
        let mut settings = client_settings(&ours.chain);
        (settings.keeps_tickets, settings.versions) = (true, versions);
        let client = ClientTls::new(settings).unwrap();
        let server = Arc::new(their_server(Arc::new(ring::default_provider()), theirs));
        for is_second in [false, true] {
            let name = server_name("localhost").unwrap();
            let mut ours = Handshake::client(&client, &name).unwrap();
            let mut theirs =
                Connection::from(rustls::ServerConnection::new(Arc::clone(&server)).unwrap());
            assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
            let finished = ours.finish().unwrap();
            assert_eq!(finished.is_resumed, is_second, "{versions:?}");
            assert_eq!(theirs.handshake_kind() == Some(HandshakeKind::Resumed), is_second);
            assert_eq!(finished.tickets.is_some(), has_tickets);
            let mut ours = Ours::of(finished.session, finished.rest);
            let mut keeper = finished.tickets;
            let mut taken = 0;
            for (opened, bytes) in ours.open(&[]) {
                assert!(matches!(opened, Opened::Ticket(_)), "{opened:?}");
                taken += keeper.as_mut().unwrap().take(&bytes);
            }
            assert_eq!(taken, if has_tickets { 2 } else { 0 }, "rustls sends two");
            talk(&mut ours, &mut theirs);
        }
    }
}

/// A server of ours gives tickets by a switch, keeps nothing of them, and takes them.
#[test]
fn a_server_resumes_by_a_switch() {
    for gives_tickets in [true, false] {
        for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
            let (ours, theirs) = identity();
            let mut settings = server_settings(ours);
            settings.gives_tickets = gives_tickets;
            let server = ServerTls::new(settings).unwrap();
            let mut roots = RootCertStore::empty();
            roots.add(theirs.chain[0].clone()).unwrap();
            let client = Arc::new(
                rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(roots)
                    .with_no_client_auth(),
            );
            for is_second in [false, true] {
                let mut ours = Handshake::server(&server);
                let mut theirs = dialling(&client);
                assert_eq!(settle(&mut ours, &mut theirs, 50), Ok(Progress::Done));
                let finished = ours.finish().unwrap();
                assert_eq!(finished.is_resumed, is_second && gives_tickets, "{version:?}");
                assert!(finished.tickets.is_none());
                talk(&mut Ours::of(finished.session, finished.rest), &mut theirs);
                assert_eq!(read_by(&mut theirs), b"");
            }
        }
    }
}

#[test]
fn both_ends_have_certificates() {
    // Our server asks.
    let ((server, trusted), (client, client_trusted)) = (identity(), identity());
    let mut settings = server_settings(server);
    settings.client_authorities.clone_from(&client.chain);
    let mut roots = RootCertStore::empty();
    roots.add(trusted.chain[0].clone()).unwrap();
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(client.chain, client.key)
        .unwrap();
    let (mut ours, mut theirs) = (our_server(settings), dialling(&Arc::new(config)));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
    talk(&mut Ours::new(ours, &mut theirs), &mut theirs);

    // Their server asks.
    let (server, trusted) = identity();
    let mut roots = RootCertStore::empty();
    roots.add(client_trusted.chain[0].clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(server.chain, server.key)
        .unwrap();
    let mut settings = client_settings(&trusted.chain);
    settings.identity = Some(client_trusted);
    let (mut ours, mut theirs) = (our_client(settings), serving(config));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
    let mut ours = Ours::new(ours, &mut theirs);
    ours.open(&[]);
    talk(&mut ours, &mut theirs);
}

#[test]
fn anything_is_believed_when_told_to() {
    let (_, theirs) = identity();
    let mut settings = client_settings(&[]);
    settings.trust = Trust::Anything;
    let name = server_name("another.name").unwrap();
    let mut ours = Handshake::client(&ClientTls::new(settings).unwrap(), &name).unwrap();
    let mut theirs = serving(their_server(Arc::new(ring::default_provider()), theirs));
    assert_eq!(settle(&mut ours, &mut theirs, usize::MAX), Ok(Progress::Done));
}
