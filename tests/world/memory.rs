//! Memory that becomes short in a world, and is enough again: who comes meanwhile is refused, and
//! counted apart; who is there stays.

use std::time::Duration;

use fastrand::Rng;
use megaconn::conn::Life;
use megaconn::core::Core;
use megaconn::drain::Command;
use megaconn::driver::Driver;
use megaconn::token::SlotId;

use super::{END_WITHIN, World};

/// When memory changes, and what was seen when it last did.
pub(crate) struct Memory {
    /// In the order of time: when it becomes short, when it is enough again, and so on.
    changes: Vec<Duration>,
    is_short: bool,
    since: Duration,
    /// Accepts that were with the kernel then, and connections accepted until then.
    accepting: u64,
    accepted: u64,
    refused: u64,
    /// Connections accepted in times in which memory was enough again.
    pub(crate) accepted_again: u64,
}

impl Memory {
    /// None of it in three worlds of four.
    pub(crate) fn new(seed: u64, lives_for: Duration) -> Memory {
        let mut random = Rng::with_seed(!seed);
        let count = if random.u8(..4) == 0 { random.usize(1..=4) } else { 0 };
        let mut changes: Vec<_> = (0..count).map(|_| lives_for.mul_f64(random.f64())).collect();
        changes.sort_unstable();
        changes.reverse();
        let (since, accepting, accepted) = (Duration::ZERO, 0, 0);
        Memory {
            changes,
            is_short: false,
            since,
            accepting,
            accepted,
            refused: 0,
            accepted_again: 0,
        }
    }
}

impl World {
    pub(super) fn change_memory_if_due(&mut self) {
        let now = self.shard.driver().now();
        if self.memory.changes.last().is_none_or(|at| *at > now) {
            return;
        }
        self.memory.changes.pop();
        let before = self.all_connections();
        let accepted = self.stats.accepted_total.get();
        let lives = self.shard.arena().iter_used().map(|(_, slot)| slot.life());
        self.memory.accepting = lives.filter(|life| *life == Life::Accepting).count() as u64;
        self.memory.is_short = !self.memory.is_short;
        (self.memory.since, self.memory.accepted) = (now, accepted);
        self.shard.obey(Command::MemoryIsShort(self.memory.is_short));
        assert_eq!(self.all_connections(), before, "somebody pays for the others' memory");
    }

    fn all_connections(&self) -> Vec<(SlotId, Life)> {
        let lives = self.shard.arena().iter_used().map(|(id, slot)| (id, slot.life()));
        lives.filter(|(_, life)| matches!(life, Life::Open | Life::Closing)).collect()
    }

    /// While it is short nobody is accepted but by accepts that were with the kernel before, and those
    /// are soon taken back; while it is not, nobody is refused for it.
    pub(super) fn check_memory(&mut self) {
        let now = self.shard.driver().now();
        let refused = self.stats.refused_memory_total.get();
        let are_new = std::mem::replace(&mut self.memory.refused, refused) < refused;
        let memory = &mut self.memory;
        assert!(memory.is_short || !are_new, "somebody is refused for memory that is there");
        let accepted = self.stats.accepted_total.get() - memory.accepted;
        if !memory.is_short {
            if memory.since > Duration::ZERO {
                memory.accepted += accepted;
                memory.accepted_again += accepted;
            }
            return;
        }
        let most = memory.accepting;
        assert!(accepted <= most, "{accepted} accepted of {most} while memory is short");
        let mut lives = self.shard.arena().iter_used().map(|(_, slot)| slot.life());
        let is_late = now > memory.since + END_WITHIN;
        let accepts = is_late && lives.any(|life| life == Life::Accepting);
        assert!(!accepts, "accepts are out, {:?} after memory is short", now - memory.since);
    }
}
