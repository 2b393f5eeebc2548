//! The memory that both programs leave to the rest of the host, and whether it is left: while it is not,
//! the server accepts no connection and the client opens none. Connections that are open stay open.

use std::time::{Duration, Instant};

use crate::base::constants::{
    BUFFERS_LEAST, BUFFERS_MEMORY_PART, BUFFERS_PER_CORE, LOOK_EVERY, LOOK_SELDOM,
    MEMORY_LEAST_BYTES, MEMORY_LINE_EVERY, MEMORY_RESERVE_CLIENT_LEAST_BYTES,
    MEMORY_RESERVE_CLIENT_LEAST_PART, MEMORY_RESERVE_CLIENT_PART, MEMORY_RESERVE_LEAST_BYTES,
    MEMORY_RESERVE_LEAST_PART, MEMORY_RESERVE_PART, MEMORY_RESERVE_SLACK_PART,
    MEMORY_RESERVE_SMALLEST_BYTES, MEMORY_TAKEN_PER_S,
};
use crate::base::side::Side;
use crate::base::stderr::talk;
use crate::base::units::grouped;
use crate::host::headroom::{self, MemoryHeadroom, MemoryHeadrooms};
use crate::host::procfs::ProcFs;

/// What `side` leaves, unless it is told, where there are `total_bytes` of memory: 5 % or 512 MiB,
/// whichever is more, but of a small memory no more than an eighth, and of the smallest 16 MiB; a client
/// leaves some more.
#[must_use]
pub fn default_bytes(side: Side, total_bytes: u64) -> u64 {
    let least = |bytes: u64, part| bytes.min(total_bytes / part);
    let reserve = (total_bytes / MEMORY_RESERVE_PART)
        .max(least(MEMORY_RESERVE_LEAST_BYTES, MEMORY_RESERVE_LEAST_PART))
        .max(MEMORY_RESERVE_SMALLEST_BYTES.min(total_bytes / 2));
    let more = (reserve / MEMORY_RESERVE_CLIENT_PART)
        .max(least(MEMORY_RESERVE_CLIENT_LEAST_BYTES, MEMORY_RESERVE_CLIENT_LEAST_PART));
    match side {
        Side::Server => reserve,
        Side::Client => reserve + more,
    }
}

/// What `side` leaves here, when `asked` does not say: by the memory of the host, or what a cgroup of
/// this process may have of it.
#[must_use]
pub fn bytes(side: Side, asked: Option<u64>) -> u64 {
    let total = || MemoryHeadrooms::find(&ProcFs::host()).total_bytes();
    asked.unwrap_or_else(|| total().map_or(0, |total| default_bytes(side, total)))
}

/// The limit on memory that is too small for a server, and what it is, when there is one.
#[must_use]
pub fn too_small(headrooms: &MemoryHeadrooms) -> Option<MemoryHeadroom> {
    headrooms.read().find(|headroom| headroom.total_bytes < MEMORY_LEAST_BYTES)
}

/// Buffers of so many bytes for each of `cores` where there are `total_bytes` of memory; `None` where that is unknown.
#[must_use]
pub fn buffers_per_core(total_bytes: Option<u64>, cores: usize, bytes: u16) -> u16 {
    let all = total_bytes.unwrap_or(u64::MAX) / BUFFERS_MEMORY_PART / u64::from(bytes);
    let each = u16::try_from(all / (cores.max(1) as u64)).unwrap_or(u16::MAX);
    each.clamp(BUFFERS_LEAST, BUFFERS_PER_CORE)
}

/// Looks whether the reserve is left.
#[derive(Debug)]
pub struct ReserveWatchdog {
    headrooms: MemoryHeadrooms,
    reserve_bytes: u64,
    hysteresis: Hysteresis,
}

/// What a look found, when it differs from what the one before found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Less than the reserve is left.
    Short(MemoryHeadroom),
    /// The reserve and some more is left again.
    Enough(MemoryHeadroom),
}

impl ReserveWatchdog {
    /// Watches this process's memory. Without a reserve it finds nothing, ever.
    #[must_use]
    pub fn new(reserve_bytes: u64) -> ReserveWatchdog {
        let headrooms = MemoryHeadrooms::find(&ProcFs::host());
        if reserve_bytes > 0 && headrooms.least().is_none() {
            talk("warning: /proc/meminfo cannot be read, memory is not watched; fix: mount /proc");
        }
        ReserveWatchdog { headrooms, reserve_bytes, hysteresis: Hysteresis::default() }
    }

    /// The reserve.
    #[must_use]
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Reads every limit; what has changed since the look before. Where nothing can be read nothing is
    /// known, and nothing is stopped for it.
    pub fn look(&mut self) -> Option<Change> {
        self.hysteresis.note(self.headrooms.least()?, self.reserve_bytes)
    }

    /// Time after which to look again: sooner than the memory above the reserve could be taken.
    #[must_use]
    pub fn look_again_in(&self) -> Duration {
        self.hysteresis.look_again_in(self.reserve_bytes)
    }

    /// The figures of `headroom` in words.
    #[must_use]
    pub fn describe(&self, headroom: &MemoryHeadroom) -> String {
        let [left, reserve] =
            [headroom.available_bytes, self.reserve_bytes].map(|b| grouped(b >> 20));
        format!(
            "{left} MiB left {}, --memory-reserve {reserve} MiB",
            headroom::place(&headroom.limit)
        )
    }
}

/// Short below the reserve, enough an eighth of it above: between the two it stays what it was.
#[derive(Debug, Default)]
struct Hysteresis {
    is_short: bool,
    available_bytes: u64,
}

