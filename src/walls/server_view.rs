//! What the client sees of the server: its figures and its host's counters at one moment, from the
//! text of its metrics address or from its dumps. Both come from elsewhere: they are taken for
//! nothing but what they are, and never a reason to panic.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::cpu::{CpuTime, THREAD_FIGURES};
use crate::dump::Side;
use crate::metrics::{HOST_COUNTER, PREFIX, PROCESS_FIGURES};
use crate::stats::CoreStats;
use crate::walls::counters::Counters;

/// A server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerView {
    /// Figures by the names of [`CoreStats`], over all cores, and those of the process. One that is
    /// not there was not seen of every core.
    pub figures: BTreeMap<String, u64>,
    /// Failed operations by the name of the error, over all cores.
    pub failed: BTreeMap<String, u64>,
    /// Every core, in order.
    pub cores: Vec<CoreView>,
    /// Counters of its host's kernel; dumps do not have them.
    pub host: Option<Counters>,
}

/// One core of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CoreView {
    /// Its number.
    pub core: u64,
    /// The CPU it runs on.
    pub cpu: u16,
    /// Figures by the names of [`CoreStats`].
    pub figures: BTreeMap<String, u64>,
}

/// Why something is no view of a server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// No figure of ours.
    #[error("there is no figure of megaconn in it")]
    NotOurs,
    /// A client's, or another program's by our name.
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
        what: &'static str,
    },
    /// Figures that add up to more than a number holds.
    #[error("{0} is too large over all cores")]
    TooLarge(String),
}

impl ServerView {
    /// The CPU time of its process; `None` when it was not seen.
    #[must_use]
    pub fn cpu_time(&self) -> Option<CpuTime> {
        let figure = |name| self.figures.get(name).copied();
        Some(CpuTime {
            ran_ms: figure("process_ran_ms")?,
            waited_ms: figure("process_waited_ms")?,
            lived_ms: figure("process_lived_ms")?,
        })
    }

    /// From the text that `megaconn serve --metrics` gives.
    ///
    /// # Errors
    /// When it is another program's or a client's, was cut short, or has a line of ours that cannot
    /// be: not a whole number, twice the same, without its labels.
    pub fn from_metrics(text: &str) -> Result<ServerView, ViewError> {
        let known = Known::new();
        let mut view = Draft::default();
        let mut is_ours = false;
        for (line, sample) in (1..).zip(text.lines()) {
            let malformed = |what| ViewError::Malformed { line, what };
            let ours = sample.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_'));
            let Some(sample) = ours else { continue };
            let sample = Sample::parse(sample).ok_or_else(|| malformed("is no sample"))?;
            let side = sample.label("side").ok_or_else(|| malformed("has no side"))?;
            if side != Side::Server.name() {
                return Err(ViewError::OtherSide(side.chars().take(20).collect()));
            }
            is_ours = true;
            view.add_sample(&known, &sample).map_err(malformed)?;
        }
        if !is_ours {
            return Err(ViewError::NotOurs);
        }
        if !text.ends_with(END_OF_TEXT) {
            return Err(ViewError::Truncated);
        }
        view.finish(&known)
    }

    /// From lines of the server's `--stats` file, of which the last one of each core counts.
    ///
    /// # Errors
    /// As [`ServerView::from_metrics`]; a line that is cut short is one that cannot be.
    pub fn from_dump_lines<'a>(
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<ServerView, ViewError> {
        let known = Known::new();
        let mut cores = BTreeMap::new();
        for (line, text) in (1..).zip(lines) {
            let malformed = |what| ViewError::Malformed { line, what };
            let fields: Map<String, Value> =
                serde_json::from_str(text).map_err(|_| malformed("is no JSON object"))?;
            let word = |key| fields.get(key).and_then(Value::as_str);
            if word("schema") != Some("megaconn.core/1") {
                return Err(ViewError::NotOurs);
            }
            let side = word("side").ok_or_else(|| malformed("has no side"))?;
            if side != Side::Server.name() {
                return Err(ViewError::OtherSide(side.chars().take(20).collect()));
            }
            let core = fields.get("core").and_then(Value::as_u64);
            cores.insert(core.ok_or_else(|| malformed("has no core"))?, (line, fields));
        }
        if cores.is_empty() {
            return Err(ViewError::NotOurs);
        }
        let mut view = Draft::default();
        for (core, (line, fields)) in &cores {
            view.add_line(&known, *core, fields)
                .map_err(|what| ViewError::Malformed { line: *line, what })?;
        }
        view.finish(&known)
    }
}

/// The last line of every OpenMetrics text.
const END_OF_TEXT: &str = "\n# EOF\n";

/// Names of figures: what else a newer server has, nobody here asks for.
struct Known {
    of_core: BTreeSet<&'static str>,
    of_process: BTreeSet<&'static str>,
}

impl Known {
    fn new() -> Known {
        Known {
            of_core: CoreStats::help().chain(THREAD_FIGURES).map(|(name, _)| name).collect(),
            of_process: PROCESS_FIGURES.iter().map(|(name, _)| *name).collect(),
        }
    }
}

