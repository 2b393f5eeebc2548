//! The buffers of one core: the only memory that the kernel writes on a connection's behalf.

use std::io;
use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
use rustix::param::page_size;

use crate::base::constants::{BUFFERS_KEPT, BUFFERS_TIDIED, TICK_MS};
use crate::engine::slot::BufferId;

/// A pool of buffers of one size. What was never used is never resident; the last one given back
/// is the first one taken, so that few pages stay warm, and the memory of those that stay cold goes
/// back. Its addresses stay for as long as the process: a receive that waits for bytes may outlast its
/// ring, which the kernel takes apart by and by.
pub(super) struct Buffers {
    /// Begins on a page, so that a buffer of whole pages shares none with another.
    memory: *mut u8,
    count: u16,
    bytes_each: u16,
    /// A stack. From its bottom up: those without memory, those with memory that were not used since
    /// the last look, the rest.
    free: Vec<u16>,
    without_memory: usize,
    unused: usize,
    look_at: Duration,
    /// Whether a buffer is whole pages: the kernel takes those back, and nothing smaller.
    gives_back: bool,
}

impl Buffers {
    /// # Errors
    /// When there is no room for them.
    pub(super) fn new(count: u16, bytes_each: u16) -> io::Result<Buffers> {
        let bytes = usize::from(count) * usize::from(bytes_each);
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses. Exercised by the tests below.
        let memory = unsafe {
            mmap_anonymous(std::ptr::null_mut(), bytes.max(1), rights, MapFlags::PRIVATE)?
        };
        // A huge page would make all of its buffers resident with the first, and none go alone. A
        // kernel without huge pages refuses.
        // SAFETY: it changes how pages of our own mapping come, and nothing in them. As above.
        let _ = unsafe { madvise(memory, bytes, Advice::LinuxNoHugepage) };
        let all = usize::from(count);
        Ok(Buffers {
            memory: memory.cast(),
            count,
            bytes_each,
            free: (0..count).rev().collect(),
            without_memory: all,
            unused: all,
            look_at: Duration::ZERO,
            gives_back: usize::from(bytes_each).is_multiple_of(page_size()),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.count.into()
    }

    pub(super) fn take(&mut self) -> Option<BufferId> {
        let buffer = self.free.pop()?;
        self.without_memory = self.without_memory.min(self.free.len());
        self.unused = self.unused.min(self.free.len());
        Some(BufferId::new(buffer))
    }

    pub(super) fn give(&mut self, buffer: BufferId) {
        let index = u16::try_from(buffer.index()).expect("buffer numbers have 16 bits");
        assert!(self.free.len() < self.count.into(), "more buffers came back than there are");
        self.free.push(index);
    }

    /// Gives memory back of buffers that were not used between two looks, some at each look
    /// and all but a few in the end. How long until the next look; `None` when there is nothing
    /// more to give.
    pub(super) fn tidy(&mut self, now: Duration) -> Option<Duration> {
        if !self.gives_back || self.free.len() <= self.without_memory + BUFFERS_KEPT {
            return None;
        }
        if now >= self.look_at {
            let most = self.unused.min(self.free.len() - BUFFERS_KEPT);
            for at in self.without_memory..most.min(self.without_memory + BUFFERS_TIDIED) {
                let buffer = BufferId::new(self.free[at]);
                let address = self.address(buffer, 0..self.bytes_each).cast();
                // SAFETY: the pages are this buffer's alone (`gives_back`), and nothing uses it:
                // it is free. Zeroes are in it when it is next read. Exercised by the tests below.
                let _ = unsafe { madvise(address, self.bytes_each.into(), Advice::LinuxDontNeed) };
                self.without_memory = at + 1;
            }
            self.unused = self.free.len();
            self.look_at = now + Duration::from_millis(TICK_MS.into());
        }
        Some(self.look_at - now)
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

    pub(super) fn whole(&mut self, buffer: BufferId) -> &mut [u8] {
        let address = self.address(buffer, 0..self.bytes_each);
        // SAFETY: the buffer lies in the pool (checked by `address`), which is never freed;
        // the endpoint asks only for buffers that no operation uses, because a slot's read and write
        // side never work at once on the buffer it holds. Exercised by tests/ring.rs.
        unsafe { std::slice::from_raw_parts_mut(address, self.bytes_each.into()) }
    }

    fn address(&self, buffer: BufferId, range: Range<u16>) -> *mut u8 {
        assert!(range.start <= range.end && range.end <= self.bytes_each, "outside of the buffer");
        let offset = buffer.index() * usize::from(self.bytes_each) + usize::from(range.start);
        assert!(buffer.index() < self.count.into(), "no such buffer");
        self.memory.wrapping_add(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(TICK_MS as u64);

    /// `None` where a page is larger than any buffer: there is nothing to try.
    fn a_thousand_pages() -> Option<Buffers> {
        let page = u16::try_from(page_size()).ok()?;
        Some(Buffers::new(1000, page).unwrap())
    }

    fn use_at_once(buffers: &mut Buffers, count: usize) -> Vec<u8> {
        let taken: Vec<_> = (0..count).map(|_| buffers.take().unwrap()).collect();
        let before =
            taken.iter().map(|&buffer| std::mem::replace(&mut buffers.whole(buffer)[0], 1));
        let before = before.collect();
        taken.into_iter().rev().for_each(|buffer| buffers.give(buffer));
        before
    }

    #[test]
    fn memory_of_cold_buffers_goes_back_and_that_of_warm_ones_stays() {
        let Some(mut buffers) = a_thousand_pages() else { return };
        assert_eq!(buffers.tidy(Duration::ZERO), None, "there is nothing to give yet");
        let many = BUFFERS_KEPT + 2 * BUFFERS_TIDIED + 1;
        assert_eq!(use_at_once(&mut buffers, many), vec![0; many]);
        // The first look sees that they were used, three more give: two all they may, the last one.
        for look in 0..5 {
            let now = LOOK * look;
            let next = buffers.tidy(now);
            assert_eq!(next, (look < 4).then_some(LOOK), "look {look}");
            if look < 3 {
                assert_eq!(buffers.tidy(now + LOOK / 2), Some(LOOK / 2), "a look too soon");
            }
            use_at_once(&mut buffers, 1);
        }
        let before = use_at_once(&mut buffers, many);
        assert_eq!(before.iter().filter(|&&byte| byte == 1).count(), BUFFERS_KEPT);
        assert!(before[..BUFFERS_KEPT].iter().all(|&byte| byte == 1), "the warm ones come first");
    }

    #[test]
    fn what_is_used_between_two_looks_keeps_its_memory() {
        let Some(mut buffers) = a_thousand_pages() else { return };
        for look in 0..5 {
            use_at_once(&mut buffers, 500);
            assert_eq!(buffers.tidy(LOOK * look), Some(LOOK));
        }
        assert_eq!(use_at_once(&mut buffers, 501), [vec![1; 500], vec![0]].concat());
    }

    #[test]
    fn a_buffer_that_is_no_whole_page_keeps_its_memory_and_its_neighbours() {
        let mut buffers = Buffers::new(1000, 1024).unwrap();
        let held = buffers.take().unwrap();
        buffers.whole(held)[0] = 7;
        use_at_once(&mut buffers, 900);
        assert_eq!((0..20).find_map(|look| buffers.tidy(LOOK * look)), None);
        assert_eq!(buffers.whole(held)[0], 7);
        assert_eq!(use_at_once(&mut buffers, 900), vec![1; 900]);
    }
}
