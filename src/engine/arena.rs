//! The slots of one core, in segments that come and go.
//!
//! The arena grows one segment at a time and never moves a slot. It knows nothing of rings and
//! sockets; the endpoint opens and closes the ring beside each segment.

use crate::base::constants::{SEGMENT_SLOTS_MAX, SEGMENTS_MAX};
use crate::engine::slot::{BufferId, ConnState, Role, Slot};
use crate::engine::token::{SlotId, Token};

/// All slots of one core.
#[derive(Debug)]
pub struct Arena<R> {
    segments: Vec<Option<Segment<R>>>,
    slots_per_segment: u32,
    /// No segment below this one has a free slot.
    first_with_room: usize,
    slots_used: u32,
}

/// What the server needs to know of a segment that may be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retiring {
    /// Its number.
    pub number: u16,
    /// Slots of it still in use.
    pub used: u32,
    /// Since when none has been in use.
    pub empty_since_ms: Option<u64>,
}

#[derive(Debug)]
struct Segment<R> {
    /// Those that were ever in use. There is room for all of the segment, so that none ever moves; the
    /// room of the others is not touched, and takes no memory.
    slots: Vec<Slot<R>>,
    /// Of those, the one that became free last.
    free_head: SlotId,
    used: u32,
    empty_since_ms: Option<u64>,
}

impl<R: Role> Arena<R> {
    /// An arena without segments.
    ///
    /// # Panics
    /// When `slots_per_segment` is 0 or more than [`SEGMENT_SLOTS_MAX`].
    #[must_use]
    pub fn new(slots_per_segment: u32) -> Arena<R> {
        assert!(
            (1..=SEGMENT_SLOTS_MAX).contains(&slots_per_segment),
            "a segment has 1 to {SEGMENT_SLOTS_MAX} slots, not {slots_per_segment}"
        );
        Arena { segments: Vec::new(), slots_per_segment, first_with_room: 0, slots_used: 0 }
    }

    /// The number that the next segment will have; `None` when a core may have no more.
    #[must_use]
    pub fn next_segment(&self) -> Option<u16> {
        let vacant = self.segments.iter().position(Option::is_none);
        let index = vacant.unwrap_or(self.segments.len());
        (index < SEGMENTS_MAX).then(|| u16::try_from(index).expect("SEGMENTS_MAX fits 16 bits"))
    }

    /// Adds the slots of segment `number`, all free.
    ///
    /// # Panics
    /// When the segment is there already or is not the next one.
    pub fn grow(&mut self, number: u16) {
        assert_eq!(Some(number), self.next_segment(), "segments are added in order");
        let segment = Segment::new(self.slots_per_segment);
        let index = usize::from(number);
        if index == self.segments.len() {
            self.segments.push(Some(segment));
        } else {
            self.segments[index] = Some(segment);
        }
        self.first_with_room = self.first_with_room.min(index);
    }

