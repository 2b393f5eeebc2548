//! Memory that becomes short in a world, and is enough again: new connections are refused
//! meanwhile, and counted apart; open ones stay.

use std::time::Duration;

use fastrand::Rng;
use megaconn::engine::driver::Driver;
use megaconn::engine::server::drain::{Command, MemoryLeft};
use megaconn::engine::slot::ConnState;
use megaconn::engine::token::SlotId;
use megaconn::engine::worker::Worker;

use super::{END_WITHIN, World};

/// When memory changes, and what was seen when it last did.
pub(crate) struct Memory {
    /// The next one last: when it becomes short, when it is enough again, and so on.
    changes: Vec<(Duration, MemoryLeft)>,
    left: MemoryLeft,
    since: Duration,
    /// Accepts that were with the kernel then, and connections accepted until then.
    accepting: u64,
    accepted: u64,
    /// Refused for want of memory until the turn before, and of these for a cgroup.
    refused: [u64; 2],
    /// Connections accepted in times in which memory was enough again.
    pub(crate) accepted_again: u64,
}

const ENOUGH: MemoryLeft = MemoryLeft::Enough;

impl Memory {
    /// None of it in three worlds of four.
    pub(crate) fn new(seed: u64, lives_for: Duration) -> Memory {
        let mut random = Rng::with_seed(!seed);
        let count = if random.u8(..4) == 0 { random.usize(1..=4) } else { 0 };
        let mut times: Vec<_> = (0..count).map(|_| lives_for.mul_f64(random.f64())).collect();
        times.sort_unstable();
        let short = [MemoryLeft::ShortOnHost, MemoryLeft::ShortInCgroup];
        let left = |(n, at)| (at, if n % 2 == 0 { short[random.usize(..2)] } else { ENOUGH });
        let mut changes: Vec<_> = times.into_iter().enumerate().map(left).collect();
        changes.reverse();
        let (since, accepting, accepted) = (Duration::ZERO, 0, 0);
        Memory {
            changes,
            left: ENOUGH,
            since,
            accepting,
            accepted,
            refused: [0; 2],
            accepted_again: 0,
        }
    }
}

impl World {
    pub(super) fn change_memory_if_due(&mut self) {
        let now = self.shard.end.driver.now();
        let Some((_, left)) = self.memory.changes.pop_if(|(at, _)| *at <= now) else { return };
        let before = self.all_connections();
        let accepted = self.stats.accepted_total.get();
        let lives = self.shard.end.arena.iter_used().map(|(_, slot)| slot.state());
        self.memory.accepting = lives.filter(|life| *life == ConnState::Accepting).count() as u64;
        self.memory.left = left;
        (self.memory.since, self.memory.accepted) = (now, accepted);
        self.shard.handle_command(Command::Memory(left));
        assert_eq!(
            self.all_connections(),
            before,
            "an open connection pays for the others' memory"
        );
    }

    fn all_connections(&self) -> Vec<(SlotId, ConnState)> {
        let lives = self.shard.end.arena.iter_used().map(|(id, slot)| (id, slot.state()));
        lives.filter(|(_, life)| matches!(life, ConnState::Open | ConnState::Closing)).collect()
    }

    /// While it is short, connections are accepted only by accepts that were with the kernel
    /// before, and those are soon taken back; while it is not, none is refused for it.
    pub(super) fn check_memory(&mut self) {
        let now = self.shard.end.driver.now();
        let refused = [&self.stats.refused_memory_total, &self.stats.refused_cgroup_total];
        let refused = refused.map(|figure| figure.get());
        let memory = &mut self.memory;
        let [all, of_cgroup] = std::mem::replace(&mut memory.refused, refused);
        let new = (refused[0] - all, refused[1] - of_cgroup);
        let is_right = match memory.left {
            MemoryLeft::Enough => new == (0, 0),
            MemoryLeft::ShortOnHost => new.1 == 0,
            MemoryLeft::ShortInCgroup => new.0 == new.1,
        };
        assert!(is_right, "{new:?} are refused while memory is {:?}", memory.left);
        let accepted = self.stats.accepted_total.get() - memory.accepted;
        if memory.left == ENOUGH {
            if memory.since > Duration::ZERO {
                memory.accepted += accepted;
                memory.accepted_again += accepted;
            }
            return;
        }
        let most = memory.accepting;
        assert!(accepted <= most, "{accepted} accepted of {most} while memory is short");
        let mut lives = self.shard.end.arena.iter_used().map(|(_, slot)| slot.state());
        let is_late = now > memory.since + END_WITHIN;
        let accepts = is_late && lives.any(|life| life == ConnState::Accepting);
        assert!(!accepts, "accepts are out, {:?} after memory is short", now - memory.since);
    }
}
