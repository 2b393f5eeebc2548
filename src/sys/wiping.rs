//! An allocator that overwrites what is freed. A handshake is rustls's, whose objects on the heap hold secrets, are moved
//! from box to box, and leave their bytes behind: in a core file, and to whatever is allocated next.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::ptr::write_bytes;

/// Blocks that are longer hold buffers and tables, which are overwritten by what owns them where it matters.
const WIPED_BYTES_MAX: usize = 16 * 1024;

/// The allocator of the system, for a program to name as its own.
#[derive(Debug)]
pub struct Wiping;

// SAFETY: all memory is the system's, by the same layouts; a block is written to only before it is freed. Exercised
// by every run of a program, and by the test below.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is that of the system's allocator.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() <= WIPED_BYTES_MAX {
            // SAFETY: the block is the caller's, of so many bytes, and is not used afterwards.
            unsafe { write_bytes(block, 0, layout.size()) };
            // A write that nothing reads before a block is freed would be left out.
            black_box(block);
        }
        // SAFETY: the caller's promise is that of the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() > WIPED_BYTES_MAX {
            // SAFETY: the caller's promise is that of the system's allocator.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that the size is good for this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the caller promises that the size is not 0.
        let new = unsafe { self.alloc(wanted) };
        if !new.is_null() {
            // SAFETY: both blocks are at least so long, and do not overlap: the old one is not freed yet.
            unsafe { block.copy_to_nonoverlapping(new, layout.size().min(size)) };
            // SAFETY: the old block is not used afterwards.
            unsafe { self.dealloc(block, layout) };
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries until the system gives the block that was freed before: it keeps a list of each size, which may be full.
    const TRIES: usize = 100;

    /// What is in the block of a freed allocation is seen by the next of its size.
    #[test]
    fn what_is_freed_is_overwritten() {
        let [layout, longer] =
            [1_000, 3_000].map(|bytes| Layout::from_size_align(bytes, 8).unwrap());
        let mut blocks = Vec::new();
        let is_seen = (0..TRIES).any(|_| {
            // SAFETY: the layout has a size.
            let first = unsafe { Wiping.alloc(layout) };
            // SAFETY: the block is ours, and so long.
            unsafe { write_bytes(first, 0xa7, 1_000) };
            // SAFETY: the block is ours, and the new size is good.
            let grown = unsafe { Wiping.realloc(first, layout, 3_000) };
            // SAFETY: the first 1,000 bytes were copied into it.
            let copied = unsafe { std::slice::from_raw_parts(grown, 1_000) };
            assert!(copied.iter().all(|byte| *byte == 0xa7));
            // SAFETY: the layout has a size, and it is freed below.
            let again = unsafe { Wiping.alloc(layout) };
            blocks.push((grown, again));
            // SAFETY: the block was written whole when it was freed, but for the list of the system at its beginning;
            // another one is not looked at.
            let bytes = unsafe { std::slice::from_raw_parts(again, 1_000) };
            again == first && {
                assert!(bytes[16..].iter().all(|byte| *byte == 0), "it has its bytes still");
                true
            }
        });
        assert!(is_seen, "the system never gave the block of before: this test has seen nothing");
        for (grown, again) in blocks {
            // SAFETY: the block is ours, and of this layout.
            unsafe { Wiping.dealloc(grown, longer) };
            // SAFETY: as above.
            unsafe { Wiping.dealloc(again, layout) };
        }
    }
}
