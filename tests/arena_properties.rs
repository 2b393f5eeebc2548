//! The arena against a model of sets, and a queue through the slots against a `VecDeque`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use megaconn::engine::arena::Arena;
use megaconn::engine::queue::SlotQueue;
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::{ConnState, Queue};
use megaconn::engine::token::{Generation, Operation, SlotId, Token};
use proptest::prelude::*;
use proptest::sample::Index;

/// What a test does to an arena; an index picks among the slots that allow it.
#[derive(Clone, Debug)]
enum Step {
    Grow,
    Shrink,
    Take,
    /// Takes, connects nothing, and puts the slot back.
    Untake,
    /// Ends the life of a used slot.
    Free(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Grow),
        2 => Just(Step::Shrink),
        8 => Just(Step::Take),
        1 => Just(Step::Untake),
        6 => any::<Index>().prop_map(Step::Free),
    ];
    prop::collection::vec(step, 1..200)
}

/// Segments as sets of used slots, and how often each slot was freed since its segment came.
#[derive(Default)]
struct Model {
    used: BTreeMap<u16, BTreeSet<u16>>,
    freed: BTreeMap<SlotId, u32>,
    over: Vec<Token>,
}

impl Model {
    fn used_slots(&self) -> Vec<SlotId> {
        let of_segment = |(&segment, used): (&u16, &BTreeSet<u16>)| {
            used.iter().map(|&index| SlotId::new(segment, index)).collect::<Vec<_>>()
        };
        self.used.iter().flat_map(of_segment).collect()
    }

    fn token(&self, id: SlotId) -> Token {
        let freed = self.freed.get(&id).copied().unwrap_or(0);
        Token::new(Operation::Recv, Generation::new(freed), id)
    }

    /// Takes what the arena took: a free slot of the lowest segment that has one.
    fn take(&mut self, taken: Option<SlotId>, slots: u32) {
        let has_room = |used: &BTreeSet<u16>| (used.len() as u64) < u64::from(slots);
        let lowest = self.used.iter().find(|(_, used)| has_room(used)).map(|(&number, _)| number);
        assert_eq!(taken.map(SlotId::segment), lowest, "not from the lowest segment with room");
        if let Some(id) = taken {
            assert!(u32::from(id.index()) < slots, "{id:?} is beyond its segment");
            let used = self.used.get_mut(&id.segment()).expect("the lowest segment is there");
            assert!(used.insert(id.index()), "{id:?} was handed out twice");
        }
    }

    fn free(&mut self, id: SlotId) {
        self.over.push(self.token(id));
        *self.freed.entry(id).or_default() += 1;
        self.used.get_mut(&id.segment()).expect("its segment is there").remove(&id.index());
    }

    /// The highest segment when it is empty and the lower ones have room beyond its need.
    fn may_shrink(&self, slots: u32) -> Option<u16> {
        let (&number, used) = self.used.last_key_value()?;
        let below = self.used.range(..number).map(|(_, used)| slots as usize - used.len());
        (used.is_empty() && below.sum::<usize>() > 0).then_some(number)
    }

    fn shrink(&mut self, number: u16) {
        self.used.remove(&number);
        // A new ring knows no completions of the old one: the generations begin anew.
        self.freed.retain(|id, _| id.segment() != number);
        self.over.retain(|token| token.slot().segment() != number);
    }
}

/// Slots of a server that remembers nothing of its connections.
type Slots = Arena<Serving<()>>;

fn two_queues() -> [SlotQueue; 2] {
    [Queue::Resting, Queue::Waiting].map(SlotQueue::new)
}

fn take_step(arena: &mut Slots, model: &mut Model, step: &Step, slots: u32) {
    match step {
        Step::Grow if model.used.len() < 6 => {
            let number = arena.next_segment().expect("six are not too many");
            assert!(!model.used.contains_key(&number), "segment {number} is there already");
            arena.grow(number);
            model.used.insert(number, BTreeSet::new());
        }
        Step::Grow => {}
        Step::Shrink => {
            let retiring = arena.retiring().filter(|segment| segment.used == 0);
            assert_eq!(retiring.map(|segment| segment.number), model.may_shrink(slots));
            if let Some(segment) = retiring {
                assert!(segment.empty_since_ms.is_some(), "empty, but since when?");
                arena.shrink(segment.number);
                model.shrink(segment.number);
            }
        }
        Step::Take => {
            let taken = arena.take();
            model.take(taken, slots);
            if let Some(id) = taken {
                assert_eq!(arena[id].state(), ConnState::Free, "a free slot has no life yet");
                arena[id].transition_to(ConnState::Accepting);
            }
        }
        Step::Untake => {
            if let Some(id) = arena.take() {
                let generation = arena[id].generation();
                arena.put_back(id, 7);
                assert_eq!(arena[id].generation(), generation, "nothing happened in this slot");
            }
        }
        Step::Free(index) => {
            let used = model.used_slots();
            if !used.is_empty() {
                let id = used[index.index(used.len())];
                arena.free(id, 7);
                model.free(id);
            }
        }
    }
}

