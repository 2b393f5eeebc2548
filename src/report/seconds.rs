//! What a report shows of `bystanders.ndjson`: the latency and the losses of each bystander, second by
//! second.

use std::collections::BTreeMap;

use histogram::{Histogram, SparseHistogram};

use crate::base::constants::{REPORT_BYSTANDERS, REPORT_POINTS};
use crate::report::ticks::{AT_MS_MAX, Span};
use crate::results::BYSTANDERS;
use crate::results::bystanders::Second;

/// The seconds of all bystanders of a run.
pub(crate) struct Seconds {
    within: Option<Span>,
    first_ms: Option<u64>,
    by_name: BTreeMap<String, Course>,
}

/// One bystander over time.
pub(crate) struct Course {
    /// Milliseconds that a stretch has: a second, or two, four, ... where there are too many.
    stretch_ms: u64,
    /// Milliseconds by which its seconds begin later than the clock's.
    offset_ms: Option<u64>,
    stretches: BTreeMap<u64, Stretch>,
}

/// A second or several of them.
#[derive(Default)]
struct Stretch {
    lost: u64,
    latency: Option<SparseHistogram>,
}

/// A stretch as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Its middle, in milliseconds since 1970.
    pub(crate) at_ms: f64,
    pub(crate) lost: u64,
    /// Median and longest; `None` when nothing was answered.
    pub(crate) latency_us: Option<(f64, f64)>,
}

/// A bystander's first second may begin earlier than the panel by this much, when the clock was set.
const MARGIN_MS: u64 = 2_000;

/// A line with more losses than this is no line: a second has fewer tries.
const LOST_MAX: u64 = 1 << 32;

impl Seconds {
    /// Lines from outside of `within` are another run's.
    pub(crate) fn new(within: Option<Span>) -> Seconds {
        Seconds { within, first_ms: None, by_name: BTreeMap::new() }
    }

    /// Takes a line; `false` when it is no line of a bystander.
    pub(crate) fn add(&mut self, line: &[u8]) -> bool {
        let Ok(line) = serde_json::from_slice::<Second>(line) else { return false };
        let is_known = self.by_name.contains_key(&line.name);
        let has_room = is_known || self.by_name.len() < REPORT_BYSTANDERS;
        let can_be = line.at_ms <= AT_MS_MAX && line.lost <= LOST_MAX;
        if line.schema != BYSTANDERS.schema || !has_room || !can_be {
            return false;
        }
        if !self.within.is_none_or(|within| within.has(line.at_ms, MARGIN_MS)) {
            return true;
        }
        self.first_ms = Some(self.first_ms.map_or(line.at_ms, |first| first.min(line.at_ms)));
        self.by_name.entry(line.name).or_default().add(line.at_ms, line.lost, &line.latency_us);
        true
    }

    /// All that was read; `None` when that was nothing.
    pub(crate) fn done(self) -> Option<Seconds> {
        self.first_ms.is_some().then_some(self)
    }

    /// When the first one began, in milliseconds since 1970.
    pub(crate) fn first_ms(&self) -> u64 {
        self.first_ms.expect("a file that was read has a line")
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    pub(crate) fn of(&self, name: &str) -> Option<Vec<Point>> {
        Some(self.by_name.get(name)?.points())
    }
}

impl Default for Course {
    fn default() -> Course {
        Course { stretch_ms: 1_000, offset_ms: None, stretches: BTreeMap::new() }
    }
}

impl Course {
    fn add(&mut self, at_ms: u64, lost: u64, latency_us: &[u32]) {
        let offset_ms = *self.offset_ms.get_or_insert(at_ms % 1_000);
        let number = at_ms.saturating_sub(offset_ms) / self.stretch_ms;
        self.stretches.entry(number).or_default().add(lost, counted(latency_us));
        if self.stretches.len() < REPORT_POINTS {
            return;
        }
        self.stretch_ms *= 2;
        for (number, stretch) in std::mem::take(&mut self.stretches) {
            self.stretches.entry(number / 2).or_default().add(stretch.lost, stretch.latency);
        }
    }

