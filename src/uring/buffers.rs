//! The buffers of one core: the only memory that the kernel writes on a connection's behalf.

use std::ops::Range;
use std::ptr::NonNull;

use crate::conn::BufferId;

/// A pool of buffers of one size. What was never used is never resident; the last one given back
/// is the first one taken, so that few pages stay warm. Its memory stays for as long as the process:
/// a receive that waits for bytes may outlast its ring, which the kernel takes apart by and by.
pub(super) struct Buffers {
    memory: NonNull<[u8]>,
    bytes_each: u16,
    free: Vec<u16>,
}

impl Buffers {
    pub(super) fn new(count: u16, bytes_each: u16) -> Buffers {
        let memory = vec![0_u8; usize::from(count) * usize::from(bytes_each)].into_boxed_slice();
        let free = (0..count).rev().collect();
        Buffers { memory: NonNull::from(Box::leak(memory)), bytes_each, free }
    }

    pub(super) fn take(&mut self) -> Option<BufferId> {
        self.free.pop().map(BufferId::new)
    }

    pub(super) fn give(&mut self, buffer: BufferId) {
        let index = u16::try_from(buffer.index()).expect("buffer numbers have 16 bits");
        assert!(self.free.len() < self.free.capacity(), "more buffers came back than there are");
        self.free.push(index);
    }

    /// Where a receive may write: from `start` to the end of the buffer.
    pub(super) fn space_from(&self, buffer: BufferId, start: u16) -> (*mut u8, u32) {
        (self.address(buffer, start..self.bytes_each), u32::from(self.bytes_each - start))
    }

    /// What a send reads.
    pub(super) fn filled(&self, buffer: BufferId, range: Range<u16>) -> (*const u8, u32) {
        let bytes = u32::from(range.end - range.start);
        (self.address(buffer, range).cast_const(), bytes)
    }

    pub(super) fn bytes(&mut self, buffer: BufferId, range: Range<u16>) -> &mut [u8] {
        let bytes = usize::from(range.end - range.start);
        let address = self.address(buffer, range);
        // SAFETY: the range lies in the pool (checked by `address`), which is never freed;
        // the shard asks only for buffers that no operation uses, because a slot's read and write
        // side never work at once on the buffer it holds. Exercised by tests/ring.rs.
        unsafe { std::slice::from_raw_parts_mut(address, bytes) }
    }

    fn address(&self, buffer: BufferId, range: Range<u16>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.bytes_each, "outside of the buffer");
        let offset = buffer.index() * usize::from(self.bytes_each) + usize::from(range.start);
        assert!(
            offset + usize::from(range.end - range.start) <= self.memory.len(),
            "no such buffer"
        );
        self.memory.as_ptr().cast::<u8>().wrapping_add(offset)
    }
}
