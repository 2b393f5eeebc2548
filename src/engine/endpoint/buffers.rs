//! The buffers of a core: taken by a slot while bytes are on their way through, and given back.

use crate::engine::driver::Driver;
use crate::engine::endpoint::Endpoint;
use crate::engine::slot::{BufferId, Role};
use crate::engine::token::SlotId;
use crate::observe::stats::CoreStats;

impl<D: Driver, R: Role, S: CoreStats> Endpoint<D, R, S> {
    /// A buffer of the core's pool; `None` when all are in use.
    #[inline]
    pub fn take_buffer(&mut self) -> Option<BufferId> {
        let buffer = self.driver.take_buffer()?;
        self.buffers_used += 1;
        Some(buffer)
    }

    /// Gives a buffer back that no operation uses.
    pub fn give_buffer(&mut self, buffer: BufferId) {
        self.buffers_used -= 1;
        self.driver.give_buffer(buffer);
    }

    /// Whether a quarter of the buffers is free, or all are: what may wait takes none of the last.
    #[must_use]
    pub fn has_spare_buffers(&self) -> bool {
        let all = self.driver.buffers() as u64;
        self.buffers_used == 0 || 4 * self.buffers_used < 3 * all
    }

    /// Buffers that are in use and come back by themselves.
    #[must_use]
    #[inline]
    pub fn buffers_returning(&self) -> u32 {
        self.buffers_returning
    }

    /// Takes the slot's buffer out of it, if it has one.
    #[inline]
    pub fn detach_buffer(&mut self, id: SlotId) -> Option<BufferId> {
        let slot = &mut self.arena[id];
        slot.end = 0;
        let buffer = std::mem::replace(&mut slot.buffer, BufferId::NONE);
        (buffer != BufferId::NONE).then_some(buffer)
    }

    /// Gives the slot's buffer back, if it has one.
    pub fn drop_buffer(&mut self, id: SlotId) {
        if let Some(buffer) = self.detach_buffer(id) {
            self.give_buffer(buffer);
        }
    }
}
