//! What an endpoint tells its end: what has come of an operation.

use crate::base::errno::Errno;
use crate::engine::driver::Readiness;
use crate::engine::slot::ReadSide;
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
    /// Bytes came, or the end of the stream (0); before, the reading side was in this state.
    Received(SlotId, ReadSide, Result<u32, Errno>),
    /// All bytes are gone.
    Sent(SlotId),
    /// The peer takes no more bytes for now: a poll for room is armed.
    Stalled(SlotId),
    /// The peer takes bytes again, or is gone.
    Writable(SlotId, Result<Readiness, Errno>),
    /// So many bytes that went to the peer are not acknowledged, if the kernel can tell.
    Unacked(SlotId, Result<u32, Errno>),
    /// Bytes could not be sent.
    SendFailed(SlotId, Errno),
    /// The join of a closing connection may go on, see `Endpoint::close_step`.
    Joining(SlotId),
    /// A descriptor is closed, and its slot is free.
    Closed,
}
