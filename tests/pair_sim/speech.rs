//! What the ends of a world say to each other: bytes, or frames of WebSocket.

use std::cell::Cell;
use std::time::Duration;

use fastrand::Rng;
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::banner::Banner;
use megaconn::engine::protocol::expect::Expect;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::client::Upgraded;
use megaconn::engine::protocol::websocket::upgrade::Request;
use megaconn::engine::protocol::websocket::{self, WebSocket};
use megaconn::engine::protocol::{Action, Protocol};

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
}

/// What is remembered of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct State {
    then: websocket::State,
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
        }
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Protocol for Pinging {
    type State = State;

    fn timer_every(&self) -> Option<Duration> {
        self.then.timer_every().or(Some(self.every))
    }

    fn pings(&self) -> bool {
        self.then.pings()
    }

    fn on_bytes(&self, state: &mut State, buffer: &mut [u8], filled: u16) -> Action {
        let action = self.then.on_bytes(&mut state.then, buffer, filled);
        if state.is_open || action.send.is_empty() {
            return action;
        }
        self.upgrades.set(self.upgrades.get() + 1);
        state.is_open = true;
        if self.refuses.is_some_and(|refuses| self.upgrades.get().is_multiple_of(refuses)) {
            buffer[..REFUSAL.len()].copy_from_slice(REFUSAL);
            return Action { close: Some(CloseReason::Malformed), ..send(0..REFUSAL.len()) };
        }
        action
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

/// A client's layer over what it expects.
pub(crate) fn upgraded(targets: usize, then: Expect) -> Upgraded<Expect> {
    let request = Request { path: "/sim".into(), headers: String::new(), subprotocol: None };
    Upgraded::new(request, vec!["a.example".into(); targets], then)
}
