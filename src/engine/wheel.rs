//! The timers of one core: a hashed timing wheel, linked through the slots.
//!
//! Scheme 6 of Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (SOSP 1987): bucket
//! `due % buckets` holds, in no order, all slots that are due in that millisecond of any round; a slot
//! that is due in a later round stays. Adding and removing take constant time and no memory. When a
//! slot is due stands in the slot, so that a wheel is nothing but its buckets, and a core that needs no
//! timers has none. One end alone calls it.
//!
//! Times are the low 32 bits of the core's clock in milliseconds; they are compared with wrap-around,
//! so that no slot may be due more than 24 days from now.

use std::time::Duration;

use crate::engine::arena::Arena;
use crate::engine::queue::List;
use crate::engine::slot::{Queue, Timed, low_milliseconds};
use crate::engine::token::SlotId;

/// Slots by the millisecond in which they are due.
#[derive(Debug, Default)]
pub struct Wheel {
    buckets: Box<[List]>,
    /// One bit for each bucket, set while it has slots: an idle wheel is passed over by the word.
    occupied: Box<[u64]>,
    /// Slots that were due before the cursor when they were added.
    overdue: List,
    /// All that was due before this has left the buckets.
    cursor_ms: u32,
    /// Slots of the cursor's bucket that the present visit has not looked at; 0 before a visit.
    unseen: u32,
    len: u32,
}

impl Wheel {
    /// A wheel without slots.
    ///
    /// # Panics
    /// When `buckets` is no power of two, or less than 64.
    #[must_use]
    pub fn new(buckets: usize) -> Wheel {
        assert!(buckets.is_power_of_two() && buckets >= 64, "{buckets} buckets make no wheel");
        Wheel {
            buckets: (0..buckets).map(|_| List::default()).collect(),
            occupied: vec![0; buckets / 64].into_boxed_slice(),
            ..Wheel::default()
        }
    }

    /// Slots in the wheel.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether no timer runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a slot, which is due when it says; it stands in no other queue.
    pub fn add<R: Timed>(&mut self, arena: &mut Arena<R>, id: SlotId) {
        let due_ms = arena[id].role.due_ms();
        self.len += 1;
        if is_before(due_ms, self.cursor_ms) {
            return self.overdue.push(arena, id, Queue::Wheel);
        }
        let bucket = self.bucket_of(due_ms);
        self.buckets[bucket].push(arena, id, Queue::Wheel);
        self.occupied[bucket / 64] |= 1 << (bucket % 64);
        // A visit goes on in front of what is added behind it, so that it has to begin anew.
        if self.unseen > 0 && due_ms == self.cursor_ms {
            self.unseen = self.buckets[bucket].len();
        }
    }

    /// Takes a slot out; its due time is still what it was when it was added.
    pub fn remove<R: Timed>(&mut self, arena: &mut Arena<R>, id: SlotId) {
        let due_ms = arena[id].role.due_ms();
        self.len -= 1;
        if is_before(due_ms, self.cursor_ms) {
            self.overdue.remove(arena, id, Queue::Wheel);
        } else {
            let bucket = self.bucket_of(due_ms);
            self.buckets[bucket].remove(arena, id, Queue::Wheel);
            self.after_leaving(bucket);
        }
    }

    /// Takes out a slot that is due at `now_ms`, the overdue ones first; `None` when none is, or
    /// after `looks` slots, from which it takes those it has looked at.
    pub fn expire<R: Timed>(
        &mut self,
        arena: &mut Arena<R>,
        now_ms: u32,
        looks: &mut u32,
    ) -> Option<SlotId> {
        while *looks > 0 {
            if let Some(id) = self.overdue.pop(arena, Queue::Wheel) {
                *looks -= 1;
                self.len -= 1;
                return Some(id);
            }
            if self.unseen == 0 && !self.advance(now_ms) {
                return None;
            }
            *looks -= 1;
            let bucket = self.bucket_of(self.cursor_ms);
            let id = self.buckets[bucket]
                .pop(arena, Queue::Wheel)
                .expect("a slot that was not seen is there");
            let is_due = !is_before(now_ms, arena[id].role.due_ms());
            if is_due {
                self.len -= 1;
            } else {
                self.buckets[bucket].push(arena, id, Queue::Wheel);
            }
            self.unseen -= 1;
            self.after_leaving(bucket);
            if self.unseen == 0 {
                self.cursor_ms = self.cursor_ms.wrapping_add(1);
            }
            if is_due {
                return Some(id);
            }
        }
        None
    }

