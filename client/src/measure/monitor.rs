//! What is monitored in every phase of a run: whether the memory reserve is left, when connections are
//! lost, and for how long nothing is answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use megaconn::base::stderr::talk;
use megaconn::results::result::{LossTimes, ReserveMet};
use megaconn::runtime::memory_reserve::{Change, ReserveWatchdog};

/// Looks whether the memory reserve is left, and remembers when it no longer was.
pub(crate) struct MemoryWatchdog {
    began: Instant,
    memory: ReserveWatchdog,
    reserve_met: Option<ReserveMet>,
}

impl MemoryWatchdog {
    /// A watchdog over `reserve_bytes`, of a run that begins now.
    pub(crate) fn new(reserve_bytes: u64) -> MemoryWatchdog {
        MemoryWatchdog {
            began: Instant::now(),
            memory: ReserveWatchdog::new(reserve_bytes),
            reserve_met: None,
        }
    }

    /// Looks, with `connections` open; `true` when nothing more may be opened from now on. It is `true`
    /// once: memory that becomes free again is not used.
    pub(crate) fn look(&mut self, connections: u64) -> bool {
        let Some(Change::Short(headroom)) =
            self.memory.look().filter(|_| self.reserve_met.is_none())
        else {
            return false;
        };
        talk(&format!(
            "memory is short: opening nothing more ({})",
            self.memory.describe(&headroom)
        ));
        self.reserve_met = Some(ReserveMet {
            at_ms: milliseconds(self.began.elapsed()),
            available_bytes: headroom.available_bytes,
            reserve_bytes: self.memory.reserve_bytes(),
            limit: headroom.limit.to_string(),
            connections,
        });
        true
    }

    /// The reserve, if it was met.
    pub(crate) fn reserve_met(&self) -> Option<&ReserveMet> {
        self.reserve_met.as_ref()
    }
}

/// When connections were lost, by looks at a counter that only rises.
pub(crate) struct LossTimeline {
    began: Instant,
    times: Option<LossTimes>,
    /// The losses until each look of the last second, and until one look before it.
    looks: VecDeque<(Duration, u64)>,
}

impl LossTimeline {
    /// The timeline of a run that begins now.
    pub(crate) fn new() -> LossTimeline {
        LossTimeline { began: Instant::now(), times: None, looks: VecDeque::new() }
    }

    /// Looks, with `lost` connections until now.
    pub(crate) fn look(&mut self, lost: u64) {
        self.look_at(self.began.elapsed(), lost);
    }

    /// When connections were lost, if any were.
    pub(crate) fn times(&self) -> Option<LossTimes> {
        self.times
    }

    fn look_at(&mut self, at: Duration, lost: u64) {
        let has_lost = self.looks.back().map_or(lost > 0, |(_, before)| lost > *before);
        self.looks.push_back((at, lost));
        while self.looks.get(1).is_some_and(|(then, _)| at - *then >= Duration::from_secs(1)) {
            self.looks.pop_front();
        }
        if has_lost {
            let at_ms = milliseconds(at);
            let first = LossTimes { first_ms: at_ms, ..LossTimes::default() };
            let times = self.times.get_or_insert(first);
            times.last_ms = at_ms;
            let before = self.looks.front().filter(|_| self.looks.len() > 1);
            let in_this_second = lost - before.map_or(0, |(_, before)| *before);
            times.most_in_one_second = times.most_in_one_second.max(in_this_second);
        }
    }
}

/// The longest time in which messages were sent and none was answered, by looks at counters.
pub(crate) struct AnswerGap {
    began: Instant,
    /// When an answer last came, or nothing was out; the answers and the messages begun until then.
    answered: (Duration, u64, u64),
    looked: Duration,
    longest: Option<(Duration, Duration)>,
    /// Whether connections have their first messages: what never worked has not stopped.
    is_first_exchange: bool,
}

/// A gap that is shorter is not worth saying: a busy host has such.
const GAP_MIN: Duration = Duration::from_secs(3);

/// A look that is later than this was the client's own stop, not the server's.
const LOOK_LATE: Duration = Duration::from_millis(500);

impl AnswerGap {
    /// Of a run that begins now.
    pub(crate) fn new() -> AnswerGap {
        AnswerGap {
            began: Instant::now(),
            answered: (Duration::ZERO, 0, 0),
            looked: Duration::ZERO,
            longest: None,
            is_first_exchange: false,
        }
    }

    /// Another phase begins; in that of the first messages nothing is looked for.
    pub(crate) fn enter(&mut self, is_first_exchange: bool) {
        self.is_first_exchange = is_first_exchange;
    }

