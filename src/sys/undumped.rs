//! Memory that is in no core file, for keys and what is made of them.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Values behind each other, up to a number that is fixed. None ever moves, so that none leaves a copy behind. What
/// was never used takes no memory.
pub struct Undumped<T> {
    memory: NonNull<T>,
    capacity: usize,
    len: usize,
}

// SAFETY: it owns its mapping and the values in it, as a `Box<[T]>` owns its own. Exercised by the tests below.
unsafe impl<T: Send> Send for Undumped<T> {}

impl<T> Undumped<T> {
    /// The smallest page of any kernel.
    const PAGE_BYTES: usize = 4096;

    /// Room for so many.
    ///
    /// # Panics
    /// Where the process may have no more memory, as any allocation ends it.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Undumped<T> {
        const { assert!(align_of::<T>() <= Self::PAGE_BYTES, "a page aligns it") };
        let bytes = capacity.checked_mul(size_of::<T>()).filter(|bytes| *bytes > 0);
        let bytes = bytes.expect("a table has a size");
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, at an address that the kernel chooses. Exercised by the tests below.
        let memory =
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, rights, MapFlags::PRIVATE) };
        let memory = memory.expect("there is memory for keys");
        // SAFETY: it changes whether our own mapping is dumped, and nothing in it. As above.
        // Where a filter of system calls refuses it, a core file has them: that is no reason to serve nothing.
        let _ = unsafe { madvise(memory, bytes, Advice::LinuxDontDump) };
        // A huge page would make all of it resident with the first value. A kernel without huge pages refuses.
        // SAFETY: it changes how pages of our own mapping come, and nothing in them. As above.
        let _ = unsafe { madvise(memory, bytes, Advice::LinuxNoHugepage) };
        let memory = NonNull::new(memory.cast()).expect("no mapping begins at 0");
        Undumped { memory, capacity, len: 0 }
    }

    /// Adds one behind the others.
    ///
    /// # Panics
    /// When there is no room.
    pub fn push(&mut self, value: T) {
        assert!(self.len < self.capacity, "more values than there is room for");
        // SAFETY: it is within the mapping, as was just seen, which is aligned for `T` by its page. As above.
        let place = unsafe { self.memory.add(self.len) };
        // SAFETY: nothing stands there yet: values are added in order. As above.
        unsafe { place.write(value) };
        self.len += 1;
    }
}

impl<T> Deref for Undumped<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many values were written, and the mapping lives as long as `self`. As above.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Undumped<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `self` is borrowed for it alone.
        unsafe { std::slice::from_raw_parts_mut(self.memory.as_ptr(), self.len) }
    }
}

impl<T> Drop for Undumped<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &raw mut **self;
        // SAFETY: they were written, and are not used afterwards. As above.
        unsafe { values.drop_in_place() };
        let bytes = self.capacity * size_of::<T>();
        // SAFETY: the whole of our own mapping, with nothing in it that is used. As above.
        let _ = unsafe { munmap(self.memory.as_ptr().cast(), bytes) };
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::rc::Rc;

    use super::*;

    /// What the kernel says of the mapping of an address: its flags, and the bytes that are resident.
    fn mapping_of(address: usize) -> (Vec<String>, u64) {
        let text = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_it = false;
        let mut resident = 0;
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let first = words.next().unwrap_or_default();
            let range = first.split_once('-').and_then(|(start, end)| {
                let at = |text| usize::from_str_radix(text, 16).ok();
                Some(at(start)?..at(end)?)
            });
            if let Some(range) = range {
                is_it = range.contains(&address);
            } else if is_it && first == "Rss:" {
                resident = 1024 * words.next().unwrap().parse::<u64>().unwrap();
            } else if is_it && first == "VmFlags:" {
                return (words.map(str::to_owned).collect(), resident);
            }
        }
        panic!("no mapping has {address:x}");
    }

    #[test]
    fn it_is_left_out_of_core_files_and_what_is_not_used_is_not_there() {
        let mut values = Undumped::with_capacity(1 << 20);
        let is_dumped = |address: usize| !mapping_of(address).0.contains(&"dd".to_owned());
        values.push([7_u64; 16]);
        let address = values.as_ptr() as usize;
        assert!(!is_dumped(address) && !is_dumped(address + (128 << 20) - 1));
        assert!(mapping_of(address).1 < 64 << 10, "{:?}", mapping_of(address));
        let elsewhere = vec![7_u8; 1 << 20];
        assert!(is_dumped(elsewhere.as_ptr() as usize), "the flag tells nothing");
        values.push([8; 16]);
        assert_eq!(values.as_ptr() as usize, address, "it has moved");
        assert_eq!(values[..], [[7; 16], [8; 16]]);
    }

    #[test]
    fn values_are_dropped_once_and_the_memory_goes_back() {
        let shared = Rc::new(());
        let mut values = Undumped::with_capacity(3);
        (0..3).for_each(|_| values.push(Rc::clone(&shared)));
        values[1] = Rc::clone(&shared);
        assert_eq!(Rc::strong_count(&shared), 4);
        drop(values);
        assert_eq!(Rc::strong_count(&shared), 1);
    }

    #[test]
    #[should_panic(expected = "more values than there is room for")]
    fn there_is_no_room_for_more() {
        let mut values = Undumped::with_capacity(1);
        (0..2).for_each(|number| values.push(number));
    }
}
