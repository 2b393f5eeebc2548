//! The two ends of a test: ours, and rustls's own in memory, with what is needed to make both.

use std::io::{Read, Write};
use std::sync::Arc;

use megaconn::engine::protocol::tls::certificate::Identity;
use megaconn::engine::protocol::tls::cipher::Kept;
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, ServerSettings, ServerTls, Trust, Versions, server_name,
};
use megaconn::engine::protocol::tls::content::{Kind, Opened};
use megaconn::engine::protocol::tls::failure::Failure;
use megaconn::engine::protocol::tls::handshake::{Finished, Handshake, Progress};
use megaconn::engine::protocol::tls::record::OWN_BYTES_MAX;
use megaconn::engine::protocol::tls::secrets::Session;
use megaconn::engine::protocol::tls::suite::{ROOM_BEFORE, ROOM_BEHIND};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

/// Turns in which two ends that agree are done.
const TURNS_MAX: usize = 10_000;

/// A certificate of `localhost`, and its key twice, as a key cannot be cloned.
pub(crate) fn identity() -> (Identity, Identity) {
    let one = Identity::self_signed(&["localhost".to_owned()]).unwrap();
    let other = Identity { chain: one.chain.clone(), key: one.key.clone_key() };
    (one, other)
}

/// A provider with this suite alone.
pub(crate) fn only(suite: SupportedCipherSuite) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: vec![suite], ..ring::default_provider() })
}

pub(crate) fn all_of_ecdsa() -> Vec<SupportedCipherSuite> {
    let all = ring::ALL_CIPHER_SUITES.iter().copied();
    all.filter(|suite| !format!("{suite:?}").contains("_RSA_")).collect()
}

pub(crate) fn server_settings(identity: Identity) -> ServerSettings {
    ServerSettings {
        identity,
        protocols: Vec::new(),
        client_authorities: Vec::new(),
        gives_tickets: false,
        versions: Versions::Both,
    }
}

pub(crate) fn client_settings(trusted: &[CertificateDer<'static>]) -> ClientSettings {
    ClientSettings {
        trust: Trust::Authorities(trusted.to_vec()),
        identity: None,
        protocols: Vec::new(),
        keeps_tickets: false,
        versions: Versions::Both,
    }
}

pub(crate) fn our_server(settings: ServerSettings) -> Handshake {
    Handshake::server(&ServerTls::new(settings).unwrap())
}

pub(crate) fn our_client(settings: ClientSettings) -> Handshake {
    let name = server_name("localhost").unwrap();
    Handshake::client(&ClientTls::new(settings).unwrap(), &name).unwrap()
}

pub(crate) fn their_server(provider: Arc<CryptoProvider>, identity: Identity) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    builder.with_single_cert(identity.chain, identity.key).unwrap()
}

