//! What the client sees of the server: its figures and its host's counters at one moment, from the
//! text of its metrics address or from its dumps. Both come from elsewhere: they are taken for
//! nothing but what they are, and never a reason to panic.

use std::collections::BTreeMap;

use crate::base::side::Side;
use crate::host::counters::Counters;
use crate::host::cpu::CpuTime;
use crate::observe::dump::line::{Line, LineError};
use crate::observe::names::Names;
pub use crate::observe::snapshot::{CoreView, ViewError};
use crate::observe::snapshot::{ProcessView, by_name, totals};

/// A server at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerView {
    /// Figures by the names of [`CoreStats`](crate::observe::stats::CoreStats), over all cores, and those of
    /// the process. One that is not there was not seen of every core.
    pub figures: BTreeMap<String, u64>,
    /// Failed operations by the name of the error, over all cores.
    pub failed: BTreeMap<String, u64>,
    /// Every core, in order.
    pub cores: Vec<CoreView>,
    /// Counters of its host's kernel; dumps do not have them.
    pub host: Option<Counters>,
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
    /// As [`ProcessView::from_metrics`], and when it is a client's.
    pub fn from_metrics(text: &str) -> Result<ServerView, ViewError> {
        let view = ProcessView::from_metrics(text)?;
        only_servers(view.side)?;
        let ProcessView { figures, failed, cores, host, .. } = view;
        Ok(ServerView { figures, failed, cores, host })
    }

    /// From lines of the server's `--stats` file, of which the last one of each core counts.
    ///
    /// # Errors
    /// When there is none, when one is no dump's or a client's, or cannot be; a line that is cut short
    /// is one that cannot be.
    pub fn from_dump_lines<'a>(
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<ServerView, ViewError> {
        let names = Names::default();
        let mut last = BTreeMap::new();
        for (number, text) in (1..).zip(lines) {
            let line = Line::read(&names, text.as_bytes()).map_err(|error| match error {
                LineError::NotOurs => ViewError::NotOurs,
                other => ViewError::malformed(number, other.to_string()),
            })?;
            only_servers(line.side)?;
            last.insert(line.core, line);
        }
        if last.is_empty() {
            return Err(ViewError::NotOurs);
        }
        let owned = |(name, value): (&'static str, u64)| (name.to_owned(), value);
        let (mut figures, mut failed, mut cores) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (core, mut line) in last {
            for (name, value) in line.process.into_iter().map(owned) {
                // Every core says the same; of two ticks the higher is as good.
                let highest: &mut u64 = figures.entry(name).or_default();
                *highest = value.max(*highest);
            }
            let counts = line.named.remove("failed").unwrap_or_default();
            failed.extend(counts.into_iter().map(|(errno, n)| ((core, errno), n)));
            let figures = line.figures.into_iter().map(owned).collect();
            cores.push(CoreView { core, cpu: line.cpu, figures, ..CoreView::default() });
        }
        figures.extend(totals(&names, &cores)?);
        Ok(ServerView { figures, failed: by_name("failed", failed)?, cores, host: None })
    }
}

fn only_servers(side: Side) -> Result<(), ViewError> {
    match side {
        Side::Server => Ok(()),
        Side::Client => Err(ViewError::OtherSide(side.name().to_owned())),
    }
}
