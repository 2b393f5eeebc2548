//! Dumps of many cores, processes and hosts, merged: counters are added, histograms are added bucket by
//! bucket, and percentiles are read from the sum. Nothing is averaged, so what comes out is what one
//! core would have counted that did all of it.
//!
//! A process counts from nothing, so the last line of each core has its totals. A rate is what a core
//! counted from its first line to its last, over the time between them; rates of cores add up.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, Read};

use histogram::SparseHistogram;
use serde::Serialize;

use crate::base::constants::DUMP_LINE_BYTES;
use crate::base::side::Side;
use crate::observe::dump::line::{Line, LineError};
use crate::observe::names::{self, Names};

/// Why files cannot be merged, each with its fix.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// It cannot be read.
    #[error("{0}: {1}; fix: a file that you may read")]
    Unreadable(String, io::Error),
    /// A line of it is none.
    #[error("{0}: line {1} {2}")]
    Line(String, u64, LineError),
    /// A line without an end.
    #[error("{0}: line {1} is no text; fix: a file that --stats or --out wrote")]
    TooLong(String, u64),
    /// Nothing was dumped yet.
    #[error("{0} has no whole line; fix: leave it out, or wait for its first tick")]
    Empty(String),
    /// Two processes wrote it.
    #[error(
        "{file}: line {line}: {what} of core {core}: more than one process wrote the file; \
         fix: a file for each, or only the lines of one"
    )]
    TwoProcesses {
        /// The file.
        file: String,
        /// Number of the line, from 1.
        line: u64,
        /// The core.
        core: u64,
        /// What cannot be of one process.
        what: String,
    },
    /// More than a number holds.
    #[error("{0} is too large over all cores; fix: leave out the file that says so")]
    TooLarge(String),
}

/// Files, read so far: the first line and the last of every core.
#[derive(Debug, Default)]
pub struct Merge {
    names: Names,
    files: Vec<String>,
    cores: BTreeMap<(Side, usize, u64), Span>,
    notes: Vec<String>,
}

/// One core of one file.
#[derive(Debug)]
struct Span {
    lines: u64,
    first: Line,
    last: Line,
}

impl Merge {
    /// Takes a whole file, by its name.
    ///
    /// # Errors
    /// When it cannot be read, is no dump, or of more than one process. A last line that is cut short
    /// is no error but a note: the process may be writing it.
    pub fn add(&mut self, file: &str, mut text: impl BufRead) -> Result<(), MergeError> {
        let number = self.files.len();
        self.files.push(file.to_owned());
        let (mut bytes, mut has_lines) = (Vec::new(), false);
        for line in 1.. {
            bytes.clear();
            let mut limited = text.by_ref().take(DUMP_LINE_BYTES);
            let read = limited.read_until(b'\n', &mut bytes);
            if read.map_err(|error| MergeError::Unreadable(file.to_owned(), error))? == 0 {
                break;
            }
            let is_whole = bytes.ends_with(b"\n");
            if !is_whole && bytes.len() as u64 == DUMP_LINE_BYTES {
                return Err(MergeError::TooLong(file.to_owned(), line));
            }
            match Line::read(&self.names, &bytes) {
                Ok(read) => self.add_line(number, line, read)?,
                Err(LineError::NoObject) if !is_whole && has_lines => {
                    self.notes.push(format!("{file}: line {line} is cut short and left out"));
                    break;
                }
                Err(LineError::OfBystanders) if !has_lines => {
                    self.notes.push(format!("{file} is of bystanders and passed over"));
                    return Ok(());
                }
                Err(error) => return Err(MergeError::Line(file.to_owned(), line, error)),
            }
            has_lines = true;
        }
        if has_lines { Ok(()) } else { Err(MergeError::Empty(file.to_owned())) }
    }

    fn add_line(&mut self, file: usize, number: u64, line: Line) -> Result<(), MergeError> {
        let key = (line.side, file, line.core);
        let Some(span) = self.cores.get_mut(&key) else {
            let span = Span { lines: 1, first: line.clone(), last: line };
            self.cores.insert(key, span);
            return Ok(());
        };
        if let Some(what) = breach(&self.names, &span.last, &line) {
            let (file, core) = (self.files[file].clone(), line.core);
            return Err(MergeError::TwoProcesses { file, line: number, core, what });
        }
        span.lines += 1;
        span.last = line;
        Ok(())
    }

    /// All of them together.
    ///
    /// # Errors
    /// When figures add up to more than a number holds.
    pub fn finish(self) -> Result<Merged, MergeError> {
        let mut sides = BTreeMap::new();
        for side in Side::BOTH {
            let spans: Vec<_> = self.cores.iter().filter(|((of, ..), _)| *of == side).collect();
            if !spans.is_empty() {
                sides.insert(side.name(), SideTotals::of(side, &spans, &self.files, &self.names)?);
            }
        }
        Ok(Merged { schema: "megaconn.stats/1", sides, notes: self.notes })
    }
}

