//! What a report shows of the dumps of one side: connections of each core over time, and the connect
//! rate and latency from tick to tick.

use std::collections::BTreeMap;

use histogram::SparseHistogram;

use crate::base::constants::REPORT_POINTS;
use crate::base::side::Side;
use crate::observe::dump::line::Line;
use crate::observe::names::Names;

/// The ticks of one side.
pub(crate) struct Ticks {
    side: Side,
    within: Option<Span>,
    /// What is read of a line.
    names: Names,
    span: Option<Span>,
    cores: BTreeMap<u64, Core>,
    /// The tick that is being read, and the one before it.
    now: Option<Tick>,
    before: Option<Tick>,
    risings: Vec<Rising>,
}

/// From the first tick to the last, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
}

impl Span {
    /// Whether `at_ms` is in it, or at most `margin_ms` outside.
    pub(crate) fn has(self, at_ms: u64, margin_ms: u64) -> bool {
        at_ms.saturating_add(margin_ms) >= self.first_ms
            && at_ms <= self.last_ms.saturating_add(margin_ms)
    }
}

/// A core's connections over time.
#[derive(Default)]
struct Core {
    /// Milliseconds since 1970, and connections.
    points: Vec<(u64, f64)>,
    /// Lines that each point stands for.
    stride: u64,
    lines: u64,
    connected: u64,
    latency: Option<SparseHistogram>,
}

/// All cores at one time.
struct Tick {
    at_ms: u64,
    connected: u64,
    /// Of all connects until now; `None` when the cores' histograms do not go together.
    latency: Option<SparseHistogram>,
    /// Whether connections came since the tick before.
    rises: bool,
}

/// Connections that came between two ticks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rising {
    /// How many had come by the second tick.
    pub(crate) connected: f64,
    /// `None` where it began or ended between the two: then the time is not known.
    pub(crate) rate_per_s: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
}

/// Names of figures.
const CONNECTIONS: &str = "connections";
const CONNECTED: &str = "connected_total";
const CONNECT_LATENCY: &str = "connect_latency_us";

/// A server's line may be this much earlier than the client's first line, or later than its last.
const MARGIN_MS: u64 = 2_000;

/// No time of a run is later.
const CONNECTIONS_MAX: u64 = 1 << 40;
pub(crate) const AT_MS_MAX: u64 = 1 << 50;

impl Ticks {
    /// Of `side`; lines from outside of `within` are another run's.
    pub(crate) fn new(side: Side, within: Option<Span>) -> Ticks {
        Ticks {
            side,
            within,
            names: Names::only([CONNECTIONS, CONNECTED], [CONNECT_LATENCY]),
            span: None,
            cores: BTreeMap::new(),
            now: None,
            before: None,
            risings: Vec::new(),
        }
    }

    /// Takes a line; `false` when it is no line of this side.
    pub(crate) fn add(&mut self, line: &[u8]) -> bool {
        let Ok(mut line) = Line::read(&self.names, line) else { return false };
        let (core, at_ms) = (line.core, line.at_ms);
        let figure = |name| line.figures.get(name).copied();
        let (Some(connections), connected) = (figure(CONNECTIONS), figure(CONNECTED).unwrap_or(0))
        else {
            return false;
        };
        let is_host = connections.max(connected) <= CONNECTIONS_MAX && at_ms <= AT_MS_MAX;
        if line.side != self.side || !is_host {
            return false;
        }
        if !self.within.is_none_or(|within| within.has(at_ms, MARGIN_MS)) {
            return true;
        }
        if self.now.as_ref().is_some_and(|tick| tick.at_ms != at_ms) {
            self.end_tick();
        }
        let span = self.span.get_or_insert(Span { first_ms: at_ms, last_ms: at_ms });
        (span.first_ms, span.last_ms) = (span.first_ms.min(at_ms), span.last_ms.max(at_ms));
        let seen = self.cores.entry(core).or_default();
        seen.add(at_ms, connections as f64);
        seen.connected = connected;
        seen.latency = line.histograms.remove(CONNECT_LATENCY);
        self.now = Some(Tick { at_ms, connected: 0, latency: None, rises: false });
        true
    }

    /// All that was read; `None` when that was nothing.
    pub(crate) fn done(mut self) -> Option<Ticks> {
        self.end_tick();
        self.span.is_some().then_some(self)
    }

    /// When the first and the last tick were.
    pub(crate) fn span(&self) -> Span {
        self.span.expect("a reader that is done has read a line")
    }

    /// Connections of each core over milliseconds since 1970, in order of the cores.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (u64, &[(u64, f64)])> {
        self.cores.iter().map(|(core, seen)| (*core, &seen.points[..]))
    }

    /// How connections came, from tick to tick.
    pub(crate) fn risings(&self) -> &[Rising] {
        &self.risings
    }

    /// All cores have been read for one time.
    fn end_tick(&mut self) {
        let Some(mut tick) = self.now.take() else { return };
        tick.connected = self.cores.values().map(|core| core.connected).sum();
        tick.latency = merged(self.cores.values().map(|core| core.latency.as_ref()));
        let Some(before) = self.before.take() else {
            self.before = Some(tick);
            return;
        };
        tick.rises = tick.connected > before.connected;
        match self.risings.last_mut() {
            // Then it ended somewhere between the last two ticks, or those were the first.
            Some(last) if before.rises && !tick.rises => last.rate_per_s = None,
            _ => {}
        }
        if tick.rises {
            self.risings.push(Rising::between(&before, &tick));
        }
        self.before = Some(tick);
    }
}

