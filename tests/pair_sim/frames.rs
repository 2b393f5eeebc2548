//! What must hold of the streams of a world that speaks WebSocket, frame by frame.

use megaconn::engine::protocol::message::Message;
use megaconn::engine::protocol::mode::Mode;
use megaconn::engine::protocol::push::Push;

use crate::scene::Scene;
use crate::speech::{GOING_AWAY, REFUSAL};
use crate::wire::{BINARY, TEXT};
pub(crate) use crate::wire::{CLOSE, PING, PONG};
use crate::wire::{Came, read_all};

/// What one end has said: a request or an answer to it, then frames.
pub(crate) struct Said<'a> {
    head: &'a [u8],
    frames: Vec<Came>,
    /// The beginning of the next frame.
    rest: &'a [u8],
}

impl<'a> Said<'a> {
    pub(crate) fn of(stream: &'a [u8]) -> Said<'a> {
        let end = stream.windows(4).position(|end| end == b"\r\n\r\n");
        let (head, stream) = stream.split_at(end.map_or(stream.len(), |end| end + 4));
        let (frames, rest) = read_all(stream);
        Said { head, frames, rest }
    }

    /// Bytes that data frames have carried, also the beginning of the last.
    pub(crate) fn carried(&self) -> usize {
        let whole: usize = self.data().map(|frame| frame.payload.len()).sum();
        let head = match self.rest {
            [TEXT | BINARY, second, ..] => 2 + if second & 0x80 == 0 { 0 } else { 4 },
            _ => self.rest.len(),
        };
        whole + self.rest.len().saturating_sub(head)
    }

    /// What whole data frames have carried.
    pub(crate) fn data_bytes(&self) -> Vec<u8> {
        self.data().flat_map(|frame| frame.payload.iter().copied()).collect()
    }

    /// Bytes that data frames have carried before ping number `pings`, where there are so many.
    pub(crate) fn carried_before(&self, pings: u64) -> usize {
        let mut left = pings;
        let is_before = |frame: &&Came| {
            left -= u64::from(frame.first == PING && left > 0);
            left > 0 || frame.first != PING
        };
        match self.count(PING) {
            all if all == 0 || all < pings => self.carried(),
            _ => {
                let frames = self.frames.iter().take_while(is_before);
                let data = frames.filter(|frame| matches!(frame.first, TEXT | BINARY));
                data.map(|frame| frame.payload.len()).sum()
            }
        }
    }

    /// Whether a close frame is among what was said.
    pub(crate) fn has_closed(&self) -> bool {
        self.frames.iter().any(|frame| frame.first == CLOSE)
    }

    pub(crate) fn count(&self, first: u8) -> u64 {
        self.frames.iter().filter(|frame| frame.first == first).count() as u64
    }

    fn data(&self) -> impl Iterator<Item = &Came> {
        self.frames.iter().filter(|frame| matches!(frame.first, TEXT | BINARY))
    }

    /// Whether this server has closed of its own accord.
    pub(crate) fn has_gone_away(&self) -> bool {
        self.code() == Some(&GOING_AWAY)
    }

    fn code(&self) -> Option<&[u8]> {
        self.frames.last().filter(|frame| frame.first == CLOSE).map(|frame| &frame.payload[..])
    }

    /// Frames are whole where nothing has broken the connection, none stands behind a close, and those of
    /// a client alone have masks.
    fn check(&self, is_of_client: bool, was_reset: bool) {
        let frames = &self.frames;
        assert!(was_reset || self.rest.is_empty(), "a frame was cut: {:x?}", self.rest);
        let is_masked = frames.iter().all(|frame| frame.key.is_some() == is_of_client);
        assert!(is_masked, "a mask is missing, or stands where none may: {frames:?}");
        let close = frames.iter().position(|frame| frame.first == CLOSE);
        assert!(close.is_none_or(|at| at + 1 == frames.len()), "behind a close: {frames:?}");
        let is_known = |frame: &Came| match is_of_client {
            true => matches!(frame.first, BINARY | PONG | CLOSE),
            false => matches!(frame.first, TEXT | BINARY | PING | CLOSE),
        };
        assert!(frames.iter().all(is_known), "a frame that neither sends: {frames:?}");
    }
}

/// One connection, when all is at rest: what each end has sent, and what the other was given.
pub(crate) struct Talk<'a> {
    pub(crate) from_client: Said<'a>,
    pub(crate) to_server: Said<'a>,
    pub(crate) from_server: Said<'a>,
    pub(crate) to_client: Said<'a>,
    /// It was reset, by an end or on the way.
    pub(crate) was_reset: bool,
    /// An end may have given it up while a frame of the client was on its way: it waited for an answer in vain.
    pub(crate) may_be_cut: bool,
    /// The server has ended it in order, and its peer did not break it.
    pub(crate) is_in_order: bool,
}

