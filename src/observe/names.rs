//! The names of all figures, for readers of text that a process of this version or another wrote.

use std::collections::BTreeSet;

use crate::base::side::Side;
use crate::host::cpu::THREAD_FIGURES;
use crate::observe::process::PROCESS_FIGURES;
use crate::observe::stats::{ClientStats, Description, Kind, Listed, ServerStats};

/// Which names are read. What else a text has, as a newer version writes it, is passed over.
#[derive(Clone, Debug)]
pub struct Names {
    /// Counters and gauges of a core, of either side.
    pub figures: BTreeSet<&'static str>,
    /// Figures of a process.
    pub process: BTreeSet<&'static str>,
    /// Histograms of a core, of either side.
    pub histograms: BTreeSet<&'static str>,
    /// Counters by error number or by cause, of either side.
    pub named: BTreeSet<&'static str>,
    counters: BTreeSet<&'static str>,
}

impl Default for Names {
    /// All that there are.
    fn default() -> Names {
        let of_kinds = |kinds: &[Kind]| {
            let of_them = all().filter(|figure| kinds.contains(&figure.kind));
            of_them.map(|figure| figure.name).collect::<BTreeSet<_>>()
        };
        let mut counters = of_kinds(&[Kind::Counter]);
        counters.extend(THREAD_FIGURES.map(|(name, _)| name));
        Names {
            figures: &counters | &of_kinds(&[Kind::Gauge]),
            process: PROCESS_FIGURES.map(|(name, _)| name).into(),
            histograms: of_kinds(&[Kind::Latency]),
            named: of_kinds(&[Kind::ByErrno, Kind::ByCause]),
            counters,
        }
    }
}

impl Names {
    /// A few figures and histograms, and nothing else.
    #[must_use]
    pub fn only<const F: usize, const H: usize>(
        figures: [&'static str; F],
        histograms: [&'static str; H],
    ) -> Names {
        Names {
            figures: figures.into(),
            process: BTreeSet::new(),
            histograms: histograms.into(),
            named: BTreeSet::new(),
            ..Names::default()
        }
    }

    /// Whether a figure of this name is a counter, which only rises.
    #[must_use]
    pub fn is_counter(&self, name: &str) -> bool {
        self.counters.contains(name)
    }
}

fn all() -> impl Iterator<Item = &'static Description> {
    ServerStats::descriptions().chain(ClientStats::descriptions())
}

/// The figures and histograms that each core of `side` has. An older version may have written others,
/// or fewer.
#[must_use]
pub fn expected(side: Side) -> BTreeSet<&'static str> {
    let is_expected = |figure: &&Description| !matches!(figure.kind, Kind::ByErrno | Kind::ByCause);
    let name = |figure: &Description| figure.name;
    let mut names: BTreeSet<_> = match side {
        Side::Server => ServerStats::descriptions().filter(is_expected).map(name).collect(),
        Side::Client => ClientStats::descriptions().filter(is_expected).map(name).collect(),
    };
    names.extend(THREAD_FIGURES.map(|(name, _)| name));
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_told_from_gauges_and_from_what_is_no_figure() {
        let names = Names::default();
        for name in ["accepted_total", "churned_total", "closed_total", "ran_us_total"] {
            assert!(names.is_counter(name), "{name}");
        }
        for name in ["connections", "order_took_us", "process_ran_ms", "unheard_of_total"] {
            assert!(!names.is_counter(name), "{name}");
        }
    }

    #[test]
    fn each_side_has_its_own_figures_and_the_common_ones() {
        let [server, client] = Side::BOTH.map(expected);
        let own = |name| (server.contains(name), client.contains(name));
        assert_eq!(own("connections"), (true, true));
        assert_eq!(own("ran_us_total"), (true, true));
        assert_eq!(own("accepted_total"), (true, false));
        assert_eq!(own("churned_total"), (false, true));
        assert_eq!(own("push_lateness_us"), (true, false));
        assert_eq!(own("connect_latency_us"), (false, true));
        let names = Names::default();
        assert!(
            server
                .union(&client)
                .all(|n| names.figures.contains(n) || names.histograms.contains(n))
        );
        assert_eq!(
            Vec::from_iter(names.named),
            ["arrival_failed", "churn_failed", "churn_lost", "failed", "lost", "reconnect_failed"]
        );
    }
}
