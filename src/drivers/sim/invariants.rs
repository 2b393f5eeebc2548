//! The books of the simulator: what is in which slot, what is asked for, which buffer is used.
//!
//! Here stand the rules of `Driver` that an endpoint must keep, each as an assertion with a sentence.
//! The world asks the books before it does anything; the books never decide what happens.

use crate::engine::slot::BufferId;
use crate::engine::token::{Generation, Operation, SlotId, Token};

/// Which directions the endpoint has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Shut {
    #[default]
    Neither,
    Sending,
    Both,
}

/// One entry of a segment's table.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// The peer behind the descriptor in this slot; `None` when there is no descriptor.
    pub(super) peer: Option<usize>,
    /// What the endpoint has shut down.
    pub(super) shut: Shut,
    /// Polls, or a receive, that have been submitted and wait for their condition.
    pub(super) waiting_readable: Option<Token>,
    pub(super) waiting_writable: Option<Token>,
    opening: Option<Token>,
    reading: Option<Token>,
    writing: Option<Token>,
    closing: Option<Token>,
    cancels: u32,
    questions: u32,
    buffers: [Option<BufferId>; 2],
    generation: Option<Generation>,
}

impl Place {
    fn is_quiet(&self) -> bool {
        self.opening.or(self.reading).or(self.writing).or(self.closing).is_none()
    }

    fn side(&mut self, operation: Operation) -> &mut Option<Token> {
        match operation {
            Operation::Accept | Operation::Connect => &mut self.opening,
            Operation::PollReadable | Operation::Recv => &mut self.reading,
            Operation::PollWritable | Operation::Send | Operation::Shutdown => &mut self.writing,
            Operation::Close => &mut self.closing,
            Operation::Cancel | Operation::PollListener | Operation::Unacked => {
                unreachable!("{operation:?} belongs to no side of a slot")
            }
        }
    }
}

/// All segments, slots and operations in flight.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    segments: Vec<Option<Box<[Place]>>>,
    in_flight: u32,
}

impl Invariants {
    pub(super) fn open_segment(&mut self, number: u16, slots: u32) {
        let index = usize::from(number);
        if self.segments.len() <= index {
            self.segments.resize_with(index + 1, || None);
        }
        assert!(self.segments[index].is_none(), "segment {number} was opened twice");
        self.segments[index] = Some((0..slots).map(|_| Place::default()).collect());
    }

    pub(super) fn close_segment(&mut self, number: u16) {
        let places = self.segments.get_mut(usize::from(number)).and_then(Option::take);
        for place in places.expect("a segment that is not open was closed") {
            assert!(place.peer.is_none(), "segment {number} was closed with a descriptor in it");
            assert!(place.is_quiet(), "segment {number} was closed with work in flight: {place:?}");
            let aside = place.cancels + place.questions;
            assert_eq!(aside, 0, "segment {number} was closed with a cancel or question in flight");
        }
    }

    /// The slot that `id` names.
    pub(super) fn place(&mut self, id: SlotId) -> &mut Place {
        let segment = self.segments.get_mut(usize::from(id.segment())).and_then(Option::as_mut);
        let segment = segment.unwrap_or_else(|| panic!("{id:?} names a segment that is not open"));
        let place = segment.get_mut(usize::from(id.index()));
        place.unwrap_or_else(|| panic!("{id:?} is beyond its segment's last slot"))
    }

    /// An operation is asked for.
    pub(super) fn begin(&mut self, token: Token) {
        self.in_flight += 1;
        let operation = token.operation();
        if operation == Operation::PollListener {
            assert_eq!(token.slot().segment(), 0, "listeners are polled through segment 0");
            return;
        }
        let place = self.place(token.slot());
        match operation {
            Operation::Cancel => {
                place.cancels += 1;
                return;
            }
            Operation::Accept | Operation::Connect => {
                assert!(place.peer.is_none(), "{token:?}: the slot has a descriptor already");
                assert!(place.is_quiet(), "{token:?}: the slot is in use: {place:?}");
                let is_new = place.generation != Some(token.generation());
                assert!(is_new, "{token:?}: a new life of the slot has the old one's generation");
                place.generation = Some(token.generation());
                place.shut = Shut::Neither;
            }
            Operation::Close => {
                assert!(place.peer.is_some(), "{token:?}: closed without a descriptor");
                assert!(place.is_quiet(), "{token:?}: closed before the join: {place:?}");
            }
            _ => {
                assert!(place.peer.is_some(), "{token:?}: asked of a slot without a descriptor");
                assert!(place.opening.is_none(), "{token:?}: asked before there is a connection");
                assert!(place.closing.is_none(), "{token:?}: asked while the slot is being closed");
            }
        }
        let is_current = place.generation == Some(token.generation());
        assert!(is_current, "{token:?}: asked under the generation of another life");
        if operation == Operation::Unacked {
            place.questions += 1;
            return;
        }
        let side = place.side(operation);
        assert!(side.is_none(), "{token:?}: {side:?} of the same side is in flight still");
        *side = Some(token);
    }

