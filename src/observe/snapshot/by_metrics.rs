//! A snapshot from the text of a metrics address.

use std::collections::BTreeMap;

use crate::base::endpoints::Endpoints;
use crate::base::side::Side;
use crate::host::counters::Counters;
use crate::observe::metrics::{HOST_COUNTER, LISTEN, PREFIX};
use crate::observe::names::Names;
use crate::observe::snapshot::sample::Sample;
use crate::observe::snapshot::{
    CoreSnapshot, Snapshot, SnapshotError, by_name, only_server, totals,
};

/// The last line of every OpenMetrics text.
const END_OF_TEXT: &str = "\n# EOF\n";

impl Snapshot {
    /// From the text that `--metrics` of either program gives.
    ///
    /// # Errors
    /// When it is another program's, was cut short, or has a line of ours that cannot be: not a whole
    /// number, twice the same, without its labels, of two sides.
    pub fn from_metrics(text: &str) -> Result<Snapshot, SnapshotError> {
        let names = Names::default();
        let mut draft: Option<Draft> = None;
        for (line, sample) in (1..).zip(text.lines()) {
            let malformed = |what: &str| SnapshotError::malformed(line, what);
            let ours = sample.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'));
            let Some(sample) = ours else { continue };
            let sample = Sample::parse(sample).ok_or_else(|| malformed("is no sample"))?;
            let side = sample.label("side").ok_or_else(|| malformed("has no side"))?;
            let side = Side::by_name(side)
                .ok_or_else(|| malformed("is of neither a server nor a client"))?;
            let draft = draft.get_or_insert_with(|| Draft::new(side));
            if draft.side != side {
                return Err(malformed("is of another side than those before"));
            }
            draft.add(&names, &sample).map_err(malformed)?;
        }
        let draft = draft.ok_or(SnapshotError::NotOurs)?;
        if !text.ends_with(END_OF_TEXT) {
            return Err(SnapshotError::Truncated);
        }
        draft.finish(&names)
    }

    /// Of a server, from the text that `megaconn serve --metrics` gives.
    ///
    /// # Errors
    /// As [`Snapshot::from_metrics`], and when it is a client's.
    pub fn server_from_metrics(text: &str) -> Result<Snapshot, SnapshotError> {
        let snapshot = Snapshot::from_metrics(text)?;
        only_server(snapshot.side)?;
        Ok(snapshot)
    }
}

/// What has been read so far.
struct Draft {
    side: Side,
    cores: BTreeMap<u64, CoreSnapshot>,
    /// By core and error, or cause.
    failed: BTreeMap<(u64, String), u64>,
    lost: BTreeMap<(u64, String), u64>,
    process: BTreeMap<String, u64>,
    host: Option<Counters>,
    listen: Vec<Endpoints>,
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
            listen: Vec::new(),
        }
    }

    /// Takes a sample. One whose name is unknown is a newer process's, and is passed over.
    fn add(&mut self, names: &Names, sample: &Sample<'_>) -> Result<(), &'static str> {
        let name = sample.name;
        if name == HOST_COUNTER {
            let counter = sample.label("name").ok_or("has no name")?;
            let host = self.host.get_or_insert_default();
            if host.get(counter).is_some() {
                return Err(TWICE);
            }
            host.set(counter, sample.whole()?);
        } else if name.strip_suffix("_info") == Some(LISTEN) {
            let address = sample.label("address").ok_or("has no address")?;
            // An address of a link names an interface, which is on its own host alone.
            self.listen.extend(address.parse::<Endpoints>());
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

    fn core(&mut self, sample: &Sample<'_>) -> Result<&mut CoreSnapshot, &'static str> {
        let (core, cpu) = (sample.number("core")?, sample.number("cpu")?);
        let cpu = u16::try_from(cpu).map_err(|_| "has a cpu that is none")?;
        let new = CoreSnapshot { core, cpu, ..CoreSnapshot::default() };
        let seen = self.cores.entry(core).or_insert(new);
        if seen.cpu == cpu { Ok(seen) } else { Err("has another cpu for its core") }
    }

    fn finish(self, names: &Names) -> Result<Snapshot, SnapshotError> {
        let cores: Vec<CoreSnapshot> = self.cores.into_values().collect();
        let mut figures = self.process;
        figures.extend(totals(names, &cores)?);
        Ok(Snapshot {
            side: self.side,
            figures,
            failed: by_name("failed", without_core(self.failed))?,
            lost: by_name("lost", without_core(self.lost))?,
            cores,
            host: self.host,
            listen: self.listen,
        })
    }
}

fn without_core(counts: BTreeMap<(u64, String), u64>) -> impl Iterator<Item = (String, u64)> {
    counts.into_iter().map(|((_, name), n)| (name, n))
}

const TWICE: &str = "says again what was said";

fn set_once<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, value: u64) -> Result<(), &'static str> {
    map.insert(key, value).map_or(Ok(()), |_| Err(TWICE))
}
