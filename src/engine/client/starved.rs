//! Connections that are readable and found no buffer: each gets one when one comes back, in the order in
//! which they came. To poll such a connection again would complete at once, and turn the core for
//! nothing until a buffer is free. Handshakes that wait for their turn are such a list too.
//!
//! Each of them stands in the queue of its wait already, and a slot has the links of one queue. But a
//! slot without a buffer has no use for the range of its bytes: that is the link here.

use crate::engine::arena::Arena;
use crate::engine::slot::{ReadSide, Role, Slot};
use crate::engine::token::SlotId;

/// A list of slots, the first of which has waited the longest.
#[derive(Debug)]
pub(super) struct Starved {
    head: SlotId,
    tail: SlotId,
    len: u32,
}

impl Starved {
    pub(super) fn new() -> Starved {
        Starved { head: SlotId::NONE, tail: SlotId::NONE, len: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == SlotId::NONE
    }

    /// Slots on the list.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// A slot is readable and found no buffer. Its range is free until it leaves the list.
    pub(super) fn push<R: Role>(&mut self, arena: &mut Arena<R>, id: SlotId) {
        let slot = &mut arena[id];
        slot.read = ReadSide::Starved;
        set_link(slot, SlotId::NONE);
        match self.tail {
            SlotId::NONE => self.head = id,
            tail => set_link(&mut arena[tail], id),
        }
        self.tail = id;
        self.len += 1;
    }

    /// Takes the slot that has waited the longest.
    pub(super) fn pop<R: Role>(&mut self, arena: &mut Arena<R>) -> Option<SlotId> {
        let id = Some(self.head).filter(|id| *id != SlotId::NONE)?;
        self.take(arena, SlotId::NONE, id);
        Some(id)
    }

    /// Takes `id` out, wherever it stands; whether it was there. A timeout looks for the one that has waited the
    /// longest, which is near the head.
    pub(super) fn remove<R: Role>(&mut self, arena: &mut Arena<R>, id: SlotId) -> bool {
        let (mut before, mut at) = (SlotId::NONE, self.head);
        while at != id {
            if at == SlotId::NONE {
                return false;
            }
            (before, at) = (at, link(&arena[at]));
        }
        self.take(arena, before, id);
        true
    }

    /// Takes `id` out, which stands behind `before`.
    fn take<R: Role>(&mut self, arena: &mut Arena<R>, before: SlotId, id: SlotId) {
        let slot = &mut arena[id];
        let next = link(slot);
        slot.read = ReadSide::Idle;
        (slot.start, slot.end) = (0, 0);
        match before {
            SlotId::NONE => self.head = next,
            before => set_link(&mut arena[before], next),
        }
        if self.tail == id {
            self.tail = before;
        }
        self.len -= 1;
    }
}

/// The slot behind `slot`, whose number stands where its bytes would begin and end.
fn link<R>(slot: &Slot<R>) -> SlotId {
    SlotId::new(slot.start, slot.end)
}

fn set_link<R>(slot: &mut Slot<R>, next: SlotId) {
    (slot.start, slot.end) = (next.segment(), next.index());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client::role::Calling;

    /// Any order of coming, being fed and leaving from the middle, against a plain list.
    #[test]
    fn the_list_is_in_the_order_of_coming() {
        let mut arena: Arena<Calling<u16>> = Arena::new(32);
        arena.grow(0);
        let ids: Vec<SlotId> = (0..32).map(|_| arena.take().expect("it has 32")).collect();
        let (mut starved, mut model) = (Starved::new(), Vec::new());
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..10_000 {
            let id = ids[random.usize(..ids.len())];
            let place = model.iter().position(|waiting| *waiting == id);
            match place {
                None if random.u8(..3) > 0 => {
                    starved.push(&mut arena, id);
                    model.push(id);
                }
                Some(place) if random.bool() => {
                    assert!(starved.remove(&mut arena, id));
                    model.remove(place);
                }
                _ => {
                    let first = (!model.is_empty()).then(|| model.remove(0));
                    assert_eq!(starved.pop(&mut arena), first);
                }
            }
            assert_eq!(starved.len() as usize, model.len());
            assert_eq!(starved.is_empty(), model.is_empty());
            for &id in &ids {
                let slot = &arena[id];
                assert_eq!(slot.read == ReadSide::Starved, model.contains(&id));
                let is_clean = (slot.start, slot.end) == (0, 0);
                assert!(is_clean || model.contains(&id), "a link is left in {slot:?}");
            }
        }
    }
}