    /// Whether no slot is free, and a core may have no more of them.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let most = u64::from(self.slots_per_segment) * SEGMENTS_MAX as u64;
        u64::from(self.slots_used) == most
    }

    /// Takes a free slot, from the lowest segment that has one, so that the highest run empty.
    pub fn take(&mut self) -> Option<SlotId> {
        while self.first_with_room < self.segments.len() {
            let number = self.first_with_room;
            let segment = self.segments[number].as_mut();
            if let Some(id) = segment.and_then(|s| s.take(number, self.slots_per_segment)) {
                self.slots_used += 1;
                return Some(id);
            }
            self.first_with_room += 1;
        }
        None
    }

    /// Returns a slot: its generation is raised, so whatever still names its old life is stale.
    ///
    /// # Panics
    /// When the slot stands in a queue, holds a buffer, or has something with the kernel.
    pub fn free(&mut self, id: SlotId, now_ms: u64) {
        let slot = &mut self[id];
        assert!(slot.is_joined(), "a slot was freed while the kernel had work for it");
        assert!(slot.buffer == BufferId::NONE, "a slot was freed with its buffer");
        assert!(!slot.is_queued(), "a slot was freed in a queue");
        slot.transition_to(ConnState::Free);
        let generation = slot.generation().next();
        *slot = Slot::free();
        slot.set_generation(generation);
        self.put_back(id, now_ms);
    }

    /// Returns a slot that was taken and in which nothing happened.
    ///
    /// # Panics
    /// When something did.
    pub fn put_back(&mut self, id: SlotId, now_ms: u64) {
        let segment = self.segments[usize::from(id.segment())].as_mut();
        let segment = segment.expect("a used slot keeps its segment");
        let slot = &mut segment.slots[usize::from(id.index())];
        assert!(slot.state() == ConnState::Free, "a slot in use was put back");
        slot.next = segment.free_head;
        segment.free_head = id;
        segment.used -= 1;
        self.slots_used -= 1;
        if segment.used == 0 {
            segment.empty_since_ms = Some(now_ms);
        }
        self.first_with_room = self.first_with_room.min(usize::from(id.segment()));
    }

    /// The slot that `token` names, unless that life of it is over.
    #[must_use]
    pub fn current(&mut self, token: Token) -> Option<&mut Slot<R>> {
        let id = token.slot();
        let segment = self.segments.get_mut(usize::from(id.segment()))?.as_mut()?;
        let slot = segment.slots.get_mut(usize::from(id.index()))?;
        (slot.generation() == token.generation() && slot.state() != ConnState::Free).then_some(slot)
    }

    /// Whether that life is not over.
    #[must_use]
    pub fn is_current(&self, token: Token) -> bool {
        let id = token.slot();
        let segment = self.segments.get(usize::from(id.segment())).and_then(Option::as_ref);
        let slot = segment.and_then(|segment| segment.slots.get(usize::from(id.index())));
        slot.is_some_and(|s| s.generation() == token.generation() && s.state() != ConnState::Free)
    }

    /// The highest segment, when the ones below have room for what it holds: it may retire.
    #[must_use]
    pub fn retiring(&self) -> Option<Retiring> {
        let index = self.segments.len().checked_sub(1)?;
        let segment = self.segments[index].as_ref()?;
        let number = u16::try_from(index).expect("SEGMENTS_MAX fits 16 bits");
        let below = self.segments[..index].iter().flatten();
        let room_below: u32 = below.map(|s| self.slots_per_segment - s.used).sum();
        (room_below > segment.used).then_some(Retiring {
            number,
            used: segment.used,
            empty_since_ms: segment.empty_since_ms,
        })
    }

    /// Gives segment `number` back.
    ///
    /// # Panics
    /// When a slot of it is in use.
    pub fn shrink(&mut self, number: u16) {
        let segment =
            self.segments[usize::from(number)].take().expect("a segment is given back once");
        assert_eq!(segment.used, 0, "a segment with connections was given back");
        while matches!(self.segments.last(), Some(None)) {
            self.segments.pop();
        }
        self.first_with_room = self.first_with_room.min(self.segments.len());
    }

    /// Slots of segment `number` into which an accept is with the kernel.
    pub fn accepting_in(&self, number: u16) -> impl Iterator<Item = SlotId> {
        let slots = self.segments[usize::from(number)].iter().flat_map(|s| s.slots.iter());
        slots.zip(0..=u16::MAX).filter_map(move |(slot, index)| {
            (slot.state() == ConnState::Accepting).then_some(SlotId::new(number, index))
        })
    }

    /// The slot behind `id`, free or used, of those that were ever in use, over all segments; the first
    /// one behind `None`.
    #[must_use]
    pub fn slot_behind(&self, id: Option<SlotId>) -> Option<SlotId> {
        self.slot_behind_by(id, 1, 0)
    }

    /// The same of each `step`th slot of a segment, from its number `first` on.
    #[must_use]
    pub fn slot_behind_by(&self, id: Option<SlotId>, step: u16, first: u16) -> Option<SlotId> {
        let behind =
            |id: SlotId| (usize::from(id.segment()), usize::from(id.index()) + usize::from(step));
        let (mut number, mut index) = id.map_or((0, first.into()), behind);
        loop {
            let segment = self.segments.get(number)?.as_ref();
            if index < segment.map_or(0, |segment| segment.slots.len()) {
                return Some(slot_id(number, index));
            }
            (number, index) = (number + 1, first.into());
        }
    }

    /// Segments there are.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.segments.iter().flatten().count()
    }

    /// Slots there are, free and used.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.segments() as u64 * u64::from(self.slots_per_segment)
    }

    /// Slots in use.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.slots_used
    }

    /// Free slots of all segments, counted along the free lists and behind them: for tests.
    #[must_use]
    pub fn count_free(&self) -> u64 {
        let free = |segment: &Segment<R>| {
            let mut at = segment.free_head;
            std::iter::from_fn(|| {
                let here = (at != SlotId::NONE).then_some(at)?;
                at = segment.slots[usize::from(here.index())].next;
                Some(here)
            })
            .count()
                + (self.slots_per_segment as usize - segment.slots.len())
        };
        self.segments.iter().flatten().map(free).sum::<usize>() as u64
    }

    /// Every used slot: for tests, never in the data path.
    pub fn iter_used(&self) -> impl Iterator<Item = (SlotId, &Slot<R>)> {
        (0..=u16::MAX).zip(&self.segments).flat_map(|(number, segment)| {
            let slots = segment.iter().flat_map(|s| s.slots.iter());
            slots.zip(0..=u16::MAX).filter_map(move |(slot, index)| {
                (slot.state() != ConnState::Free).then_some((SlotId::new(number, index), slot))
            })
        })
    }
}

impl<R: Role> std::ops::Index<SlotId> for Arena<R> {
    type Output = Slot<R>;

    fn index(&self, id: SlotId) -> &Slot<R> {
        let segment = self.segments[usize::from(id.segment())].as_ref();
        &segment.expect("a slot in use keeps its segment").slots[usize::from(id.index())]
    }
}

impl<R: Role> std::ops::IndexMut<SlotId> for Arena<R> {
    fn index_mut(&mut self, id: SlotId) -> &mut Slot<R> {
        let segment = self.segments[usize::from(id.segment())].as_mut();
        &mut segment.expect("a slot in use keeps its segment").slots[usize::from(id.index())]
    }
}

impl<R: Role> Segment<R> {
    fn new(slots: u32) -> Segment<R> {
        Segment {
            slots: Vec::with_capacity(slots as usize),
            free_head: SlotId::NONE,
            used: 0,
            empty_since_ms: Some(0),
        }
    }

    /// A slot that was in use before, or else a new one, of at most `slots`.
    fn take(&mut self, number: usize, slots: u32) -> Option<SlotId> {
        let id = if self.free_head != SlotId::NONE {
            let id = self.free_head;
            let next = &mut self.slots[usize::from(id.index())].next;
            self.free_head = std::mem::replace(next, SlotId::NONE);
            id
        } else if self.slots.len() < slots as usize {
            self.slots.push(Slot::free());
            slot_id(number, self.slots.len() - 1)
        } else {
            return None;
        };
        self.used += 1;
        self.empty_since_ms = None;
        Some(id)
    }
}

fn slot_id(segment: usize, index: usize) -> SlotId {
    let [segment, index] =
        [segment, index].map(|n| u16::try_from(n).expect("segments and slots have 16 bits"));
    SlotId::new(segment, index)
}