/// What has been read so far.
#[derive(Default)]
struct Draft {
    cores: BTreeMap<u64, CoreView>,
    /// By core and error.
    failed: BTreeMap<(u64, String), u64>,
    process: BTreeMap<String, u64>,
    host: Option<Counters>,
}

impl Draft {
    fn add_sample(&mut self, known: &Known, sample: &Sample<'_>) -> Result<(), &'static str> {
        let name = sample.name;
        if name == HOST_COUNTER {
            let counter = sample.label("name").ok_or("has no name")?;
            let host = self.host.get_or_insert_default();
            if host.get(counter).is_some() {
                return Err(TWICE);
            }
            host.set(counter, sample.whole()?);
        } else if known.of_process.contains(name) {
            set_once(&mut self.process, name.to_owned(), sample.whole()?)?;
        } else if name == "failed_total" {
            let errno = sample.label("errno").ok_or("has no errno")?.to_owned();
            set_once(&mut self.failed, (sample.number("core")?, errno), sample.whole()?)?;
        } else if known.of_core.contains(name) {
            let core = self.core(sample.number("core")?, sample.number("cpu")?)?;
            set_once(&mut core.figures, name.to_owned(), sample.whole()?)?;
        }
        Ok(())
    }

    fn add_line(
        &mut self,
        known: &Known,
        number: u64,
        fields: &Map<String, Value>,
    ) -> Result<(), &'static str> {
        let whole = |value: &Value| value.as_u64().ok_or(NO_WHOLE_NUMBER);
        let cpu = fields.get("cpu").and_then(Value::as_u64).ok_or("has no cpu")?;
        let core = self.core(number, cpu)?;
        for (name, value) in fields.iter().filter(|(name, _)| known.of_core.contains(&***name)) {
            core.figures.insert(name.clone(), whole(value)?);
        }
        let of_process =
            |name: &str, value: &Value| known.of_process.contains(name) && !value.is_null();
        for (name, value) in fields.iter().filter(|(name, value)| of_process(name, value)) {
            // Every core says the same; of two ticks the higher is as good.
            let value = whole(value)?;
            let highest = self.process.entry(name.clone()).or_default();
            *highest = value.max(*highest);
        }
        for (errno, value) in fields.get("failed").and_then(Value::as_object).into_iter().flatten()
        {
            self.failed.insert((number, errno.clone()), whole(value)?);
        }
        Ok(())
    }

    fn core(&mut self, core: u64, cpu: u64) -> Result<&mut CoreView, &'static str> {
        let cpu = u16::try_from(cpu).map_err(|_| "has a cpu that is none")?;
        let new = CoreView { core, cpu, figures: BTreeMap::new() };
        let view = self.cores.entry(core).or_insert(new);
        if view.cpu == cpu { Ok(view) } else { Err("has another cpu for its core") }
    }

    /// Adds the cores up.
    fn finish(self, known: &Known) -> Result<ServerView, ViewError> {
        let mut figures = self.process;
        for name in &known.of_core {
            let each: Option<Vec<u64>> =
                self.cores.values().map(|core| core.figures.get(*name).copied()).collect();
            if let Some(each) = each.filter(|each| !each.is_empty()) {
                let sum = each.into_iter().try_fold(0, u64::checked_add);
                let sum = sum.ok_or_else(|| ViewError::TooLarge((*name).to_owned()))?;
                figures.insert((*name).to_owned(), sum);
            }
        }
        let mut failed = BTreeMap::new();
        for ((_, errno), n) in self.failed {
            let sum: &mut u64 = failed.entry(errno).or_default();
            *sum = sum.checked_add(n).ok_or_else(|| ViewError::TooLarge("failed".into()))?;
        }
        Ok(ServerView {
            figures,
            failed,
            cores: self.cores.into_values().collect(),
            host: self.host,
        })
    }
}

const TWICE: &str = "says again what was said";
const NO_WHOLE_NUMBER: &str = "has no whole number";

fn set_once<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, value: u64) -> Result<(), &'static str> {
    map.insert(key, value).map_or(Ok(()), |_| Err(TWICE))
}

/// One line of the text, behind the prefix.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Sample<'a>> {
        let end = line.find(['{', ' '])?;
        let (name, mut rest) = line.split_at(end);
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (key, behind) = rest.split_once("=\"")?;
                let (value, behind) = quoted(behind)?;
                labels.push((key, value));
                match behind.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => break rest = behind.strip_prefix('}')?,
                }
            }
        }
        let value = rest.strip_prefix(' ')?;
        Some(Sample { name, labels, value })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
    }

    /// A label that is a number.
    fn number(&self, key: &str) -> Result<u64, &'static str> {
        let label = self.label(key).ok_or("lacks a label")?;
        digits(label).ok_or("has a label that is no number")
    }

    fn whole(&self) -> Result<u64, &'static str> {
        digits(self.value).ok_or(NO_WHOLE_NUMBER)
    }
}

/// A number that is nothing but digits.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The value of a label and what is behind its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}
