//! A driver for benches: whatever is asked for has completed at once, so that nothing is measured but
//! the shard. It simulates no failure, which `sim` does, and knows no bytes.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use megaconn::base::errno::Errno;
use megaconn::engine::driver::{Completion, Dial, Driver, Listen, ShutdownMode};
use megaconn::engine::slot::BufferId;
use megaconn::engine::token::Token;
use megaconn::engine::worker::Wakeup;

/// Buffers of the pool: more than a turn of the shard can have in use.
const BUFFERS: u16 = 1024;

/// poll(2): there are bytes to read.
const READABLE: u32 = 1;

/// A world whose peers connect at once, and then send when they are told to.
pub(crate) struct Answering {
    /// Peers that have not been accepted yet.
    arriving: u32,
    /// Polls of connections at rest.
    resting: Vec<Token>,
    /// Receives that wait for bytes.
    awaiting: Vec<Token>,
    /// Where each slot's receive is among those that wait, so that a cancel costs the same with any
    /// number of them. All slots are in one segment.
    place: Vec<usize>,
    done: Vec<Completion>,
    buffers: Vec<BufferId>,
    message_bytes: u32,
    now: Duration,
}

impl Answering {
    /// So many peers, which send messages of so many bytes.
    pub(crate) fn new(peers: u32, message_bytes: usize) -> Answering {
        Answering {
            arriving: peers,
            resting: Vec::new(),
            awaiting: Vec::new(),
            place: vec![usize::MAX; usize::from(u16::MAX) + 1],
            done: Vec::new(),
            buffers: (0..BUFFERS).map(BufferId::new).collect(),
            message_bytes: u32::try_from(message_bytes).expect("a message is short"),
            now: Duration::ZERO,
        }
    }

    /// A message comes to every connection.
    pub(crate) fn send_to_all(&mut self) {
        let readable = |token| Completion { token, result: Ok(READABLE) };
        self.done.extend(self.resting.drain(..).map(readable));
        let bytes = self.message_bytes;
        let received = |token| Completion { token, result: Ok(bytes) };
        self.done.extend(self.awaiting.drain(..).map(received));
    }

    fn answer(&mut self, token: Token, result: u32) {
        self.done.push(Completion { token, result: Ok(result) });
    }
}

impl Driver for Answering {
    fn open_segment(&mut self, _: u16, _: u32) -> Result<(), Errno> {
        Ok(())
    }

    fn close_segment(&mut self, _: u16) {}

    fn poll(&mut self, token: Token) {
        self.resting.push(token);
    }

    fn recv(&mut self, token: Token, _: BufferId, _: u16) {
        self.answer(token, self.message_bytes);
    }

    fn await_bytes(&mut self, token: Token, _: BufferId) {
        self.place[usize::from(token.slot().index())] = self.awaiting.len();
        self.awaiting.push(token);
    }

    fn send(&mut self, token: Token, _: BufferId, range: Range<u16>) {
        self.answer(token, range.len().try_into().expect("it was 16 bits"));
    }

    fn shutdown(&mut self, token: Token, _: ShutdownMode) {
        self.answer(token, 0);
    }

    fn unacked(&mut self, _: Token) {}

    fn cancel(&mut self, token: Token) {
        let place = self.place[usize::from(token.slot().index())];
        if self.awaiting.get(place) != Some(&token) {
            return;
        }
        self.awaiting.swap_remove(place);
        if let Some(moved) = self.awaiting.get(place) {
            self.place[usize::from(moved.slot().index())] = place;
        }
        self.done.push(Completion { token, result: Err(Errno::ECANCELED) });
    }

    fn close(&mut self, token: Token) {
        self.answer(token, 0);
    }

    fn submit(&mut self) {}

    fn reap(&mut self, batch: &mut Vec<Completion>) {
        let room = batch.capacity() - batch.len();
        let first = self.done.len().saturating_sub(room);
        batch.extend(self.done.drain(first..));
        self.now += Duration::from_micros(1);
    }

    fn buffers(&self) -> usize {
        usize::from(BUFFERS)
    }

    fn take_buffer(&mut self) -> Option<BufferId> {
        self.buffers.pop()
    }

    fn give_buffer(&mut self, buffer: BufferId) {
        self.buffers.push(buffer);
    }

    fn buffer(&mut self, _: BufferId) -> &mut [u8] {
        &mut []
    }

    fn now(&self) -> Duration {
        self.now
    }
}

impl Listen for Answering {
    /// Those beyond the peers that there are wait for ever.
    fn accept(&mut self, token: Token, _: usize) {
        if let Some(left) = self.arriving.checked_sub(1) {
            self.arriving = left;
            self.answer(token, 0);
        }
    }

    fn poll_listener(&mut self, _: Token, _: usize) {}

    fn peer(&mut self, _: Token) -> Option<std::net::IpAddr> {
        None
    }

    fn stop_listening(&mut self) {}

    fn let_go_of_listeners(&mut self) {}

    fn refuse(&mut self, _: usize, _: usize) -> usize {
        0
    }
}

impl Dial for Answering {
    fn connect(&mut self, _: Token, _: SocketAddr, _: usize) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }

    fn learn_targets(&mut self, _: &[SocketAddr]) {}
}

impl Wakeup for Answering {
    fn has_work(&mut self) -> bool {
        !self.done.is_empty()
    }

    fn housekeep(&mut self) -> Option<Duration> {
        None
    }

    fn wait(&mut self, _: Duration) -> Result<bool, Errno> {
        Ok(self.has_work())
    }

    fn arm(&mut self, _: bool) {}
}
