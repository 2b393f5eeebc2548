//! Queues of slots, linked through the slots: they take no memory of their own.
//!
//! A slot stands in one queue at most and names it, so that a slot that is taken out of another queue
//! than its own is found at once. The buckets of a wheel share one name, and so do the accepts of all
//! listeners: among those a mistake is found only at the two ends of a list.

use crate::engine::arena::Arena;
use crate::engine::slot::{Queue, Role};
use crate::engine::token::SlotId;

/// A first-in, first-out queue of slots, all of which name it as theirs.
#[derive(Debug)]
pub struct SlotQueue {
    queue: Queue,
    list: List,
}

impl SlotQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(queue: Queue) -> SlotQueue {
        SlotQueue { queue, list: List::default() }
    }

    /// Puts `id` at the end.
    ///
    /// # Panics
    /// When the slot stands in a queue already.
    #[inline]
    pub fn push<R: Role>(&mut self, arena: &mut Arena<R>, id: SlotId) {
        self.list.push(arena, id, self.queue);
    }

    /// The slot that has waited the longest.
    #[must_use]
    pub fn first(&self) -> Option<SlotId> {
        self.list.first()
    }

    /// Takes the slot that has waited the longest.
    #[inline]
    pub fn pop<R: Role>(&mut self, arena: &mut Arena<R>) -> Option<SlotId> {
        self.list.pop(arena, self.queue)
    }

    /// Takes `id` out, wherever it stands in this queue.
    ///
    /// # Panics
    /// When the slot stands in another queue, or in none.
    #[inline]
    pub fn remove<R: Role>(&mut self, arena: &mut Arena<R>, id: SlotId) {
        self.list.remove(arena, id, self.queue);
    }

    /// Slots in the queue.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.list.len()
    }

    /// Whether no slot waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.len() == 0
    }
}

/// A queue that does not know its name: 12 bytes, of which the wheel has one for each of its buckets.
#[derive(Debug)]
pub(in crate::engine) struct List {
    head: SlotId,
    tail: SlotId,
    len: u32,
}

impl Default for List {
    fn default() -> List {
        List { head: SlotId::NONE, tail: SlotId::NONE, len: 0 }
    }
}

impl List {
    #[inline]
    pub(in crate::engine) fn push<R: Role>(
        &mut self,
        arena: &mut Arena<R>,
        id: SlotId,
        queue: Queue,
    ) {
        let slot = &mut arena[id];
        let named = slot.role.queue();
        assert!(named.get() == Queue::None, "a slot stands in one queue at most");
        named.set(queue);
        slot.previous = self.tail;
        match self.tail {
            SlotId::NONE => self.head = id,
            tail => arena[tail].next = id,
        }
        self.tail = id;
        self.len += 1;
    }

    #[inline]
    pub(in crate::engine) fn first(&self) -> Option<SlotId> {
        (self.head != SlotId::NONE).then_some(self.head)
    }

    #[inline]
    pub(in crate::engine) fn pop<R: Role>(
        &mut self,
        arena: &mut Arena<R>,
        queue: Queue,
    ) -> Option<SlotId> {
        let id = self.first()?;
        self.remove(arena, id, queue);
        Some(id)
    }

    #[inline]
    pub(in crate::engine) fn remove<R: Role>(
        &mut self,
        arena: &mut Arena<R>,
        id: SlotId,
        queue: Queue,
    ) {
        let slot = &mut arena[id];
        let named = slot.role.queue();
        let stands_in = named.replace(Queue::None);
        assert!(stands_in == queue, "a slot that stands in {stands_in:?} left {queue:?}");
        let (previous, next) = (slot.previous, slot.next);
        (slot.previous, slot.next) = (SlotId::NONE, SlotId::NONE);
        match previous {
            SlotId::NONE => {
                assert!(self.head == id, "a slot left another queue of the same name");
                self.head = next;
            }
            previous => arena[previous].next = next,
        }
        match next {
            SlotId::NONE => {
                assert!(self.tail == id, "a slot left another queue of the same name");
                self.tail = previous;
            }
            next => arena[next].previous = previous,
        }
        self.len -= 1;
    }

    #[inline]
    pub(in crate::engine) fn len(&self) -> u32 {
        self.len
    }
}
