//! A running server or client as its metrics address shows it at one moment. The text comes from
//! elsewhere: it is taken for nothing but what it is, and is never a reason to panic.

use std::collections::BTreeMap;

use crate::base::side::Side;
use crate::host::counters::Counters;
use crate::observe::metrics::{HOST_COUNTER, PREFIX};
use crate::observe::names::Names;
pub use crate::observe::snapshot::buckets::Buckets;
use crate::observe::snapshot::sample::Sample;

mod buckets;
mod sample;

/// A process at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessView {
    /// Whether it is a server or a client.
    pub side: Side,
    /// Figures by the names of [`CoreStats`](crate::observe::stats::CoreStats), over all cores, and those of
    /// the process. One that is not there was not seen of every core.
    pub figures: BTreeMap<String, u64>,
    /// Failed operations by the name of the error, over all cores.
    pub failed: BTreeMap<String, u64>,
    /// Lost connections by cause, over all cores.
    pub lost: BTreeMap<String, u64>,
    /// Every core, in order.
    pub cores: Vec<CoreView>,
    /// Counters of its host's kernel.
    pub host: Option<Counters>,
}

/// One core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreView {
    /// Its number.
    pub core: u64,
    /// The CPU it runs on.
    pub cpu: u16,
    /// Figures by the names of [`CoreStats`](crate::observe::stats::CoreStats).
    pub figures: BTreeMap<String, u64>,
    /// Histograms by the same names, of those that were seen.
    pub latencies: BTreeMap<String, Buckets>,
}

/// Why something is no view.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// No figure of ours.
    #[error("there is no figure of megaconn in it")]
    NotOurs,
    /// A client's, where a server was looked for.
    #[error("it is of a {0}, not of a server")]
    OtherSide(String),
    /// The text ends before its end.
    #[error("it is cut short")]
    Truncated,
    /// A line of ours that cannot be.
    #[error("line {line} {what}")]
    Malformed {
        /// Its number, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Figures that add up to more than a number holds.
    #[error("{0} is too large over all cores")]
    TooLarge(String),
}

impl ViewError {
    /// A line, by its number from 1, and what is wrong with it.
    pub(crate) fn malformed(line: usize, what: impl Into<String>) -> ViewError {
        ViewError::Malformed { line, what: what.into() }
    }
}

/// The last line of every OpenMetrics text.
const END_OF_TEXT: &str = "\n# EOF\n";

impl ProcessView {
    /// From the text that `--metrics` of either program gives.
    ///
    /// # Errors
    /// When it is another program's, was cut short, or has a line of ours that cannot be: not a whole
    /// number, twice the same, without its labels, of two sides.
    pub fn from_metrics(text: &str) -> Result<ProcessView, ViewError> {
        let names = Names::default();
        let mut view: Option<Draft> = None;
        for (line, sample) in (1..).zip(text.lines()) {
            let malformed = |what: &str| ViewError::malformed(line, what);
            let ours = sample.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'));
            let Some(sample) = ours else { continue };
            let sample = Sample::parse(sample).ok_or_else(|| malformed("is no sample"))?;
            let side = sample.label("side").ok_or_else(|| malformed("has no side"))?;
            let side = Side::by_name(side)
                .ok_or_else(|| malformed("is of neither a server nor a client"))?;
            let view = view.get_or_insert_with(|| Draft::new(side));
            if view.side != side {
                return Err(malformed("is of another side than those before"));
            }
            view.add(&names, &sample).map_err(malformed)?;
        }
        let view = view.ok_or(ViewError::NotOurs)?;
        if !text.ends_with(END_OF_TEXT) {
            return Err(ViewError::Truncated);
        }
        view.finish(&names)
    }
}

/// What has been read so far.
struct Draft {
    side: Side,
    cores: BTreeMap<u64, CoreView>,
    /// By core and error, or cause.
    failed: BTreeMap<(u64, String), u64>,
    lost: BTreeMap<(u64, String), u64>,
    process: BTreeMap<String, u64>,
    host: Option<Counters>,
}