/// What `line` says that cannot come after `last` in one process.
fn breach(names: &Names, last: &Line, line: &Line) -> Option<String> {
    if line.cpu != last.cpu {
        return Some(format!("another cpu ({} after {})", line.cpu, last.cpu));
    }
    let falls = |(name, value): &(&&str, &u64)| {
        names.is_counter(name) && last.figures.get(**name).is_some_and(|before| before > *value)
    };
    line.figures.iter().find(falls).map(|(name, _)| format!("{name} falls"))
}

/// What all dumps say together: `megaconn.stats/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Merged {
    /// `megaconn.stats/1`.
    pub schema: &'static str,
    /// Servers and clients apart, by the names of [`Side`].
    pub sides: BTreeMap<&'static str, SideTotals>,
    /// What was left out.
    pub notes: Vec<String>,
}

/// All cores of one side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SideTotals {
    /// Processes: files that have lines of this side.
    pub processes: usize,
    /// Lines read.
    pub lines: u64,
    /// Milliseconds since 1970 of the first line.
    pub first_at_ms: u64,
    /// And of the last.
    pub last_at_ms: u64,
    /// Counters, without their `_total`.
    pub counters: BTreeMap<&'static str, Counter>,
    /// Gauges, by the last line of each core; a peak is the sum of each core's own.
    pub gauges: BTreeMap<&'static str, u64>,
    /// Figures of processes, by the last line of each.
    pub process: BTreeMap<&'static str, u64>,
    /// Failed operations by error.
    pub failed: BTreeMap<String, u64>,
    /// Lost connections by cause.
    pub lost: BTreeMap<String, u64>,
    /// Short connections that did not connect, by error.
    pub churn_failed: BTreeMap<String, u64>,
    /// Short connections lost, by cause.
    pub churn_lost: BTreeMap<String, u64>,
    /// Percentiles of each histogram in which something was counted.
    pub latencies: BTreeMap<&'static str, Percentiles>,
    /// Each core by itself.
    pub cores: Vec<CoreTotals>,
    /// Figures that not every core has: they are in none of the above.
    pub missing: Vec<&'static str>,
}

/// One core of one file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CoreTotals {
    /// Its file.
    pub file: String,
    /// Its number there.
    pub core: u64,
    /// The CPU it runs on.
    pub cpu: u16,
    /// Lines read of it.
    pub lines: u64,
    /// Seconds from its first line to its last.
    pub seconds: f64,
    /// Its counters, without their `_total`.
    pub counters: BTreeMap<&'static str, Counter>,
    /// Its gauges.
    pub gauges: BTreeMap<&'static str, u64>,
}

/// A counter that rose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counter {
    /// Since the process began.
    pub total: u64,
    /// From the first line to the last; `None` when there is one line, or no time between them.
    pub per_s: Option<f64>,
}

/// Upper edges of buckets, in microseconds, within 3 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// How many were counted.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// Nine of ten.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1,000.
    pub p999: u64,
    /// All.
    pub max: u64,
}

impl SideTotals {
    fn of(
        side: Side,
        spans: &[(&(Side, usize, u64), &Span)],
        files: &[String],
        names: &Names,
    ) -> Result<SideTotals, MergeError> {
        let cores: Vec<CoreTotals> =
            spans.iter().map(|((_, file, _), span)| span.totals(&files[*file], names)).collect();
        let of_files: BTreeSet<usize> = spans.iter().map(|((_, file, _), _)| *file).collect();
        let each = || spans.iter().map(|(_, span)| *span);
        let counts = |name| sum_of_counts(name, each());
        let mut totals = SideTotals {
            processes: of_files.len(),
            lines: each().map(|span| span.lines).sum(),
            first_at_ms: each().map(|span| span.first.at_ms).min().unwrap_or(0),
            last_at_ms: each().map(|span| span.last.at_ms).max().unwrap_or(0),
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            process: BTreeMap::new(),
            failed: counts("failed")?,
            lost: counts("lost")?,
            churn_failed: counts("churn_failed")?,
            churn_lost: counts("churn_lost")?,
            latencies: BTreeMap::new(),
            cores,
            missing: Vec::new(),
        };
        for name in &names.figures {
            totals.add_figure(name, names)?;
        }
        for name in &names.process {
            // Every core of a process says the same; the one that was written last is the newest.
            let of_file = |file: &usize| {
                let spans = spans.iter().filter(|((_, of, _), _)| of == file);
                let newest = spans.max_by_key(|(_, span)| span.last.at_ms)?;
                newest.1.last.process.get(name).copied()
            };
            match of_files.iter().map(of_file).collect::<Option<Vec<u64>>>() {
                Some(each) => drop(totals.process.insert(name, sum(name, each)?)),
                None => totals.missing.push(name),
            }
        }
        for name in &names.histograms {
            let each: Option<Vec<_>> = each().map(|span| span.last.histograms.get(name)).collect();
            let Some(each) = each else {
                totals.missing.push(name);
                continue;
            };
            if let Some(percentiles) = Percentiles::of_all(name, &each)? {
                totals.latencies.insert(name, percentiles);
            }
        }
        // An older version may have written what the side has no more: that is not missing elsewhere.
        let expected = names::expected(side);
        totals.missing.retain(|name| expected.contains(name) || names.process.contains(name));
        Ok(totals)
    }

