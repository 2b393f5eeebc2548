//! What the ends of a world say to each other: bytes, or frames of WebSocket.

use std::cell::Cell;
use std::time::Duration;

use fastrand::Rng;
use megaconn::base::constants::{HANDSHAKES_MAX, TLS_BUFFER_BYTES};
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::broadcast::Said;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::tls::certificate::Identity;
use megaconn::engine::protocol::tls::client;
use megaconn::engine::protocol::tls::config::{
    ClientSettings, ClientTls, ServerSettings, ServerTls, Trust, Versions, server_name,
};
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::Request;
use megaconn::engine::protocol::websocket::{self, WebSocket};
use megaconn::engine::protocol::{Action, Protocol, Shaking};

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::frames::{CLOSE, PING};

/// Bytes of a buffer that holds a request, and the answer to it.
pub(crate) const BUFFER_BYTES: std::ops::RangeInclusive<u16> = 300..=500;

/// A server of WebSocket that does what ours has no occasion for: its pings have a text, it closes, and it refuses. In
/// some worlds the pings are ours.
#[derive(Clone, Debug)]
pub(crate) struct Pinging {
    then: WebSocket,
    /// Time between two pings where nothing is pushed.
    every: Duration,
    /// A connection is closed at its timer of this number.
    closes_at: Option<u8>,
    /// Every upgrade of so many is refused.
    refuses: Option<u32>,
    upgrades: Cell<u32>,
    /// An upgrade has the cost of a handshake of TLS.
    is_costly: bool,
    /// Handshakes that cost, and have begun.
    handshakes: Cell<u32>,
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    then: websocket::State,
    has_begun: bool,
    is_open: bool,
    timers: u8,
}

/// The answer to a request that is refused.
pub(crate) const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

/// What a server says last.
pub(crate) const GOING_AWAY: [u8; 2] = 1001_u16.to_be_bytes();