impl Hysteresis {
    fn note(&mut self, headroom: MemoryHeadroom, reserve_bytes: u64) -> Option<Change> {
        self.available_bytes = headroom.available_bytes;
        let slack = reserve_bytes / MEMORY_RESERVE_SLACK_PART;
        let enough = reserve_bytes.saturating_add(if self.is_short { slack } else { 0 });
        let is_short = headroom.available_bytes < enough;
        let has_changed = std::mem::replace(&mut self.is_short, is_short) != is_short;
        has_changed.then_some(if is_short {
            Change::Short(headroom)
        } else {
            Change::Enough(headroom)
        })
    }

    fn look_again_in(&self, reserve_bytes: u64) -> Duration {
        let spare = self.available_bytes.saturating_sub(reserve_bytes);
        let lasts = Duration::from_millis(spare / (MEMORY_TAKEN_PER_S / 1000));
        lasts.clamp(LOOK_EVERY, LOOK_SELDOM)
    }
}

/// Which of the changes are told to people: memory that goes up and down would fill their screen.
#[derive(Debug, Default)]
pub struct LogThrottle {
    said_at: Option<Instant>,
    owes_end: bool,
}

impl LogThrottle {
    /// Whether this change is told: a beginning when none was for a while, an end after its beginning.
    pub fn admits(&mut self, change: &Change, now: Instant) -> bool {
        match change {
            Change::Short(_) => {
                let since = self.said_at.map_or(Duration::MAX, |at| now.duration_since(at));
                self.owes_end = since >= MEMORY_LINE_EVERY;
                if self.owes_end {
                    self.said_at = Some(now);
                }
                self.owes_end
            }
            Change::Enough(_) => std::mem::take(&mut self.owes_end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::constants::BUFFER_BYTES;
    use crate::host::headroom::HOST;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn the_default_protects_and_leaves_room_to_work() {
        let server = |total| default_bytes(Side::Server, total);
        // Of the smallest an eighth is less than what the programs take between two looks.
        assert_eq!((server(64 * MIB), server(32 * MIB)), (16 * MIB, 16 * MIB));
        assert_eq!(server(256 * MIB), 32 * MIB);
        assert_eq!(server(512 * MIB), 64 * MIB);
        assert_eq!(server(4 * GIB), 512 * MIB);
        assert_eq!(server(10 * GIB), 512 * MIB);
        assert_eq!(server(24 * GIB), 24 * GIB / 20);
        assert_eq!(server(0), 0);
        for total in [128 * MIB, GIB, 4 * GIB, 24 * GIB, 2048 * GIB] {
            let (server, client) = (server(total), default_bytes(Side::Client, total));
            assert!(client - server >= (64 * MIB).min(total / 16), "{client}, {server}");
            assert!(client < total / 5, "{client} of {total}");
        }
    }

    fn headroom(available_bytes: u64) -> MemoryHeadroom {
        MemoryHeadroom { limit: HOST.into(), total_bytes: 10_000, available_bytes }
    }

    #[test]
    fn it_is_short_below_the_reserve_and_enough_an_eighth_above() {
        let mut hysteresis = Hysteresis::default();
        let mut hear = |available| hysteresis.note(headroom(available), 800);
        assert_eq!(hear(800), None);
        assert_eq!(hear(799), Some(Change::Short(headroom(799))));
        assert_eq!((hear(0), hear(800), hear(899)), (None, None, None));
        assert_eq!(hear(900), Some(Change::Enough(headroom(900))));
        assert_eq!((hear(801), hear(800)), (None, None));
        assert_eq!(hear(10), Some(Change::Short(headroom(10))));
    }

    #[test]
    fn the_less_is_spare_the_sooner_it_looks_again() {
        let mut hysteresis = Hysteresis::default();
        let mut rest_with = |available| {
            hysteresis.note(headroom(available), GIB);
            hysteresis.look_again_in(GIB)
        };
        assert_eq!(rest_with(20 * GIB), LOOK_SELDOM);
        assert_eq!((rest_with(GIB), rest_with(0)), (LOOK_EVERY, LOOK_EVERY));
        let rest = rest_with(GIB + GIB / 4);
        assert!((60..=63).contains(&rest.as_millis()), "{rest:?} for 256 MiB at 4 GiB/s");
    }

    #[test]
    fn all_buffers_are_an_eighth_of_the_memory_at_most() {
        let buffers = |mib: u64, cores| buffers_per_core(Some(mib * MIB), cores, BUFFER_BYTES);
        assert_eq!((buffers(64, 2), buffers(64, 1), buffers(32, 64)), (1_024, 2_048, 64));
        assert_eq!((buffers(8_192, 8), buffers_per_core(None, 2, BUFFER_BYTES)), (8_192, 8_192));
    }

    #[test]
    fn without_a_reserve_nothing_is_short() {
        let mut hysteresis = Hysteresis::default();
        assert_eq!(
            (hysteresis.note(headroom(0), 0), hysteresis.note(headroom(5), 0)),
            (None, None)
        );
        // More than there ever was.
        assert_eq!(hysteresis.note(headroom(5), u64::MAX), Some(Change::Short(headroom(5))));
        assert_eq!(hysteresis.note(headroom(u64::MAX - 1), u64::MAX), None);
    }

    #[test]
    fn what_comes_and_goes_is_told_now_and_then() {
        let (mut throttle, began) = (LogThrottle::default(), Instant::now());
        let mut tells =
            |change: &Change, ms| throttle.admits(change, began + Duration::from_millis(ms));
        let (short, enough) = (Change::Short(headroom(1)), Change::Enough(headroom(2)));
        assert_eq!((tells(&short, 0), tells(&enough, 5)), (true, true));
        assert_eq!((tells(&short, 10), tells(&enough, 9_900)), (false, false));
        assert_eq!((tells(&short, 10_000), tells(&enough, 60_000)), (true, true));
    }
}