    fn add_figure(&mut self, name: &'static str, names: &Names) -> Result<(), MergeError> {
        let cores = self.cores.iter();
        if NO_AMOUNTS.contains(&name) {
            return Ok(());
        }
        if !names.is_counter(name) {
            match cores.map(|core| core.gauges.get(name).copied()).collect::<Option<Vec<_>>>() {
                Some(each) => drop(self.gauges.insert(name, sum(name, each)?)),
                None => self.missing.push(name),
            }
            return Ok(());
        }
        let short = without_total(name);
        match cores.map(|core| core.counters.get(short)).collect::<Option<Vec<_>>>() {
            Some(each) => {
                let total = sum(name, each.iter().map(|counter| counter.total))?;
                let per_s = each.iter().map(|counter| counter.per_s).sum();
                self.counters.insert(short, Counter { total, per_s });
            }
            None => self.missing.push(name),
        }
        Ok(())
    }
}

/// Gauges of which a sum says nothing.
const NO_AMOUNTS: [&str; 2] = ["order_finished", "order_took_us"];

impl Span {
    fn totals(&self, file: &str, names: &Names) -> CoreTotals {
        let seconds = self.last.at_ms.saturating_sub(self.first.at_ms) as f64 / 1e3;
        let is_in_time = self.lines > 1 && seconds > 0.0;
        let counter = |(name, total): (&&'static str, &u64)| {
            let before = self.first.figures.get(name).filter(|_| is_in_time);
            let rise = before.and_then(|before| total.checked_sub(*before));
            let per_s = rise.map(|rise| rise as f64 / seconds);
            (without_total(name), Counter { total: *total, per_s })
        };
        let figures = self.last.figures.iter();
        let (counters, gauges): (Vec<_>, Vec<_>) =
            figures.partition(|(name, _)| names.is_counter(name));
        CoreTotals {
            file: file.to_owned(),
            core: self.last.core,
            cpu: self.last.cpu,
            lines: self.lines,
            seconds,
            counters: counters.into_iter().map(counter).collect(),
            gauges: gauges.into_iter().map(|(name, value)| (*name, *value)).collect(),
        }
    }
}

/// The name of a counter as a reader of sums and rates has it.
fn without_total(name: &'static str) -> &'static str {
    name.strip_suffix("_total").expect("a counter is called a total")
}

impl Percentiles {
    /// Of all histograms together; `None` when they are empty.
    fn of_all(name: &str, each: &[&SparseHistogram]) -> Result<Option<Percentiles>, MergeError> {
        let too_large = || MergeError::TooLarge(name.to_owned());
        let (first, others) = each.split_first().expect("a side has a core");
        let all = others
            .iter()
            .try_fold((*first).clone(), |all, one| all.checked_add(one).map_err(|_| too_large()))?;
        let count = sum(name, all.count().iter().copied())?;
        let at = |quantile: f64| {
            let found = all.quantile(quantile).ok()??;
            found.entries().values().next().map(histogram::Bucket::end)
        };
        let percentiles = || {
            Some(Percentiles {
                count,
                p50: at(0.5)?,
                p90: at(0.9)?,
                p99: at(0.99)?,
                p999: at(0.999)?,
                max: at(1.0)?,
            })
        };
        Ok(percentiles())
    }
}

fn sum(name: &str, each: impl IntoIterator<Item = u64>) -> Result<u64, MergeError> {
    let sum = each.into_iter().try_fold(0, u64::checked_add);
    sum.ok_or_else(|| MergeError::TooLarge(name.to_owned()))
}

fn sum_of_counts<'a>(
    name: &'static str,
    spans: impl Iterator<Item = &'a Span>,
) -> Result<BTreeMap<String, u64>, MergeError> {
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in spans.filter_map(|span| span.last.named.get(name)).flatten() {
        let all = all.entry(key.clone()).or_default();
        *all = all.checked_add(*count).ok_or_else(|| MergeError::TooLarge(name.to_owned()))?;
    }
    Ok(all)
}
