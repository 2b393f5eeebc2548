//! One line of a dump, read: what one core said of itself at one moment. It may come from anywhere, so
//! it is taken for nothing but what it is, and is never a reason to panic.

use std::collections::{BTreeMap, BTreeSet};

use histogram::SparseHistogram;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::side::Side;
use crate::observe::dump::SCHEMA;
use crate::observe::names::Names;
use crate::observe::stats::empty_histogram;

/// What a core said of itself. A figure that is not there was not written: by an older version, or
/// because it could not be read.
#[derive(Clone, Debug)]
pub struct Line {
    /// The side the core belongs to.
    pub side: Side,
    /// The core's number in its process.
    pub core: u64,
    /// The CPU it runs on.
    pub cpu: u16,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Counters and gauges, by [`Names::figures`].
    pub figures: BTreeMap<&'static str, u64>,
    /// Figures of its process, by [`Names::process`].
    pub process: BTreeMap<&'static str, u64>,
    /// Counts by error or by cause, by [`Names::named`].
    pub named: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Histograms in full, by [`Names::histograms`].
    pub histograms: BTreeMap<&'static str, SparseHistogram>,
}

/// Why something is no line of a dump.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// No JSON object at all.
    #[error("is no JSON object; fix: a file that --stats or --out wrote")]
    NoObject,
    /// An object, but none of a dump.
    #[error("is no dump of megaconn; fix: a file that --stats or --out wrote")]
    NotOurs,
    /// Another file of a run directory, which has its own readers.
    #[error("is of bystanders, not of cores; fix: leave the file out")]
    OfBystanders,
    /// Of another version.
    #[error("is {0}, not {SCHEMA}; fix: the megaconn that wrote it")]
    OtherSchema(String),
    /// Ours, but it cannot be.
    #[error("{0}; fix: leave the file out, it is damaged")]
    Malformed(String),
}

impl Line {
    /// Reads a line, and of it what has one of `names`.
    ///
    /// # Errors
    /// When it is no line of a dump, or one that cannot be: a figure that is no whole number, a
    /// histogram of another form, no core, no time.
    pub fn read(names: &Names, line: &[u8]) -> Result<Line, LineError> {
        let fields: Map<String, Value> =
            serde_json::from_slice(line).map_err(|_| LineError::NoObject)?;
        match fields.get("schema").and_then(Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) if other.starts_with("megaconn.core/") => {
                return Err(LineError::OtherSchema(other.chars().take(30).collect()));
            }
            Some(other) if other.starts_with("megaconn.bystander/") => {
                return Err(LineError::OfBystanders);
            }
            _ => return Err(LineError::NotOurs),
        }
        let whole = |name: &str| {
            let number = fields.get(name).and_then(Value::as_u64);
            number.ok_or_else(|| malformed(name, "no whole number"))
        };
        let side = fields.get("side").and_then(Value::as_str).and_then(Side::by_name);
        let cpu = whole("cpu")?;
        let named = names.named.iter().map(|name| Ok((*name, counts(&fields, name)?)));
        Ok(Line {
            side: side.ok_or_else(|| malformed("side", "neither server nor client"))?,
            core: whole("core")?,
            cpu: u16::try_from(cpu).map_err(|_| malformed("cpu", "no CPU"))?,
            at_ms: whole("at_ms")?,
            figures: numbers(&fields, &names.figures)?,
            process: numbers(&fields, &names.process)?,
            named: named.collect::<Result<_, _>>()?,
            histograms: histograms(&fields, &names.histograms)?,
        })
    }
}

fn histograms(
    fields: &Map<String, Value>,
    names: &BTreeSet<&'static str>,
) -> Result<BTreeMap<&'static str, SparseHistogram>, LineError> {
    let Some(all) = fields.get("histograms") else { return Ok(BTreeMap::new()) };
    let all = all.as_object().ok_or_else(|| malformed("histograms", "no object"))?;
    let form = empty_histogram().config();
    let read = |name: &&'static str| {
        let value = all.get(*name)?;
        let histogram = SparseHistogram::deserialize(value).ok();
        let alike = histogram.filter(|histogram| histogram.config() == form);
        Some(alike.map(|h| (*name, h)).ok_or_else(|| malformed(name, "no histogram of ours")))
    };
    names.iter().filter_map(read).collect()
}

fn malformed(name: &str, is: &str) -> LineError {
    LineError::Malformed(format!("{name} is {is}"))
}

/// The figures that are there, of `names`; `null` is one that could not be read.
fn numbers(
    fields: &Map<String, Value>,
    names: &BTreeSet<&'static str>,
) -> Result<BTreeMap<&'static str, u64>, LineError> {
    let there = names.iter().filter_map(|name| Some((*name, fields.get(*name)?)));
    there
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| {
            let number = value.as_u64().ok_or_else(|| malformed(name, "no whole number"))?;
            Ok((name, number))
        })
        .collect()
}

fn counts(fields: &Map<String, Value>, name: &str) -> Result<BTreeMap<String, u64>, LineError> {
    let Some(value) = fields.get(name) else { return Ok(BTreeMap::new()) };
    let counts = value.as_object().ok_or_else(|| malformed(name, "no object"))?;
    let count = |(key, value): (&String, &Value)| {
        let number = value.as_u64().ok_or_else(|| malformed(name, "not in whole numbers"))?;
        Ok((key.clone(), number))
    };
    counts.iter().map(count).collect()
}