impl Pinging {
    pub(crate) fn new(banner: &Banner<Mode>, random: &mut Rng) -> Pinging {
        let text = |text: &megaconn::base::units::Text| {
            String::from_utf8(text.bytes().to_vec()).expect("letters are a text").into()
        };
        let is_free = !matches!(banner.then, Mode::Push(_));
        let ping_every = (is_free && random.bool()).then(|| millis(random.u64(30..400)));
        let then = WebSocket {
            subprotocol: None,
            banner: banner.text.as_ref().map(text),
            ping_every,
            then: banner.then.clone(),
        };
        Pinging {
            then,
            every: millis(random.u64(30..400)),
            closes_at: (random.u8(..4) == 0).then(|| random.u8(1..6)),
            refuses: (random.u8(..4) == 0).then(|| random.u32(2..8)),
            upgrades: Cell::new(0),
            is_costly: random.bool(),
            handshakes: Cell::new(0),
        }
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Protocol for Pinging {
    type State = State;

    const SHAKES: bool = true;

    fn handshake(&self, state: &State) -> Shaking {
        match (self.is_costly, state) {
            (_, State { is_open: true, .. }) => Shaking::Done,
            (false, _) => Shaking::Cheap,
            (true, State { has_begun: false, .. }) => Shaking::New,
            (true, _) => Shaking::Costly,
        }
    }

    fn handshakes(&self) -> u32 {
        // Now and then there is no room for another one.
        let has_room = self.handshakes.get() < 2;
        if has_room { self.handshakes.get() } else { HANDSHAKES_MAX }
    }

    fn forget(&self, state: &mut State) {
        if state.has_begun && !state.is_open {
            self.handshakes.set(self.handshakes.get() - 1);
        }
        *state = State::default();
    }

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every().or(Some(self.every))
    }

    fn pings(&self) -> bool {
        self.then.pings()
    }

    fn on_bytes(&self, state: &mut State, buffer: &mut [u8], filled: u16) -> Action {
        if !state.has_begun {
            state.has_begun = true;
            self.handshakes.set(self.handshakes.get() + 1);
        }
        let action = self.then.on_bytes(&mut state.then, buffer, filled);
        if state.is_open || action.send.is_empty() {
            return action;
        }
        self.handshakes.set(self.handshakes.get() - 1);
        self.upgrades.set(self.upgrades.get() + 1);
        state.is_open = true;
        if self.refuses.is_some_and(|refuses| self.upgrades.get().is_multiple_of(refuses)) {
            buffer[..REFUSAL.len()].copy_from_slice(REFUSAL);
            return Action { close: Some(CloseReason::Malformed), ..send(0..REFUSAL.len()) };
        }
        action
    }

    fn on_broadcast(&self, state: &mut State, said: &Said<'_>, out: &mut [u8]) -> Action {
        self.then.on_broadcast(&mut state.then, said, out)
    }

    fn on_timer(&self, state: &mut State, out: &mut [u8]) -> Action {
        if !state.is_open {
            return Action::NOTHING;
        }
        state.timers = state.timers.wrapping_add(1);
        if self.closes_at == Some(state.timers) {
            out[..4].copy_from_slice(&[CLOSE, 2, GOING_AWAY[0], GOING_AWAY[1]]);
            return Action { close: Some(CloseReason::Finished), ..send(0..4) };
        }
        if self.then.pings() {
            return self.then.on_timer(&mut state.then, out);
        }
        // A ping of some bytes, and what is pushed behind it.
        let len = usize::from(state.timers % 7);
        out[..2].copy_from_slice(&[PING, state.timers % 7]);
        out[2..2 + len].fill(state.timers);
        let begin = 2 + len;
        let pushed = self.then.on_timer(&mut state.then, &mut out[begin..]).send;
        let pushed = begin + usize::from(pushed.start)..begin + usize::from(pushed.end);
        let end = begin + pushed.len();
        out.copy_within(pushed, begin);
        send(0..end)
    }
}

fn send(range: std::ops::Range<usize>) -> Action {
    let short = |place| u16::try_from(place).expect("a buffer is short");
    Action::send(short(range.start)..short(range.end))
}

/// Bytes of a buffer of records, which are longer than what they carry.
pub(crate) const RECORDS_BYTES: std::ops::RangeInclusive<u16> = 2_000..=TLS_BUFFER_BYTES;

/// A server's config and that of a client which trusts it. All that they say has a length that is fixed, as a seed
/// makes one world: the signatures of Ed25519 have.
pub(crate) fn trusted(random: &mut Rng) -> (ServerTls, ClientTls) {
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("there are random numbers");
    let params = CertificateParams::new(["a.example".to_owned()]).expect("it is a name");
    let certificate = CertificateDer::from(params.self_signed(&key).expect("it has its key"));
    let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let versions = if random.bool() { Versions::Both } else { Versions::Tls12 };
    let server = ServerSettings {
        identity: Identity { chain: vec![certificate.clone()], key },
        protocols: Vec::new(),
        client_authorities: Vec::new(),
        gives_tickets: random.bool(),
        versions,
    };
    let client = ClientSettings {
        trust: Trust::Authorities(vec![certificate]),
        identity: None,
        protocols: Vec::new(),
        keeps_tickets: false,
        versions,
    };
    let server = ServerTls::new(server).expect("its key fits");
    (server, ClientTls::new(client).expect("it has an authority"))
}

/// A client's layer of TLS over what it expects.
pub(crate) fn in_records(config: ClientTls, targets: usize, then: Expect) -> client::Tls<Expect> {
    let name = server_name("a.example").expect("it is a name");
    client::Tls::new(config, vec![name; targets], then)
}

/// A client's layer over what it expects.
pub(crate) fn upgraded(targets: usize, then: Expect) -> Upgraded<Expect> {
    let request = Request { path: "/sim".into(), headers: String::new(), subprotocol: None };
    Upgraded::new(request, vec!["a.example".into(); targets], then)
}