pub(crate) fn their_client(
    provider: Arc<CryptoProvider>,
    trusted: &[CertificateDer<'static>],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|root| roots.add(root.clone()).unwrap());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

pub(crate) fn serving(config: ServerConfig) -> Connection {
    ServerConnection::new(Arc::new(config)).unwrap().into()
}

pub(crate) fn dialling(config: &Arc<ClientConfig>) -> Connection {
    let name = server_name("localhost").unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap().into()
}

/// What rustls has to send.
pub(crate) fn sent_by(theirs: &mut Connection) -> Vec<u8> {
    let mut sent = Vec::new();
    while theirs.wants_write() {
        theirs.write_tls(&mut sent).unwrap();
    }
    sent
}

/// rustls gets bytes, and says what it makes of them.
pub(crate) fn give(theirs: &mut Connection, mut bytes: &[u8]) -> Result<(), rustls::Error> {
    while !bytes.is_empty() {
        theirs.read_tls(&mut bytes).unwrap();
        theirs.process_new_packets()?;
    }
    Ok(())
}

/// Plaintext that rustls has.
pub(crate) fn read_by(theirs: &mut Connection) -> Vec<u8> {
    let mut plain = Vec::new();
    if let Err(error) = theirs.reader().read_to_end(&mut plain) {
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    plain
}

/// Carries a handshake through, in pieces of at most `piece` bytes, first of which is as long as `first`. Ends when
/// nothing is left to send at either end.
pub(crate) fn settle(
    ours: &mut Handshake,
    theirs: &mut Connection,
    piece: usize,
) -> Result<Progress, Failure> {
    let mut result = Ok(Progress::NeedMore);
    for _ in 0..TURNS_MAX {
        let out = ours.outgoing().len().min(piece);
        let to_them = ours.outgoing()[..out].to_vec();
        ours.sent(out);
        let _ = give(theirs, &to_them);
        let to_us = sent_by(theirs);
        for bytes in to_us.chunks(piece) {
            result = ours.feed(bytes);
        }
        if to_them.is_empty() && to_us.is_empty() {
            return result;
        }
    }
    panic!("the ends do not come to an end");
}

/// Our end of a connection.
pub(crate) struct Ours {
    pub(crate) session: Session,
    kept: Option<Kept>,
    incoming: Vec<u8>,
}

impl Ours {
    /// After a handshake: its last bytes go to rustls, and what came behind it is opened later.
    pub(crate) fn new(handshake: Handshake, theirs: &mut Connection) -> Ours {
        let Finished { session, rest, outgoing, .. } = handshake.finish().unwrap();
        give(theirs, &outgoing).unwrap();
        Ours { session, kept: None, incoming: rest }
    }

    pub(crate) fn of(session: Session, rest: Vec<u8>) -> Ours {
        Ours { session, kept: None, incoming: rest }
    }

    pub(crate) fn keeping_ciphers(self) -> Ours {
        Ours { kept: Some(Kept::new()), ..self }
    }

    /// One record of data.
    pub(crate) fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        self.seal_kind(Kind::Data, plain)
    }

    pub(crate) fn seal_kind(&mut self, kind: Kind, plain: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0xee; ROOM_BEFORE + plain.len() + ROOM_BEHIND];
        let range = ROOM_BEFORE..ROOM_BEFORE + plain.len();
        buffer[range.clone()].copy_from_slice(plain);
        let record = match &mut self.kept {
            Some(kept) => self.session.seal_kept(kept, kind, &mut buffer, range),
            None => self.session.seal(kind, &mut buffer, range),
        };
        buffer[record.unwrap()].to_vec()
    }

    pub(crate) fn seal_alert(&mut self, alert: rustls::AlertDescription) -> Vec<u8> {
        let mut buffer = [0; OWN_BYTES_MAX];
        let record = self.session.seal_alert(alert, &mut buffer);
        buffer[record].to_vec()
    }

    pub(crate) fn seal_key_update(&mut self, asks: bool) -> Vec<u8> {
        let mut buffer = [0; OWN_BYTES_MAX];
        let record = self.session.seal_key_update(asks, &mut buffer);
        buffer[record].to_vec()
    }

    /// Opens what has come: all records, each with its data.
    pub(crate) fn open(&mut self, bytes: &[u8]) -> Vec<(Opened, Vec<u8>)> {
        self.incoming.extend_from_slice(bytes);
        let mut found = Vec::new();
        loop {
            let record = match &mut self.kept {
                Some(kept) => self.session.open_kept(kept, &mut self.incoming),
                None => self.session.open(&mut self.incoming),
            };
            match record.opened {
                Opened::NeedMore(_) => return found,
                opened => {
                    let range = match &opened {
                        Opened::Data(range) | Opened::Ticket(range) => range.clone(),
                        _ => 0..0,
                    };
                    let is_bad = matches!(opened, Opened::Bad(_));
                    found.push((opened, self.incoming[range].to_vec()));
                    self.incoming.drain(..record.bytes);
                    if is_bad {
                        return found;
                    }
                }
            }
        }
    }

    /// All of it is data.
    pub(crate) fn open_data(&mut self, bytes: &[u8]) -> Vec<u8> {
        let records = self.open(bytes);
        let is_data = |(opened, _): &(Opened, _)| matches!(opened, Opened::Data(_));
        assert!(records.iter().all(is_data), "{records:?}");
        records.into_iter().flat_map(|(_, data)| data).collect()
    }

    /// What came beside data.
    pub(crate) fn open_others(&mut self, bytes: &[u8]) -> Vec<Opened> {
        let records = self.open(bytes).into_iter().map(|(opened, _)| opened);
        records.filter(|opened| !matches!(opened, Opened::Data(_))).collect()
    }
}

/// Data goes both ways.
pub(crate) fn talk(ours: &mut Ours, theirs: &mut Connection) {
    for text in [&b"one"[..], &[7; 5_000]] {
        give(theirs, &ours.seal(text)).unwrap();
        assert!(read_by(theirs) == text, "rustls has read something else");
        theirs.writer().write_all(text).unwrap();
        let sent = sent_by(theirs);
        assert!(ours.open_data(&sent) == text, "we have read something else");
    }
}

/// Two sessions of ours that talk to each other: a server's and a client's, of this version.
pub(crate) fn both_ours(versions: Versions) -> (Ours, Ours) {
    let (ours, _) = identity();
    let mut settings = client_settings(&ours.chain);
    settings.versions = versions;
    let (mut server, mut client) = (our_server(server_settings(ours)), our_client(settings));
    for _ in 0..4 {
        let to_server = client.outgoing().to_vec();
        client.sent(to_server.len());
        server.feed(&to_server).unwrap();
        let to_client = server.outgoing().to_vec();
        server.sent(to_client.len());
        client.feed(&to_client).unwrap();
    }
    let [server, client] = [server, client].map(|end| end.finish().unwrap());
    assert!(server.rest.is_empty() && client.rest.is_empty());
    (Ours::of(server.session, server.rest), Ours::of(client.session, client.rest))
}
