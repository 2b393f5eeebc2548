//! A rule of RFC 6455 as a row: frames that come, and what must come back. Each row is tried at the
//! ends that it binds, at every cut, alone and behind other frames.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use megaconn::engine::close_reason::CloseReason;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::websocket::WebSocket;

use crate::ends::{ClientEnd, Gone, Recorder, ServerEnd, upgraded};
use crate::http::{REQUEST, agreement};
use crate::wire::{BINARY, CLOSE, Came, PING, PONG, Sent, close, cuts, frame, pieces, read_all};

/// Which ends a rule binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binds {
    Both,
    Server,
    Client,
}

/// What comes back of a frame.
#[derive(Clone, Debug)]
pub(crate) enum Back {
    /// A server echoes this frame; a client hears what it carries.
    Data(u8, Vec<u8>),
    Pong(Vec<u8>),
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    Open,
    /// The other end has closed it, and is answered with this code.
    Closed(u16),
    /// What came is wrong, and this code says so.
    Fails(u16),
}

pub(crate) struct Row {
    section: &'static str,
    rule: String,
    binds: Binds,
    frames: Vec<Sent>,
    back: Vec<Back>,
    then: Then,
}

/// A rule of both ends.
pub(crate) fn row(
    section: &'static str,
    rule: impl Into<String>,
    frames: impl Into<Vec<Sent>>,
    back: impl Into<Vec<Back>>,
    then: Then,
) -> Row {
    let (rule, frames, back) = (rule.into(), frames.into(), back.into());
    Row { section, rule, binds: Binds::Both, frames, back, then }
}

pub(crate) fn data(first: u8, payload: &[u8]) -> Back {
    Back::Data(first, payload.to_vec())
}

pub(crate) fn pong(payload: &[u8]) -> Back {
    Back::Pong(payload.to_vec())
}

impl Row {
    pub(crate) fn of(self, binds: Binds) -> Row {
        Row { binds, ..self }
    }

    fn try_at_all_cuts(&self) {
        let mut random = Rng::with_seed(6455);
        for (is_behind_others, buffer_bytes) in [(false, 4096), (true, 512)] {
            let (mut frames, mut back) = (self.frames.clone(), self.back.clone());
            if is_behind_others {
                frames.splice(0..0, [frame(BINARY, b"first"), frame(PING, b"?")]);
                back.splice(0..0, [data(BINARY, b"first"), pong(b"?")]);
            }
            if !matches!(self.then, Then::Open) {
                frames.push(frame(BINARY, b"after the end"));
            }
            if self.binds != Binds::Client {
                self.try_server(&frames, &back, buffer_bytes, &mut random);
            }
            if self.binds != Binds::Server {
                self.try_client(&frames, &back, buffer_bytes, &mut random);
            }
        }
    }

    fn try_server(&self, frames: &[Sent], back: &[Back], buffer_bytes: usize, random: &mut Rng) {
        let layer =
            WebSocket { subprotocol: None, banner: None, ping_every: None, then: Mode::Echo };
        let mut bytes = REQUEST.as_bytes().to_vec();
        let head = bytes.len();
        frames.iter().for_each(|frame| bytes.extend(frame.bytes(key(random), true)));
        for cuts in cuts(head - 2..bytes.len(), random) {
            let mut server = ServerEnd::new(&layer, buffer_bytes);
            pieces(&bytes, &cuts).into_iter().for_each(|piece| server.take(piece));
            let sent = behind_head(&server.sent);
            let (came, rest) = read_all(sent);
            let frames = back.iter().map(|back| match back {
                Back::Data(first, payload) => (*first, payload.clone()),
                Back::Pong(payload) => (PONG, payload.clone()),
            });
            self.check_frames("server", &came, frames.collect(), &cuts);
            assert_eq!(rest, b"", "cut at {cuts:?}: a part of a frame was sent");
            assert!(came.iter().all(|frame| frame.key.is_none()), "a server masks none");
            let closed = match self.then {
                Then::Open => None,
                Then::Closed(_) => Some(CloseReason::Finished),
                Then::Fails(_) => Some(CloseReason::Malformed),
            };
            assert_eq!(server.closed, closed, "server, cut at {cuts:?}");
            let is_free = closed.is_some() || server.kept() == 0;
            assert!(is_free, "{} bytes are kept", server.kept());
        }
    }

