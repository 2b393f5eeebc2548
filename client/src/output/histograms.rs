//! The histograms of a plateau, by the places of their percentiles in it.

use std::collections::BTreeMap;

use megaconn::observe::stats::ClientTotals;
use megaconn::results::histograms::Recorded;

/// Those in which something was counted.
pub(crate) fn of(counted: &ClientTotals) -> BTreeMap<String, Recorded> {
    let all = [
        ("connect.latency_us", &counted.connect_latency_us),
        ("connect.opening_latency_us", &counted.opening_latency_us),
        ("messages.latency_us", &counted.message_latency_us),
        ("schedule_lag_us", &counted.schedule_lag_us),
        ("pushes.gap_us", &counted.push_gap_us),
        ("churn.connect_latency_us", &counted.churn_connect_latency_us),
        ("churn.latency_us", &counted.churn_latency_us),
        ("lifetimes.lived_us", &counted.lifetime_us),
        ("lifetimes.arrival_us", &counted.arrival_latency_us),
        ("reconnect.back_us", &counted.return_latency_us),
    ];
    let recorded =
        all.into_iter().filter_map(|(place, durations)| Some((place, Recorded::of(durations)?)));
    recorded.map(|(place, recorded)| (place.to_owned(), recorded)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use megaconn::observe::stats::ClientStats;
    use megaconn::results::histograms::PLACES;

    use super::*;

    #[test]
    fn every_histogram_has_its_place_in_a_plateau() {
        let stats = ClientStats::default();
        for latency in [
            &stats.connect_latency_us,
            &stats.opening_latency_us,
            &stats.message_latency_us,
            &stats.schedule_lag_us,
            &stats.push_gap_us,
            &stats.churn_connect_latency_us,
            &stats.churn_latency_us,
            &stats.lifetime_us,
            &stats.arrival_latency_us,
            &stats.return_latency_us,
        ] {
            latency.record(Duration::from_millis(3));
        }
        let all = of(&ClientTotals::of([&stats].into_iter()));
        let mut places: Vec<&str> = PLACES.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        assert!(all.keys().eq(&places), "{all:?}");
        assert!(all.values().all(|recorded| recorded.longest_us == 3_000), "{all:?}");
    }
}
