//! What TLS costs beside the socket: handshakes, records of 64 B, and memory. `cargo bench --bench tls` measures;
//! `cargo test` runs each once.
//!
//! The bytes behind a bench's name are what it takes from the heap: what of them it gives back is the difference to
//! what it holds.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;

use divan::{AllocProfiler, Bencher};
use megaconn::engine::protocol::tls::certificate::Identity;
use megaconn::engine::protocol::tls::cipher::Kept;
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, ServerSettings, ServerTls, Trust, Versions, server_name,
};
use megaconn::engine::protocol::tls::content::{Kind, Opened};
use megaconn::engine::protocol::tls::handshake::{Finished, Handshake, Progress};
use megaconn::engine::protocol::tls::secrets::Session;
use megaconn::engine::protocol::tls::suite::{ROOM_BEFORE, ROOM_BEHIND};
use rustls::client::Resumption;
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage, Tls13AeadAlgorithm,
};
use rustls::crypto::ring::cipher_suite;
use rustls::{
    ClientConfig, ClientConnection, ContentType, ProtocolVersion, RootCertStore, ServerConfig,
    ServerConnection,
};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const MESSAGE_BYTES: usize = 64;

/// Records that one sample opens: each of its own, as a record is opened once.
const RECORDS: usize = 1_000;

fn main() {
    println!("size of a Session: {} B", size_of::<Session>());
    println!("size of a Handshake: {} B, beside the heap", size_of::<Handshake>());
    println!("size of Kept: {} B", size_of::<Kept>());
    divan::main();
}

struct Ends {
    server: ServerTls,
    client: ClientTls,
}

impl Ends {
    fn new(versions: Versions, tickets: bool) -> Ends {
        let identity = Identity::self_signed(&["localhost".to_owned()]).expect("a name");
        let client = ClientSettings {
            trust: Trust::Authorities(identity.chain.clone()),
            identity: None,
            protocols: Vec::new(),
            keeps_tickets: tickets,
            versions,
        };
        let server = ServerSettings {
            identity,
            protocols: Vec::new(),
            client_authorities: Vec::new(),
            gives_tickets: tickets,
            versions,
        };
        Ends {
            server: ServerTls::new(server).expect("they fit"),
            client: ClientTls::new(client).expect("they fit"),
        }
    }

    fn client(&self) -> Handshake {
        let name = server_name("localhost").expect("it is a name");
        Handshake::client(&self.client, &name).expect("random numbers")
    }

    /// A whole handshake. The client takes the ticket when there is one.
    fn shake(&self) -> [Finished; 2] {
        let mut server = Handshake::server(&self.server);
        let mut client = self.client();
        while [carry(&mut client, &mut server), carry(&mut server, &mut client)]
            != [Progress::Done; 2]
        {}
        let [server, mut client] = [server, client].map(|end| end.finish().expect("it is done"));
        if let Some(tickets) = &mut client.tickets
            && let Opened::Ticket(range) = client.session.open(&mut client.rest).opened
        {
            assert_eq!(tickets.take(&client.rest[range]), 1);
        }
        [server, client]
    }
}

