//! Storms on purpose: a part of the connections is dropped at one time, by either end.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::base::constants::{DRAIN_CLOSES_PER_TURN, DRAIN_LOOKS_PER_TURN};
use crate::base::units;
use crate::engine::arena::Arena;
use crate::engine::slot::{Role, Slot};
use crate::engine::token::SlotId;

/// The shortest time between two storms: what one has dropped is counted before the next.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// A storm, as `--storm` says it: `drop 50% at 30s`, `drop all at 1m by reset`, `drop 10% every 30s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    /// What it does.
    pub drop: DropPart,
    /// When the first is due.
    pub first: Duration,
    /// Time from one to the next; `None` when there is one alone.
    pub every: Option<Duration>,
}

/// A part of the connections is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DropPart {
    /// Which part, above 0 and at most 1.
    pub part: f64,
    /// How each goes.
    pub by: Way,
}

/// How a connection is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// In order, as each end closes.
    Fin,
    /// By a reset.
    Reset,
    /// Without a packet: the other end has it still, half open.
    Vanishing,
}

/// Its names, as `--storm` has them.
const WAYS: [(&str, Way); 3] =
    [("fin", Way::Fin), ("reset", Way::Reset), ("vanishing", Way::Vanishing)];

impl DropPart {
    /// The part in hundredths, without what a binary fraction adds.
    fn percent(self) -> f64 {
        (self.part * 1e8).round() / 1e6
    }
}

impl FromStr for Storm {
    type Err = String;

    fn from_str(text: &str) -> Result<Storm, String> {
        let other = || {
            format!(
                "`{text}`; fix: 'drop 50% at 30s', 'drop all at 1m by reset' or 'drop 10% every \
                 30s'"
            )
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["drop", part, when, time, ref how @ ..] = words[..] else { return Err(other()) };
        let part = match part.strip_suffix('%') {
            _ if part == "all" => 1.0,
            Some(percent) => percent.parse::<f64>().map_err(|_| other())? / 100.0,
            None => return Err(other()),
        };
        if !(part > 0.0 && part <= 1.0) {
            return Err(format!("`{text}` drops no part; fix: above 0% and at most 100%"));
        }
        let by = match how {
            [] => Way::Fin,
            ["by", name] => {
                let named = WAYS.into_iter().find(|(other, _)| other == name);
                named.map(|(_, way)| way).ok_or_else(other)?
            }
            _ => return Err(other()),
        };
        let (first, every) = match when {
            "at" => (units::duration(time)?, None),
            "every" => {
                let every = units::positive_duration(time)?;
                if every < EVERY_MIN {
                    return Err(format!("`{text}` comes too often; fix: every 1s, or less often"));
                }
                (every, Some(every))
            }
            _ => return Err(other()),
        };
        Ok(Storm { drop: DropPart { part, by }, first, every })
    }
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.every.is_some() { "every" } else { "at" };
        let way = self.drop.by;
        let time = match self.first {
            Duration::ZERO => "0s".to_owned(),
            first => format!("{first:?}"),
        };
        write!(f, "drop {}% {when} {time}{way}", self.drop.percent())
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = WAYS.into_iter().find(|(_, way)| way == self && *way != Way::Fin);
        name.map_or(Ok(()), |(name, _)| write!(f, " by {name}"))
    }
}

impl fmt::Display for DropPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "drop {}%", self.percent())?;
        write!(f, "{}", self.by)
    }
}

/// Storms of a run or a server, and which of them are due.
#[derive(Clone, Debug, Default)]
pub struct Storms {
    /// Each with when it is due next; `None` when it is over.
    ahead: Vec<(Storm, Option<Duration>)>,
}

impl Storms {
    /// Of which none has been.
    #[must_use]
    pub fn new(storms: &[Storm]) -> Storms {
        Storms { ahead: storms.iter().map(|storm| (*storm, Some(storm.first))).collect() }
    }

    /// One that is due when so much time has `passed`. One that was missed meanwhile is left out: two at once would be
    /// another storm than the one that was asked for.
    pub fn take_due(&mut self, passed: Duration) -> Option<DropPart> {
        let (storm, due) =
            self.ahead.iter_mut().find(|(_, due)| due.is_some_and(|due| due <= passed))?;
        *due = storm.every.map(|every| {
            let periods = passed.as_nanos() / every.as_nanos() + 1;
            every.saturating_mul(u32::try_from(periods).unwrap_or(u32::MAX))
        });
        Some(storm.drop)
    }

    /// Time until the next is due, when so much has `passed`.
    #[must_use]
    pub fn next_in(&self, passed: Duration) -> Option<Duration> {
        self.ahead.iter().filter_map(|(_, due)| Some(due.as_ref()?.saturating_sub(passed))).min()
    }
}

/// What one turn of a core may take of a storm.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Connections that are dropped.
    takes: u32,
    /// Slots that are looked at.
    looks: u32,
}

impl Budget {
    /// As much as of a drain.
    #[must_use]
    pub fn of_turn() -> Budget {
        Budget { takes: DRAIN_CLOSES_PER_TURN, looks: DRAIN_LOOKS_PER_TURN }
    }
}

/// The storms of one core: the one that goes on, and those that wait for it to be over.
#[derive(Debug, Default)]
pub struct Storming {
    going: Option<Selection>,
    waiting: VecDeque<DropPart>,
    begun: u32,
}

impl Storming {
    /// One more.
    pub fn add(&mut self, drop: DropPart) {
        self.waiting.push_back(drop);
    }

    /// None goes on any more.
    pub fn end(&mut self) {
        (self.going, self.waiting) = (None, VecDeque::new());
    }

