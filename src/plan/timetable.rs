//! When each plateau of a run begins, by the clock. Hosts that run parts of one run keep to it without asking each other.

use std::time::Duration;

use crate::base::constants::{TIMETABLE_BETWEEN, TIMETABLE_SPARE};

/// All moments of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timetable {
    /// When the run begins, since 1970.
    pub start: Duration,
    /// Its plateaus, in turn.
    pub plateaus: Vec<Span>,
}

/// The moments of one plateau, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// It is opened, or closed down to, from then on.
    pub begins: Duration,
    /// It is held from then on.
    pub holds: Duration,
    /// The hold is over.
    pub ends: Duration,
}

/// What the moments depend on. All parts of a run have the same.
#[derive(Clone, Copy, Debug)]
pub struct Pace<'a> {
    /// Connections of the whole run at each plateau.
    pub plateaus: &'a [u64],
    /// Connects per second of the whole run.
    pub rate_per_s: Option<f64>,
    /// Time to open a plateau, whatever its size.
    pub open: Option<Duration>,
    /// Time for bystanders on an idle host, before the first plateau.
    pub baseline: Duration,
    /// Time for what is between the opening and the hold.
    pub before_hold: Duration,
    /// How long a plateau is held.
    pub hold: Duration,
}

impl Timetable {
    /// The moments of a run that begins at `start`; `None` when nothing says how long the opening takes.
    #[must_use]
    pub fn new(start: Duration, pace: &Pace<'_>) -> Option<Timetable> {
        let (mut at, mut open) = (start + pace.baseline, 0_u64);
        let mut plateaus = Vec::new();
        for connections in pace.plateaus {
            let change = connections.abs_diff(open);
            let opening = match (pace.open, pace.rate_per_s) {
                (Some(open), _) => open,
                (None, _) if change == 0 => TIMETABLE_SPARE,
                // A quarter more: the slowest host is to be ready, too.
                (None, Some(rate)) => {
                    Duration::try_from_secs_f64(1.25 * change as f64 / rate).ok()? + TIMETABLE_SPARE
                }
                (None, None) => return None,
            };
            let holds = at + opening + pace.before_hold;
            let span = Span { begins: at, holds, ends: holds + pace.hold };
            plateaus.push(span);
            (at, open) = (span.ends + TIMETABLE_BETWEEN, *connections);
        }
        Some(Timetable { start, plateaus })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace<'_> = Pace {
        plateaus: &[1_000, 5_000, 2_000],
        rate_per_s: Some(100.0),
        open: None,
        baseline: Duration::ZERO,
        before_hold: Duration::ZERO,
        hold: Duration::from_secs(10),
    };

    #[test]
    fn a_plateau_begins_when_the_one_before_is_surely_over() {
        let start = Duration::from_secs(1_000);
        let table = Timetable::new(start, &PACE).expect("there is a rate");
        let seconds = |span: &Span| [span.begins, span.holds, span.ends].map(|at| at.as_secs_f64());
        let spare = TIMETABLE_SPARE.as_secs_f64();
        let [first, second, third] = &table.plateaus[..] else { panic!("{table:?}") };
        assert_eq!(seconds(first), [1_000.0, 1_012.5 + spare, 1_022.5 + spare]);
        assert_eq!(second.begins, first.ends + TIMETABLE_BETWEEN);
        assert_eq!(second.holds - second.begins, Duration::from_secs(50) + TIMETABLE_SPARE);
        assert_eq!((third.holds - third.begins).as_secs_f64(), 37.5 + spare);
    }

    #[test]
    fn the_time_to_open_is_typed_or_follows_from_the_rate() {
        let open = Some(Duration::from_secs(60));
        let table = Timetable::new(Duration::ZERO, &Pace { open, rate_per_s: None, ..PACE });
        let table = table.expect("it was typed");
        assert!(table.plateaus.iter().all(|span| Some(span.holds - span.begins) == open));
        assert_eq!(Timetable::new(Duration::ZERO, &Pace { rate_per_s: None, ..PACE }), None);
        let slow = Pace { rate_per_s: Some(1e-300), ..PACE };
        assert_eq!(Timetable::new(Duration::ZERO, &slow), None, "that is never");
    }
}