fn carry(from: &mut Handshake, to: &mut Handshake) -> Progress {
    let progress = to.feed(from.outgoing()).expect("the ends agree");
    from.sent(from.outgoing().len());
    progress
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn handshake_of_both_ends(bencher: Bencher, versions: Versions) {
    let ends = Ends::new(versions, false);
    bencher.bench_local(|| ends.shake());
}

/// The same with a client that believes any certificate.
#[divan::bench]
fn handshake_unchecked(bencher: Bencher) {
    let client = ClientSettings {
        trust: Trust::Anything,
        identity: None,
        protocols: Vec::new(),
        keeps_tickets: false,
        versions: Versions::Tls13,
    };
    let mut ends = Ends::new(Versions::Tls13, false);
    ends.client = ClientTls::new(client).expect("they fit");
    bencher.bench_local(|| ends.shake());
}

/// rustls's two ends by themselves, with buffers of their own: what it costs without this layer. What they hold
/// afterwards is held by each connection.
#[divan::bench]
fn handshake_of_rustls_alone(bencher: Bencher) {
    let name = || server_name("localhost").expect("it is a name");
    let Identity { chain, key } = Identity::self_signed(&["localhost".to_owned()]).expect("a name");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).expect("it is one");
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("it has both");
    let mut client = builder.with_root_certificates(roots).with_no_client_auth();
    client.resumption = Resumption::disabled();
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("it has both");
    let mut server = builder.with_no_client_auth().with_single_cert(chain, key).expect("they fit");
    server.send_tls13_tickets = 0;
    let (server, client) = (Arc::new(server), Arc::new(client));
    bencher.bench_local(|| {
        let mut server = ServerConnection::new(Arc::clone(&server)).expect("random numbers");
        let mut client =
            ClientConnection::new(Arc::clone(&client), name()).expect("random numbers");
        let mut wire = Vec::new();
        while server.is_handshaking() || client.is_handshaking() || client.wants_write() {
            client.write_tls(&mut wire).expect("memory");
            server.read_tls(&mut &wire[..]).expect("memory");
            server.process_new_packets().expect("the ends agree");
            wire.clear();
            server.write_tls(&mut wire).expect("memory");
            client.read_tls(&mut &wire[..]).expect("memory");
            client.process_new_packets().expect("the ends agree");
            wire.clear();
        }
        (server, client)
    });
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn handshake_by_ticket(bencher: Bencher, versions: Versions) {
    let ends = Ends::new(versions, true);
    ends.shake();
    bencher.bench_local(|| {
        let [server, client] = ends.shake();
        assert!(client.is_resumed);
        [server, client]
    });
}

/// What a server holds while it waits for the client's second flight: its figures are those of one handshake.
#[divan::bench]
fn server_amid_a_handshake(bencher: Bencher) {
    let ends = Ends::new(Versions::Tls13, false);
    let hello = ends.client();
    bencher.bench_local(|| {
        let mut server = Handshake::server(&ends.server);
        assert_eq!(server.feed(hello.outgoing()), Ok(Progress::NeedMore));
        server.sent(server.outgoing().len());
        server
    });
}

/// What a client holds while it waits for a server.
#[divan::bench]
fn client_amid_a_handshake(bencher: Bencher) {
    let ends = Ends::new(Versions::Tls13, false);
    bencher.bench_local(|| {
        let mut client = ends.client();
        client.sent(client.outgoing().len());
        client
    });
}

/// The suites that a test of records is run with, by their client, as a server's order would choose one.
fn sessions(versions: Versions) -> [Session; 2] {
    Ends::new(versions, false).shake().map(|finished| finished.session)
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn seal_with_ciphers_made(bencher: Bencher, versions: Versions) {
    let [_, mut client] = sessions(versions);
    let mut buffer = [0; ROOM_BEFORE + MESSAGE_BYTES + ROOM_BEHIND];
    let plain = ROOM_BEFORE..ROOM_BEFORE + MESSAGE_BYTES;
    bencher.bench_local(|| {
        refresh(&mut client);
        client.seal(Kind::Data, &mut buffer, plain.clone())
    });
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn seal_with_ciphers_kept(bencher: Bencher, versions: Versions) {
    let [_, mut client] = sessions(versions);
    let mut kept = Kept::new();
    let mut buffer = [0; ROOM_BEFORE + MESSAGE_BYTES + ROOM_BEHIND];
    let plain = ROOM_BEFORE..ROOM_BEFORE + MESSAGE_BYTES;
    bencher.bench_local(|| {
        refresh(&mut client);
        client.seal_kept(&mut kept, Kind::Data, &mut buffer, plain.clone())
    });
}

/// A key that is worn is changed, as a program would; in TLS 1.2 a bench is too short for it.
fn refresh(session: &mut Session) {
    use megaconn::engine::protocol::tls::key_update::Wear;
    if session.wear() == Wear::UpdateIsDue {
        session.seal_key_update(false, &mut [0; 64]);
    }
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn open_1000_with_ciphers_made(bencher: Bencher, versions: Versions) {
    let [mut server, mut client] = sessions(versions);
    bencher.with_inputs(|| records(&mut client)).bench_local_values(|mut records| {
        records.iter_mut().for_each(|record| {
            assert!(matches!(server.open(record).opened, Opened::Data(_)));
        });
        records
    });
}

#[divan::bench(args = [Versions::Tls13, Versions::Tls12])]
fn open_1000_with_ciphers_kept(bencher: Bencher, versions: Versions) {
    let [mut server, mut client] = sessions(versions);
    let mut kept = Kept::new();
    bencher.with_inputs(|| records(&mut client)).bench_local_values(|mut records| {
        records.iter_mut().for_each(|record| {
            assert!(matches!(server.open_kept(&mut kept, record).opened, Opened::Data(_)));
        });
        records
    });
}

fn records(client: &mut Session) -> Vec<Vec<u8>> {
    let plain = ROOM_BEFORE..ROOM_BEFORE + MESSAGE_BYTES;
    let seal = |_| {
        let mut buffer = [0; ROOM_BEFORE + MESSAGE_BYTES + ROOM_BEHIND];
        let record = client.seal(Kind::Data, &mut buffer, plain.clone()).expect("a good key");
        buffer[record].to_vec()
    };
    (0..RECORDS).map(seal).collect()
}

#[divan::bench]
fn key_update(bencher: Bencher) {
    let [_, mut client] = sessions(Versions::Tls13);
    bencher.bench_local(|| client.seal_key_update(false, &mut [0; 64]));
}

/// rustls's own cipher of the same suite, which takes a buffer from the heap for each record.
fn theirs() -> Box<dyn MessageEncrypter> {
    let suite = cipher_suite::TLS13_AES_256_GCM_SHA384.tls13().expect("it is of TLS 1.3");
    let aead: &dyn Tls13AeadAlgorithm = suite.aead_alg;
    aead.encrypter(AeadKey::from([7; 32]), Iv::from([7; 12]))
}

fn seal_theirs(cipher: &mut dyn MessageEncrypter, number: u64, plain: &[u8]) -> Vec<u8> {
    let message = OutboundPlainMessage {
        typ: ContentType::ApplicationData,
        version: ProtocolVersion::TLSv1_3,
        payload: OutboundChunks::Single(plain),
    };
    cipher.encrypt(message, number).expect("it is short").encode()
}

#[divan::bench]
fn seal_with_rustls_ciphers_made(bencher: Bencher) {
    let mut number = 0;
    bencher.bench_local(|| {
        number += 1;
        seal_theirs(&mut *theirs(), number, &[42; MESSAGE_BYTES])
    });
}

#[divan::bench]
fn seal_with_rustls_ciphers_kept(bencher: Bencher) {
    let mut number = 0;
    let mut cipher = theirs();
    bencher.bench_local(|| {
        number += 1;
        seal_theirs(&mut *cipher, number, &[42; MESSAGE_BYTES])
    });
}
