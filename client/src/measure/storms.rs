//! Storms: from the first connection of a hold that is lost or dropped until none is out any more. What is drawn and
//! reckoned of each stands here, by looks at counters.

use std::time::Duration;

use megaconn::observe::stats::ClientTotals;
use megaconn::results::lenient::{Maybe, Part};
use megaconn::results::percentiles::Percentiles;
use megaconn::results::plateau::{BackAfter, Counts, Storm, StormPoint};

/// Storms of one hold that are kept.
const STORMS_MAX: usize = 64;

/// Looks of one storm that are kept: of a longer one every second, fourth, ... look.
const LOOKS_MAX: usize = 8_192;

/// Points of the course of a storm.
const COURSE_MAX: usize = 200;

/// A second, in which the most is looked for.
const SECOND: Duration = Duration::from_secs(1);

/// Figures at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Since the hold began, without its pauses.
    pub(crate) at: Duration,
    pub(crate) connections: u64,
    /// Connections that were lost or dropped; one that is lost again before it has come back for good is lost once.
    pub(crate) lost: u64,
    /// Of these, those that were dropped.
    pub(crate) dropped: u64,
    pub(crate) tries: u64,
    /// Connections that came back, for good so far.
    pub(crate) returned: u64,
    /// Those that are out, and are to come back.
    pub(crate) waiting: u64,
}

/// The storms of one hold.
pub(crate) struct StormWatch {
    /// What was counted when the last one ended, or the hold began.
    calm: ClientTotals,
    last: Look,
    storm: Option<Going>,
    over: Vec<Storm>,
}

/// A storm that goes on.
struct Going {
    /// The look before it.
    from: Look,
    /// What was counted when the calm before it began: failed tries, and those that stayed, are of storms alone.
    before: ClientTotals,
    calm_latency: Maybe<Percentiles>,
    looks: Vec<Look>,
    /// Looks that each of them stands for.
    stride: usize,
    skipped: usize,
    fewest: u64,
}

impl StormWatch {
    /// Of a hold that begins with this `look`.
    pub(crate) fn begin(look: Look, totals: ClientTotals) -> StormWatch {
        StormWatch { calm: totals, last: look, storm: None, over: Vec::new() }
    }

    /// Looks again; `totals` are read when a storm begins or ends.
    pub(crate) fn look(&mut self, look: Look, totals: impl FnOnce() -> ClientTotals) {
        // A core counts one thing after the other.
        // And the time of a pause is taken off a moment late.
        let (lost, at) = (look.lost.max(self.last.lost), look.at.max(self.last.at));
        let look = Look { lost, at, ..look };
        let has_lost = look.lost > self.last.lost;
        let before = std::mem::replace(&mut self.last, look);
        match &mut self.storm {
            None if (has_lost || look.waiting > 0) && self.over.len() < STORMS_MAX => {
                let calm = totals().since(&self.calm);
                let mut storm = Going {
                    from: before,
                    before: self.calm.clone(),
                    calm_latency: Percentiles::of(&calm.message_latency_us).into(),
                    looks: Vec::new(),
                    stride: 1,
                    skipped: 0,
                    fewest: before.connections,
                };
                storm.take(look);
                self.storm = Some(storm);
            }
            None => {}
            Some(storm) => {
                storm.take(look);
                if look.waiting == 0 && !has_lost {
                    self.end(totals());
                }
            }
        }
    }

    /// The hold is over: every storm of it.
    pub(crate) fn finish(mut self, look: Look, totals: ClientTotals) -> Vec<Storm> {
        self.look(look, || totals.clone());
        self.end(totals);
        self.over
    }

    fn end(&mut self, totals: ClientTotals) {
        let Some(storm) = self.storm.take() else { return };
        self.over.push(storm.summed(self.last, &totals));
        self.calm = totals;
    }
}

impl Going {
    fn take(&mut self, look: Look) {
        self.fewest = self.fewest.min(look.connections);
        self.skipped += 1;
        if self.skipped < self.stride {
            return;
        }
        self.skipped = 0;
        self.looks.push(look);
        if self.looks.len() == LOOKS_MAX {
            let mut at = 0;
            self.looks.retain(|_| {
                at += 1;
                at % 2 == 0
            });
            self.stride *= 2;
        }
    }

