//! `broadcasts` of `result.json`: texts that the server sent to all, as the connections of a run have had them.

use serde::{Deserialize, Serialize};

use crate::base::units::{grouped, microseconds};
use crate::observe::stats::Received;
use crate::results::lenient::{List, Maybe};
use crate::results::percentiles::Percentiles;

/// What `clock` says where both ends are of one boot of one kernel.
pub const ONE_CLOCK: &str = "one";

/// What it says otherwise.
pub const TWO_CLOCKS: &str = "two hosts, error unknown";

/// All texts of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broadcasts {
    /// Receipts, on all connections together.
    pub received: Maybe<u64>,
    /// Texts that did not come on a connection, as a later one has shown.
    pub missed: Maybe<u64>,
    /// Receipts of texts beyond those that are kept.
    pub beyond: Maybe<u64>,
    /// `one`: times since the order are exact. `two hosts, error unknown`: they are by the times of day of two hosts, and
    /// off by what those differ; the spread is exact.
    pub clock: Maybe<String>,
    /// Each text, by its number.
    pub texts: List<Broadcast>,
}

/// One text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Broadcast {
    /// As the server numbers it.
    pub number: Maybe<u64>,
    /// Connections on which it came.
    pub reached: Maybe<u64>,
    /// From the order to the first receipt, in microseconds.
    pub first_us: Maybe<i64>,
    /// From the order to the last one.
    pub last_us: Maybe<i64>,
    /// From the first to the last one.
    pub spread_us: Maybe<u64>,
    /// From the order to each receipt.
    pub latency_us: Maybe<Percentiles>,
}

impl Broadcasts {
    /// Of what the cores have noted, the texts in the order of their numbers.
    #[must_use]
    pub fn of(texts: &[Received], received: u64, missed: u64, beyond: u64) -> Broadcasts {
        let is_one = texts.iter().all(|text| text.is_one_clock);
        let clock = if is_one { ONE_CLOCK } else { TWO_CLOCKS };
        Broadcasts {
            received: received.into(),
            missed: missed.into(),
            beyond: beyond.into(),
            clock: Maybe((!texts.is_empty()).then(|| clock.to_owned())),
            texts: texts.iter().map(Broadcast::of).collect(),
        }
    }
}

impl Broadcast {
    fn of(text: &Received) -> Broadcast {
        let [first_us, last_us] = [text.first_ns, text.last_ns].map(|ns| ns / 1_000);
        Broadcast {
            number: text.number.into(),
            reached: text.reached.into(),
            first_us: first_us.into(),
            last_us: last_us.into(),
            spread_us: (text.first_ns.abs_diff(text.last_ns) / 1_000).into(),
            latency_us: Percentiles::of(&text.latency).into(),
        }
    }

    /// `reached 20,000, first 1.2 ms, last 45 ms, p50 20 ms, p99 44 ms`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let signed = |us: Maybe<i64>| {
            us.map_or("unknown".to_owned(), |us| {
                let sign = if us < 0 { "-" } else { "" };
                format!("{sign}{}", microseconds(us.unsigned_abs()))
            })
        };
        let reached = self.reached.map_or("unknown".to_owned(), grouped);
        let percentiles = self.latency_us.map_or(String::new(), |all| {
            format!(", p50 {}, p99 {}", microseconds(all.p50), microseconds(all.p99))
        });
        let (first, last) = (signed(self.first_us), signed(self.last_us));
        format!("reached {reached}, first {first}, last {last}{percentiles}")
    }
}
