//! The end of a connection, the same at both ends: a join of both sides, then the close, then the slot
//! is free. Why a connection ends its end says.

use crate::base::errno::Errno;
use crate::engine::driver::{Driver, ShutdownMode};
use crate::engine::endpoint::Endpoint;
use crate::engine::endpoint::event::Event;
use crate::engine::slot::{BufferId, CloseStep, ConnState, ReadSide, Role, WriteSide};
use crate::engine::token::{Operation, SlotId};
use crate::observe::stats::CoreStats;

impl<D: Driver, R: Role, S: CoreStats> Endpoint<D, R, S> {
    /// From now on the connection is closing. What only waits in user space waits no more; a poll for
    /// room is cancelled.
    pub fn begin_close(&mut self, id: SlotId) {
        let slot = &mut self.arena[id];
        slot.transition_to(ConnState::Closing);
        if slot.buffer != BufferId::NONE && slot.read != ReadSide::Cancelling {
            self.buffers_returning += 1;
        }
        if matches!(slot.read, ReadSide::Starved | ReadSide::Deferred) {
            slot.read = ReadSide::Idle;
        }
        if slot.write == WriteSide::Stalled && !slot.role.leaves() {
            self.cancel_poll_writable(id);
        }
    }

    /// A send of a closing connection is done. One that leaves sends the rest when there is room.
    pub(super) fn send_further(&mut self, id: SlotId, result: Result<u32, Errno>) -> Option<Event> {
        let slot = &mut self.arena[id];
        match result {
            Ok(bytes) => {
                slot.start += u16::try_from(bytes).expect("a send stays within its buffer")
            }
            Err(Errno::EAGAIN) => {}
            Err(_) => return self.close_further(id),
        }
        if !slot.role.leaves() || slot.start >= slot.end {
            return self.close_further(id);
        }
        slot.write = WriteSide::Stalled;
        self.driver.poll(slot.token(Operation::PollWritable, id));
        None
    }

    /// Ends our direction, or both; what waits for the peer then completes.
    pub fn arm_shutdown(&mut self, id: SlotId, mode: ShutdownMode) {
        let slot = &mut self.arena[id];
        let is_ours_alone = mode == ShutdownMode::Sending;
        slot.write = if is_ours_alone { WriteSide::Ending } else { WriteSide::ShuttingDown };
        self.driver.shutdown(slot.token(Operation::Shutdown, id), mode);
    }

    /// Takes the next step of the end: a shutdown where only that completes what is with the kernel, or
    /// where the connection is cut by a reset, and the close of the descriptor once nothing is. The slot's
    /// buffer comes back with the close.
    pub fn close_step(&mut self, id: SlotId) -> Option<BufferId> {
        let slot = &self.arena[id];
        let mode = match (slot.role.is_cut(), slot.role.leaves()) {
            (true, _) if slot.role.vanishes() => ShutdownMode::Vanishing,
            (true, _) => ShutdownMode::Reset,
            (false, true) => ShutdownMode::Sending,
            (false, false) => ShutdownMode::Both,
        };
        // A plain close would leave with the kernel what the peer does not take.
        let wants_reset = slot.role.is_cut() && slot.write == WriteSide::Idle;
        match slot.close_step() {
            CloseStep::Wait => None,
            CloseStep::Close if !wants_reset => {
                let buffer = self.detach_buffer(id);
                self.buffers_returning -= u32::from(buffer.is_some());
                let slot = &mut self.arena[id];
                slot.write = WriteSide::Closing;
                self.driver.close(slot.token(Operation::Close, id));
                buffer
            }
            CloseStep::Shutdown | CloseStep::Close => {
                self.arm_shutdown(id, mode);
                None
            }
        }
    }

    /// An operation of a closing connection is done.
    pub(super) fn close_further(&mut self, id: SlotId) -> Option<Event> {
        self.close_step(id).map(Event::Returned)
    }

    /// The descriptor is closed, whatever close(2) said: Linux frees it in any case.
    pub(super) fn free_closed(&mut self, id: SlotId) {
        self.leave_queue(id);
        self.stats.closed_total.add(1);
        self.arena.free(id, self.now_ms);
    }
}