impl Draft {
    fn new(side: Side) -> Draft {
        Draft {
            side,
            cores: BTreeMap::new(),
            failed: BTreeMap::new(),
            lost: BTreeMap::new(),
            process: BTreeMap::new(),
            host: None,
        }
    }

    /// What a newer process has, nobody here asks for.
    fn add(&mut self, names: &Names, sample: &Sample<'_>) -> Result<(), &'static str> {
        let name = sample.name;
        if name == HOST_COUNTER {
            let counter = sample.label("name").ok_or("has no name")?;
            let host = self.host.get_or_insert_default();
            if host.get(counter).is_some() {
                return Err(TWICE);
            }
            host.set(counter, sample.whole()?);
        } else if names.process.contains(name) {
            set_once(&mut self.process, name.to_owned(), sample.whole()?)?;
        } else if name == "failed_total" {
            let errno = sample.label("errno").ok_or("has no errno")?.to_owned();
            set_once(&mut self.failed, (sample.number("core")?, errno), sample.whole()?)?;
        } else if name == "lost_total" {
            let cause = sample.label("cause").ok_or("has no cause")?.to_owned();
            set_once(&mut self.lost, (sample.number("core")?, cause), sample.whole()?)?;
        } else if names.figures.contains(name) {
            let value = sample.whole()?;
            set_once(&mut self.core(sample)?.figures, name.to_owned(), value)?;
        } else if let Some(name) = name.strip_suffix("_seconds_bucket") {
            let name = format!("{name}_us");
            if names.histograms.contains(name.as_str()) {
                let bound = sample.label("le").ok_or("has no bound")?;
                let (bound, count) = (bound.to_owned(), sample.whole()?);
                let buckets = self.core(sample)?.latencies.entry(name).or_default();
                buckets.add_bound(&bound, count).ok_or("has a bound that cannot be")?;
            }
        }
        Ok(())
    }

    fn core(&mut self, sample: &Sample<'_>) -> Result<&mut CoreView, &'static str> {
        let (core, cpu) = (sample.number("core")?, sample.number("cpu")?);
        let cpu = u16::try_from(cpu).map_err(|_| "has a cpu that is none")?;
        let new = CoreView { core, cpu, ..CoreView::default() };
        let view = self.cores.entry(core).or_insert(new);
        if view.cpu == cpu { Ok(view) } else { Err("has another cpu for its core") }
    }

    fn finish(self, names: &Names) -> Result<ProcessView, ViewError> {
        let cores: Vec<CoreView> = self.cores.into_values().collect();
        let mut figures = self.process;
        figures.extend(totals(names, &cores)?);
        Ok(ProcessView {
            side: self.side,
            figures,
            failed: by_name("failed", self.failed)?,
            lost: by_name("lost", self.lost)?,
            cores,
            host: self.host,
        })
    }
}

/// Figures over all cores; one that a core lacks is left out.
pub(crate) fn totals(
    names: &Names,
    cores: &[CoreView],
) -> Result<BTreeMap<String, u64>, ViewError> {
    let mut totals = BTreeMap::new();
    for name in &names.figures {
        let each: Option<Vec<u64>> =
            cores.iter().map(|core| core.figures.get(*name).copied()).collect();
        if let Some(each) = each.filter(|each| !each.is_empty()) {
            let sum = each.into_iter().try_fold(0, u64::checked_add);
            let sum = sum.ok_or_else(|| ViewError::TooLarge((*name).to_owned()))?;
            totals.insert((*name).to_owned(), sum);
        }
    }
    Ok(totals)
}

/// Counts of all cores together, by the name that each has.
pub(crate) fn by_name(
    what: &str,
    counts: impl IntoIterator<Item = ((u64, String), u64)>,
) -> Result<BTreeMap<String, u64>, ViewError> {
    let mut all = BTreeMap::new();
    for ((_, name), n) in counts {
        let sum: &mut u64 = all.entry(name).or_default();
        *sum = sum.checked_add(n).ok_or_else(|| ViewError::TooLarge(what.to_owned()))?;
    }
    Ok(all)
}

const TWICE: &str = "says again what was said";

fn set_once<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, value: u64) -> Result<(), &'static str> {
    map.insert(key, value).map_or(Ok(()), |_| Err(TWICE))
}
