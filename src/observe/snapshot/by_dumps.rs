//! A snapshot from the lines of a dump.

use std::collections::BTreeMap;

use crate::base::side::Side;
use crate::observe::dump::line::{Line, LineError};
use crate::observe::names::Names;
use crate::observe::snapshot::{
    CoreSnapshot, Snapshot, SnapshotError, by_name, only_server, totals,
};

impl Snapshot {
    /// Of a server, from lines of its `--stats` file, of which the last one of each core counts.
    ///
    /// # Errors
    /// When there is none, when one is no dump's or a client's, or cannot be; a line that is cut short
    /// is one that cannot be.
    pub fn server_from_dump_lines<'a>(
        lines: impl IntoIterator<Item = &'a str>,
    ) -> Result<Snapshot, SnapshotError> {
        let names = Names::default();
        let mut last = BTreeMap::new();
        for (number, text) in (1..).zip(lines) {
            let line = Line::read(&names, text.as_bytes()).map_err(|error| match error {
                LineError::NotOurs => SnapshotError::NotOurs,
                other => SnapshotError::malformed(number, other.to_string()),
            })?;
            only_server(line.side)?;
            last.insert(line.core, line);
        }
        if last.is_empty() {
            return Err(SnapshotError::NotOurs);
        }
        let (mut figures, mut cores) = (BTreeMap::new(), Vec::new());
        let (mut failed, mut lost) = (Vec::new(), Vec::new());
        for (core, mut line) in last {
            for (name, value) in line.process {
                // Every core says the same; of two ticks the higher is as good.
                let highest: &mut u64 = figures.entry(name.to_owned()).or_default();
                *highest = value.max(*highest);
            }
            failed.extend(line.named.remove("failed").unwrap_or_default());
            lost.extend(line.named.remove("lost").unwrap_or_default());
            cores.push(CoreSnapshot::of(core, line.cpu, line.figures));
        }
        figures.extend(totals(&names, &cores)?);
        Ok(Snapshot {
            side: Side::Server,
            figures,
            failed: by_name("failed", failed)?,
            lost: by_name("lost", lost)?,
            cores,
            host: None,
            listen: Vec::new(),
        })
    }
}