    /// Looks, with `begun` messages and `answers` until now and `out` messages that have none.
    pub(crate) fn look(&mut self, begun: u64, answers: u64, out: u64) {
        self.look_at(self.began.elapsed(), begun, answers, out);
    }

    /// From when and for how long, if it is worth saying.
    pub(crate) fn longest(&self) -> Option<(Duration, Duration)> {
        self.longest
    }

    fn look_at(&mut self, at: Duration, begun: u64, answers: u64, out: u64) {
        let is_late = at - self.looked > LOOK_LATE;
        self.looked = at;
        if is_late || self.is_first_exchange || out == 0 || answers != self.answered.1 {
            self.answered = (at, answers, begun);
            return;
        }
        let gap = at - self.answered.0;
        // What never answered has not stopped, and connections that are silent since they were there
        // are no sign that the others are: most of what is out must have been sent in the gap.
        let has_stopped = answers > 0 && begun.saturating_sub(self.answered.2) * 2 >= out;
        if has_stopped && gap >= GAP_MIN && self.longest.is_none_or(|(_, longest)| gap > longest) {
            self.longest = Some((self.answered.0, gap));
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(looks: &[(u64, u64)]) -> Option<LossTimes> {
        let mut timeline = LossTimeline::new();
        for (ms, lost) in looks {
            timeline.look_at(Duration::from_millis(*ms), *lost);
        }
        timeline.times()
    }

    #[test]
    fn losses_have_their_time_and_their_worst_second() {
        assert_eq!(times(&[(0, 0), (20, 0), (40, 0)]), None);
        let of = |first_ms, last_ms, most_in_one_second| {
            Some(LossTimes { first_ms, last_ms, most_in_one_second })
        };
        assert_eq!(times(&[(0, 0), (20, 7), (40, 7), (5_000, 7)]), of(20, 20, 7));
        assert_eq!(times(&[(20, 7)]), of(20, 20, 7));
        // Two of them fall into one second, the third does not.
        let looks = [(0, 0), (100, 5), (600, 9), (1_000, 9), (1_500, 10), (2_000, 12)];
        assert_eq!(times(&looks), of(100, 2_000, 9));
        // A core that looked late knows the number, and the second that it was lost in at the latest.
        assert_eq!(times(&[(0, 0), (20, 1), (9_000, 100)]), of(20, 9_000, 99));
    }

    #[test]
    fn the_longest_time_without_an_answer_is_told() {
        let mut gap = AnswerGap::new();
        let mut look = |ms: u64, answers, out| {
            gap.look_at(Duration::from_millis(ms), answers + out, answers, out);
            gap.longest().map(|(from, time)| (from.as_millis(), time.as_millis()))
        };
        // Nothing is out, so nothing is missing; then answers come.
        (0..100).for_each(|n| assert_eq!(look(n * 100, 0, 0), None));
        (100..110).for_each(|n| assert_eq!(look(n * 100, n, 5), None));
        // From 10.9 s on none comes.
        (110..150).for_each(|n| _ = look(n * 100, 109, 50));
        assert_eq!(look(15_000, 109, 50), Some((10_900, 4_100)));
        // A client that was stopped itself has seen no gap.
        assert_eq!(look(60_000, 109, 50), Some((10_900, 4_100)));
        assert_eq!(look(60_100, 110, 50), Some((10_900, 4_100)));
    }

    /// All have been answered but some that never are; or none ever was; or these are the first messages.
    #[test]
    fn what_was_silent_from_the_start_is_no_gap() {
        for (answers, begun_later, is_first) in [(0, 99, false), (150, 0, false), (150, 99, true)] {
            let mut gap = AnswerGap::new();
            gap.enter(is_first);
            for ms in (0..15_000).step_by(100) {
                let (answers, more) = if ms < 200 { (0, 0) } else { (answers, begun_later) };
                let more = if ms > 200 { more } else { 0 };
                gap.look_at(Duration::from_millis(ms), 200 + more, answers, 50);
            }
            assert_eq!(gap.longest(), None, "{answers} answers");
        }
    }

    #[test]
    fn the_reserve_is_met_once() {
        let mut watchdog = MemoryWatchdog::new(u64::MAX);
        assert!(watchdog.look(5), "there is never so much");
        let met = watchdog.reserve_met().expect("it was met").clone();
        assert_eq!((met.connections, met.reserve_bytes), (5, u64::MAX));
        assert!(met.available_bytes > 0 && !met.limit.is_empty(), "{met:?}");
        assert!(!watchdog.look(4), "it is said once");
        assert_eq!(watchdog.reserve_met(), Some(&met));
        assert!(!MemoryWatchdog::new(0).look(5), "there is always so much");
    }
}