impl Talk<'_> {
    pub(crate) fn check(&self, scene: &Scene) {
        self.from_client.check(true, self.was_reset || self.may_be_cut);
        self.from_server.check(false, self.was_reset);
        self.check_upgrade();
        self.check_pongs();
        self.check_data(scene);
        // A close is answered by one of the same code, unless the server's own was first.
        let (asked, answered) = (self.to_server.code(), self.from_server.code());
        if let Some(code) = asked.filter(|_| self.is_in_order) {
            let is_right = answered == Some(code) || self.from_server.has_gone_away();
            assert!(is_right, "closed by {code:?}, answered by {answered:?}");
        }
    }

    /// The server did not agree.
    pub(crate) fn is_refused(&self) -> bool {
        self.to_client.head == REFUSAL
    }

    fn check_upgrade(&self) {
        let (asked, answer) = (self.from_client.head, self.from_server.head);
        assert!(b"GET /sim HTTP/1.1\r\n".starts_with(&asked[..asked.len().min(19)]));
        let agreed = &b"HTTP/1.1 101 "[..];
        let is_known = [agreed, REFUSAL].iter().any(|known| {
            let len = known.len().min(answer.len());
            known[..len] == answer[..len]
        });
        assert!(is_known, "{:?}", String::from_utf8_lossy(answer));
        // Frames go when both have upgraded.
        let has_asked = self.to_server.head.ends_with(b"\r\n\r\n");
        assert!(has_asked || answer.is_empty(), "an answer to no request");
        let has_agreed =
            self.to_client.head.starts_with(agreed) && self.to_client.head.ends_with(b"\r\n\r\n");
        assert!(has_agreed || self.from_client.frames.is_empty(), "frames without an upgrade");
    }

    /// Pongs are those of the pings that came, in their order.
    fn check_pongs(&self) {
        let of = |said: &Said, first: u8| -> Vec<Vec<u8>> {
            let frames = said.frames.iter().filter(|frame| frame.first == first);
            frames.map(|frame| frame.payload.clone()).collect()
        };
        let (pings, pongs) = (of(&self.to_client, PING), of(&self.from_client, PONG));
        assert!(pings.starts_with(&pongs), "pings {pings:x?}, pongs {pongs:x?}");
    }

    /// What carries data is as the mode of the server says, and messages are sound.
    fn check_data(&self, scene: &Scene) {
        for frame in self.from_client.data() {
            assert_eq!(frame.payload.len(), usize::from(scene.client.message_bytes));
            let message = Message::read(&frame.payload).expect("a frame is one message");
            assert_eq!(message.run, scene.client.run);
        }
        let kept = |said: &Said| -> Vec<(u8, Vec<u8>)> {
            said.data().map(|frame| (frame.first, frame.payload.clone())).collect()
        };
        let (came, went) = (kept(&self.to_server), kept(&self.from_server));
        match &scene.protocol.then {
            Mode::Echo => {
                assert!(came.starts_with(&went), "{came:x?} was answered by {went:x?}");
                let is_all = came.len() == went.len();
                assert!(is_all || !self.is_in_order, "ended in order without an echo: {came:x?}");
            }
            Mode::Sink if scene.orders.is_some() => {}
            Mode::Sink => assert!(went.is_empty(), "a sink sent {went:x?}"),
            Mode::Push(Push { text, .. }) => {
                assert!(came.is_empty(), "a message was sent to a server that pushes");
                let banner = scene.protocol.text.iter();
                let due = banner.chain(std::iter::repeat(text)).map(|text| text.bytes());
                let is_right = went.iter().map(|(_, bytes)| &bytes[..]).zip(due);
                assert!(is_right.clone().all(|(went, due)| went == due), "pushed {went:x?}");
            }
        }
    }
}