    /// The answer of `token` has been handed to the endpoint. Gives back the buffer it used.
    pub(super) fn finish(&mut self, token: Token) -> Option<BufferId> {
        self.in_flight -= 1;
        let operation = token.operation();
        if operation == Operation::PollListener {
            return None;
        }
        let place = self.place(token.slot());
        if operation == Operation::Cancel {
            place.cancels -= 1;
            return None;
        }
        if operation == Operation::Unacked {
            place.questions -= 1;
            return None;
        }
        let asked = place.side(operation).take();
        assert_eq!(asked, Some(token), "the simulator answered what was not asked");
        match operation {
            Operation::Recv => place.buffers[0].take(),
            Operation::Send => place.buffers[1].take(),
            _ => None,
        }
    }

    /// The operation `token` uses `buffer` until it is finished.
    pub(super) fn lend(&mut self, token: Token, buffer: BufferId) {
        let side = usize::from(token.operation() == Operation::Send);
        self.place(token.slot()).buffers[side] = Some(buffer);
    }

    /// The buffer that the receive in this slot was lent.
    pub(super) fn lent_to_receive(&mut self, id: SlotId) -> BufferId {
        self.place(id).buffers[0].expect("a receive has a buffer")
    }

    /// Operations asked for whose answer the endpoint has not got.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Pool,
    Endpoint,
    Operation(Token),
}

/// A small pool, so that it runs empty.
#[derive(Debug)]
pub(super) struct Pool {
    memory: Vec<(Holder, Box<[u8]>)>,
}

/// What a fresh buffer holds: bytes left over from another connection would
/// be found by the checks of what arrives, and so are these.
const JUNK: u8 = 0xa5;

impl Pool {
    pub(super) fn new(count: u16, bytes_each: u16) -> Pool {
        let fresh = || (Holder::Pool, vec![JUNK; usize::from(bytes_each)].into_boxed_slice());
        Pool { memory: (0..count).map(|_| fresh()).collect() }
    }

    pub(super) fn count(&self) -> usize {
        self.memory.len()
    }

    pub(super) fn take(&mut self) -> Option<BufferId> {
        let index = self.memory.iter().position(|(holder, _)| *holder == Holder::Pool)?;
        self.memory[index].0 = Holder::Endpoint;
        Some(BufferId::new(u16::try_from(index).expect("the pool is small")))
    }

    pub(super) fn give(&mut self, buffer: BufferId) {
        let holder = self.pass(buffer, Holder::Pool);
        assert_eq!(holder, Holder::Endpoint, "{buffer:?} was given back, but its holder is not us");
        self.memory[buffer.index()].1.fill(JUNK);
    }

    /// The endpoint hands the buffer to an operation.
    pub(super) fn lend(&mut self, buffer: BufferId, token: Token) {
        let holder = self.pass(buffer, Holder::Operation(token));
        assert_eq!(holder, Holder::Endpoint, "{token:?}: {buffer:?} is not the endpoint's to lend");
    }

    /// The operation is over: the buffer is the endpoint's again.
    pub(super) fn hand_back(&mut self, buffer: BufferId, token: Token) {
        let holder = self.pass(buffer, Holder::Endpoint);
        assert_eq!(holder, Holder::Operation(token), "{buffer:?} changed hands under {token:?}");
    }

    /// Bytes that the endpoint may touch.
    pub(super) fn of_endpoint(&mut self, buffer: BufferId) -> &mut [u8] {
        let (holder, bytes) = &mut self.memory[buffer.index()];
        assert_eq!(
            *holder,
            Holder::Endpoint,
            "{buffer:?} was touched while it is not the endpoint's"
        );
        bytes
    }

    /// Bytes that the world may touch on behalf of `token`.
    pub(super) fn of_operation(&mut self, buffer: BufferId, token: Token) -> &mut [u8] {
        let (holder, bytes) = &mut self.memory[buffer.index()];
        assert_eq!(*holder, Holder::Operation(token), "{buffer:?} is not with {token:?}");
        bytes
    }

    pub(super) fn used(&self) -> usize {
        self.memory.iter().filter(|(holder, _)| *holder != Holder::Pool).count()
    }

    fn pass(&mut self, buffer: BufferId, next: Holder) -> Holder {
        let entry = self.memory.get_mut(buffer.index());
        let entry = entry.unwrap_or_else(|| panic!("{buffer:?} is in no pool"));
        std::mem::replace(&mut entry.0, next)
    }
}
