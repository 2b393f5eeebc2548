//! `histograms.json` of a part of a run: the histograms whose percentiles are in `result.json`, whole, so that those of all
//! parts can be added.

use std::collections::BTreeMap;

use histogram::SparseHistogram;
use serde::{Deserialize, Serialize};

use crate::observe::stats::Durations;
use crate::results::lenient::Maybe;
use crate::results::percentiles::Percentiles;
use crate::results::plateau::Plateau;

/// All histograms of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    /// [`crate::results::HISTOGRAMS`]'s.
    pub schema: String,
    /// Of each plateau, by the place of its percentiles in it, as `messages.latency_us`. Those in which nothing was counted
    /// are left out.
    pub plateaus: Vec<BTreeMap<String, Recorded>>,
}

/// One histogram.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The longest, to the microsecond.
    pub longest_us: u64,
    /// Buckets in which something was counted.
    pub histogram: SparseHistogram,
}

impl Recorded {
    /// `None` when nothing was counted.
    #[must_use]
    pub fn of(durations: &Durations) -> Option<Recorded> {
        let longest_us = durations.quantile_us(1.0)?;
        Some(Recorded { longest_us, histogram: SparseHistogram::from(&**durations) })
    }

    /// The histogram; `None` of one in another form.
    #[must_use]
    pub fn durations(&self) -> Option<Durations> {
        Durations::from_sparse(&self.histogram, self.longest_us)
    }
}

/// Where the percentiles of a histogram are in a plateau, if it has them.
pub type Place = (&'static str, fn(&mut Plateau) -> Option<&mut Maybe<Percentiles>>);

/// Of each histogram of a plateau.
pub const PLACES: [Place; 10] = [
    ("connect.latency_us", |p| Some(&mut p.connect.latency_us)),
    ("connect.opening_latency_us", |p| Some(&mut p.connect.opening_latency_us)),
    ("messages.latency_us", |p| Some(&mut p.messages.latency_us)),
    ("schedule_lag_us", |p| Some(&mut p.schedule_lag_us)),
    ("pushes.gap_us", |p| Some(&mut p.pushes.as_mut()?.gap_us)),
    ("churn.connect_latency_us", |p| Some(&mut p.churn.as_mut()?.connect_latency_us)),
    ("churn.latency_us", |p| Some(&mut p.churn.as_mut()?.latency_us)),
    ("lifetimes.lived_us", |p| Some(&mut p.lifetimes.as_mut()?.lived_us)),
    ("lifetimes.arrival_us", |p| Some(&mut p.lifetimes.as_mut()?.arrival_us)),
    ("reconnect.back_us", |p| Some(&mut p.reconnect.as_mut()?.back_us)),
];