    /// Moves an empty wheel to the time it is now, so that it may have been empty for months.
    pub fn advance_to(&mut self, now_ms: u32) {
        if self.len == 0 {
            self.cursor_ms = now_ms;
        }
    }

    /// How long until [`Wheel::next_ms`].
    #[must_use]
    pub fn sleep(&self, now: Duration) -> Option<Duration> {
        let ms = self.next_ms()?.wrapping_sub(low_milliseconds(now));
        let into_this = Duration::from_nanos(u64::from(now.subsec_nanos() % 1_000_000));
        let is_past = ms > u32::MAX / 2;
        Some(Duration::from_millis(if is_past { 0 } else { ms.into() }).saturating_sub(into_this))
    }

    /// When there may be something to do next: no slot is due before. A slot of a later round makes
    /// it too early, at most once a round.
    #[must_use]
    pub fn next_ms(&self) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        if self.overdue.len() > 0 {
            return Some(self.cursor_ms.wrapping_sub(1));
        }
        let ahead = if self.unseen > 0 { 0 } else { self.next_occupied(u32::MAX)? };
        Some(self.cursor_ms.wrapping_add(ahead))
    }

    /// Moves the cursor to the next bucket with slots and begins its visit; `false` when there is
    /// none up to `now_ms`, behind which the cursor then stands.
    fn advance(&mut self, now_ms: u32) -> bool {
        if is_before(now_ms, self.cursor_ms) && self.len > 0 {
            return false;
        }
        let ahead = now_ms.wrapping_sub(self.cursor_ms);
        let next = if self.len == 0 { None } else { self.next_occupied(ahead) };
        let Some(next) = next else {
            self.cursor_ms = now_ms.wrapping_add(1);
            return false;
        };
        self.cursor_ms = self.cursor_ms.wrapping_add(next);
        self.unseen = self.buckets[self.bucket_of(self.cursor_ms)].len();
        true
    }

    /// Milliseconds from the cursor to the next bucket with slots, if they are no more than `most`.
    fn next_occupied(&self, most: u32) -> Option<u32> {
        let from = self.bucket_of(self.cursor_ms);
        let words = self.occupied.len();
        // The first word is looked at twice: its upper bits first, the lower ones after a round.
        let mut ahead = 0;
        let mut word = self.occupied[from / 64] >> (from % 64);
        let mut rest = 64 - u32::try_from(from % 64).expect("below 64");
        for index in from / 64 + 1..=from / 64 + words {
            if word != 0 {
                ahead += word.trailing_zeros();
                return (ahead <= most).then_some(ahead);
            }
            ahead += rest;
            if ahead > most {
                return None;
            }
            (word, rest) = (self.occupied[index % words], 64);
        }
        (word != 0 && ahead + word.trailing_zeros() <= most).then(|| ahead + word.trailing_zeros())
    }

    /// A slot has left `bucket`, or has gone to its end.
    fn after_leaving(&mut self, bucket: usize) {
        let len = self.buckets[bucket].len();
        if len == 0 {
            self.occupied[bucket / 64] &= !(1 << (bucket % 64));
        }
        if bucket == self.bucket_of(self.cursor_ms) {
            self.unseen = self.unseen.min(len);
        }
    }

    fn bucket_of(&self, due_ms: u32) -> usize {
        due_ms as usize & (self.buckets.len() - 1)
    }
}

/// Whether `a` comes before `b`, at most half the range of the clock apart.
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > u32::MAX / 2
}
