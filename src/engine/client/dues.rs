//! What is due on single connections, each by a time of its own: 16 bytes for each, beside the slots.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::base::clock::microseconds;
use crate::base::constants::{DUE_BYTES, TICK_MS};
use crate::engine::token::{Generation, SlotId};

/// Something that is due on a connection. The slot's generation says whether the connection still lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// In whole microseconds, of which 48 bits are kept: nine years.
    pub(super) at: Duration,
    pub(super) id: SlotId,
    pub(super) generation: Generation,
    /// How often it was due before, modulo 2^24.
    pub(super) nth: u32,
}

const NTH_MASK: u32 = 0x00ff_ffff;
const AT_MAX: u64 = (1 << 48) - 1;

impl Due {
    fn packed(self) -> u128 {
        let at = u128::from(microseconds(self.at).min(AT_MAX));
        let (id, generation) = (u128::from(self.id.packed()), u128::from(self.generation.get()));
        at << 80 | id << 48 | generation << 24 | u128::from(self.nth & NTH_MASK)
    }

    #[expect(clippy::cast_possible_truncation, reason = "each field is masked, or is the highest")]
    fn unpacked(packed: u128) -> Due {
        Due {
            at: Duration::from_micros((packed >> 80) as u64),
            id: SlotId::new((packed >> 64) as u16, (packed >> 48) as u16),
            generation: Generation::new((packed >> 24) as u32),
            nth: packed as u32 & NTH_MASK,
        }
    }
}

const _: () = assert!(size_of::<Reverse<u128>>() as u64 == DUE_BYTES, "a plan reckons with it");

/// All that is due, by its time.
#[derive(Debug, Default)]
pub(super) struct Dues {
    heap: BinaryHeap<Reverse<u128>>,
    /// What was due, and could not be begun because of something on its own connection.
    pub(super) held_back: Vec<Due>,
}

impl Dues {
    pub(super) fn add(&mut self, due: Due) {
        self.heap.push(Reverse(due.packed()));
    }

    /// All of these, in place of what there was.
    pub(super) fn set(&mut self, all: impl Iterator<Item = Due>) {
        self.heap = all.map(|due| Reverse(due.packed())).collect();
        self.held_back = Vec::new();
    }

    /// The first, if it is due by `now`.
    pub(super) fn first_by(&self, now: Duration) -> Option<Due> {
        self.heap.peek().map(|Reverse(packed)| Due::unpacked(*packed)).filter(|due| due.at <= now)
    }

    pub(super) fn take_by(&mut self, now: Duration) -> Option<Due> {
        let first = self.first_by(now)?;
        self.heap.pop();
        Some(first)
    }

    /// Everything, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Due> {
        let all = self.heap.iter().map(|Reverse(packed)| Due::unpacked(*packed));
        all.chain(self.held_back.iter().copied())
    }

    /// Time until the first is due; what is due already waits for something that rings, or for the tick.
    pub(super) fn sleep(&self, now: Duration) -> Option<Duration> {
        let Reverse(packed) = self.heap.peek()?;
        let wait = Due::unpacked(*packed).at.saturating_sub(now);
        let tick = Duration::from_millis(TICK_MS.into());
        Some(if wait.is_zero() { tick } else { wait.min(tick) })
    }
}

/// The ends of lives, and how many connections there were meanwhile.
#[derive(Debug, Default)]
pub(super) struct Lives {
    pub(super) ends: Dues,
    /// Up to when connections are counted.
    pub(super) counted: Duration,
}

/// What is due on connections that read slowly, or not at all.
#[derive(Debug, Default)]
pub(super) struct Reluctant {
    /// When each reads next; of one that never does, when it is looked at whether the server has ended it.
    pub(super) reads: Dues,
    /// When each sends.
    pub(super) sends: Dues,
    pub(super) silent: u64,
    pub(super) slow: u64,
}

impl Reluctant {
    pub(super) fn count(&self) -> u64 {
        self.silent + self.slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(us: u64, slot: u16, generation: u32, nth: u32) -> Due {
        let (at, generation) = (Duration::from_micros(us), Generation::new(generation));
        Due { at, id: SlotId::new(9, slot), generation, nth }
    }

    #[test]
    fn they_come_in_the_order_of_their_times_and_whole() {
        let mut dues = Dues::default();
        let all = [
            due(500, 1, 0xff_ffff, 0),
            due(3, 65_535, 7, 0xff_ffff),
            due(500, 0, 1, 2),
            due(AT_MAX, 4, 0, 1),
        ];
        all.iter().for_each(|due| dues.add(*due));
        assert_eq!(dues.sleep(Duration::ZERO), Some(Duration::from_micros(3)));
        assert_eq!(dues.take_by(Duration::from_micros(2)), None);
        let now = Duration::from_micros(500);
        let taken: Vec<Due> = std::iter::from_fn(|| dues.take_by(now)).collect();
        assert_eq!(taken, [all[1], all[2], all[0]]);
        assert_eq!(dues.iter().collect::<Vec<_>>(), [all[3]]);
        dues.set([all[0]].into_iter());
        assert_eq!(dues.first_by(now), Some(all[0]));
    }

    #[test]
    fn what_is_due_in_more_than_nine_years_is_due_then() {
        let mut dues = Dues::default();
        dues.add(Due { at: Duration::from_secs(u64::MAX / 2), ..due(0, 0, 0, 0) });
        assert_eq!(dues.iter().next().map(|due| microseconds(due.at)), Some(AT_MAX));
    }
}