    fn summed(mut self, last: Look, totals: &ClientTotals) -> Storm {
        if self.looks.last() != Some(&last) {
            self.looks.push(last);
        }
        let from = self.from;
        let counted = totals.since(&self.before);
        // Those that were out when it began are of it.
        let lost = (last.lost - from.lost) + from.waiting;
        let returned = last.returned.saturating_sub(from.returned);
        // What is known of its first moment is that it was after the look before it.
        let seconds = |look: &Look| (look.at - from.at).as_secs_f64();
        let back = |percent: u64| {
            let wanted = (lost * percent).div_ceil(100);
            let there = |look: &&Look| look.returned.saturating_sub(from.returned) >= wanted;
            Maybe(self.looks.iter().find(there).filter(|_| lost > 0).map(seconds))
        };
        // Where all were gone, none has stayed.
        let has_stayed = lost < from.connections + from.waiting;
        let stayed = Percentiles::of(&counted.stayed_latency_us).filter(|_| has_stayed);
        let every = self.looks.len().div_ceil(COURSE_MAX).max(1);
        let last_index = self.looks.len() - 1;
        let points = self.looks.iter().enumerate();
        let points = points.filter(|(index, _)| index % every == 0 || *index == last_index);
        let point = |look: &Look| StormPoint {
            seconds: seconds(look).into(),
            connections: look.connections.into(),
            tries: (look.tries - from.tries).into(),
            returned: look.returned.saturating_sub(from.returned).into(),
        };
        Storm {
            at_seconds: from.at.as_secs_f64().into(),
            seconds: seconds(&last).into(),
            connections: from.connections.into(),
            fewest: self.fewest.into(),
            lost: lost.into(),
            dropped: (last.dropped - from.dropped).into(),
            returned: returned.into(),
            back: Part(BackAfter { p50: back(50), p90: back(90), p99: back(99), all: back(100) }),
            tries: (last.tries - from.tries).into(),
            tries_in_a_second: self.most_in_a_second(|look| look.tries).into(),
            returned_in_a_second: self.most_in_a_second(|look| look.returned).into(),
            failed: Counts::by_errno(&counted.reconnect_failed),
            calm_latency_us: self.calm_latency,
            stayed_latency_us: Maybe(stayed),
            course: std::iter::once(point(&from))
                .chain(points.map(|(_, look)| point(look)))
                .collect(),
        }
    }

    /// The most by which a counter rose in a second of it.
    fn most_in_a_second(&self, counter: impl Fn(&Look) -> u64) -> u64 {
        let looks: Vec<&Look> = std::iter::once(&self.from).chain(&self.looks).collect();
        let mut first = 0;
        let mut most = 0;
        for look in &looks {
            while look.at - looks[first].at > SECOND {
                first += 1;
            }
            most = most.max(counter(look).saturating_sub(counter(looks[first])));
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> ClientTotals {
        ClientTotals::of(std::iter::empty())
    }

    /// 1,000 connections of which 500 are dropped at 10 s, and one after the other comes back in the next five.
    fn look(ms: u64) -> Look {
        let at = Duration::from_millis(ms);
        let is_dropped = ms > 10_000;
        let returned = if is_dropped { ((ms - 10_000) / 10).min(500) } else { 0 };
        let lost = if is_dropped { 500 } else { 0 };
        let waiting = lost - returned;
        let (connections, tries) = (1_000 - waiting, 2 * returned);
        Look { at, connections, lost, dropped: lost, tries, returned, waiting }
    }

    fn watched(until_ms: u64) -> Vec<Storm> {
        let mut watch = StormWatch::begin(look(0), none());
        for ms in (20..until_ms).step_by(20) {
            watch.look(look(ms), none);
        }
        watch.finish(look(until_ms), none())
    }

    #[test]
    fn a_storm_has_its_times() {
        let storms = watched(20_000);
        let [storm] = &storms[..] else { panic!("{storms:?}") };
        let about = |value: Maybe<f64>, expected: f64| {
            let value = value.expect("it is known");
            assert!((value - expected).abs() < 0.05, "{value} and {expected}");
        };
        about(storm.at_seconds, 10.0);
        about(storm.back.p50, 2.5);
        about(storm.back.p90, 4.5);
        about(storm.back.p99, 4.95);
        about(storm.back.all, 5.0);
        about(storm.seconds, 5.0);
        assert_eq!((*storm.lost, *storm.returned), (Some(500), Some(500)));
        assert_eq!((*storm.connections, *storm.fewest), (Some(1_000), Some(502)));
        assert_eq!((*storm.tries, *storm.tries_in_a_second), (Some(1_000), Some(200)));
        assert_eq!(*storm.returned_in_a_second, Some(100));
        assert!(storm.course.len() <= COURSE_MAX + 2, "{}", storm.course.len());
        assert_eq!(*storm.course[0].connections, Some(1_000));
    }

    #[test]
    fn the_time_of_a_pause_may_be_taken_off_late() {
        let mut watch = StormWatch::begin(look(0), none());
        watch.look(look(10_020), none);
        watch.look(look(10_040), none);
        // It is read again a little earlier.
        watch.look(Look { at: Duration::from_millis(10_005), ..look(10_040) }, none);
        let storms = watch.finish(Look { at: Duration::ZERO, ..look(10_060) }, none());
        assert!(storms[0].seconds.is_some_and(|seconds| seconds < 10.1), "{storms:?}");
    }

    #[test]
    fn what_is_not_back_by_the_end_has_no_time() {
        let storms = watched(14_000);
        let [storm] = &storms[..] else { panic!("{storms:?}") };
        assert!(storm.back.p50.is_some() && storm.back.p90.is_none() && storm.back.all.is_none());
        assert_eq!(*storm.returned, Some(400));
        assert!(watched(9_000).is_empty(), "a calm hold has none");
    }

    #[test]
    fn a_long_one_is_kept_in_fewer_looks() {
        let mut watch = StormWatch::begin(Look::default(), none());
        let at = |seconds| Look {
            at: Duration::from_secs(seconds),
            lost: 10,
            waiting: 10,
            ..Look::default()
        };
        for second in 1..100_000 {
            watch.look(at(second), none);
        }
        let storms = watch.finish(at(100_000), none());
        assert!(storms[0].course.len() <= COURSE_MAX + 2);
        assert_eq!(*storms[0].seconds, Some(100_000.0));
    }
}