    /// The one that goes on, or is next.
    #[must_use]
    pub fn now(&self) -> Option<DropPart> {
        self.going.map(|going| going.drop).or_else(|| self.waiting.front().copied())
    }

    /// The next of so many `connections` of `core` that is dropped, of those that `is_one`, and how; `None`
    /// when this turn, or every storm, is over.
    pub fn next<R: Role>(
        &mut self,
        arena: &Arena<R>,
        (connections, core): (u64, usize),
        budget: &mut Budget,
        is_one: impl Fn(&Slot<R>) -> bool,
    ) -> Option<(SlotId, Way)> {
        budget.takes = budget.takes.checked_sub(1)?;
        loop {
            if self.going.is_none() {
                let drop = self.waiting.pop_front()?;
                self.going = Some(Selection::new(drop, connections, core, self.begun));
                self.begun = self.begun.wrapping_add(1);
            }
            let going = self.going.as_mut()?;
            if let Some(id) = going.next(arena, &mut budget.looks, &is_one) {
                return Some((id, going.drop.by));
            }
            if !going.is_over {
                return None;
            }
            self.going = None;
        }
    }
}

/// The connections of one core that a storm takes, evenly over all that there are.
#[derive(Clone, Copy, Debug)]
struct Selection {
    drop: DropPart,
    /// Connections that are to be looked at still.
    left: u64,
    /// Of all, those that are dropped, and how many there are.
    share: (u64, u64),
    /// Those that were looked at, and as many as make one storm begin elsewhere than the one before: a connection that
    /// came back may stand where it stood.
    seen: u64,
    cursor: Option<SlotId>,
    is_over: bool,
}

/// The golden ratio's fraction: the multiples of it are spread evenly, however many there are.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

impl Selection {
    /// Of `drop` among so many connections of `core`, after so many others. Cores with as many each drop the part of all
    /// of them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of them")]
    fn new(drop: DropPart, connections: u64, core: usize, nth: u32) -> Selection {
        let each = drop.part * connections as f64;
        let until = |cores: usize| (each * cores as f64).round();
        let dropped = (until(core + 1) - until(core)) as u64;
        let begins = (GOLDEN * f64::from(nth)).fract();
        Selection {
            drop,
            left: connections,
            share: (dropped.min(connections), connections),
            seen: (begins * connections as f64) as u64,
            cursor: None,
            is_over: dropped == 0,
        }
    }

    fn next<R: Role>(
        &mut self,
        arena: &Arena<R>,
        looks: &mut u32,
        is_one: impl Fn(&Slot<R>) -> bool,
    ) -> Option<SlotId> {
        while !self.is_over {
            *looks = looks.checked_sub(1)?;
            self.cursor = arena.slot_behind(self.cursor);
            let Some(id) = self.cursor.filter(|_| self.left > 0) else {
                self.is_over = true;
                break;
            };
            if !is_one(&arena[id]) {
                continue;
            }
            let (dropped, of) = self.share;
            let by = |seen: u64| u128::from(seen) * u128::from(dropped) / u128::from(of);
            let before = by(self.seen);
            self.seen += 1;
            self.left -= 1;
            if by(self.seen) > before {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_what_it_says() {
        let seconds = Duration::from_secs;
        let drop = |part, by| DropPart { part, by };
        for (text, expected) in [
            (
                "drop 50% at 30s",
                Storm { drop: drop(0.5, Way::Fin), first: seconds(30), every: None },
            ),
            (
                "drop all at 1m by reset",
                Storm { drop: drop(1.0, Way::Reset), first: seconds(60), every: None },
            ),
            (
                "drop 7% at 0s by vanishing",
                Storm { drop: drop(0.07, Way::Vanishing), first: seconds(0), every: None },
            ),
            (
                "drop 0.5% every 30s by fin",
                Storm { drop: drop(0.005, Way::Fin), first: seconds(30), every: Some(seconds(30)) },
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string().parse(), Ok(expected), "{expected}");
        }
        for bad in [
            "",
            "drop",
            "drop 50 at 30s",
            "drop 0% at 30s",
            "drop 101% at 1s",
            "drop NaN% at 1s",
            "drop -1% at 1s",
            "drop 5% every 1ms",
            "drop 5% every 0s",
            "drop 5% in 1s",
            "drop 5% at 1s by hand",
            "drop 5% at soon",
            "shed 5% at 1s",
        ] {
            let error = bad.parse::<Storm>().expect_err(bad);
            assert!(error.contains("fix:") || error.contains("duration"), "{bad}: {error}");
        }
    }

    #[test]
    fn each_is_due_once_or_again_and_again() {
        let ms = Duration::from_millis;
        let storms: Vec<Storm> = ["drop 50% at 2s", "drop 10% every 1s"]
            .map(|text| text.parse().expect("it is one"))
            .into();
        let mut storms = Storms::new(&storms);
        assert_eq!(storms.take_due(ms(999)), None);
        assert!(storms.take_due(ms(1_020)).is_some_and(|drop| drop.part < 0.2));
        assert_eq!(storms.take_due(ms(1_040)), None);
        assert!(storms.take_due(ms(2_000)).is_some_and(|drop| drop.part > 0.2));
        assert!(storms.take_due(ms(2_000)).is_some_and(|drop| drop.part < 0.2));
        assert_eq!(storms.take_due(ms(2_999)), None);
        // What was missed is not made up for.
        assert!(storms.take_due(ms(5_500)).is_some());
        assert_eq!(storms.take_due(ms(5_999)), None);
        assert!(storms.take_due(ms(6_000)).is_some());
    }
}