impl Core {
    /// Keeps each point, or every second, fourth, ... of them, so that their number is bounded.
    fn add(&mut self, at_ms: u64, connections: f64) {
        self.stride = self.stride.max(1);
        if self.lines.is_multiple_of(self.stride) {
            self.points.push((at_ms, connections));
        }
        self.lines += 1;
        if self.points.len() >= REPORT_POINTS {
            let mut index = 0;
            self.points.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride *= 2;
        }
    }
}

impl Rising {
    fn between(before: &Tick, now: &Tick) -> Rising {
        let seconds = now.at_ms.saturating_sub(before.at_ms) as f64 / 1e3;
        let came = (now.connected - before.connected) as f64;
        let new = now.latency.as_ref().zip(before.latency.as_ref());
        let new = new.and_then(|(now, before)| now.checked_sub(before).ok());
        let at = |quantile: f64| {
            let found = new.as_ref()?.quantile(quantile).ok()??;
            found.entries().values().next().map(|bucket| bucket.end() as f64)
        };
        Rising {
            connected: now.connected as f64,
            rate_per_s: (before.rises && seconds > 0.0).then(|| came / seconds),
            p50_us: at(0.5),
            p99_us: at(0.99),
        }
    }
}

fn merged<'a>(
    mut all: impl Iterator<Item = Option<&'a SparseHistogram>>,
) -> Option<SparseHistogram> {
    let first = all.next()??.clone();
    all.try_fold(first, |sum, one| sum.checked_add(one?).ok())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use histogram::Histogram;
    use serde_json::json;

    use super::*;

    /// Pairs of a number of connections and the microseconds that each of them took.
    fn line(core: u64, at_ms: u64, connects: &[(u64, u64)]) -> String {
        let mut latency = Histogram::new(5, 32).unwrap();
        connects.iter().for_each(|(n, us)| latency.add(*us, *n).unwrap());
        let connected: u64 = connects.iter().map(|(n, _)| n).sum();
        json!({
            "schema": "megaconn.core/1", "side": "client", "core": core, "cpu": 0, "at_ms": at_ms,
            "connections": connected, "connected_total": connected,
            "histograms": { "connect_latency_us": SparseHistogram::from(&latency) }
        })
        .to_string()
    }

    fn read(lines: &[String]) -> Ticks {
        let mut ticks = Ticks::new(Side::Client, None);
        lines.iter().for_each(|line| assert!(ticks.add(line.as_bytes()), "{line}"));
        ticks.done().expect("there are lines")
    }

    #[test]
    fn rates_and_percentiles_are_of_what_came_between_two_ticks() {
        let lines = [
            line(0, 1_000, &[]),
            line(1, 1_000, &[]),
            line(0, 2_000, &[(100, 50)]),
            line(1, 2_000, &[(300, 50)]),
            line(0, 4_000, &[(100, 50), (400, 2_000)]),
            line(1, 4_000, &[(300, 50), (200, 60)]),
            line(0, 5_000, &[(100, 50), (400, 2_000), (10, 50)]),
            line(1, 5_000, &[(300, 50), (200, 60)]),
            line(0, 6_000, &[(100, 50), (400, 2_000), (10, 50)]),
            line(1, 6_000, &[(300, 50), (200, 60)]),
        ];
        let ticks = read(&lines);
        let rising = |connected, rate_per_s, p50, p99| Rising {
            connected,
            rate_per_s,
            p50_us: Some(p50),
            p99_us: Some(p99),
        };
        // It began within the first and ended within the last; of the second all cores' 600 connects
        // are known, and their percentiles are neither core's.
        let upper = 2_015.0;
        assert_eq!(
            ticks.risings(),
            [
                rising(400.0, None, 50.0, 50.0),
                rising(1_000.0, Some(300.0), upper, upper),
                rising(1_010.0, None, 50.0, 50.0)
            ]
        );
        assert_eq!(ticks.span(), Span { first_ms: 1_000, last_ms: 6_000 });
        let cores: Vec<(u64, usize)> =
            ticks.connections().map(|(core, points)| (core, points.len())).collect();
        assert_eq!(cores, [(0, 5), (1, 5)]);
    }

    #[test]
    fn a_long_run_has_no_more_points_than_can_be_seen() {
        let lines: Vec<String> = (0..5_000).map(|second| line(0, 1_000 * second, &[])).collect();
        let ticks = read(&lines);
        let (_, points) = ticks.connections().next().unwrap();
        assert!((REPORT_POINTS / 2..REPORT_POINTS).contains(&points.len()), "{}", points.len());
        assert_eq!(points[0].0, 0);
        let steps: BTreeSet<u64> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(steps.len(), 1, "evenly: {steps:?}");
    }

    #[test]
    fn lines_of_others_are_passed_over() {
        let mut ticks = Ticks::new(Side::Client, Some(Span { first_ms: 10_000, last_ms: 20_000 }));
        let ours = line(0, 15_000, &[]);
        for other in [
            String::new(),
            ours.replace("client", "server"),
            ours.replace("core/1", "core/2"),
            ours.replace("\"connections\":0", "\"connections\":18446744073709551615"),
            ours.replace("15000", "\"15000\""),
        ] {
            assert!(!ticks.add(other.as_bytes()), "{other}");
        }
        assert!(ticks.add(line(0, 1_000, &[]).as_bytes()), "whole, but of another run");
        assert!(ticks.done().is_none());
    }
}
