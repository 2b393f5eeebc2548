//! The timing wheel against a naive model: a list of slots with the time at which each is due.

use std::collections::BTreeMap;

use megaconn::engine::arena::Arena;
use megaconn::engine::queue::SlotQueue;
use megaconn::engine::server::role::Serving;
use megaconn::engine::slot::Queue;
use megaconn::engine::token::SlotId;
use megaconn::engine::wheel::Wheel;
use proptest::prelude::*;
use proptest::sample::Index;

const BUCKETS: usize = 64;
const SLOTS: u32 = 24;

#[derive(Clone, Debug)]
enum Step {
    /// A slot becomes due so many milliseconds from now, or was due that long ago.
    Add(i64),
    Remove(Index),
    /// Time passes, and at most so many slots are looked at in each call until none is left.
    Pass(u32, u32),
    /// Time passes, and one call alone looks at so many slots.
    Begin(u32, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let due = prop_oneof![4 => -5..70_i64, 2 => -300..500_i64, 1 => 0..1_000_000_i64];
    // Some rounds, one bucket, and whole multiples of a round.
    let due = prop_oneof![3 => due, 1 => (0..4_i64).prop_map(|rounds| rounds * 64)];
    let passed = prop_oneof![6 => 0..20_u32, 2 => 60..70_u32, 1 => 0..1_000_u32];
    let step = prop_oneof![
        4 => due.prop_map(Step::Add),
        1 => any::<Index>().prop_map(Step::Remove),
        2 => (passed.clone(), 1..9_u32).prop_map(|(ms, looks)| Step::Pass(ms, looks)),
        1 => (passed, 1..9_u32).prop_map(|(ms, looks)| Step::Begin(ms, looks)),
    ];
    prop::collection::vec(step, 1..200)
}

struct World {
    arena: Arena<Serving<()>>,
    wheel: Wheel,
    outside: Vec<SlotId>,
    /// When each slot of the wheel is due, on a clock that does not wrap.
    model: BTreeMap<SlotId, i64>,
    start_ms: u32,
    now: i64,
}

impl World {
    /// A wheel that was turned by an empty look up to `start_ms`, as its shard does.
    fn new(start_ms: u32) -> World {
        let mut arena = Arena::new(SLOTS);
        arena.grow(0);
        let outside = std::iter::from_fn(|| arena.take()).collect();
        let mut wheel = Wheel::new(BUCKETS);
        assert_eq!(wheel.expire(&mut arena, start_ms, &mut 1), None);
        World { arena, wheel, outside, model: BTreeMap::new(), start_ms, now: 0 }
    }

    fn low_ms(&self, time: i64) -> u32 {
        let low = (i64::from(self.start_ms) + time).rem_euclid(1 << 32);
        u32::try_from(low).expect("the remainder has 32 bits")
    }

    fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Add(after) => {
                let Some(id) = self.outside.pop() else { return };
                let due_ms = self.low_ms(self.now + after);
                self.arena[id].role.set_due_ms(due_ms);
                self.wheel.add(&mut self.arena, id);
                self.model.insert(id, self.now + after);
            }
            Step::Remove(index) if !self.model.is_empty() => {
                let id = *self.model.keys().nth(index.index(self.model.len())).expect("in range");
                self.wheel.remove(&mut self.arena, id);
                self.model.remove(&id);
                self.outside.push(id);
            }
            Step::Remove(_) => {}
            Step::Pass(ms, looks) => {
                self.now += i64::from(ms);
                // Every look finds one that is due, or one of a later round: once each per round.
                for _ in 0..10_000 {
                    if self.expire(looks) < looks {
                        return self.nothing_is_due();
                    }
                }
                panic!("the wheel looks without end");
            }
            Step::Begin(ms, looks) => {
                self.now += i64::from(ms);
                self.expire(looks);
            }
        }
    }

    /// One turn; how many slots were looked at.
    fn expire(&mut self, most: u32) -> u32 {
        let now_ms = self.low_ms(self.now);
        let mut looks = most;
        while let Some(id) = self.wheel.expire(&mut self.arena, now_ms, &mut looks) {
            let due = self.model.remove(&id).expect("it was in the wheel");
            assert!(due <= self.now, "{id:?} came {} ms early", due - self.now);
            self.outside.push(id);
        }
        most - looks
    }

    fn nothing_is_due(&self) {
        let late = self.model.iter().find(|&(_, &due)| due <= self.now);
        assert_eq!(late, None, "due at {}, and not found", self.now);
    }

    fn check(&self) {
        assert_eq!(self.wheel.len() as usize, self.model.len());
        assert_eq!(self.wheel.is_empty(), self.model.is_empty());
        let first = self.model.values().min();
        let next = self.wheel.next_ms();
        assert_eq!(next.is_some(), first.is_some());
        if let (Some(next), Some(&first)) = (next, first) {
            let late = next.wrapping_sub(self.low_ms(first));
            assert!(late == 0 || late > u32::MAX / 2 || first < self.now, "a sleep of too long");
            let ahead = next.wrapping_sub(self.low_ms(self.now));
            assert!(ahead <= 65 || ahead > u32::MAX / 2, "a sleep of more than a round: {ahead}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn the_wheel_is_its_model(
        start in prop_oneof![Just(0), any::<u32>(), u32::MAX - 2_000..=u32::MAX],
        steps in steps(),
    ) {
        let mut world = World::new(start);
        for step in &steps {
            world.take_step(step);
            world.check();
        }
        // Whatever is left comes in time, in ever longer sleeps.
        for ms in [0, 1, 63, 64, 65, 1_000, 1_000_000] {
            world.take_step(&Step::Pass(ms, 1_000));
            world.check();
        }
        prop_assert!(world.model.is_empty(), "left behind: {:?}", world.model);
    }
}

#[test]
fn what_is_due_at_once_goes_behind_what_waits() {
    let mut world = World::new(0);
    let ids: Vec<SlotId> = world.outside.iter().rev().copied().take(3).collect();
    [5, 5, 6].iter().for_each(|&after| world.take_step(&Step::Add(after)));
    world.now = 6;
    let mut order = Vec::new();
    let mut looks = 100;
    while let Some(id) = world.wheel.expire(&mut world.arena, 6, &mut looks) {
        // The first is due again, as if it were far behind.
        if order.is_empty() {
            world.wheel.add(&mut world.arena, id);
        }
        order.push(id);
        assert!(order.len() <= 4, "the first keeps the others waiting");
    }
    assert_eq!(order.len(), 4);
    assert!(ids.iter().all(|id| order.contains(id)));
}

#[test]
#[should_panic(expected = "one queue at most")]
fn a_slot_in_another_queue_is_not_added() {
    let mut world = World::new(0);
    let id = world.outside[0];
    SlotQueue::new(Queue::Stalled).push(&mut world.arena, id);
    world.wheel.add(&mut world.arena, id);
}