fn compare(arena: &mut Slots, model: &Model, slots: u32) {
    let used = model.used_slots();
    let capacity = model.used.len() as u64 * u64::from(slots);
    assert_eq!(arena.segments(), model.used.len());
    assert_eq!(arena.capacity(), capacity);
    assert_eq!(u64::from(arena.used()), used.len() as u64);
    assert_eq!(arena.count_free(), capacity - used.len() as u64);
    assert_eq!(arena.iter_used().map(|(id, _)| id).collect::<Vec<_>>(), used);
    for &number in model.used.keys() {
        let accepting: Vec<u16> = arena.accepting_in(number).map(SlotId::index).collect();
        assert_eq!(accepting, model.used[&number].iter().copied().collect::<Vec<_>>());
    }
    for &id in &used {
        assert!(arena.current(model.token(id)).is_some(), "{id:?} is current");
    }
    for &token in &model.over {
        assert!(arena.current(token).is_none(), "{:?} acts after its life", token.slot());
    }
}

proptest! {
    #[test]
    fn the_arena_is_its_model(slots in 1_u32..=9, steps in steps()) {
        let (mut arena, mut model) = (Slots::new(slots), Model::default());
        for step in &steps {
            take_step(&mut arena, &mut model, step, slots);
            compare(&mut arena, &model, slots);
        }
    }

    #[test]
    fn a_token_of_no_slot_is_taken_for_none(slots in 1_u32..=9, segment: u16, index: u16) {
        let mut arena = Slots::new(slots);
        arena.grow(0);
        while let Some(id) = arena.take() {
            arena[id].transition_to(ConnState::Connecting);
        }
        let token = Token::new(Operation::Send, Generation::new(0), SlotId::new(segment, index));
        let is_there = segment == 0 && u32::from(index) < slots;
        prop_assert_eq!(arena.current(token).is_some(), is_there);
    }

    #[test]
    fn queues_are_their_models(steps in prop::collection::vec((0..2_usize, 0..3, any::<Index>()), 1..300)) {
        let mut arena = Slots::new(16);
        arena.grow(0);
        let mut outside: Vec<SlotId> = std::iter::from_fn(|| arena.take()).collect();
        let mut queues = two_queues().map(|queue| (queue, VecDeque::<SlotId>::new()));
        for (which, step, index) in steps {
            let (queue, model) = &mut queues[which];
            match step {
                0 if !outside.is_empty() => {
                    let id = outside.swap_remove(index.index(outside.len()));
                    queue.push(&mut arena, id);
                    model.push_back(id);
                }
                1 => {
                    let popped = queue.pop(&mut arena);
                    prop_assert_eq!(popped, model.pop_front());
                    outside.extend(popped);
                }
                2 if !model.is_empty() => {
                    let id = model.remove(index.index(model.len())).expect("it is there");
                    queue.remove(&mut arena, id);
                    outside.push(id);
                }
                _ => {}
            }
            for (queue, model) in &queues {
                prop_assert_eq!(queue.first(), model.front().copied());
                prop_assert_eq!(queue.len() as usize, model.len());
                prop_assert_eq!(queue.is_empty(), model.is_empty());
            }
        }
        // The order all the way through, not only at the front.
        for (queue, model) in &mut queues {
            let order: Vec<SlotId> = std::iter::from_fn(|| queue.pop(&mut arena)).collect();
            prop_assert_eq!(order, model.drain(..).collect::<Vec<_>>());
        }
    }
}

#[test]
#[should_panic(expected = "one queue at most")]
fn a_slot_stands_in_one_queue() {
    let mut arena = Slots::new(4);
    arena.grow(0);
    let (first, second) = (arena.take().expect("room"), arena.take().expect("room"));
    let [mut one, mut other] = two_queues();
    one.push(&mut arena, first);
    one.push(&mut arena, second);
    other.push(&mut arena, first);
}

#[test]
#[should_panic(expected = "one queue at most")]
fn a_slot_that_stands_alone_in_a_queue_stands_in_no_other() {
    let mut arena = Slots::new(4);
    arena.grow(0);
    let id = arena.take().expect("room");
    let [mut one, mut other] = two_queues();
    one.push(&mut arena, id);
    other.push(&mut arena, id);
}

#[test]
#[should_panic(expected = "stands in Resting left Waiting")]
fn a_slot_leaves_only_its_own_queue() {
    let mut arena = Slots::new(4);
    arena.grow(0);
    let ids: Vec<SlotId> = std::iter::from_fn(|| arena.take()).collect();
    let [mut one, mut other] = two_queues();
    ids[..3].iter().for_each(|id| one.push(&mut arena, *id));
    other.push(&mut arena, ids[3]);
    // It stands in the middle, so that neither end of a queue betrays it.
    other.remove(&mut arena, ids[1]);
}

#[test]
#[should_panic(expected = "another queue of the same name")]
fn a_slot_at_an_end_leaves_only_its_own_of_two_queues_with_one_name() {
    let mut arena = Slots::new(4);
    arena.grow(0);
    let ids: Vec<SlotId> = std::iter::from_fn(|| arena.take()).collect();
    let [mut one, mut other] = [Queue::Accepting; 2].map(SlotQueue::new);
    one.push(&mut arena, ids[0]);
    other.push(&mut arena, ids[1]);
    other.remove(&mut arena, ids[0]);
}

#[test]
#[should_panic(expected = "was freed in a queue")]
fn a_slot_alone_in_a_queue_is_not_freed() {
    let mut arena = Slots::new(4);
    arena.grow(0);
    let id = arena.take().expect("room");
    arena[id].transition_to(ConnState::Accepting);
    SlotQueue::new(Queue::Resting).push(&mut arena, id);
    arena.free(id, 0);
}
