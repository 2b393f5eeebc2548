//! Texts that a server has sent to all, as the connections of one core have had them.
//!
//! A core writes, under a lock that nothing else wants while it does; readers look when the run, or a part of it, is over.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::constants::BROADCASTS_KEPT;
use crate::observe::stats::latency::{Durations, Latency};

/// One text, on all connections of a core or of more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The number of its order.
    pub number: u64,
    /// Connections on which it came.
    pub reached: u64,
    /// Nanoseconds from the order to the first receipt. By the clocks of two hosts it may be less than none.
    pub first_ns: i64,
    /// The same to the last one.
    pub last_ns: i64,
    /// Whether both ends have one clock.
    pub is_one_clock: bool,
    /// The time of each receipt since the order.
    pub latency: Durations,
}

impl Received {
    /// What two cores have had, by the number of the order.
    #[must_use]
    pub fn merged(cores: impl IntoIterator<Item = Received>) -> Vec<Received> {
        let mut merged: Vec<Received> = Vec::new();
        for other in cores {
            match merged.binary_search_by_key(&other.number, |received| received.number) {
                Err(at) => merged.insert(at, other),
                Ok(at) => {
                    let received = &mut merged[at];
                    received.reached += other.reached;
                    received.first_ns = received.first_ns.min(other.first_ns);
                    received.last_ns = received.last_ns.max(other.last_ns);
                    received.is_one_clock &= other.is_one_clock;
                    received.latency = received.latency.and(&other.latency);
                }
            }
        }
        merged
    }
}

/// The texts of one core.
#[derive(Debug, Default)]
pub struct BroadcastLog(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// In the order in which they came first.
    texts: Vec<Text>,
    /// Receipts of texts beyond the bound.
    beyond: u64,
}

#[derive(Debug)]
struct Text {
    number: u64,
    reached: u64,
    first_ns: i64,
    last_ns: i64,
    is_one_clock: bool,
    latency: Latency,
}

impl BroadcastLog {
    /// Text `number` has come on one more connection, so many nanoseconds after its order.
    pub fn add(&self, number: u64, passed_ns: i64, is_one_clock: bool) {
        let mut kept = self.lock();
        // Most are of the last one.
        let at = kept.texts.iter().rposition(|text| text.number == number).unwrap_or_else(|| {
            let latency = Latency::new();
            let (first_ns, last_ns) = (passed_ns, passed_ns);
            let text = Text { number, reached: 0, first_ns, last_ns, is_one_clock, latency };
            if kept.texts.len() < BROADCASTS_KEPT {
                kept.texts.push(text);
                kept.texts.len() - 1
            } else {
                usize::MAX
            }
        });
        let Some(text) = kept.texts.get_mut(at) else {
            kept.beyond += 1;
            return;
        };
        text.reached += 1;
        text.first_ns = text.first_ns.min(passed_ns);
        text.last_ns = text.last_ns.max(passed_ns);
        text.is_one_clock &= is_one_clock;
        text.latency.record(Duration::from_nanos(u64::try_from(passed_ns).unwrap_or(0)));
    }

    /// All until now, and receipts of those beyond the bound.
    #[must_use]
    pub fn read(&self) -> (Vec<Received>, u64) {
        let kept = self.lock();
        let texts = kept.texts.iter().map(|text| Received {
            number: text.number,
            reached: text.reached,
            first_ns: text.first_ns,
            last_ns: text.last_ns,
            is_one_clock: text.is_one_clock,
            latency: text.latency.durations(),
        });
        (texts.collect(), kept.beyond)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_cores_are_put_together_by_their_numbers() {
        let logs = [BroadcastLog::default(), BroadcastLog::default()];
        logs[0].add(2, 5_000, true);
        logs[0].add(2, 9_000, true);
        logs[0].add(3, 1_000, true);
        logs[1].add(1, -7, false);
        logs[1].add(2, 3_000, true);
        let merged = Received::merged(logs.iter().flat_map(|log| log.read().0));
        let figures = |at: usize| {
            let Received { number, reached, first_ns, last_ns, is_one_clock, .. } = merged[at];
            (number, reached, first_ns, last_ns, is_one_clock)
        };
        assert_eq!(merged.len(), 3);
        assert_eq!(figures(0), (1, 1, -7, -7, false));
        assert_eq!(figures(1), (2, 3, 3_000, 9_000, true));
        assert_eq!(merged[1].latency.quantile_us(1.0), Some(9));
    }

    #[test]
    fn texts_beyond_the_bound_are_counted() {
        let log = BroadcastLog::default();
        (0..BROADCASTS_KEPT as u64 + 2).for_each(|number| log.add(number, 1, true));
        let (texts, beyond) = log.read();
        assert_eq!((texts.len(), beyond), (BROADCASTS_KEPT, 2));
    }
}