    fn try_client(&self, frames: &[Sent], back: &[Back], buffer_bytes: usize, random: &mut Rng) {
        let layer = upgraded(Recorder::default());
        let answer = agreement(&ClientEnd::new(&layer, 7, buffer_bytes).request);
        let mut bytes = answer.into_bytes();
        let head = bytes.len();
        frames.iter().for_each(|frame| bytes.extend(frame.bytes(key(random), false)));
        for cuts in cuts(head - 2..bytes.len(), random) {
            let mut client = ClientEnd::new(&layer, 7, buffer_bytes);
            layer.then.0.borrow_mut().clear();
            pieces(&bytes, &cuts).into_iter().for_each(|piece| client.take(piece));
            let (came, rest) = read_all(&client.sent);
            let pongs = back.iter().filter_map(|back| match back {
                Back::Data(..) => None,
                Back::Pong(payload) => Some((PONG, payload.clone())),
            });
            self.check_frames("client", &came, pongs.collect(), &cuts);
            assert_eq!(rest, b"", "cut at {cuts:?}: a part of a frame was sent");
            assert!(came.iter().all(|frame| frame.key.is_some()), "a client masks each");
            let (heard, due) = (layer.then.0.borrow(), carried(back));
            assert!(heard.starts_with(&due), "heard {heard:x?}, due was {due:x?}");
            if matches!(self.then, Then::Open) {
                assert_eq!((heard.len(), client.gone), (due.len(), None), "cut at {cuts:?}");
                assert_eq!(client.kept(), 0, "a buffer is kept");
            } else {
                // Of the frame that is wrong, what stood before the wrong byte.
                let wrong = frames.len() - 2;
                let is_part = frames[wrong].payload.starts_with(&heard[due.len()..]);
                assert!(is_part, "heard {heard:x?}, due was {due:x?}");
                let is_closed = matches!(self.then, Then::Closed(_));
                let gone = if is_closed { Gone::Closed } else { Gone::Wrong };
                assert_eq!(client.gone, Some(gone), "client, cut at {cuts:?}");
            }
        }
    }

    fn check_frames(&self, end: &str, came: &[Came], mut due: Vec<(u8, Vec<u8>)>, cuts: &[usize]) {
        match self.then {
            Then::Open => {}
            Then::Closed(code) | Then::Fails(code) => due.push((CLOSE, close(code, b""))),
        }
        let is_right = came.len() == due.len()
            && came
                .iter()
                .zip(&due)
                .all(|(came, (first, payload))| (came.first, &came.payload) == (*first, payload));
        assert!(is_right, "{end}, cut at {cuts:?}: sent {came:?}, due was {due:x?}");
    }
}

/// What the data frames carry.
fn carried(back: &[Back]) -> Vec<u8> {
    let payload = |back: &Back| match back {
        Back::Data(_, payload) => payload.clone(),
        Back::Pong(_) => Vec::new(),
    };
    back.iter().flat_map(payload).collect()
}

/// A mask: now and then one that changes nothing.
fn key(random: &mut Rng) -> [u8; 4] {
    if random.u8(..4) == 0 { [0; 4] } else { random.u32(..).to_le_bytes() }
}

/// What a server has sent behind its agreement.
pub(crate) fn behind_head(sent: &[u8]) -> &[u8] {
    let head = sent.windows(4).position(|end| end == b"\r\n\r\n").expect("a head has an end");
    assert!(sent.starts_with(b"HTTP/1.1 101 "), "it was not agreed to");
    &sent[head + 4..]
}

/// Tries all rows, and names those that do not hold.
pub(crate) fn try_all(rows: &[Row]) {
    let mut failed = Vec::new();
    for row in rows {
        if catch_unwind(AssertUnwindSafe(|| row.try_at_all_cuts())).is_err() {
            failed.push(format!("{} {}", row.section, row.rule));
        }
    }
    assert!(failed.is_empty(), "{} of {} rules: {failed:#?}", failed.len(), rows.len());
}
