//! What each core counts: written by the core alone, read by any thread, never locked.
//!
//! A server's core has [`ServerStats`] and a client's core has [`ClientStats`]; both have what is in
//! [`CommonStats`]. Counters only rise; gauges show now; histograms are handed over whole and merged by
//! the reader.

pub use crate::observe::stats::broadcasts::{BroadcastLog, Received};
pub use crate::observe::stats::client::{ClientStats, ClientTotals};
pub use crate::observe::stats::common::{CommonStats, CommonTotals};
pub use crate::observe::stats::figure::{
    ByCause, ByErrno, Counter, Description, Figure, Gauge, Kind, Listed, Reading,
};
pub(crate) use crate::observe::stats::latency::empty_histogram;
pub use crate::observe::stats::latency::{Durations, Latency};
pub use crate::observe::stats::losses::{Ending, Loss, LossLog, Losses};
pub use crate::observe::stats::lost::{LOST_CAUSES, LostCause};
pub use crate::observe::stats::role::CoreStats;
pub use crate::observe::stats::server::{ServerStats, ServerTotals};

mod broadcasts;
mod client;
mod common;
mod figure;
mod latency;
mod list;
mod losses;
mod lost;
mod role;
mod server;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::mem::align_of;
    use std::time::Duration;

    use super::*;

    #[test]
    fn totals_are_of_all_cores_and_since_then() {
        let cores = [ClientStats::new(), ClientStats::new()];
        cores[0].messages_total.add(3);
        cores[1].lost[LostCause::Silent as usize].add(1);
        let before = ClientTotals::of(cores.iter());
        cores[1].messages_total.add(4);
        cores[1].connections.set(7);
        cores[0].message_latency_us.record(Duration::from_micros(50));
        let now = ClientTotals::of(cores.iter());
        assert_eq!((before.messages_total, now.messages_total), (3, 7));
        let since = now.since(&before);
        assert_eq!((since.messages_total, since.connections), (4, 7));
        assert_eq!(since.lost.iter().sum::<u64>(), 0);
        let recorded: u64 = since.message_latency_us.as_slice().iter().sum();
        assert_eq!(recorded, 1);
    }

    /// Dumps and metrics tell counters by their names, and so do their readers.
    #[test]
    fn each_name_is_there_once_and_says_its_kind() {
        fn check<S: CoreStats>() {
            let mut names = BTreeSet::new();
            for Description { name, kind, .. } in S::descriptions() {
                assert!(names.insert(*name), "{name} is twice in the list");
                assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
                assert!(*kind != Kind::Latency || name.ends_with("_us"), "{name}");
            }
        }
        check::<ServerStats>();
        check::<ClientStats>();
    }

    #[test]
    fn a_core_has_its_cache_lines_for_itself() {
        assert_eq!([align_of::<ServerStats>(), align_of::<ClientStats>()], [128, 128]);
    }
}
