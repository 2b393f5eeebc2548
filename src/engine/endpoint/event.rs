//! What an endpoint tells its end: what has come of an operation.

use crate::base::errno::Errno;
use crate::engine::driver::Readiness;
use crate::engine::slot::BufferId;
use crate::engine::token::SlotId;

/// What has come of an operation, for the end to go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A listener that has no accept has a connection waiting.
    Waiting(usize),
    /// An accept into the slot is answered.
    Accepted(SlotId, Result<u32, Errno>),
    /// A connect from the slot is answered.
    Connected(SlotId, Result<u32, Errno>),
    /// An open connection is readable or has ended, and nothing is on its way out.
    Readable(SlotId, Result<Readiness, Errno>),
    /// Bytes came, behind those that the slot's buffer had.
    Received(SlotId),
    /// The peer has ended its stream, and all of it was received.
    Ended(SlotId),
    /// There were no bytes to receive after all.
    Nothing(SlotId),
    /// A receive was taken back before bytes came.
    TakenBack(SlotId),
    /// All bytes are gone.
    Sent(SlotId),
    /// The peer takes no more bytes for now: a poll for room is armed.
    Stalled(SlotId),
    /// The peer takes bytes again, or is gone.
    Writable(SlotId, Result<Readiness, Errno>),
    /// So many bytes that went to the peer are not acknowledged, if the kernel can tell.
    Unacked(SlotId, Result<u32, Errno>),
    /// Bytes could not be received, or sent.
    Failed(SlotId, Errno),
    /// A connection that closes has no use for its buffer any more.
    Returned(BufferId),
    /// A descriptor is closed, and its slot is free.
    Closed,
}
