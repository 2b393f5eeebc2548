//! What the server wrote about itself, when its `--stats` file lies in our run directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use megaconn::walls::case::{CoreShare, End};
use megaconn::walls::counters::Counters;
use serde::Deserialize;
use serde_json::Value;

/// The server at one moment, from its dumps: figures and errors over all cores, and every core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    figures: BTreeMap<String, u64>,
    failed: BTreeMap<String, u64>,
    cores: Vec<CoreShare>,
}

impl Seen {
    /// What is known of the server's end since `before`.
    pub(crate) fn end_since(self, before: &Seen, counters: Option<(Counters, Counters)>) -> End {
        let rise = |now: BTreeMap<String, u64>, before: &BTreeMap<String, u64>| {
            let each = now.into_iter().map(|(name, n)| {
                let was = before.get(&name).copied().unwrap_or(0);
                (name, n.saturating_sub(was))
            });
            each.collect()
        };
        End {
            counters,
            figures: rise(self.figures, &before.figures),
            failed: rise(self.failed, &before.failed),
            cores: self.cores,
        }
    }
}

/// The fields of a dump line that the client uses.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    core: u64,
    pub(crate) cpu: u16,
    at_ms: u64,
    connections: u64,
    pub(crate) connections_peak: u64,
    pub(crate) messages_total: u64,
    process_resident_bytes: Option<u64>,
    process_open_files: Option<u64>,
    failed: BTreeMap<String, u64>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// The last line of every core, read on as the file grows.
pub(crate) struct ServerStats {
    path: PathBuf,
    /// Lines from before are another run's.
    from_ms: u64,
    read_to: u64,
    last: BTreeMap<u64, Line>,
}

impl ServerStats {
    /// Of the run directory `dir`, from `from_ms` on.
    pub(crate) fn of(dir: &Path, from_ms: u64) -> ServerStats {
        ServerStats { path: dir.join("server.ndjson"), from_ms, read_to: 0, last: BTreeMap::new() }
    }

    /// Reads what was written since; lines that are not whole yet wait for the next time.
    pub(crate) fn refresh(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut text = String::new();
        let read =
            file.seek(SeekFrom::Start(self.read_to)).and_then(|_| file.read_to_string(&mut text));
        if read.is_err() {
            return;
        }
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        self.read_to += whole as u64;
        for line in text[..whole].lines() {
            if let Ok(line) = serde_json::from_str::<Line>(line)
                && line.at_ms >= self.from_ms
            {
                self.last.insert(line.core, line);
            }
        }
    }

    /// Connections that the server held at its last tick; `None` when it wrote nothing.
    pub(crate) fn connections(&self) -> Option<u64> {
        (!self.last.is_empty()).then(|| self.last.values().map(|line| line.connections).sum())
    }

    /// Resident bytes of the server at its last tick.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.latest()?.process_resident_bytes
    }

    /// Open files of the server at its last tick.
    pub(crate) fn open_files(&self) -> Option<u64> {
        self.latest()?.process_open_files
    }

    /// The newest line; what it says of the process, all cores of that tick say.
    fn latest(&self) -> Option<&Line> {
        self.last.values().max_by_key(|line| line.at_ms)
    }

    /// When the server last ticked, in milliseconds since 1970; `None` when it wrote nothing.
    pub(crate) fn at_ms(&self) -> Option<u64> {
        self.last.values().map(|line| line.at_ms).min()
    }

    /// Whether its figures are of `ms` or later.
    pub(crate) fn is_of(&self, ms: u64) -> bool {
        self.at_ms().is_some_and(|at_ms| at_ms >= ms)
    }

    /// Every core's last line, in order.
    pub(crate) fn cores(&self) -> impl Iterator<Item = (u64, Line)> {
        self.last.iter().map(|(core, line)| (*core, line.clone()))
    }

    /// All that the last lines say; `None` when it wrote nothing.
    pub(crate) fn seen(&self) -> Option<Seen> {
        self.at_ms()?;
        let mut seen = Seen::default();
        for line in self.last.values() {
            let figures =
                line.others.iter().filter_map(|(name, value)| Some((name, value.as_u64()?)));
            for (name, n) in figures {
                *seen.figures.entry(name.clone()).or_insert(0) += n;
            }
            for (name, n) in &line.failed {
                *seen.failed.entry(name.clone()).or_insert(0) += n;
            }
            seen.cores.push(CoreShare {
                cpu: line.cpu,
                connections_peak: line.connections_peak,
                messages: line.messages_total,
            });
        }
        Some(seen)
    }
}