    fn points(&self) -> Vec<Point> {
        let offset_ms = self.offset_ms.unwrap_or(0) as f64;
        let point = |(number, stretch): (&u64, &Stretch)| Point {
            at_ms: (*number as f64 + 0.5) * self.stretch_ms as f64 + offset_ms,
            lost: stretch.lost,
            latency_us: stretch
                .latency
                .as_ref()
                .and_then(|all| Some((at(all, 0.5)?, at(all, 1.0)?))),
        };
        self.stretches.iter().map(point).collect()
    }
}

impl Stretch {
    fn add(&mut self, lost: u64, latency: Option<SparseHistogram>) {
        self.lost = self.lost.saturating_add(lost);
        self.latency = match (self.latency.take(), latency) {
            (Some(one), Some(other)) => one.checked_add(&other).ok(),
            (one, other) => one.or(other),
        };
    }
}

/// Latencies as a histogram, which is off by one per cent at most: finer than a line is drawn.
fn counted(latency_us: &[u32]) -> Option<SparseHistogram> {
    let mut all = Histogram::new(7, 32).ok()?;
    for us in latency_us {
        all.increment(u64::from(*us)).ok()?;
    }
    (!latency_us.is_empty()).then(|| SparseHistogram::from(&all))
}

fn at(all: &SparseHistogram, quantile: f64) -> Option<f64> {
    let found = all.quantile(quantile).ok()??;
    found.entries().values().next().map(|bucket| bucket.end() as f64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(name: &str, at_ms: u64, lost: u64, latency_us: &[u32]) -> String {
        json!({
            "schema": "megaconn.bystander/1", "name": name, "at_ms": at_ms, "lost": lost,
            "reordered": 0, "latency_us": latency_us
        })
        .to_string()
    }

    fn read(lines: &[String]) -> Seconds {
        let mut seconds = Seconds::new(None);
        lines.iter().for_each(|line| assert!(seconds.add(line.as_bytes()), "{line}"));
        seconds.done().expect("there are lines")
    }

    #[test]
    fn a_second_has_a_median_a_longest_and_what_was_lost() {
        let seconds = read(&[
            line("ping", 1_200, 0, &[30, 10]),
            line("disk", 1_200, 0, &[100]),
            line("ping", 2_200, 2, &[]),
            // A second whose last answer came late has two lines.
            line("ping", 1_200, 0, &[20]),
            line("ping", 3_200, 1, &[7]),
        ]);
        let point = |at_ms, lost, latency_us| Point { at_ms, lost, latency_us };
        let ping = seconds.of("ping").unwrap();
        assert_eq!(
            ping,
            [
                point(1_700.0, 0, Some((20.0, 30.0))),
                point(2_700.0, 2, None),
                point(3_700.0, 1, Some((7.0, 7.0)))
            ]
        );
        assert_eq!((seconds.first_ms(), seconds.names().count()), (1_200, 2));
        assert!(seconds.of("udp").is_none());
    }

    #[test]
    fn a_long_run_has_no_more_points_than_can_be_seen_and_loses_nothing() {
        let lines: Vec<String> =
            (0..5_000).map(|n| line("ping", 1_000 * n, 1, &[u32::try_from(n).unwrap()])).collect();
        let points = read(&lines).of("ping").unwrap();
        assert!((REPORT_POINTS / 2..REPORT_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!(points.iter().map(|point| point.lost).sum::<u64>(), 5_000);
        let longest = points.iter().filter_map(|point| point.latency_us).map(|(_, most)| most);
        let longest = longest.fold(0.0, f64::max);
        assert!((4_999.0..5_049.0).contains(&longest), "{longest}");
    }

    #[test]
    fn lines_of_others_are_passed_over() {
        let mut seconds = Seconds::new(Some(Span { first_ms: 10_000, last_ms: 20_000 }));
        let ours = line("ping", 15_000, 0, &[1]);
        for other in [
            String::new(),
            ours.replace("bystander/1", "bystander/2"),
            ours.replace("[1]", "[NaN]"),
            ours.replace("[1]", "[-1]"),
            ours.replace("[1]", "[1e300]"),
            ours.replace("15000", "18446744073709551615"),
            ours.replace("\"lost\":0", "\"lost\":18446744073709551615"),
            ours.replace("\"ping\"", "null"),
            ours[..ours.len() - 1].to_owned(),
        ] {
            assert!(!seconds.add(other.as_bytes()), "{other}");
        }
        assert!(seconds.add(line("ping", 1_000, 0, &[1]).as_bytes()), "whole, but of another run");
        for n in 0..REPORT_BYSTANDERS {
            assert!(seconds.add(line(&n.to_string(), 15_000, 0, &[1]).as_bytes()));
        }
        assert!(!seconds.add(ours.as_bytes()), "more than any panel has");
        assert_eq!(seconds.done().unwrap().names().count(), REPORT_BYSTANDERS);
    }
}
